#!/usr/bin/env bash
# Fetches what recipes/real-small.yaml learns from: Tux Paint's stamps (a Debian package) and easy-VQA (a PyPI package of 3 MB, unpacked
# into .deps/easy-vqa). Run by `make real-small`; a second run finds both and ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."

EASY_VQA=1.0
EASY_VQA_SHA256=fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f
stamp=.deps/stamp-easy-vqa-$EASY_VQA

scripts/install_packages.sh real-small tuxpaint-stamps-default

if [ ! -e "$stamp" ]; then
  rm -rf .deps/easy-vqa && mkdir -p .deps/easy-vqa
  python3 -m pip download -q --disable-pip-version-check --no-deps -d .deps/easy-vqa "easy-vqa==$EASY_VQA" || {
    echo "real-small: could not download easy-vqa $EASY_VQA. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
  wheel=$(echo .deps/easy-vqa/*.whl)
  echo "$EASY_VQA_SHA256  $wheel" | sha256sum --check --quiet || {
    echo "real-small: $wheel is not the file that was published as easy-vqa $EASY_VQA and is not used. Look at what PIP_INDEX_URL names, then run again." >&2; exit 3; }
  python3 -m zipfile -e "$wheel" .deps/easy-vqa
  rm "$wheel"
  touch "$stamp"
fi
