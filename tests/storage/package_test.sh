#!/usr/bin/env bash
# package_test.sh BUILD SOURCE: installs the store as a package into an empty prefix, builds docs/examples/store_cpp against it alone, runs it.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$1" --component storage --prefix "$scratch/prefix" > "$scratch/log" || { cat "$scratch/log"; exit 1; }
cp -r "$2/docs/examples/store_cpp" "$scratch/example"  # no path into the sources is left
cmake -S "$scratch/example" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_BUILD_TYPE=Release > "$scratch/log" || { cat "$scratch/log"; exit 1; }
cmake --build "$scratch/build" > "$scratch/log" || { cat "$scratch/log"; exit 1; }
"$scratch/build/store_example" "$scratch/store" | grep -E '^example/train@10 [0-9a-f]{32}: 2000 elements read back$'
"$scratch/build/store_example" 2> "$scratch/log" && exit 1
grep -q 'usage: store_example FOLDER' "$scratch/log"
