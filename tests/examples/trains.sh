#!/bin/sh
# trains.sh PROGRAMS SCRATCH: the train program, killed again and again, ends where an undisturbed run ends; what it refuses.
. "$(dirname "$0")/common.sh"
checks=0
pictures=$(dirname "$0")/../data/pictures

# refuse SENTENCE ARGUMENT...: exit status 1, one line on standard error with this in it.
refuse() {
  checks=$((checks + 1))
  sentence=$1
  shift
  run "$@"
  status=$?
  [ $status = 1 ] || fail "exit status $status: $*"
  [ "$(wc -l <stderr)" = 1 ] && grep -q -F -e "$sentence" stderr || fail "$*: not \"$sentence\" but $(cat stderr)"
}
succeed() {
  checks=$((checks + 1))
  run "$@" || fail "exit status $?: $*: $(cat stderr)"
}

cp "$pictures/rgb.png" "$pictures/rgba.png" "$pictures/baseline.jpg" . || exit 1
cat >train.jsonl <<END
{"task": "generation", "prompt": "a", "picture": "rgb.png"}
{"task": "generation", "prompt": "b", "picture": "baseline.jpg"}
{"task": "understanding", "picture": "rgba.png", "question": "c?", "answer": "d"}
{"task": "understanding", "picture": "rgb.png", "caption": "a"}
{"task": "text", "text": "abc"}
END
# config OUTPUT: two stages, a checkpoint at every second step.
config() {
  cat >"$1.json" <<END
{"model": "tiny", "manifest": "train.jsonl", "output": "$1", "losses": {"repa_layer": 1, "repa_width": 32},
 "checkpoints": {"every": 2, "keep": 3}, "log": {"every": 1},
 "stages": [{"preset": 1, "steps": ${2:-20}, "batch_size": 4}, {"preset": 3, "steps": ${2:-20}, "batch_size": 4}]}
END
}
config undisturbed
config killed

succeed train undisturbed.json --check
# whole CONFIG: an undisturbed run; `took` receives its seconds.
whole() {
  begin=$(date +%s.%N)
  succeed train "$1.json"
  took=$(echo "$begin $(date +%s.%N)" | awk '{ print $2 - $1 }')
}
whole undisturbed
[ -s undisturbed/curves.png ] || fail "no curves.png"
[ "$(wc -l <undisturbed/log.csv)" = 41 ] || fail "the log has $(wc -l <undisturbed/log.csv) lines"
[ "$(ls undisturbed/checkpoints | wc -l)" = 3 ] || fail "checkpoints: $(ls undisturbed/checkpoints)"
succeed text_to_image -m undisturbed/model -p a --steps 2 -o out/a.png
succeed image_to_text -m undisturbed/model -i rgb.png -q 'c?' --max-new-tokens 4

