#!/bin/sh
# What a program of the size of examples/embed costs to compile at -O2, narrow and with the whole umbrella header, from the headers
# alone and with janusflow::instances: seconds of the processor. Usage: tests/compile_time.sh [compiler] [options, or -march=native]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
compiler=${1:-g++}
[ $# -gt 0 ] && shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
narrow=$root/examples/embed/main.cpp
umbrella=$folder/umbrella.cpp
(echo '#include <janusflow/janusflow.hpp>' && cat "$narrow") > "$umbrella"

seconds() { # <name> <arguments of the compiler>
  name=$1
  shift
  (
    "$compiler" -std=c++20 -O2 -ffp-contract=off -fopenmp "-I$root/include" -I/usr/include/eigen3 -c "$@" -o "$folder/object.o"
    times > "$folder/times" # of the shell, and in a second line of what it has run
    awk -v name="$name" 'END { split($1, user, /[ms]/); printf "%-34s %6.1f\n", name, 60 * user[1] + user[2] }' "$folder/times"
  )
}
[ $# -gt 0 ] || set -- -march=native
seconds "examples/embed, headers alone" "$narrow" "$@"
seconds "the umbrella too, headers alone" "$umbrella" "$@"
seconds "examples/embed, instances" "$narrow" -DJANUSFLOW_LINK_INSTANCES "$@"
seconds "the umbrella too, instances" "$umbrella" -DJANUSFLOW_LINK_INSTANCES "$@"
