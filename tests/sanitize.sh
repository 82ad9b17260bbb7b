#!/bin/sh
# sanitize.sh [option for CMake...]: the suite under AddressSanitizer and UndefinedBehaviorSanitizer.
set -eu
cd "$(dirname "$0")/.."

sh examples/packages.sh test
cmake -S . -B build/sanitize -DJANUSFLOW_SANITIZE=address,undefined -DJANUSFLOW_BUILD_BENCH=OFF "$@"
cmake --build build/sanitize --parallel "$(nproc)"
ctest --test-dir build/sanitize --parallel "$(nproc)" --output-on-failure --label-exclude package
