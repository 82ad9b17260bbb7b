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
for seed in 18446744073709551616 -9223372036854775809 0x10 1e3 ''; do refuse 2 '--seed' $paint -p x --seed "$seed"; done
refuse 2 '--preview-every: -1 is not a whole number from 0 to 18446744073709551615' $paint -p x --preview-every -1
refuse 2 '--steps: 0x10 is not a whole number' $paint -p x --steps 0x10
refuse 2 '--steps: 4294967297 is not a whole number from -2147483648 to 2147483647' $paint -p x --steps 4294967297
refuse 2 '--width' $paint -p x --width 18446744073709551680
refuse 2 'must end in .png' $paint -p x -o out/x.jpg
refuse 1 'nowhere does not exist' $paint -p x -m nowhere
refuse 1 'directory no \[31mwhere   does not exist' $paint -p x -m "$(printf 'no\033[31mwhere\r\302\233')"
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
# What would have no effect.
refuse 2 'negative-prompt has no effect with --guidance 1' $paint -p x -n y -g 1
refuse 2 'steps has no effect with --solver dopri5' $paint -p x --solver dopri5 --steps 3
refuse 2 'shift has no effect with --solver dopri5' $paint -p x --solver dopri5 --shift 3
refuse 2 'fast has no effect with --solver dopri5' $paint -p x --fast --solver dopri5
refuse 2 'tolerance has an effect with --solver dopri5 alone' $paint -p x --tolerance 0.1
for line in '--steps no' '--solver dopri5 --steps 3'; do
  echo "$line" >list.txt
  refuse 1 'list.txt, line 1: .*--steps' frontier list.txt -o out/x.csv
done
echo '--steps 1' >list.txt
refuse 2 'list.txt is read' frontier list.txt -o list.txt
# Two outputs of one name, or an output in an input's place.
refuse 2 'out/../out/x.png would be written twice' $paint -p x --save-latents out/../out/x.png
refuse 2 'x-2.png would be written twice' $paint -p x -b 2 --save-latents "$PWD/out/x-2.png"
refuse 2 'x-grid.png would be written twice' $paint -p x --grid --save-latents out/x-grid.png
refuse 2 'x-preview.png would be written twice' $paint -p x --preview-every 1 --save-latents out/x-preview.png
refuse 2 'would be written twice' autoencode --vae tiny/vae -i picture-1.png -o out/x.png --save-latents out/x.png
refuse 2 'picture-1.png is read' autoencode --vae tiny/vae -i picture-1.png -o ./picture-1.png
refuse 2 'picture-1.png is read' autoencode --vae tiny/vae -i picture-1.png -o out/x.png --save-latents picture-1.png
ln -s picture-1.png link.png
refuse 2 'link.png is read' autoencode --vae tiny/vae -i picture-1.png -o link.png
refuse 2 'link.png would be written twice' $paint -p x -o picture-1.png --save-latents link.png
# The names that are written are those that are tried.
mkdir there-2.png there-grid.png there-preview.png
refuse 1 'there-2.png: it is a directory' $paint -p x -b 2 -o there.png
refuse 1 'there-grid.png: it is a directory' $paint -p x --grid -o there.png
refuse 1 'there-preview.png: it is a directory' $paint -p x --preview-every 1 -o there.png
[ ! -e there.png ] && [ ! -e there-1.png ] || fail "left behind: $(ls -d there*)"
refuse 1 'input holds no settings' frontier input -o out/x.csv
refuse 1 'longer than the model' $paint -p "$(head -c 2000 /dev/zero | tr '\0' x)"
refuse 1 'a sequence of [0-9]* tokens, 1048576 of them the picture.s, is longer than the model' $paint -p x --width 16384 --height 16384
refuse 1 'sheet of 10000 pictures would have 13196 x 13196 pixels, more than the limit' $paint -p x -b 10000 --width 128 --height 128 --grid
refuse 1 'has no tensor noise' $paint -p x --noise latents.safetensors
refuse 1 'no such file' $paint -p x --noise nowhere.safetensors
refuse 1 'is not a safetensors file' $paint -p x --noise picture-1.png
printf '\120\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[500,4,64,64],"data_offsets":[0,32768000]}}     ' >many.safetensors
truncate -s 32768088 many.safetensors
refuse 1 'sheet of 500 pictures would have .* pixels, more than the limit' $paint -p x --noise many.safetensors --grid
printf '\110\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[1,4,1,1],"data_offsets":[0,16]}}       ' >odd.safetensors
head -c 16 /dev/zero >>odd.safetensors
refuse 1 'the noise is \[1, 4, 1, 1\], expected \[1, 4, 8, 8\]' $paint -p x --noise odd.safetensors
printf '\110\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[4,2,2],"data_offsets":[0,64]}}         ' >flat.safetensors
head -c 64 /dev/zero >>flat.safetensors
refuse 1 'expected 4 dimensions' $paint -p x --noise flat.safetensors
printf '\112\0\0\0\0\0\0\0%s' '{"noise":{"dtype":"F32","shape":[1,4,8,8],"data_offsets":[0,1024]}}       ' >noise.safetensors
head -c 1024 /dev/zero >>noise.safetensors
refuse 1 'the noise is \[1, 4, 8, 8\], expected \[1, 4, 8, 16\]' $paint -p x --noise noise.safetensors --width 128
refuse 2 'noise.safetensors is read' $paint -p x --noise noise.safetensors --save-latents ./noise.safetensors

