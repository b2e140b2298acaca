#!/usr/bin/env bash
# make_venv.sh NAME VERSION PACKAGE... [--no-deps PACKAGE...]: makes .deps/NAME with packages from PyPI, unless it is there as of that
# VERSION. Those behind --no-deps come without what they would bring along.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 stamp=.deps/stamp-$1-$2
shift 2
[ -e "$stamp" ] && exit 0
packages=() alone=()
while [ $# -gt 0 ] && [ "$1" != --no-deps ]; do packages+=("$1"); shift; done
[ $# -eq 0 ] || alone=("${@:2}")
install() {
  ".deps/$name/bin/pip" install -q --disable-pip-version-check "$@" || {
    echo "$name: pip could not install the packages. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
}
rm -rf ".deps/$name"
python3 -m venv ".deps/$name"
install "${packages[@]}"
[ ${#alone[@]} -eq 0 ] || install --no-deps "${alone[@]}"
touch "$stamp"
