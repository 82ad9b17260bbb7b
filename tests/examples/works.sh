#!/bin/sh
# works.sh PROGRAMS SCRATCH: what the example programs do with right input.
. "$(dirname "$0")/common.sh"
checks=0

# succeed PROGRAM ARGUMENT...: exit status 0 and nothing on standard error.
succeed() {
  checks=$((checks + 1))
  run "$@"
  status=$?
  [ $status = 0 ] || fail "exit status $status: $*: $(cat stderr)"
  [ ! -s stderr ] || fail "standard error of $*: $(cat stderr)"
}
# says PATTERN: the last program's standard output has a line like this.
says() {
  checks=$((checks + 1))
  grep -q -e "$1" stdout || fail "no \"$1\" in $(cat stdout)"
}
same() {
  checks=$((checks + 1))
  cmp -s "$1" "$2" || fail "$1 and $2 differ"
}
different() {
  checks=$((checks + 1))
  ! cmp -s "$1" "$2" || fail "$1 and $2 are the same"
}

for program in text_to_image image_to_text autoencode tokenize inspect make_checkpoint convert evaluate frontier train; do
  succeed $program --help
  for option in --threads --precision --json; do says "$option"; done
  checks=$((checks + 1))
  awk 'length > 80 && !/\//' stdout | grep . && fail "$program --help is wider than 80 columns" # but for paths, which have no words
done

# The same seed gives the same checkpoint, whatever the threads.
succeed make_checkpoint -o again --config tiny --threads 3
same tiny/model.safetensors again/model.safetensors
succeed make_checkpoint -o other --config tiny --seed 1 --dtype f32 --json
says '"parameters": 380320'
different tiny/model.safetensors other/model.safetensors

succeed inspect tiny
says '^  BF16 \[320,64\]  *language_model.lm_head.weight$'
says '^  SigLIP  *[0-9,]*$'
[ "$(grep -c 'every tensor that the config asks for is there, and no other' stdout)" = 2 ] || fail "inspect: $(cat stdout)"
succeed inspect --summary tiny/vae
says '^  VAE decoder'
succeed inspect tiny/model.safetensors --json
says '"parameters": 380320'

# Pictures: alone or in company, one thread or more, the same bytes.
paint="text_to_image -m tiny --steps 2 --seed 7"
succeed $paint -p 'red apple' -p 'a cat' -b 2 -o out/many.png --grid --preview-every 1 --save-latents out/latents.safetensors
for i in 1 2 3 4; do says "^out/many-$i.png$"; done
for file in many-grid many-preview-1 many-preview-4; do [ -s out/$file.png ] || fail "out/$file.png is missing"; done
succeed inspect out/latents.safetensors
says '^  F32  \[4,4,8,8\]  *latents$'
succeed $paint -p 'a cat' -o out/one.png --threads 1
same out/one.png out/many-3.png
succeed $paint -p 'a cat' -o out/one.png --threads 3 --json
same out/one.png out/many-3.png
for key in steps guidance seed solver precision threads pictures load prompt flow decode total peak_memory; do says "\"$key\": "; done
says '"precision": "bf16"'
succeed $paint -p 'a cat' -o out/f32.png --precision f32
different out/one.png out/f32.png
succeed $paint -p 'a cat' -o out/negative.png -n 'a dog'
different out/one.png out/negative.png
succeed $paint -p 'a cat' -o out/plain.png -g 1
different out/one.png out/plain.png
succeed $paint -p 'a cat' -o out/interval.png --guidance-interval 0.9 1
same out/plain.png out/interval.png
succeed $paint -p 'a cat' -o out/early.png --guidance-interval 0 0.4
different out/early.png out/one.png
different out/early.png out/plain.png
for cheaper in '--guidance-period 2' '--reuse 100 --steps 3' '--shift 3' '--fast'; do
  succeed $paint -p 'a cat' -o out/cheaper.png $cheaper
  different out/one.png out/cheaper.png
