"""Generation and scoring beside transformers: generate.py PEER_PYTHON GENERATE_PEER [ROUNDS [BENCH]]. In each round, for each dtype and
batch, build/bin/generate_bench runs and right after it the peer's scripts (GENERATE_PEER prints one JSON object with rows of dtype, batch
and way; the better way counts). A line for each dtype and batch: medians of both over the rounds, and how many times as fast this is: the
median, least and greatest of the rounds' own ratios."""
import json
import pathlib
import statistics
import subprocess
import sys

python, script = sys.argv[1:3]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
program = sys.argv[4] if len(sys.argv) > 4 else "build/bin/generate_bench"
CONFIGURATIONS = [("F32", "float32", "1"), ("F32", "float32", "8"), ("BF16", "bfloat16", "1"), ("BF16", "bfloat16", "8")]
MEASURES = {"decode_tokens_per_s": 1, "image_and_prompt_ms": -1, "score_tokens_per_s": 1}  # -1: less is better


def last_line(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def theirs(dtype, batch):
    rows = json.loads(last_line(python, script, "--batches", batch, "--dtypes", dtype, "--reps", "3", "--json", "-"))["rows"]
    score = last_line(python, str(pathlib.Path(__file__).with_name("score_peer.py")), str(pathlib.Path(script).parent), dtype, batch)
    return {"decode_tokens_per_s": max(row["decode_tokens_per_s"]["median"] for row in rows),
            "image_and_prompt_ms": min(1000 * (row["encode_s"]["median"] + row["prefill_s"]["median"]) for row in rows),
            "score_tokens_per_s": float(score)}


pairs = {}
for _ in range(rounds):
    for name, dtype, batch in CONFIGURATIONS:
        ours = json.loads(last_line(program, "2", name, batch))
        pairs.setdefault((dtype, batch), []).append((ours, theirs(dtype, batch)))
for (dtype, batch), runs in pairs.items():
    line = {"bench": "generate", "dtype": dtype, "batch": int(batch), "rounds": rounds}
    for what, sign in MEASURES.items():
        ratios = [(a[what] / b[what]) ** sign for a, b in runs]
        line[what] = round(statistics.median(a[what] for a, _ in runs), 1)
        line["transformers_" + what] = round(statistics.median(b[what] for _, b in runs), 1)
        line[what.rsplit("_tokens")[0].rsplit("_ms")[0] + "_times_as_fast"] = [
            round(ratio, 2) for ratio in (statistics.median(ratios), min(ratios), max(ratios))]
    line["limit_tokens_per_s"] = round(statistics.median(a["limit_tokens_per_s"] for a, _ in runs), 1)
    line["of_limit"] = round(statistics.median(a["decode_tokens_per_s"] / a["limit_tokens_per_s"] for a, _ in runs), 2)
    print(json.dumps(line))