variant cut
head -c 100000 tiny/model.safetensors >cut/model.safetensors
refuse 1 'is cut off' $paint -p x -m cut
variant renamed
LC_ALL=C sed 's/language_model.model.norm.weight/language_model.model.nerm.weight/' tiny/model.safetensors >renamed/model.safetensors
refuse 1 'nerm.weight is unknown' $paint -p x -m renamed
checks=$((checks + 1))
run inspect renamed --summary || fail "inspect renamed: $(cat stderr)"
for line in 'missing: language_model.model.norm.weight' 'unknown: language_model.model.nerm.weight'; do
  grep -q "^  $line$" stdout || fail "inspect: no $line"
done
[ "$(grep -c 'every tensor that the config asks for' stdout)" = 1 ] || fail "inspect renamed: $(cat stdout)" # the autoencoder's
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
refuse 1 'encoder.conv_out.weight has shape \[8, 32, 3, 3\], expected \[16, 32, 3, 3\]' $paint -p x -m foreign

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
refuse 2 '--seed' $ask -i picture-1.png --seed 18446744073709551616
refuse 2 '--top-k: 0x10 is not a whole number' $ask -i picture-1.png --top-k 0x10
refuse 1 'a conversation of [0-9]* tokens is longer than the model' $ask $(for i in $(seq 100); do echo -i picture-1.png; done)
refuse 1 'longer than the model' image_to_text -m tiny -i picture-1.png -q "$(head -c 3000 /dev/zero | tr '\0' x)" --chat
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
variant listed
echo '[]' >listed/config.json
refuse 1 'listed/config.json: the top level must be an object, not \[\]' inspect listed
echo '{"_class_name": 5}' >listed/config.json
refuse 1 'listed/config.json: _class_name must be a string, not 5' inspect listed
ln -sf nowhere listed/config.json
refuse 1 'cannot read listed/config.json: it is a link that leads nowhere' inspect listed

refuse 2 '--config' make_checkpoint -o out/x --config huge
refuse 2 '--dtype' make_checkpoint -o out/x --config tiny --dtype f8
refuse 1 'exists already' make_checkpoint -o tiny --config tiny
refuse 1 'cannot make tiny: it exists already' make_checkpoint -o tiny/ --config tiny
refuse 1 'out/nowhere/x' make_checkpoint -o out/nowhere/x --config tiny

refuse 2 'output is required' convert -m tiny
refuse 1 'exists already' convert -m tiny -o tiny
refuse 1 'out/nowhere/x' convert -m tiny -o out/nowhere/x
refuse 1 'nowhere does not exist' convert -m nowhere -o out/x
refuse 1 'float32 is not packed' convert -m tiny -o out/x --precision f32
variant linked
ln -sf nowhere linked/processor_config.json
refuse 1 'cannot copy linked/processor_config.json' convert -m linked -o out/x
ln -sf processor_config.json linked/processor_config.json
refuse 1 'cannot read linked/processor_config.json: Too many levels of symbolic links' $paint -p x -m linked
run convert -m tiny -o packed/ --precision q4 || fail "convert: $(cat stderr)"
refuse 1 'is packed already' convert -m packed -o out/x
refuse 1 'is packed for q4, not for int8' text_to_image -m packed -p x -o out/x.png --precision int8

# A file that grows larger than it may is an error as others are.
checks=$((checks + 1))
(ulimit -f 1; run $paint -p x --steps 1)
status=$?
[ $status = 1 ] && grep -q 'cannot write out/x.png: File too large' stderr || fail "exit status $status at the limit of a file's size: $(cat stderr)"
[ -z "$(ls -A out)" ] || fail "left behind at the limit of a file's size: $(ls -A out)"

# What a killed process of the same number has left is neither in the way nor part of the result.
checks=$((checks + 1))
sh -c 'mkdir left.tmp-$$ && : >left.tmp-$$/junk && exec "$@"' sh ${EMULATOR:-} "$programs/convert" -m tiny -o left >stdout 2>stderr || fail "convert beside a leftover: $(cat stderr)"
[ -s left/model.safetensors ] && [ ! -e left/junk ] || fail "convert took over a leftover: $(ls left)"

checks=$((checks + 1))
${EMULATOR:-} "$programs/inspect" tiny >/dev/full 2>stderr && fail "inspect took a full disk for standard output"
[ "$(cat stderr)" = 'inspect: cannot write to standard output' ] || fail "full disk: $(cat stderr)"
finish