done
succeed $paint -p 'a cat' -o out/fast.png --fast --json
says '"rows": '
succeed $paint -p 'a cat' -o out/cheaper.png --fast --steps 3
different out/fast.png out/cheaper.png
succeed $paint -p 'a cat' -o out/cheaper.png --fast --solver euler --steps 2
same out/one.png out/cheaper.png
succeed $paint -p 7 -o "$(printf 'out/\377.png')" --fast --json # a prompt is text, a name is bytes
says '^ *"7"$'
says '"fast": true'
succeed $paint -p 'a cat' -o out/ten.png --steps 010 --json # ten, not eight
says '"steps": 10'
succeed $paint -p 'a cat' -o out/last.png --seed 18446744073709551615
succeed $paint -p 'a cat' -o out/below.png --seed -1
same out/last.png out/below.png
# Where pictures flow one by one, each preview is its own picture's.
succeed $paint -p 'a cat' -b 2 -o out/alone.png --reuse 100 --preview-every 1
succeed $paint -p 'a cat' -o out/second.png --reuse 100 --preview-every 1 --seed 8
same out/second.png out/alone-2.png
same out/second-preview.png out/alone-preview-2.png
different out/second-preview.png out/alone-preview-1.png
# A preview is of a step that another one follows. A sheet has a line for each of several prompts: two pictures of 64 pixels.
succeed $paint -p 'a cat' -o out/late.png --steps 3 --preview-every 3
[ ! -e out/late-preview.png ] || fail "a preview of the last step, or of every one"
succeed text_to_image -m tiny -p a -p b -p c -b 2 --steps 1 -o out/rows.png --grid
[ "$(od -An -tu1 -j 18 -N 2 out/rows-grid.png | tr -s ' ')" = " 0 132" ] || fail "the sheet is not 132 pixels wide"
succeed text_to_image -m tiny -p 'a cat' -o out/adaptive.png --solver dopri5 --tolerance 1
succeed text_to_image -m tiny -p 'a cat' -o out/finer.png --solver dopri5 --tolerance 0.1
different out/adaptive.png out/finer.png
for solver in heun midpoint rk4 ab2; do succeed $paint -p 'a cat' -o out/$solver.png --solver $solver; done
succeed $paint -p '' -o out/wide.png --width 96 --height 48 --vae other/vae

# Noise from a file: as many pictures as it holds. 2 x 4 x 8 x 8 floats, all zero.
header='{"noise":{"dtype":"F32","shape":[2,4,8,8],"data_offsets":[0,2048]}}     '
{ printf '\110\0\0\0\0\0\0\0%s' "$header"; head -c 2048 /dev/zero; } >noise.safetensors
succeed $paint -p 'a cat' -o out/zero.png --noise noise.safetensors
same out/zero-1.png out/zero-2.png
different out/zero-1.png out/one.png

# Answers.
ask="image_to_text -m tiny --max-new-tokens 8"
succeed $ask -i out/one.png -q 'What is this?' --show-ids
says '^prompt ids: \[256,.*\]$'
says '^answer ids: \[.*\]$'
cp stdout answer
succeed $ask -i out/one.png -q 'What is this?' --show-ids -t 1
same stdout answer
ids=$(sed -n 's/^answer ids: //p' answer | tr -d ' ')
succeed $ask -i out/one.png -q 'What is this?' --json
says '"finished": false'
[ "$(head -c 1 stdout)" = '{' ] || fail "not JSON alone: $(cat stdout)"
[ "$(tr -d ' \n' <stdout | sed 's/.*"answer_ids":\(\[[^]]*\]\).*/\1/')" = "$ids" ] || fail "--json has other ids than $ids"
succeed $ask -i out/one.png -i out/wide.png -q 'What are these?' --temperature 0.8 --top-k 20 --top-p 0.9 --seed 3
succeed image_to_text -i out/one.png -q 'What is this?' # the model that comes with the examples begins its answers with a space
says '^[^ ]'
checks=$((checks + 1))
printf 'And now?\n\nAnd then?\n' | run $ask -i out/one.png -q 'What is this?' --chat --show-ids || fail "chat: $(cat stderr)"
[ "$(grep -c '^answer ids: ' stdout)" = 3 ] || fail "not three answers: $(cat stdout)"

checks=$((checks + 1))
{ head -c 3000 /dev/zero | tr '\0' x; printf '\nAnd then?\n'; } | run $ask -i out/one.png -q 'What is this?' --chat --show-ids || fail "chat: $(cat stderr)"
[ "$(grep -c '^answer ids: ' stdout)" = 2 ] || fail "a question too long: not two answers: $(cat stdout)"
[ "$(grep -c '^image_to_text: .*longer than the model' stderr)" = 1 ] || fail "a question too long: $(cat stderr)"
# On a terminal no line of progress goes over an answer that may be shown there behind a pipe.
if command -v script >/dev/null; then
  checks=$((checks + 1))
  TERM=xterm script -qec "${EMULATOR:-} $programs/$ask -i out/one.png -q 'What is this?' | cat" /dev/null >stdout </dev/null
  grep -q reading stdout || fail "no progress on a terminal: $(cat -v stdout)"
  ! grep -q answering stdout || fail "progress goes over an answer: $(cat -v stdout)"
  # Nor does a job in the background show one.
  checks=$((checks + 2))
  for end in '' '& wait'; do
    TERM=xterm script -qec "sh -mc '${EMULATOR:-} $programs/$paint -p cat -o out/job.png $end'" /dev/null >stdout </dev/null
    grep -q 'job.png.$' stdout || fail "no picture in a job: $(cat -v stdout)"
    [ -n "$end" ] || grep -q 'step 2' stdout || fail "no progress in a job: $(cat -v stdout)"
    [ -z "$end" ] || ! grep -q 'step 2' stdout || fail "progress in the background: $(cat -v stdout)"
  done
