#!/usr/bin/env bash
# Runs every committed benchmark and prints one JSON line each.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench/startup.py build/bin/tephra
cmake --build build --target cluster_bench
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun --bind-to none -n 2 build/bin/cluster_bench
