#!/bin/sh
# packages.sh build|test|portability: installs the Debian or Ubuntu packages that building, testing, or testing on every
# architecture needs and that are missing. Asks nothing; on another system it only says what is needed.
set -eu

needed="g++ make cmake libeigen3-dev libxsimd-dev nlohmann-json3-dev libpcre2-dev libstb-dev libcli11-dev"
case "${1:-build}" in
  build) ;;
  test) needed="$needed doctest-dev libbenchmark-dev" ;;
  portability) needed="$needed doctest-dev clang libomp-dev g++-aarch64-linux-gnu qemu-user" ;;
  *) echo "usage: packages.sh build|test|portability" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "Not a Debian system; by their Debian names, these are needed: $needed"
  exit 0
fi
missing=
for name in $needed; do
  dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

echo "Installing$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if ! { $as_root apt-get -qq update &&
       $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; }; then
  echo "That failed. Please install them as root: apt-get install$missing" >&2
  exit 1
fi
