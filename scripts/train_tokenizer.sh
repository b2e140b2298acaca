#!/usr/bin/env bash
# Trains the demo's tokenizer.model with SentencePiece's own spm_train on the scene world's text: train_tokenizer.sh DATASET_DIR OUT.model
# DATASET_DIR is a prepared dataset of kind scenes with corpus_scenes (STORE/data/scenes-*).
set -euo pipefail
text=$(mktemp) && trap 'rm -f "$text"' EXIT
python3 - "$1/corpus.json" > "$text" <<'PY'
import json, sys
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. "
          "The assistant gives helpful, detailed, and polite answers to the user's questions.")
for document in json.load(open(sys.argv[1]))[:12000]:
    if "text" in document:
        text = document["text"]
    else:
        turns = [t["value"] for t in document["conversations"]]
        text = SYSTEM + " " + " ".join(f"USER: {q} ASSISTANT: {a}" for q, a in zip(turns[::2], turns[1::2]))
    print("\n".join(line for line in text.split("\n") if line))
PY
spm_train --input="$text" --model_prefix="${2%.model}" --model_type=bpe --byte_fallback=true --vocab_size=900 --hard_vocab_limit=false \
  --normalization_rule_name=identity --add_dummy_prefix=true --remove_extra_whitespaces=false --split_digits=true \
  --character_coverage=1.0 --bos_id=1 --eos_id=2 --unk_id=0 --pad_id=-1 --num_threads=1
rm -f "${2%.model}.vocab"
