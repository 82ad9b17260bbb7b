#!/bin/sh
# run.sh [option for CMake...]: installs what is missing, builds everything and runs the whole suite.
set -eu
cd "$(dirname "$0")/.."

sh examples/packages.sh test
cmake -S . -B build "$@"
cmake --build build --parallel "$(nproc)"
status=0
ctest --test-dir build --parallel "$(nproc)" --output-on-failure --output-log build/suite.log || status=$?
# "100% tests passed, 0 tests failed out of 9" (CMake 4: "100% tests passed out of 9") as one line: N passed, M failed
sed -n 's/.* tests passed\(, \([0-9]*\) tests failed\)* out of \([0-9]*\)$/\3 \2/p' build/suite.log |
  while read -r all failed; do echo "$((all - ${failed:-0})) passed, ${failed:-0} failed"; done
exit $status
