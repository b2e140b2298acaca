#!/usr/bin/env bash
# Makes the base models anew, each from initial values: recipes/base/vision by recipes/base-clip.yaml, vision-64 by base-clip-64.yaml,
# language by base-lm.yaml. The tokenizer in recipes/base/new-language was made by scripts/train_tokenizer.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
store=${STORE:-tephra-store}
tephra=build/bin/tephra

train() {  # RECIPE STAGE OUT
  local job
  "$tephra" run "recipes/$1.yaml" --store "$store"
  job=$("$tephra" ckpt ls --store "$store" --json |
    python3 -c "import json,sys; print([c['name'] for c in json.load(sys.stdin) if c['stage']=='$2' and c['stage_complete']][-1])")
  rm -rf "recipes/base/$3"
  "$tephra" ckpt export "$job" --store "$store" --out "recipes/base/$3" --dtype bfloat16 --max-shard-size 800kB
}
train base-clip contrast vision
train base-clip-64 contrast vision-64
train base-lm reread language
du -ch recipes/base/{vision,vision-64,language} | tail -1
