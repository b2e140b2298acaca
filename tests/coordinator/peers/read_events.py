"""Reads a job's event files with TensorBoard's own reader and holds them against its metrics.jsonl."""
import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing import event_multiplexer

job = pathlib.Path(sys.argv[1])
runs = event_multiplexer.EventMultiplexer()
runs.AddRunsFromDirectory(str(job / "tensorboard"))
runs.Reload()
assert runs.Runs(), "TensorBoard finds no run"
lines = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
assert lines, "no step was made"


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


found = {}
for run, kinds in runs.Runs().items():
    for tag in kinds["scalars"]:
        for event in runs.Scalars(run, tag):
            found.setdefault(tag, []).append(event.value)
wanted = sorted(float32(line["loss"]) for line in lines)
tags = [tag for tag in found if tag.split("/")[-1] == "loss"]
assert tags, f"no loss among {sorted(found)}"
got = sorted(value for tag in tags for value in found[tag])
assert got == wanted, f"{got} is not {wanted}"
print(f"{len(runs.Runs())} runs, {len(found)} tags, {len(got)} losses")
