#!/usr/bin/env python3
"""Training order over a dataset that is far larger than the memory that its reader has, page cache included.

    cmake --build build --target stream_bench
    bench/stream_dataset.py [--gb 3] [--memory-mb 256] [--samples 20000] [--work FOLDER]

Writes JSON lines of --gb gigabytes and half as much as WebDataset shards, throws their pages out of memory, and reads a stretch of the
shuffled order: once without a limit, and once in a memory cgroup of --memory-mb, in two processes, the second of which goes on at an
arbitrary position. The samples have to be the same. Needs the right to make a memory cgroup (v1 or v2); ends with 77 without it. Prints
one JSON document, and ends with 1 where a sample differs or the limit was not felt.
"""
import argparse, io, json, os, random, shutil, subprocess, sys, tarfile, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bench", default="build/bin/stream_bench")
parser.add_argument("--gb", type=float, default=3)
parser.add_argument("--memory-mb", type=int, default=256)
parser.add_argument("--samples", type=int, default=20000)
parser.add_argument("--work", default=None)
o = parser.parse_args()
WORDS = [bytes(random.Random(i).choices(b"abcdefghijklmnopqrstuvwxyz", k=3 + i % 7)).decode() for i in range(4096)]


def sample(i, rng):
    words = rng.choices(WORDS, k=900)
    return {"id": str(i), "conversations": [{"from": "human", "value": f"What of {i}?"}, {"from": "gpt", "value": " ".join(words)}]}


def settle(path):
    """On disk, and no longer in memory: what is read next is charged to who reads it."""
    with open(path, "rb+") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_lines(path, size):
    rng, i = random.Random(1), 0
    with open(path, "w") as f:
        while f.tell() < size:
            f.write("".join(json.dumps(sample(i + k, rng)) + "\n" for k in range(64)))
            i += 64
    settle(path)


def write_shards(folder, size, shards=4):
    os.mkdir(folder)
    rng, i = random.Random(2), 0
    for shard in range(shards):
        path = os.path.join(folder, f"{shard:03}.tar")
        with open(path, "wb") as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            while raw.tell() < size / shards:
                picture = b"\xff\xd8\xff" + rng.randbytes(20000)  # never decoded here
                row = {"id": str(i), "image": "x", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": f"The picture {i}."}]}
                for name, data in ((f"{i:08}.json", json.dumps(row).encode()), (f"{i:08}.jpg", picture)):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                i += 1
        settle(path)


class Group:
    """A memory cgroup, as far as this user may make one."""

    def __init__(self, limit):
        v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        self.path = ("/sys/fs/cgroup" if v2 else "/sys/fs/cgroup/memory") + f"/tephra-bench-{os.getpid()}"
        self.peak_file, self.limit_file = ("memory.peak", "memory.max") if v2 else ("memory.max_usage_in_bytes", "memory.limit_in_bytes")
        self.v2 = v2
        try:
            os.mkdir(self.path)
            self.write(self.limit_file, limit)
            if v2: self.write("memory.swap.max", 0)
        except OSError as error:
            self.end()
            print(f"no memory cgroup can be made here: {error}", file=sys.stderr)
            sys.exit(77)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as f: f.write(str(value))

    def read(self, name):
        with open(os.path.join(self.path, name)) as f: return f.read()

    def reclaims(self):  # how often the limit was met
        if not self.v2: return int(self.read("memory.failcnt"))
        return int(dict(line.split() for line in self.read("memory.events").splitlines())["max"])

    def end(self):
        for _ in range(50):
            try: return os.rmdir(self.path)
            except FileNotFoundError: return
            except OSError: time.sleep(0.1)  # the kernel still counts the processes that have ended


def read(path, first, count, group=None):
    enter = (lambda: group.write("cgroup.procs", os.getpid())) if group else None
    done = subprocess.run([o.bench, "--data", path, "--from", str(first), "--samples", str(count)], preexec_fn=enter, capture_output=True, text=True)
    if done.returncode != 0: sys.exit(f"stream_bench ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def bytes_of(path):
    if os.path.isfile(path): return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path) if name.endswith(".tar"))


def forget(path):
    for name in [path] if os.path.isfile(path) else [os.path.join(path, n) for n in os.listdir(path)]: settle(name)


def measure(path, samples):
    group = Group(o.memory_mb << 20)
    try:
        opened = read(path, 0, 1, group)  # makes the index, which reads all
        start = 3 * opened["size"] // 2 + 12345  # in the second epoch
        cut = samples // 3 + 7
        forget(path)
        first = read(path, start, cut, group)
        second = read(path, start + cut, samples - cut, group)  # another process: the integer is all that it is told
        peak, reclaims = int(group.read(group.peak_file)), group.reclaims()
    finally:
        group.end()
    forget(path)
    whole = read(path, start, samples)
    same = (int(first["digest"]) + int(second["digest"])) % 2**64 == int(whole["digest"])
    return {"data_mb": round(bytes_of(path) / 2**20), "samples": opened["size"], "index_s": opened["open_s"], "read_from": start, "read": samples,
            "resumed_at": start + cut, "same_samples": same, "limit_mb": o.memory_mb, "peak_mb_with_page_cache": round(peak / 2**20),
            "limit_met": reclaims, "samples_per_s_limited": second["samples_per_s"], "samples_per_s_unlimited": whole["samples_per_s"]}


work = tempfile.mkdtemp(dir=o.work)
try:
    lines, shards = os.path.join(work, "data.jsonl"), os.path.join(work, "shards")
    write_lines(lines, o.gb * 2**30)
    write_shards(shards, o.gb * 2**29)
    out = {"json_lines": measure(lines, o.samples), "webdataset": measure(shards, o.samples)}
finally:
    shutil.rmtree(work)
json.dump(out, sys.stdout, indent=1)
print()
sys.exit(0 if all(m["same_samples"] and m["limit_met"] > 0 for m in out.values()) else 1)
