#!/usr/bin/env bash
# Runs every committed benchmark and prints one JSON line each.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench/startup.py build/bin/tephra
cmake --build build --target cluster_bench reduction_bench flight_bench load_bench scheduler_bench ckpt_bench store_scale image_check_bench
build/bin/flight_bench
build/bin/load_bench
build/bin/scheduler_bench
build/bin/image_check_bench
build/bin/ckpt_bench
build/bin/store_scale --most 1000
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun --bind-to none -n 2 build/bin/cluster_bench
mpirun --bind-to none -n 2 build/bin/reduction_bench
python3 bench/plan.py || echo "bench: a planned step time is off by more than a quarter" >&2

# Generation and training beside transformers and PyTorch: TEPHRA_PEERS_DIR has the peers' scripts, TEPHRA_TEST_PYTHON (or scripts/test_venv.sh) their packages.
python=${TEPHRA_TEST_PYTHON:-.deps/test-venv/bin/python}
if [ -n "${TEPHRA_PEERS_DIR:-}" ] && [ -x "$python" ]; then
  cmake --build build --target generate_bench train_bench
  python3 bench/generate.py "$python" "$TEPHRA_PEERS_DIR/generate_peer.py"
  python3 bench/train.py "$python" "$TEPHRA_PEERS_DIR/train_peer.py"
else
  echo "bench: generation and training are NOT measured: TEPHRA_PEERS_DIR or a Python with transformers is missing" >&2
fi
