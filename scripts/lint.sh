#!/usr/bin/env bash
# clang-tidy over the project's sources: lint.sh BUILD_FOLDER [FILE...], without files all that the build compiles.
# Exit status 0: nothing found. `make lint` runs it; PRESET=cuda includes the GPU plugin.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
shift
command -v clang-tidy > /dev/null || { echo "lint: clang-tidy is missing; install it (Debian: clang-tidy)" >&2; exit 3; }

# The build's precompiled header and OpenMP are GCC's, which clang cannot read; sources include what they use, so they do without.
mkdir -p "$build/lint"
sed -E 's/ -Winvalid-pch//; s/ -fopenmp//; s/ -include [^ ]*cmake_pch\.hxx//; s# -I([^ ]*/proto)# -isystem \1#' "$build/compile_commands.json" > "$build/lint/compile_commands.json"

if [ $# -eq 0 ]; then
  # Sources that this build does not compile (the GPU plugin, in others than `cuda`) have no flags to be checked with.
  mapfile -t files < <(git ls-files '*.cc')
  for f in "${files[@]}"; do
    if grep -qF "\"file\": \"$PWD/$f\"" "$build/lint/compile_commands.json"; then set -- "$@" "$f"; fi
  done
fi
# Clang's own counts of suppressed warnings go to stderr, and are noise.
printf '%s\0' "$@" | xargs -0 -P 2 -n 1 clang-tidy --quiet -p "$build/lint" 2> >(grep -v 'warnings\? generated' >&2)
