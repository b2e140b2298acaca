#!/usr/bin/env python3
"""Plans LLaVA 1.5 (7B, 13B) on 8, 64 and 1,024 A100-80G and prints the table of docs/planning.md.

    python3 scripts/plan_llava.py build/bin/tephra

The lengths are assumptions (docs/planning.md); the published hours are of LLaVA's README, on one node of eight.
"""
import json
import os
import subprocess
import sys

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "recipes", "planning")
DATA = ["--data", "align=558128,tokens=620,longest=768", "--data", "instruct=665298,tokens=900"]
# Nodes of eight: the micro-batches that share out the published global batches of 256 and 128 samples; 1,024 ranks need
# larger ones.
BATCHES = {
    1: {},
    8: {"pretrain.micro_batch": 4, "finetune.micro_batch": 2},
    128: {"pretrain.micro_batch": 1, "pretrain.global_batch": 1024,
          "finetune.micro_batch": 1, "finetune.global_batch": 1024},
}
PUBLISHED = {("7b", "pretrain"): 3.5, ("7b", "finetune"): 10, ("13b", "pretrain"): 5.5, ("13b", "finetune"): 20}


def plan(tephra, size, nodes):
    command = [tephra, "plan", f"{RECIPES}/llava-1.5-{size}.yaml", "--gpus", "8xA100-80G", "--nodes", str(nodes),
               "--dtype", "bfloat16", "--json"] + DATA
    for field, value in BATCHES[nodes].items():
        command += ["--set", f"stages.{field}={value}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    print("| model | GPUs | stage | batch | memory of 80 GB | compute | exposed | step | hours | published |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in ("7b", "13b"):
        for nodes in BATCHES:
            for stage in plan(sys.argv[1], size, nodes):
                name = stage["stage"]
                batch = BATCHES[nodes].get(name + ".global_batch", 256 if name == "pretrain" else 128)
                published = f"{PUBLISHED[size, name]:g} h" if nodes == 1 else ""
                print(f"| {size.upper()} | {stage['ranks']:,} | {name} | {batch:,} "
                      f"| {stage['memory_bytes_per_rank'] / 1e9:.1f} GB | {stage['compute_seconds']:.2f} s "
                      f"| {stage['exposed_communication_seconds']:.2f} s | {stage['step_seconds']:.2f} s "
                      f"| {stage['hours']:.2f} | {published} |")


if __name__ == "__main__":
    main()
