#!/bin/sh
# make_images.sh: paints the documentation's pictures into docs/images with the example program and the emoji model.
set -eu
cd "$(dirname "$0")/.."

if [ ! -x build/examples/text_to_image ]; then
  cmake -S . -B build
  cmake --build build --parallel "$(nproc)" --target text_to_image
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p docs/images

# sheet NAME OPTION...: one contact sheet; prompts come a line each from standard input.
sheet() {
  name=$1
  shift
  while read -r prompt; do set -- "$@" -p "$prompt"; done
  build/examples/text_to_image "$@" --grid -o "$scratch/$name.png" >"$scratch/names"
  mv "$scratch/$name-grid.png" "docs/images/$name.png"
  echo "docs/images/$name.png"
}

# Eight rows of eight; the combinations of the last row were held out of the training.
sheet emoji <<'END'
grinning face
smiling face with heart-eyes
crying face
enraged face
cold face
cat face
red heart
yellow heart
green heart
blue heart
purple heart
red circle
orange circle
blue square
sun with face
full moon
woman firefighter: medium-dark skin tone
man astronaut: dark skin tone
woman detective: light skin tone
man cook: medium skin tone
woman scientist: medium-light skin tone
man farmer: light skin tone
woman judge: dark skin tone
man student: medium skin tone
woman mage: light skin tone
man mage: dark skin tone
woman superhero: medium skin tone
man supervillain: light skin tone
woman elf: medium skin tone
man vampire: medium-light skin tone
woman zombie
merman: light skin tone
woman artist: medium skin tone
man pilot: light skin tone
woman mechanic: dark skin tone
man singer: light skin tone
woman health worker: medium skin tone
man construction worker: dark skin tone
woman guard: light skin tone
man police officer: medium-dark skin tone
red apple
sailboat
house
cactus
bicycle
blue book
soccer ball
crown
skull
alarm clock
snowman
tiger face
dog face
person running: light skin tone
thumbs up: medium-dark skin tone
green apple
woman farmer: medium-dark skin tone
firefighter: light skin tone
woman scientist: dark skin tone
astronaut: medium-light skin tone
woman mage: medium-dark skin tone
police officer: dark skin tone
man student: medium-dark skin tone
woman construction worker: medium-light skin tone
END

# A row for each prompt, a column for each seed.
sheet seeds -b 6 -s 1 <<'END'
grinning face
man cook: medium skin tone
woman mage: light skin tone
END

# What guidance does.
for guidance in 1 2 5; do
  sheet guidance-$guidance -g $guidance -s 1 <<'END'
grinning face
red heart
woman firefighter: medium-dark skin tone
man astronaut: dark skin tone
cat face
man farmer: light skin tone
END
done
