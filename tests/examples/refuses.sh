#!/bin/sh
# refuses.sh PROGRAMS SCRATCH: wrong input gives one sentence, the exit status 1 (2 for the command line), and leaves nothing behind.
. "$(dirname "$0")/common.sh"
checks=0

# refuse STATUS PATTERN PROGRAM ARGUMENT...: standard input is the file `input`.
refuse() {
  checks=$((checks + 1))
  expected=$1 pattern=$2
  shift 2
  run "$@" <input
  status=$?
  [ $status = "$expected" ] || fail "exit status $status, not $expected: $*: $(cat stderr)"
  [ "$(wc -l <stderr)" -eq 1 ] || fail "not one line: $*: $(cat stderr)"
  grep -q -e "^$1: .*$pattern" stderr || fail "no \"$pattern\": $*: $(cat stderr)"
  [ -z "$(ls -A out)" ] || { fail "left behind by $*: $(ls -A out)"; rm -rf out; mkdir out; }
}
# variant NAME: a copy of the tiny checkpoint, to be spoilt.
variant() {
  cp -r tiny "$1"
}
: >input

run text_to_image -m tiny -p 'a cat' -b 2 -o picture.png --steps 1 --grid --save-latents latents.safetensors || { cat stderr; exit 1; }
echo 'not a picture' >text.png
head -c 1000 picture-1.png >cut.png
mkdir empty directory.png

paint="text_to_image -m tiny -o out/x.png"
refuse 2 'prompt is required' text_to_image
refuse 2 '--nonsense' $paint -p x --nonsense
refuse 2 'not in {euler' $paint -p x --solver simpson
refuse 2 '--steps' $paint -p x --steps 0
refuse 2 '--steps' $paint -p x --steps many
refuse 2 '--batch-count' $paint -p x -b 0
refuse 2 '--threads' $paint -p x -t 0
refuse 2 '--precision' $paint -p x --precision f8
refuse 2 '--seed' $paint -p x --seed red
refuse 2 'must end in .png' $paint -p x -o out/x.jpg
refuse 1 'nowhere does not exist' $paint -p x -m nowhere
refuse 1 'text.png is not a directory' $paint -p x -m text.png
refuse 1 'config.json: no such file' $paint -p x -m empty
refuse 1 'VAE directory nowhere does not exist' $paint -p x --vae nowhere
refuse 1 'out/nowhere/x.png' $paint -p x -o out/nowhere/x.png
refuse 1 'it is a directory' $paint -p x -o directory.png
refuse 1 'out/nowhere/l' $paint -p x --save-latents out/nowhere/l.safetensors
refuse 1 'multiple of 16' $paint -p x --width 65
refuse 1 'no interval' $paint -p x --guidance-interval 0.7 0.2
refuse 2 '--guidance-interval' $paint -p x --guidance-interval 0 2
refuse 2 '--guidance-period' $paint -p x --guidance-period 0
refuse 2 '--reuse' $paint -p x --reuse -1
refuse 2 '--shift' $paint -p x --shift 0
refuse 1 'chooses its steps by their error' $paint -p x --solver dopri5 --reuse 0.1
echo '--steps no' >list.txt
refuse 1 'list.txt, line 1: ' frontier list.txt -o out/x.csv
refuse 1 'input holds no settings' frontier input -o out/x.csv
refuse 1 'longer than the model' $paint -p "$(head -c 2000 /dev/zero | tr '\0' x)"
refuse 1 'has no tensor noise' $paint -p x --noise latents.safetensors
refuse 1 'no such file' $paint -p x --noise nowhere.safetensors
refuse 1 'is not a safetensors file' $paint -p x --noise picture-1.png
printf '\110\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]}}       ' >odd.safetensors
head -c 16 /dev/zero >>odd.safetensors
refuse 1 'the noise is \[1, 4, 1, 1\], expected \[1, 4, 8, 8\]' $paint -p x --noise odd.safetensors
printf '\110\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[4,2,2],"data_offsets":[0,64]}}         ' >flat.safetensors
head -c 64 /dev/zero >>flat.safetensors
refuse 1 'expected 4 dimensions' $paint -p x --noise flat.safetensors

