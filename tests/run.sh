#!/bin/sh
# run.sh [option for CMake...]: installs what is missing, builds everything and runs the whole suite.
set -eu
cd "$(dirname "$0")/.."

sh examples/packages.sh test
cmake -S . -B build "$@"
cmake --build build --parallel "$(nproc)"
status=0
ctest --test-dir build --parallel "$(nproc)" --output-on-failure --output-log build/suite.log || status=$?
sed -n 's/.* tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' build/suite.log |
  while read -r failed all; do echo "$((all - failed)) passed, $failed failed"; done
exit $status
