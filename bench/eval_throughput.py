#!/usr/bin/env python3
"""Questions a second of `tephra eval` on one and on two processes of one thread each: how much the second one helps.

    bench/eval_throughput.py --model FOLDER --problems problems.json --splits pid_splits.json [--limit 240]

Each run answers the same questions in a fresh folder. Loading the model is measured by a run of one batch and taken off, as it does not
grow with the questions. Runs alternate; the best of each kind counts. Prints one JSON document.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tephra", default="build/bin/tephra")
parser.add_argument("--model", required=True)
parser.add_argument("--problems", required=True)
parser.add_argument("--splits", required=True)
parser.add_argument("--limit", type=int, default=240)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--max-new-tokens", type=int, default=32)
parser.add_argument("--rounds", type=int, default=2)
o = parser.parse_args()


def run(ranks, limit):
    out = tempfile.mkdtemp()
    begin = time.monotonic()
    subprocess.run([o.tephra, "eval", "scienceqa", "--model", o.model, "--problems", o.problems, "--splits", o.splits, "--limit", str(limit),
                    "--batch", str(o.batch), "--max-new-tokens", str(o.max_new_tokens), "--ranks", str(ranks), "--threads", "1", "--out", out],
                   check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.monotonic() - begin
    with open(os.path.join(out, "scienceqa.result.json")) as f:
        answers = {row["id"]: row["answer"] for row in json.load(f)["cases"]}
    shutil.rmtree(out)
    return seconds, answers


load = min(run(1, 1)[0] for _ in range(o.rounds))
seconds, answers = {1: [], 2: []}, {}
for _ in range(o.rounds):
    for ranks in (1, 2):
        took, said = run(ranks, o.limit)
        seconds[ranks].append(took - load)
        answers[ranks] = said
one, two = min(seconds[1]), min(seconds[2])
json.dump({"questions": o.limit, "load_s": round(load, 3), "seconds_one": round(one, 3), "seconds_two": round(two, 3),
           "questions_per_s_one": round(o.limit / one, 2), "questions_per_s_two": round(o.limit / two, 2),
           "speedup": round(one / two, 3), "same_answers": answers[1] == answers[2]}, sys.stdout, indent=1)
print()
