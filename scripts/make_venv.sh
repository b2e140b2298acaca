#!/usr/bin/env bash
# make_venv.sh NAME VERSION PACKAGE...: makes .deps/NAME with packages from PyPI, unless it is there as of that VERSION.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 stamp=.deps/stamp-$1-$2
shift 2
[ -e "$stamp" ] && exit 0
rm -rf ".deps/$name"
python3 -m venv ".deps/$name"
".deps/$name/bin/pip" install -q --disable-pip-version-check "$@" || {
  echo "$name: pip could not install the packages. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
touch "$stamp"
