#!/usr/bin/env python3
"""Loading a checkpoint into torch: wcodec beside safetensors and zipnn.

    pip install ./python torch safetensors zipnn
    python3 benches/python_load.py models/minilm-bf16.safetensors [--threads 2] [--runs 9]

safetensors' tensors are views of a map until somebody touches them: "touched" reads a byte of every page, "materialised" clones them into memory that
can be written to, which is what wcodec gives. zipnn decompresses the file's data section (as BF16) and gives bytes.

warm      all in turn in one process, with other memory used and freed between them
in a row  each by itself again and again in one process: what malloc and wcodec keep is there
first     the first load of a process, everything imported
cold      in turn, the files dropped from the page cache before each (root on Linux only)
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

warnings.simplefilter("ignore")


def loads(source, archive, zipped, threads):
    """What is measured, by its name."""
    import safetensors.torch
    import torch
    import wcodec.torch

    torch.set_num_threads(threads)

    def touched():
        tensors = safetensors.torch.load_file(source)
        for tensor in tensors.values():
            tensor.reshape(-1).view(torch.uint8)[::4096].sum()
        return tensors

    def bytes_of_zipnn():
        with open(zipped, "rb") as f:
            return zipnn.decompress(bytearray(f.read()))

    out = {
        "safetensors": lambda: safetensors.torch.load_file(source),
        "safetensors, touched": touched,
        "safetensors, materialised": lambda: {n: t.clone() for n, t in safetensors.torch.load_file(source).items()},
        "wcodec": lambda: wcodec.torch.load_file(archive, threads=threads),
    }
    try:
        from zipnn import ZipNN

        zipnn = ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=threads)
        out["zipnn, bytes"] = bytes_of_zipnn
    except ImportError:
        pass
    return out


def prepare(source, archive, zipped, threads):
    """Makes the archive and zipnn's file; what they give is what the source has."""
    import torch
    import wcodec

    wcodec.compress(source, archive)
    with open(source, "rb") as f:
        data = f.read()
    data = data[8 + int.from_bytes(data[:8], "little") :]
    measured = loads(source, archive, zipped, threads)
    expected, got = measured["safetensors"](), measured["wcodec"]()
    assert expected.keys() == got.keys()
    assert all(torch.equal(t.reshape(-1).view(torch.uint8), got[n].reshape(-1).view(torch.uint8)) for n, t in expected.items())
    if "zipnn, bytes" in measured:
        from zipnn import ZipNN

        with open(zipped, "wb") as f:
            f.write(ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=threads).compress(bytearray(data)))
        assert measured["zipnn, bytes"]() == data
    else:
        print("zipnn is not installed")
    return measured


def timed(load):
    start = time.perf_counter()
    tensors = load()
    seconds = time.perf_counter() - start
    del tensors
    return seconds


def forget():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def back(size):
    """A guest may have given its memory back to the host (see `wcodec::back_memory`): nobody is to wait for that."""
    import numpy

    numpy.ones(size, "u1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = 3 * os.path.getsize(args.file)
    if args.once:
        name, folder = args.once
        load = loads(args.file, os.path.join(folder, "model.wcodec"), os.path.join(folder, "model.znn"), args.threads)[name]
        back(size)
        print(timed(load))
        return
    with tempfile.TemporaryDirectory(dir=os.path.dirname(args.file) or ".") as folder:
        measured = prepare(args.file, os.path.join(folder, "model.wcodec"), os.path.join(folder, "model.znn"), args.threads)
        rounds = range(args.runs)
        times = {name: [] for name in measured}
        for _ in rounds:
            for name, load in measured.items():
                back(size)
                times[name].append(timed(load))
        report("warm", times)
        report("in a row", {name: [timed(load) for _ in range(args.runs + 3)][3:] for name, load in measured.items()})
        own = [sys.executable, __file__, args.file, "--threads", str(args.threads), "--once"]
        once = lambda name: float(subprocess.run([*own, name, folder], check=True, capture_output=True, text=True).stdout)  # noqa: E731
        report("first", {name: [once(name) for _ in rounds] for name in measured})
        try:
            forget()
        except (OSError, subprocess.CalledProcessError):
            print("cold is not measured: the page cache cannot be dropped")
            return
        times = {name: [] for name in measured}
        for _ in rounds:
            for name, load in measured.items():
                forget()
                back(size)
                times[name].append(timed(load))
        report("cold", times)


def report(how, times):
    plain, whole = (statistics.median(times[name]) for name in ("safetensors", "safetensors, materialised"))
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"({1e3 * min(seconds):.2f} to {1e3 * max(seconds):.2f})"
        print(f"{how:9} {name:26} {1e3 * middle:8.2f} ms  {spread:22} {middle / plain:6.2f} x safetensors {middle / whole:6.2f} x materialised")


if __name__ == "__main__":
    main()
