#!/bin/sh
# quickstart.sh [PROMPT [PICTURE]]: from a fresh clone to a picture of the prompt, made by the small model in examples/models.
set -eu
prompt=${1:-red apple}
picture=${2:-apple.png}
root=$(cd "$(dirname "$0")/.." && pwd)

sh "$root/examples/packages.sh" build
cmake -S "$root" -B "$root/build"
cmake --build "$root/build" --parallel "$(nproc)" --target text_to_image
"$root/build/examples/text_to_image" --prompt "$prompt" -o "$picture"
