"""Time of `tephra --version`, as a whole process: median, least and most of 21 runs after one warm-up."""
import json
import statistics
import subprocess
import sys
import time

program = sys.argv[1] if len(sys.argv) > 1 else "build/bin/tephra"
times = []
for _ in range(22):
    start = time.perf_counter()
    subprocess.run([program, "--version"], check=True, stdout=subprocess.DEVNULL)
    times.append((time.perf_counter() - start) * 1000)
times = sorted(times[1:])
print(json.dumps({"bench": "startup", "ms_median": round(statistics.median(times), 1), "ms_min": round(times[0], 1), "ms_max": round(times[-1], 1)}))
