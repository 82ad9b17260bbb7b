#!/bin/sh
# portability.sh [compiler/architecture...]: the suite on every instruction set that this machine can run or emulate, by default
#   g++/x86-64 g++/x86-64-v3 g++/x86-64-v4 g++/native, the same with clang++, and
#   qemu-aarch64/armv8-a qemu-aarch64/armv8.2-a+dotprod qemu-aarch64/armv8.6-a
# A level that the processor lacks is left out, and said to be.
set -eu
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
  for compiler in g++ clang++; do
    for level in x86-64 x86-64-v3 x86-64-v4 native; do set -- "$@" $compiler/$level; done
  done
  for level in armv8-a armv8.2-a+dotprod armv8.6-a; do set -- "$@" qemu-aarch64/$level; done
fi
sh examples/packages.sh portability

# PCRE2 is the one dependency that is more than headers. Its arm64 build is unpacked into the build folder, by an apt state of
# its own there, so that the system's stays as it is.
arm64=$PWD/build/portability/arm64
fetch_arm64() {
  [ ! -e "$arm64/usr/lib/aarch64-linux-gnu/libpcre2-8.so" ] || return 0
  mkdir -p "$arm64/lists/partial" "$arm64/cache/archives/partial"
  (
    cd "$arm64"
    set -- -qq -o APT::Architectures::=arm64 -o Dir::State::Lists="$arm64/lists" -o Dir::Cache="$arm64/cache" -o Debug::NoLocking=1
    apt-get "$@" update
    apt-get "$@" download libpcre2-8-0:arm64 libpcre2-dev:arm64
    for package in *.deb; do dpkg-deb --extract "$package" .; done
  )
}

mkdir -p build/portability
results=
for run in "$@"; do
  compiler=${run%/*} level=${run#*/} build=build/portability/$(echo "$run" | tr /+ __)
  set -- -DJANUSFLOW_ARCH="$level" -DJANUSFLOW_BUILD_BENCH=OFF
  emulator=
  if [ "$compiler" = qemu-aarch64 ]; then
    fetch_arm64
    libraries=$arm64/usr/lib/aarch64-linux-gnu
    emulator="qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$libraries"
    set -- "$@" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
      -DCMAKE_CROSSCOMPILING_EMULATOR="$(echo "$emulator" | tr ' ' ';')" -DJANUSFLOW_PCRE2_LIBRARY="$libraries/libpcre2-8.so"
  else
    set -- "$@" -DCMAKE_CXX_COMPILER="$compiler"
  fi
  echo "== $run: building, see $build.log"
  if ! { cmake -S . -B "$build" "$@" && cmake --build "$build" --parallel "$(nproc)"; } >"$build.log" 2>&1; then
    tail -n 40 "$build.log"
    result="DID NOT BUILD"
  elif $emulator "$build/tests/core" --source-file=*core_cpu.cpp 2>&1 | grep "which this processor does not have"; then
    result="left out: not on this processor"
  elif ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure --label-exclude package; then
    result="passed"
  else
    result="FAILED"
  fi
  results="$results$run: $result\n"
done
printf "\n$results"
! printf "$results" | grep -qE 'FAILED|DID NOT BUILD'
