#!/bin/sh
# train.sh PROGRAMS: the emoji model from nothing: data, autoencoder, SigLIP's tower, JanusFlow, more answers; then what it can do. PROGRAMS is the
# directory of the example programs, such as build/examples. Stopped or killed, it goes on where it was when it is called again.
set -eu
programs=$(cd "$1" && pwd)
cd "$(dirname "$0")"

if [ ! -d data ]; then
  python3 make_data.py data.part
  mv data.part data
fi
for run in autoencoder siglip janusflow answers; do
  resume=
  ls $run/checkpoints/step-*.safetensors >/dev/null 2>&1 && resume=--resume
  "$programs/train" $run.json $resume
done
"$programs/evaluate" --model answers/model --data ../models/emoji/evaluation
