"""Checkpoints beside PyTorch's: ckpt.py PEER_PYTHON CKPT_PEER [REPS [BENCH]]. Runs build/bin/ckpt_bench and CKPT_PEER (which prints a JSON
object) on the same disk, one after the other: milliseconds, and how many times each peer's time ours is."""
import json
import os
import subprocess
import sys
import tempfile

python, script = sys.argv[1:3]
reps = sys.argv[3] if len(sys.argv) > 3 else "5"
program = sys.argv[4] if len(sys.argv) > 4 else "build/bin/ckpt_bench"
METHODS = ["raw", "safetensors", "torch_save", "dcp"]


with tempfile.TemporaryDirectory(dir=os.getcwd()) as scratch:
    ours = json.loads(subprocess.run([program, "--dir", scratch + "/ours", "--reps", reps], check=True, capture_output=True, text=True).stdout)
    os.mkdir(scratch + "/peers")
    peers = json.loads(subprocess.run([python, script, "--dir", scratch + "/peers", "--methods", ",".join(METHODS), "--reps", reps, "--json", "-"],
                                      check=True, capture_output=True, text=True).stdout)["results"]


def theirs(method, what, seconds):
    return round(peers[method][what][seconds]["median"] * 1000, 1)


# Ours against the peers' limit: plain system calls of as many bytes, from the same run.
rows = {"save": (ours["save_ms"], {"raw": theirs("raw", "write_all", "durable_s"), "raw_direct": theirs("raw", "write_all_direct", "durable_s")}),
        "load_warm": (ours["load_2_warm_ms"], {"raw": theirs("raw", "read_warm", "asis_s")}),
        "load_cold": (ours["load_2_cold_ms"], {"raw": theirs("raw", "read_cold", "asis_s")})}
for method in METHODS[1:]:
    if "save" in peers[method]:
        rows["save"][1][method] = theirs(method, "save", "durable_s")
    for load in ("load_warm", "load_cold"):
        if load in peers[method]:
            rows[load][1][method] = theirs(method, load, "asis_s")
for name, (own, others) in rows.items():
    print(json.dumps({"bench": "ckpt", "what": name, "ms": own, "others_ms": others,
                      "ours_over_theirs": {method: round(own / ms, 2) for method, ms in others.items()}}))
print(json.dumps({"bench": "ckpt", "what": "into other ranks, over two", "warm": {n: round(ours[f"load_{n}_warm_ms"] / ours["load_2_warm_ms"], 2) for n in (1, 4)},
                  "ours": ours}))
