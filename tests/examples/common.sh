# What both scripts begin with: their arguments (the programs' folder, a scratch folder), a tiny checkpoint, helpers.
set -u
programs=$1
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/out"
cd "$scratch" || exit 1
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
# run PROGRAM ARGUMENT...: leaves its output in stdout and stderr.
run() {
  program=$1
  shift
  ${EMULATOR:-} "$programs/$program" "$@" >stdout 2>stderr
}
finish() {
  [ "$failures" = 0 ] || { echo "$failures failures, $checks checks"; exit 1; }
  echo "all $checks checks passed"
}

run make_checkpoint -o tiny --config tiny || { cat stderr; exit 1; }
