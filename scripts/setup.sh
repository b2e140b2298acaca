#!/usr/bin/env bash
# Installs what building Tephra needs and is missing: Debian packages (scripts/packages.txt) and LibTorch's CPU part (.deps/).
# Run by `make demo`, `make test` and `make bench`; a second run finds the stamp and ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.11.0 CUDART=13.0.96 CUPTI=13.0.85
stamp=.deps/stamp-torch-$TORCH

mapfile -t wanted < <(grep -v '^#' scripts/packages.txt)
scripts/install_packages.sh setup "${wanted[@]}"

if [ ! -e "$stamp" ]; then
  echo "setup: fetching LibTorch $TORCH (PyPI wheel, about 530 MB; only the CPU part is unpacked)"
  rm -rf .deps/torch .deps/nvidia .deps/download && mkdir -p .deps/download
  python3 -m pip download -q --disable-pip-version-check --no-deps -d .deps/download \
    "torch==$TORCH" "nvidia-cuda-runtime==$CUDART" "nvidia-cuda-cupti==$CUPTI" || {
      echo "setup: could not download LibTorch. It needs PyPI; behind a proxy set PIP_INDEX_URL, then run again." >&2; exit 3; }
  python3 scripts/unpack_torch.py .deps/download .deps
  rm -rf .deps/download
  touch "$stamp"
fi