fi

# Converted, it is the same model, recognised, and complete.
: >tiny/config.json.tmp-17 # what a killed writer left, and of the weights
: >tiny/other.index.json
succeed convert -m tiny -o out/default
says ': int8, [0-9]* bytes$'
for precision in bf16 int8 q4; do
  succeed convert -m tiny -o out/$precision --precision $precision
  [ -z "$(ls out/$precision | grep -e tmp -e index)" ] || fail "convert took over $(ls out/$precision)"
  succeed inspect --summary out/$precision
  [ "$(grep -c 'every tensor that the config asks for is there, and no other' stdout)" = 2 ] || fail "inspect: $(cat stdout)"
  succeed $paint -p 'a cat' -o out/rounded.png --precision $precision
  succeed text_to_image -m out/$precision --steps 2 --seed 7 -p 'a cat' -o out/converted.png --json
  says "\"precision\": \"$precision\""
  same out/rounded.png out/converted.png
  succeed $ask -i out/one.png -q 'What is this?' --show-ids --precision $precision
  cp stdout answer
  succeed image_to_text -m out/$precision --max-new-tokens 8 -i out/one.png -q 'What is this?' --show-ids
  same stdout answer
done

# There and back.
succeed autoencode --vae tiny/vae -i out/one.png -o out/back.png --save-latents out/mean.safetensors
says '^out/back.png: PSNR [0-9.]* dB$'
succeed inspect out/mean.safetensors
says '\[1,4,8,8\]  *latents$'
succeed autoencode --vae tiny/vae -i out/many-grid.png -o out/back.png --crop # 132 pixels: 2 x 64 and a gap of 4
printf '%s\n' '"red apple"' '""' '"a\nb\u00e9\ud83c\udf4e <｜begin▁of▁sentence｜>"' >lines
checks=$((checks + 1))
run tokenize -m tiny <lines || fail "tokenize: $(cat stderr)"
says '^\[114,101,100,32,97,112,112,108,101\]$'
says ',256\]$'
cp stdout ids
run tokenize -m tiny/tokenizer.json --decode <ids || fail "tokenize --decode: $(cat stderr)"
says '^"red apple"$'
says '^"a\\nbé🍎 <｜begin▁of▁sentence｜>"$'

# The measures of the model that comes with the examples, and of precisions.
succeed evaluate --limit 1
says '^pictures, top 1  *100.0 %  *100.0 %$'
says '^answers, name  *100.0 %  *100.0 %$'
says '^autoencoder, PSNR  *3[0-9.]* dB  *3[0-9.]* dB$'
succeed evaluate --limit 1 --only answers
says '^answers, name'
grep -q '^pictures' stdout && fail "--only answers measures pictures"
printf '%s\n' '# fewer steps' '--steps 2' '' '--steps 3' >settings
succeed frontier settings --limit 1 -o out/frontier.csv
says '^--steps 2 .* ms '
grep -q '^--steps 2,4.0,.*,100.00$' out/frontier.csv && grep -q '^--steps 3,6.0,' out/frontier.csv || fail "frontier: $(cat out/frontier.csv)"
grep -q '^--steps 3,.*,100.00$' out/frontier.csv && fail "frontier compares a setting with itself: $(cat out/frontier.csv)"
succeed compare_precision -m tiny -p 'a cat' -p x --steps 2 -i out/one.png -q 'What is this?' --against bf16,q4
says '^  pictures, PSNR .* dB on average of 2, worst '
awk '/PSNR/ && $(NF - 1) > $3 { exit 1 }' stdout || fail "the worst is better than the mean: $(cat stdout)"
says '^  equal greedy answers .* % of 1$'

# Ctrl-C ends it, and nothing is left behind; so does a terminal that is closed, unless nohup is in front.
# ends SIGNAL [OPTION OF ENV...]
ends() {
  checks=$((checks + 1))
  signal=$1
  shift
  env "$@" ${EMULATOR:-} "$programs/text_to_image" -m tiny -p 'a cat' -o out/never.png --steps 100000 2>stderr &
  running=$!
  sleep 1
  case "$*" in *--ignore-signal=HUP*)
    kill -HUP $running
    sleep 1
  esac
  kill -$signal $running
  wait $running
  status=$?
  [ $status = 130 ] || fail "exit status $status after SIG$signal: $(cat stderr)"
  [ "$(cat stderr)" = 'text_to_image: interrupted' ] || fail "SIG$signal: $(cat stderr)"
  [ -z "$(ls -A out | grep never)" ] || fail "left behind: $(ls -A out)"
}
ends INT
ends HUP --default-signal=HUP
ends TERM --ignore-signal=HUP
finish
