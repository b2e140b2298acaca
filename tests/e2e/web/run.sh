#!/usr/bin/env bash
# run.sh BIN_DIR SOURCE_DIR [UNITTEST_ARGUMENT...]: the page's tests in a real browser, with the Python that TEPHRA_WEB_PYTHON names or
# that scripts/web_venv.sh made. Ends with 77, which CTest reports as skipped, where there is none.
set -euo pipefail
bin=$1 source=$2
shift 2
python=${TEPHRA_WEB_PYTHON:-$source/.deps/web-venv/bin/python}
if ! [ -x "$python" ] || ! command -v chromium > /dev/null; then
  echo "NOT RUN: no Python with Playwright, or no chromium; scripts/web_venv.sh installs both, or name the Python in TEPHRA_WEB_PYTHON"
  exit 77
fi
export TEPHRA_BIN_DIR=$bin TEPHRA_SOURCE_DIR=$source PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")"
exec "$python" -m unittest -v "${@:-page_test}"
