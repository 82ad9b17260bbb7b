#!/bin/sh
# mpi.sh PROGRAMS SCRATCH: the train program as several ranks: the losses of one process; a rank that is killed, or fails, ends the job.
. "$(dirname "$0")/common.sh"
checks=0
pictures=$(dirname "$0")/../data/pictures

# train RANKS ARGUMENT...: one process without MPI's launcher where there is one rank.
train() {
  ranks=$1
  shift
  launcher="mpirun --quiet --oversubscribe --allow-run-as-root -n $ranks"
  [ "$ranks" = 1 ] && launcher=
  $launcher "$programs/train" --threads 1 "$@" >stdout 2>stderr
}
succeed() {
  checks=$((checks + 1))
  train "$@" || fail "exit status $?: train $*: $(cat stderr)"
}
# same FILE FILE
same() {
  checks=$((checks + 1))
  cmp "$1" "$2" || fail "$1 and $2 differ"
}
# agree LOG LOG: twenty steps, whose losses are within 1e-5 of the other's, and so are the parts, of themselves or of the loss that they
# are part of: an autoencoder's KL term hangs on gradients that are nearly zero, whose rounding AdamW enlarges. Says how far they are apart.
agree() {
  checks=$((checks + 1))
  paste -d, "$1" "$2" | awk -F, -v names="$1 $2" '
    NR == 1 { next }
    { half = NF / 2
      for (i = 4; i <= half - 3; ++i) {
        apart = $i > $(i + half) ? $i - $(i + half) : $(i + half) - $i
        size = $i > 0 ? $i : -$i
        if (size < $4) size = $4
        if ($i == "" || $(i + half) == "" ? $i != $(i + half) : apart > 1e-5 * size) wrong = wrong " line " NR ": " $i " and " $(i + half)
        if (size > 0 && apart / size > most) most = apart / size
      } }
    END { printf "%s: %d lines, at most %.1e apart\n", names, NR - 1, most; if (wrong || NR != 21) { print wrong; exit 1 } }
  ' || fail "$1 and $2 do not agree"
}

cp "$pictures/rgb.png" "$pictures/rgba.png" "$pictures/baseline.jpg" . || exit 1
cat >train.jsonl <<END
{"task": "generation", "prompt": "a", "picture": "rgb.png"}
{"task": "generation", "prompt": "b", "picture": "baseline.jpg"}
{"task": "generation", "prompt": "c", "picture": "rgba.png"}
{"task": "understanding", "picture": "rgba.png", "question": "c?", "answer": "d"}
{"task": "understanding", "picture": "rgb.png", "caption": "a"}
{"task": "text", "text": "abc"}
END
# config KIND OUTPUT: twenty steps, a checkpoint at every fifth, a log of all.
config() {
  case $1 in
    janusflow) model=tiny stages='{"preset": 1, "steps": 10, "batch_size": 6, "warmup_steps": 2}, {"preset": 3, "steps": 10, "batch_size": 6, "warmup_steps": 2}' ;;
    autoencoder) model=tiny/vae ;;
    siglip) model=tiny ;;
  esac
  more='"losses": {"repa_layer": 1, "repa_width": 32}, "noise_levels": 2,'
  if [ "$1" != janusflow ]; then
    more='"augmentation": {"shift": 2},'
    stages='{"name": "all", "trains": ["*"], "learning_rate": 0.0001, "warmup_steps": 2, "steps": 20, "batch_size": 6}'
  fi
  cat >"$2.json" <<END
{"train": "$1", "model": "$model", "from_scratch": ["*"], "manifest": "train.jsonl", "output": "$2", $more
 "checkpoints": {"every": 5, "keep": 9}, "log": {"every": 1}, "stages": [$stages]}
END
}

for kind in janusflow autoencoder siglip; do
  for ranks in 1 2 4; do
    config $kind $kind$ranks
    succeed $ranks $kind$ranks.json
    checks=$((checks + 1))
    [ "$(wc -l <stdout)" = 1 ] || fail "$ranks ranks say: $(cat stdout)"
    agree $kind$ranks/log.csv ${kind}1/log.csv
  done
done
last=checkpoints/step-000000020.safetensors
config janusflow again
succeed 2 again.json
same again/$last janusflow2/$last
checks=$((checks + 1))
ls janusflow2/cache | grep -q -- '-000001.safetensors' || fail "rank 1 has computed nothing: $(ls janusflow2/cache)"

# A rank is killed: the job ends, and says so; the last checkpoint is whole, and the run goes on to the same bits.
config janusflow killed
sed -i 's/"every": 5, "keep": 9/"every": 1, "keep": 99/' killed.json
status=0
for try in 1 2 3 4 5; do # until it is not done before it is killed
  rm -rf killed
  mpirun --oversubscribe --allow-run-as-root -n 2 "$programs/train" --threads 1 killed.json >stdout 2>stderr &
  job=$!
  for i in $(seq 1000); do
    ls killed/checkpoints/*.safetensors >/dev/null 2>&1 && break
    sleep 0.02
  done
  for victim in $(cat /proc/$job/task/*/children); do :; done # the last is rank 1
  kill -9 $victim
  wait $job
  status=$?
  [ $status = 0 ] || break
done
checks=$((checks + 2))
[ $status = 0 ] && fail "exit status 0 after a rank was killed"
grep -q 'exited on signal 9 (Killed)' stderr || fail "after a rank was killed: $(cat stderr)"
for ranks in 4 1; do
  cp -r killed elsewhere$ranks
  sed "s/\"killed/\"elsewhere$ranks/g" killed.json >elsewhere$ranks.json
done
succeed 2 killed.json --resume
same killed/$last janusflow2/$last
for ranks in 4 1; do # also on other ranks
  succeed $ranks elsewhere$ranks.json --resume
  agree elsewhere$ranks/log.csv janusflow1/log.csv
done

# A rank that fails alone says which it is; what all find is said once.
config siglip damaged
head -c 40 rgb.png >damaged.png
sed 's/rgba.png/damaged.png/' train.jsonl >damaged.jsonl
sed 's/train.jsonl/damaged.jsonl/' damaged.json >damaged2.json
checks=$((checks + 4))
train 2 damaged2.json && fail "a damaged picture is no failure"
grep -q '^train: rank [01]: .*damaged.png' stderr || fail "a damaged picture: $(cat stderr)"
train 4 janusflow4.json && fail "a run is there already"
[ "$(grep -c '^train: ' stderr)" = 1 ] && grep -q 'janusflow4 holds a run already' stderr || fail "a run that is there: $(cat stderr)"
finish
