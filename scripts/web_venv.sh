#!/usr/bin/env bash
# Makes .deps/web-venv: Playwright, which drives Debian's chromium (installed too), and axe-core, which finds what hinders people. Without
# it the tests of the page for browsers say that they did not run.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install_packages.sh web_venv chromium
exec scripts/make_venv.sh web-venv 1 playwright==1.65.2 axe-playwright-python==0.1.8
