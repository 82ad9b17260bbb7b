#!/bin/sh
# sanitize.sh [option for CMake...]: the suite under AddressSanitizer and UndefinedBehaviorSanitizer.
# sanitize.sh thread [option for CMake...]: its unit tests under ThreadSanitizer, by clang (and libomp-dev, libclang-rt-dev), whose
# OpenMP runtime tells it through Archer what waits for what in a parallel loop.
set -eu
cd "$(dirname "$0")/.."

sanitizers=address,undefined build=build/sanitize left_out=package programs=ON
if [ "${1:-}" = thread ]; then
  shift
  sanitizers=thread build=build/sanitize-thread left_out='package|docs|fuzz|project' programs=OFF
  export CXX="${CXX:-clang++}" TSAN_OPTIONS="ignore_noninstrumented_modules=1 allocator_may_return_null=1"
fi
sh examples/packages.sh test
cmake -S . -B $build -DJANUSFLOW_SANITIZE=$sanitizers -DJANUSFLOW_BUILD_BENCH=OFF -DJANUSFLOW_BUILD_EXAMPLES=$programs "$@"
cmake --build $build --parallel "$(nproc)"
ctest --test-dir $build --parallel "$(nproc)" --output-on-failure --label-exclude "$left_out"