variant cut
head -c 100000 tiny/model.safetensors >cut/model.safetensors
refuse 1 'is cut off' $paint -p x -m cut
variant renamed
LC_ALL=C sed 's/language_model.model.norm.weight/language_model.model.nerm.weight/' tiny/model.safetensors >renamed/model.safetensors
refuse 1 'nerm.weight is unknown' $paint -p x -m renamed
variant deeper
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' tiny/config.json >deeper/config.json
refuse 1 'has no tensor language_model.model.layers.2' $paint -p x -m deeper
variant wider
sed 's/"intermediate_size": 128/"intermediate_size": 64/' tiny/config.json >wider/config.json
refuse 1 'has shape \[128, 64\], expected \[64, 64\]' $paint -p x -m wider
variant another
sed 's/vision_gen_enc_config/gen_vision_config/' tiny/config.json >another/config.json
refuse 1 'no JanusFlow model' $paint -p x -m another
variant broken
echo '{' >broken/config.json
refuse 1 'config.json is not valid JSON' $paint -p x -m broken
variant wordless
rm wordless/tokenizer.json
refuse 1 'tokenizer.json: no such file' $paint -p x -m wordless
variant foreign
sed 's/"latent_channels": 4/"latent_channels": 8/' tiny/vae/config.json >foreign/vae/config.json
refuse 1 'latent channels' $paint -p x -m foreign

ask="image_to_text -m tiny -q what"
refuse 2 'image is required' $ask
refuse 2 'question is required' image_to_text -m tiny -i picture-1.png
refuse 1 'nowhere.png: no such file' $ask -i nowhere.png
refuse 1 'text.png is neither a PNG nor a JPEG' $ask -i text.png
refuse 1 'cut.png is cut off' $ask -i cut.png
refuse 1 'it is a directory' $ask -i directory.png
refuse 2 '--temperature' $ask -i picture-1.png --temperature -1
refuse 1 'top_p must be above 0' $ask -i picture-1.png --top-p 0
refuse 2 '--max-new-tokens' $ask -i picture-1.png --max-new-tokens 0
refuse 2 'excludes' $ask -i picture-1.png --chat --json
sed 's/"num_image_tokens": 16/"num_image_tokens": 9/' tiny/processor_config.json >deeper/processor_config.json
cp tiny/config.json deeper/config.json
refuse 1 'leaves 9 places for a picture, the model needs 16' $ask -i picture-1.png -m deeper

send="autoencode --vae tiny/vae -o out/x.png"
refuse 1 'needs multiples of 8' $send -i picture-grid.png
refuse 1 'is not a directory' autoencode --vae text.png -i picture-1.png -o out/x.png
refuse 1 'no such file' $send -i nowhere.png
refuse 1 'is unknown' autoencode --vae tiny -i picture-1.png -o out/x.png

refuse 1 'nowhere' tokenize -m nowhere
echo 'red apple' >input
refuse 1 'line 1 of standard input is not valid JSON' tokenize -m tiny
echo '17' >input
refuse 1 'line 1 of standard input must be a JSON string' tokenize -m tiny
refuse 1 'line 1 of standard input' tokenize -m tiny --decode
echo '[-1]' >input
refuse 1 'line 1 of standard input' tokenize -m tiny --decode
: >input

refuse 2 'required' inspect
refuse 1 'nowhere' inspect nowhere
refuse 1 'text.png' inspect text.png
refuse 1 'holds no weights' inspect empty

refuse 2 '--config' make_checkpoint -o out/x --config huge
refuse 2 '--dtype' make_checkpoint -o out/x --config tiny --dtype f8
refuse 1 'exists already' make_checkpoint -o tiny --config tiny
refuse 1 'out/nowhere/x' make_checkpoint -o out/nowhere/x --config tiny

refuse 2 'output is required' convert -m tiny
refuse 1 'exists already' convert -m tiny -o tiny
refuse 1 'out/nowhere/x' convert -m tiny -o out/nowhere/x
refuse 1 'nowhere does not exist' convert -m nowhere -o out/x
refuse 1 'float32 is not packed' convert -m tiny -o out/x --precision f32
run convert -m tiny -o packed --precision q4 || fail "convert: $(cat stderr)"
refuse 1 'is packed already' convert -m packed -o out/x
refuse 1 'is packed for q4, not for int8' text_to_image -m packed -p x -o out/x.png --precision int8

checks=$((checks + 1))
${EMULATOR:-} "$programs/inspect" tiny >/dev/full 2>stderr && fail "inspect took a full disk for standard output"
[ "$(cat stderr)" = 'inspect: cannot write to standard output' ] || fail "full disk: $(cat stderr)"
finish
