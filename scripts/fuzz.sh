#!/usr/bin/env bash
# fuzz.sh TARGET [SECONDS]: runs a libFuzzer target of tests/fuzz (safetensors, conversations, image, tokenizer, tokenizer_json, rank_message) from its
# seeds, 600 seconds by default. Exit status 0: nothing was found. What breaks something is left in build/fuzz/found/TARGET; put it among the seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?fuzz.sh TARGET [SECONDS]} seconds=${2:-600}
command -v clang++ > /dev/null || { echo "fuzz: clang++ is missing; install it (Debian: clang)" >&2; exit 3; }
scripts/setup.sh
[ -e build/fuzz/build.ninja ] || cmake --preset fuzz > /dev/null
cmake --build --preset fuzz --target "fuzz_$target"
mkdir -p "build/fuzz/corpus/$target" "build/fuzz/found/$target"
exec "build/fuzz/bin/fuzz_$target" "build/fuzz/corpus/$target" "tests/fuzz/seeds/$target" -max_total_time="$seconds" \
  -artifact_prefix="build/fuzz/found/$target/" -max_len=65536 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0
