"""Generation beside transformers in one run: generate.py PEER_PYTHON GENERATE_PEER [BENCH]. The peer's script prints one JSON object with
rows of dtype, batch and way; ours is build/bin/generate_bench. Prints a line for each dtype and batch with both and their ratio."""
import json
import subprocess
import sys

python, script = sys.argv[1:3]
program = sys.argv[3] if len(sys.argv) > 3 else "build/bin/generate_bench"
ours = [json.loads(line) for line in subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()]
theirs = json.loads(subprocess.run([python, script, "--batches", "1,8", "--dtypes", "float32,bfloat16", "--json", "-"], check=True,
                                   capture_output=True, text=True).stdout.splitlines()[-1])
names = {"F32": "float32", "BF16": "bfloat16"}
for row in ours:
    peers = [p for p in theirs["rows"] if p["dtype"] == names[row["dtype"]] and p["batch"] == row["batch"]]
    best = max(peers, key=lambda p: p["decode_tokens_per_s"]["median"])
    prompt = 1000 * (best["encode_s"]["median"] + best["prefill_s"]["median"])
    print(json.dumps({**row, "transformers": best["way"],
                      "transformers_decode_tokens_per_s": round(best["decode_tokens_per_s"]["median"], 1),
                      "decode_ratio": round(row["decode_tokens_per_s"] / best["decode_tokens_per_s"]["median"], 2),
                      "transformers_image_and_prompt_ms": round(prompt, 1),
                      "prompt_ratio": round(prompt / row["image_and_prompt_ms"], 2)}))
