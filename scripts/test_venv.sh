#!/usr/bin/env bash
# Makes .deps/test-venv: Python packages of the peers that some tests compare with. About 5 GB, since PyPI's torch brings CUDA's
# libraries along. Nothing else needs it: without, those tests say that they did not run.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.deps/stamp-test-venv-3
[ -e "$stamp" ] && exit 0
rm -rf .deps/test-venv
python3 -m venv .deps/test-venv
.deps/test-venv/bin/pip install -q --disable-pip-version-check torch==2.11.0 transformers==5.23.0 safetensors numpy pillow openai psutil peft==0.21.2 || {
  echo "test-venv: pip could not install the packages. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
touch "$stamp"