# kill_until_done OUTPUT LIKE FILE...: runs OUTPUT.json, killed at ${KILLS:-3} moments that nobody chose, within the time that the whole
# run `took`; then to its end: these files are LIKE's. A run that comes to its end before so many kills is followed by a new one.
kill_until_done() {
  output=$1
  like=$2
  shift 2
  kills=0
  tries=0
  while [ $kills -lt ${KILLS:-3} ] && [ $tries -lt 200 ]; do
    tries=$((tries + 1))
    resume=
    ls $output/checkpoints/*.safetensors >/dev/null 2>&1 && resume=--resume
    ${EMULATOR:-} "$programs/train" $output.json $resume >stdout 2>stderr &
    process=$!
    sleep "$(awk -v seed=$tries 'BEGIN { srand(seed * 7919); print rand() * '"$took"' }')"
    if kill -9 $process 2>/dev/null; then kills=$((kills + 1)); fi
    wait $process 2>/dev/null
    checks=$((checks + 1))
    [ -s stderr ] && fail "killed run: $(cat stderr)"
    [ $kills -lt ${KILLS:-3} ] && [ -e $output/model/config.json ] && rm -rf $output
  done
  resume=
  ls $output/checkpoints/*.safetensors >/dev/null 2>&1 && resume=--resume
  succeed train $output.json $resume --threads 1
  for file in "$@"; do
    checks=$((checks + 1))
    cmp "$like/$file" "$output/$file" || fail "$output/$file differs after $kills kills"
  done
  checks=$((checks + 2))
  [ $kills -gt 0 ] || fail "$output was never killed"
  ls $output/checkpoints | grep -q tmp && fail "left behind: $(ls $output/checkpoints)"
  echo "$output: $kills kills"
}
kill_until_done killed undisturbed model/model.safetensors checkpoints/step-000000040.safetensors

# The same of an autoencoder and of a tower, from random weights; what they write is what a model may start from.
for kind in autoencoder siglip; do
  for output in whole_$kind killed_$kind; do
    model=tiny
    [ $kind = autoencoder ] && model=tiny/vae
    cat >$output.json <<END
{"train": "$kind", "model": "$model", "from_scratch": ["*"], "manifest": "train.jsonl", "output": "$output", "checkpoints": {"every": 4}, "log": {"every": 1},
 "augmentation": {"shift": 2, "flip": 0.5},
 "stages": [{"name": "all", "trains": ["*"], "learning_rate": 0.001, "steps": 20, "batch_size": 4}]}
END
  done
  succeed train whole_$kind.json --check
  whole whole_$kind
  eval took_$kind=$took
done
took=$took_autoencoder
kill_until_done killed_autoencoder whole_autoencoder model/config.json model/diffusion_pytorch_model.safetensors checkpoints/step-000000020.safetensors
took=$took_siglip
kill_until_done killed_siglip whole_siglip model/model.safetensors model/siglip.safetensors checkpoints/step-000000020.safetensors
succeed autoencode --crop --vae whole_autoencoder/model -i rgb.png -o out/again.png
sed 's/"model": "tiny"/"model": "whole_siglip\/model", "vae": "whole_autoencoder\/model", "from_scratch": ["*", "!vision_und_enc_model.*"]/
     s/"output": "undisturbed"/"output": "started"/; s/"steps": 20/"steps": 1/g' undisturbed.json >started.json
succeed train started.json
succeed text_to_image -m started/model -p a --steps 2 -o out/started.png

# A sheet keeps a picture and what comes back of it side by side: of three, four columns of 32 pixels.
for picture in rgb.png rgba.png baseline.jpg; do echo '{"task": "generation", "prompt": "a", "picture": "'$picture'"}'; done >three.jsonl
sed 's/"train.jsonl"/"three.jsonl"/; s/"output": "whole_autoencoder"/"output": "sheet"/; s/"every": 1}/"every": 1, "samples_every": 1}/
     s/"steps": 20/"steps": 1/' whole_autoencoder.json >sheet.json
succeed train sheet.json
[ "$(od -An -tu1 -j 18 -N 2 sheet/samples/step-1.png | tr -s ' ')" = " 0 140" ] || fail "the sheet is not 140 pixels wide"

# Ctrl-C: saved, and the sentence says so.
config stopped 100000
${EMULATOR:-} "$programs/train" stopped.json >stdout 2>stderr &
process=$!
for i in 1 2 3 4 5 6 7 8 9 10; do
  sleep 1
  [ -s stopped/log.csv ] && [ "$(wc -l <stopped/log.csv)" -gt 2 ] && break
done
kill -TERM $process
wait $process
status=$?
checks=$((checks + 2))
[ $status = 130 ] || fail "exit status $status after SIGTERM"
grep -q 'saved after step [0-9]* of 200000; --resume goes on from there' stderr || fail "after SIGTERM: $(cat stderr)"
succeed train stopped.json --publish

refuse 'undisturbed holds a run already' train undisturbed.json
refuse 'nothing.json: no such file' train nothing.json
config fresh
refuse 'fresh holds no checkpoint to go on from' train fresh.json --resume
refuse 'training is done in f32, not bf16' train fresh.json --precision bf16
refuse 'the config has no stage third' train fresh.json --stage third
sed 's/"preset": 3/"preset": 2/' undisturbed.json >other.json
refuse 'belongs to a run with another config: stages[1].' train other.json --resume
cp -r tiny other_tiny && echo >>other_tiny/tokenizer.json
sed 's/"model": "tiny"/"model": "other_tiny"/' undisturbed.json >other.json
refuse 'belongs to a run with another config: hashes.tokenizer is "' train other.json --resume
sed 's/"losses"/"loses"/' fresh.json >other.json
refuse 'other.json: loses is unknown' train other.json
sed 's/"autoencoder"/"vae"/' whole_autoencoder.json >other.json
refuse 'other.json: train must be "janusflow", "autoencoder" or "siglip", not "vae"' train other.json
echo '{"task": "understanding", "picture": "rgb.png", "question": "<image_placeholder> <image_placeholder>", "answer": "d"}' >>train.jsonl
refuse 'train.jsonl:6 has places for 2 pictures, and names 1' train fresh.json --check
echo '{"task": "text", "text": ' >>train.jsonl
refuse 'train.jsonl:7 is not valid JSON' train fresh.json --check
finish
