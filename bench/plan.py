"""Planned beside measured step times on this machine's CPU: plan.py [BIN_DIR]. Each case is trained for some steps, then
`tephra-worker calibrate` measures the machine (some seconds) with the same recipe but none of the case's choices of sharding,
recomputation and micro-batch, and the case is planned by that. A JSON line a case: planned and measured seconds, and their ratio. Exit
code 1 when one is off by more than a quarter. It needs the machine for itself."""
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib

BIN = sys.argv[1] if len(sys.argv) > 1 else "build/bin"
RECIPE = str(pathlib.Path(__file__).parent.parent / "tests/e2e/tiny.yaml")
STEPS, SKIPPED = 16, 4
BATCH = {"stages.instruct.micro_batch": 16, "stages.instruct.global_batch": 32}
CASES = [  # ranks, overrides
    (1, {}),
    (1, {"stages.instruct.sharding.recompute": "all"}),
    (2, {}),
    (2, {"stages.instruct.sharding.shard": "none"}),
    (2, {"stages.instruct.sharding.recompute": "all"}),
    (2, {"stages.instruct.micro_batch": 8}),
]


def run(*command):
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)}: {ran.stderr}")
    return ran.stdout


def write_data(folder):
    """Samples of one length, so that nothing is padded: a run tells its tokens without padding."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(3 * 48)) * 48
    pathlib.Path(folder, "black.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 48, 8, 2, 0, 0, 0)) +
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    samples = [{"id": str(i), "image": "black.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a red circle " * 30}]} for i in range(64)]
    pathlib.Path(folder, "same.json").write_text(json.dumps(samples))
    return {"datasets.same": f"{{kind: llava, conversations: {folder}/same.json, images: {folder}}}",
            "stages.instruct.data": "[{dataset: same}]"}


def settings(ranks, overrides):
    fields = dict(BATCH, **{"gang.ranks": ranks, "stages.align.evaluate": "[]", "stages.instruct.evaluate": "[]",
                            "stages.align.steps": 1, "stages.instruct.steps": STEPS,
                            "stages.align.checkpoint.every_steps": 0, "stages.instruct.checkpoint.every_steps": 0},
                  **overrides)
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
    BATCH.update(write_data(scratch))
    for number, (ranks, overrides) in enumerate(CASES):
        stage = "instruct"
        seconds, tokens = measured(ranks, overrides, stage, f"{scratch}/{number}")
        length = tokens / 32
        # Each time anew and right after the run: the speed of a machine that others use too drifts.
        speed = f"{scratch}/{number}.json"
        pathlib.Path(speed).write_text(
            run("mpirun", "--bind-to", "none", "-n", str(ranks), f"{BIN}/tephra-worker", "calibrate", RECIPE,
                "--tokens", str(round(length)), *settings(ranks, {})))
        plans = json.loads(run(f"{BIN}/tephra", "plan", RECIPE, "--json", "--calibration", speed,
                               "--data", f"same=64,tokens={length:.1f}", *settings(ranks, overrides)))
        planned = next(plan["step_seconds"] for plan in plans if plan["stage"] == stage)
        worst = max(worst, planned / seconds, seconds / planned)
        print(json.dumps({"bench": "plan", "stage": stage, "ranks": ranks, **overrides,
                          "tokens_per_sample": round(length), "planned_s": round(planned, 4),
                          "measured_s": round(seconds, 4), "planned_over_measured": round(planned / seconds, 3)}), flush=True)
sys.exit(1 if worst > 1.25 else 0)
