"""Training beside PyTorch: train.py PEER_PYTHON TRAIN_PEER [ROUNDS [BENCH]]. In each round build/bin/train_bench runs on two ranks of one
thread, for each row below, and right after it the peers of that row (TRAIN_PEER prints one JSON object with tokens_per_s). A line for each
row: medians over the rounds, how many times as fast this is as each peer (the median, least and greatest of the rounds' own ratios), and
what part of the machine's matrix products per second the needed products are."""
import json
import os
import statistics
import subprocess
import sys

python, script = sys.argv[1:3]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
program = sys.argv[4] if len(sys.argv) > 4 else "build/bin/train_bench"
KEPT = ["--logits", "kept"]
FSDP2, PLAIN = ["--mode", "fsdp2", "--ranks", "2"], ["--mode", "plain", "--ranks", "1"]
ROWS = [
    (["--stage", "2"], {"fsdp2": FSDP2, "fsdp2_labelled_only": FSDP2 + KEPT, "plain_labelled_only": PLAIN + KEPT}),
    (["--stage", "2", "--dtype", "bfloat16"], {"plain_labelled_only_autocast": PLAIN + KEPT + ["--amp", "bfloat16"]}),
    (["--stage", "1"], {"fsdp2": FSDP2}),
]
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def last_line(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()[-1])


def ours(options):
    return last_line(["mpirun", "--bind-to", "none", "-n", "2", program, "--steps", "8", *options])


def theirs(stage, options):
    result = last_line([python, script, "--stage", stage, "--steps", "6", "--warmup", "2", "--json", "-", *options])
    return result["tokens_per_s"]["median"] if isinstance(result["tokens_per_s"], dict) else result["tokens_per_s"]


runs = [[] for _ in ROWS]
for _ in range(rounds):
    for row, (options, peers) in enumerate(ROWS):
        runs[row].append((ours(options), {name: theirs(options[1], peer) for name, peer in peers.items()}))
for (options, peers), of_row in zip(ROWS, runs):
    line = {"bench": "train", "stage": int(options[1]), "dtype": of_row[0][0]["dtype"], "rounds": rounds}
    for what in ("tokens_per_s", "gflops_needed", "product_peak_gflops", "of_peak", "peak_rss_mib", "start_to_first_step_s"):
        line[what] = round(statistics.median(run[what] for run, _ in of_row), 3)
    for name in peers:
        ratios = [run["tokens_per_s"] / peer[name] for run, peer in of_row]
        line[name + "_tokens_per_s"] = round(statistics.median(peer[name] for _, peer in of_row), 1)
        line["times_as_fast_as_" + name] = [round(r, 2) for r in (statistics.median(ratios), min(ratios), max(ratios))]
    print(json.dumps(line))
