"""Unpacks from the PyPI wheels what a C++ program needs of LibTorch: unpack_torch.py WHEELS_DIR OUT_DIR.

The wheel also carries Python code, CUDA libraries and, in its include folder, old copies of protobuf's and fmt's headers.
Those two would shadow the system's, so they are left out here and cannot be found by mistake.
"""
import pathlib
import sys
import zipfile

wheels, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
LIBRARIES = ("libtorch_cpu.so", "libc10.so", "libgomp", "libc10_cuda.so")
HIDDEN = ("torch/include/google/", "torch/include/fmt/")


def wanted(name: str) -> bool:
    if name.startswith("torch/include/"):
        return not name.startswith(HIDDEN)
    if name.startswith("torch/lib/"):
        return name.removeprefix("torch/lib/").startswith(LIBRARIES)
    return name.endswith(("libcudart.so.13", "libcupti.so.13"))


for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in filter(wanted, archive.namelist()):
            archive.extract(name, out)
