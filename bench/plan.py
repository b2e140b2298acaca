"""Planned beside measured step times on this machine's CPU: plan.py [BIN_DIR]. For each number of ranks `tephra-worker calibrate` runs once
under mpirun (some seconds), then each case is planned by it and trained for some steps; the sample's mean length is taken from the run. A
JSON line a case: planned and measured seconds, and their ratio. Exit code 1 when one is off by more than a quarter."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BIN = sys.argv[1] if len(sys.argv) > 1 else "build/bin"
RECIPE = str(pathlib.Path(__file__).parent.parent / "tests/e2e/tiny.yaml")
STEPS, SKIPPED = 24, 4
BATCH = {"stages.instruct.micro_batch": 16, "stages.instruct.global_batch": 32}
CASES = [  # ranks, overrides
    (1, {}),
    (1, {"stages.instruct.sharding.recompute": "all"}),
    (2, {}),
    (2, {"stages.instruct.sharding.shard": "none"}),
    (2, {"stages.instruct.sharding.recompute": "all"}),
    (2, {"stages.instruct.micro_batch": 8}),
    (2, {"stages.align.micro_batch": 16, "stages.align.global_batch": 32, "stage": "align"}),
]


def run(*command):
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)}: {ran.stderr}")
    return ran.stdout


def settings(ranks, overrides):
    fields = dict(BATCH, **{"gang.ranks": ranks, "stages.align.evaluate": "[]", "stages.instruct.evaluate": "[]",
                            "stages.align.steps": STEPS, "stages.instruct.steps": STEPS,
                            "stages.align.checkpoint.every_steps": 0, "stages.instruct.checkpoint.every_steps": 0},
                  **{field: value for field, value in overrides.items() if field != "stage"})
    return [word for field, value in fields.items() for word in ("--set", f"{field}={value}")]


def measured(ranks, overrides, stage, scratch):
    """Median seconds of a step, and tokens of a mean step."""
    lines = run(f"{BIN}/tephra", "run", RECIPE, "--json", "--store", scratch, *settings(ranks, overrides)).splitlines()
    steps = [event["step"] for event in map(json.loads, lines)
             if event.get("kind") == "step" and event["stage"] == stage][SKIPPED:]
    return (statistics.median(step["step_seconds"] for step in steps),
            statistics.mean(step["step_seconds"] * step["tokens_per_second"] for step in steps))


os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
worst = 1
with tempfile.TemporaryDirectory() as scratch:
    calibrations = {}
    for number, (ranks, overrides) in enumerate(CASES):
        stage = overrides.get("stage", "instruct")
        seconds, tokens = measured(ranks, overrides, stage, f"{scratch}/{number}")
        length = tokens / 32
        if ranks not in calibrations:
            calibrations[ranks] = f"{scratch}/{ranks}.json"
            pathlib.Path(calibrations[ranks]).write_text(
                run("mpirun", "--bind-to", "none", "-n", str(ranks), f"{BIN}/tephra-worker", "calibrate", RECIPE,
                    "--tokens", str(round(length)), *settings(ranks, {})))
        plans = json.loads(run(f"{BIN}/tephra", "plan", RECIPE, "--json", "--calibration", calibrations[ranks],
                               "--data", f"scenes=1000,tokens={length:.1f}", *settings(ranks, overrides)))
        planned = next(plan["step_seconds"] for plan in plans if plan["stage"] == stage)
        worst = max(worst, planned / seconds, seconds / planned)
        print(json.dumps({"bench": "plan", "stage": stage, "ranks": ranks, **overrides,
                          "tokens_per_sample": round(length), "planned_s": round(planned, 4),
                          "measured_s": round(seconds, 4), "planned_over_measured": round(planned / seconds, 3)}), flush=True)
sys.exit(1 if worst > 1.25 else 0)
