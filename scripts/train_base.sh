#!/usr/bin/env bash
# Makes recipes/base/ anew from nothing: the tokenizer by spm_train on the scene world's own text, the CLIP and the language model by
# the recipes recipes/base-clip.yaml and recipes/base-lm.yaml. Deterministic on one kind of machine.
set -euo pipefail
cd "$(dirname "$0")/.."
store=${STORE:-tephra-store}
tephra=build/bin/tephra
echo "not written yet" >&2; exit 1
