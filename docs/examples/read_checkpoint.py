#!/usr/bin/env python3
"""Reads a Tephra store with nothing but numpy, from packs/ and manifests/ as docs/store-format.md describes them.

    read_checkpoint.py STORE                                lists the checkpoints
    read_checkpoint.py STORE JOB/STAGE@STEP                 lists a checkpoint's tensors
    read_checkpoint.py STORE JOB/STAGE@STEP --npz OUT.npz   writes them; moments as NAME:first_moment, NAME:second_moment

Checksums are compared where the package xxhash is installed; without it the script says on stderr that they are not.
bfloat16 tensors come as float32. A store in use can be read: files are never changed once they have their names.
"""
import argparse
import os
import re
import struct
import sys

import numpy as np

try:
    import xxhash
except ImportError:
    xxhash = None

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "u1"}
KINDS = {1: "parameter", 2: "first_moment", 3: "second_moment"}


def fail(text):
    sys.exit(f"read_checkpoint: {text}")


def xxh3(data):
    """The 16 bytes of XXH3-128 in its canonical order, high 64 bits first, big-endian; None when they cannot be computed."""
    return xxhash.xxh3_128_digest(data) if xxhash else None


def little(data):
    """A hash between its canonical order and that of packs and manifest files: high, then low, each little-endian. Its own inverse."""
    return data[7::-1] + data[15:7:-1]


BLOCK = 65536


def chunk_hash(data):
    """Of the only block, or of the blocks' hashes."""
    if len(data) <= BLOCK:
        return xxh3(data)
    return xxh3(b"".join(little(xxh3(data[at:at + BLOCK])) for at in range(0, len(data), BLOCK)))


# --- protobuf's wire format: {field number: [values]}
def fields(data):
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            value = varint()
        elif wire == 1:
            value, at = data[at:at + 8], at + 8
        elif wire == 2:
            length = varint()
            value, at = data[at:at + length], at + length
        elif wire == 5:
            value, at = data[at:at + 4], at + 4
        else:
            fail(f"wire type {wire} in a record")
        found.setdefault(number, []).append(value)
    return found


def one(found, number, default):
    return found[number][-1] if number in found else default


def fixed64(found, number):
    return struct.unpack("<Q", one(found, number, bytes(8)))[0]


def varints(values):
    """A repeated integer field, packed or not."""
    out = []
    for value in values:
        if isinstance(value, int):
            out.append(value)
            continue
        current = shift = 0
        for byte in value:
            current |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                out.append(current)
                current = shift = 0
    return out


def address(record):
    """A chunk's: canonical hash and length."""
    found = fields(record)
    return struct.pack(">QQ", fixed64(found, 1), fixed64(found, 2)), one(found, 3, 0)


# --- files
def manifest_names(store):
    """{checkpoint: file}; of two files of one checkpoint that of the later commit."""
    names = {}
    for file in os.listdir(os.path.join(store, "manifests")):
        match = re.fullmatch(r"([^+]+)\+([^+]+@\d+)\+c(\d+)\.manifest", file)
        if match:
            name, sequence = f"{match[1]}/{match[2]}", int(match[3])
            if name not in names or names[name][0] < sequence:
                names[name] = (sequence, file)
    return {name: file for name, (_, file) in names.items()}


def read_manifest(store, file):
    with open(os.path.join(store, "manifests", file), "rb") as stream:
        data = stream.read()
    magic, version, _, length = struct.unpack_from("<8sIIQ", data)
    if magic != b"TEPHRAMF" or version != 1 or len(data) != 24 + length + 16:
        fail(f"{file} is not a manifest file of version 1")
    if xxhash and xxh3(data[:-16]) != little(data[-16:]):
        fail(f"{file} fails its checksum")
    record = fields(data[24:24 + length])
    tensors = []
    for raw in record.get(2, []):
        found = fields(raw)
        pieces = []
        for piece in map(fields, found.get(7, [])):
            pieces.append((one(piece, 1, 0), one(piece, 2, 0), address(one(piece, 3, b"")), one(piece, 4, 0)))
        tensors.append({"name": one(found, 1, b"").decode(), "kind": KINDS[one(found, 2, 0)], "dtype": one(found, 3, b"").decode(),
                        "shape": varints(found.get(4, [])), "frozen": bool(one(found, 6, 0)), "pieces": pieces})
    return tensors


def read_footer(path, places):
    """Adds {chunk's address: (path, offset)}."""
    with open(path, "rb") as stream:
        header = stream.read(64)
        size = os.fstat(stream.fileno()).st_size
        stream.seek(size - 64)
        trailer = stream.read(64)
        offset, count, file_bytes = struct.unpack_from("<QQQ", trailer)
        version = struct.unpack_from("<I", header, 8)[0]
        if header[:8] != b"TEPHRAPK" or trailer[56:] != b"TEPHRAND" or file_bytes != size or offset + 32 * count + 64 > size:
            fail(f"{path} is not a whole pack")
        if version != 2:
            fail(f"{path} is a pack of version {version}, not 2")
        stream.seek(offset)
        footer = stream.read(size - 64 - offset)  # entries, then blocks' hashes
    if xxhash and xxh3(header + footer + trailer[:24]) != little(trailer[24:40]):
        fail(f"{path}: its footer fails its checksum")
    for at in range(0, 32 * count, 32):
        length, chunk_offset = struct.unpack_from("<QQ", footer, at + 16)
        places.setdefault((little(footer[at:at + 16]), length), (path, chunk_offset))


def chunk_places(store):
    places, packs = {}, os.path.join(store, "packs")
    for file in sorted(os.listdir(packs)):
        if file.endswith(".pack"):
            read_footer(os.path.join(packs, file), places)
    return places


def read_tensor(tensor, places):
    dtype = np.dtype(DTYPES[tensor["dtype"]])
    flat = np.empty(int(np.prod(tensor["shape"], dtype=np.int64)), dtype)
    for begin, count, chunk, offset in tensor["pieces"]:
        if chunk not in places:
            fail(f"{tensor['name']}: chunk {chunk[0].hex()} is in no pack")
        path, at = places[chunk]
        with open(path, "rb") as stream:
            stream.seek(at)
            data = stream.read(chunk[1])
        if len(data) != chunk[1] or (xxhash and chunk_hash(data) != chunk[0]):
            fail(f"{tensor['name']}: chunk {chunk[0].hex()} of {path} fails its checksum")
        flat[begin:begin + count] = np.frombuffer(data, dtype, count, offset)
    if tensor["dtype"] == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(tensor["shape"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--npz", help="file to write the tensors to")
    arguments = parser.parse_args()
    if not xxhash:
        print("read_checkpoint: the package xxhash is not installed; checksums are not compared", file=sys.stderr)
    names = manifest_names(arguments.store)
    if not arguments.checkpoint:
        print("\n".join(sorted(names)))
        return
    if arguments.checkpoint not in names:
        fail(f"there is no {arguments.checkpoint}; without a name the script lists what there is")
    tensors = read_manifest(arguments.store, names[arguments.checkpoint])
    if not arguments.npz:
        for t in tensors:
            print(t["name"], t["kind"], t["dtype"], t["shape"], "frozen" if t["frozen"] else "trained")
        return
    places = chunk_places(arguments.store)
    np.savez(arguments.npz, **{t["name"] if t["kind"] == "parameter" else f"{t['name']}:{t['kind']}": read_tensor(t, places) for t in tensors})


if __name__ == "__main__":
    main()
