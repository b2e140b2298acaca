#!/usr/bin/env bash
# Makes .deps/api-venv: Python packages that test the coordinator's outside (schemathesis, TensorBoard). Without it those tests
# say that they did not run.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.deps/stamp-api-venv-1
[ -e "$stamp" ] && exit 0
rm -rf .deps/api-venv
python3 -m venv .deps/api-venv
.deps/api-venv/bin/pip install -q --disable-pip-version-check schemathesis==4.32.5 tensorboard==2.21.0 || {
  echo "api-venv: pip could not install the packages. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
touch "$stamp"
