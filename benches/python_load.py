#!/usr/bin/env python3
"""Loading a checkpoint into torch: wcodec beside safetensors and zipnn, in one process, turn by turn.

    pip install ./python torch safetensors zipnn
    python3 benches/python_load.py models/minilm-bf16.safetensors [--threads 2] [--runs 9]

"materialised": safetensors' tensors are views of a map until somebody touches them, so they are cloned. zipnn decompresses the file's data
section (BF16) from memory, and gives bytes. Cold: the files are dropped from the page cache before each run (root on Linux only).
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
import warnings


def forget():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()

    import numpy
    import safetensors.torch
    import torch
    import wcodec
    import wcodec.torch

    torch.set_num_threads(args.threads)
    archive = os.path.join(tempfile.mkdtemp(dir=os.path.dirname(args.file) or "."), "model.wcodec")
    wcodec.compress(args.file, archive)

    def materialised():
        return {name: tensor.clone() for name, tensor in safetensors.torch.load_file(args.file).items()}

    loads = {
        "safetensors": lambda: safetensors.torch.load_file(args.file),
        "safetensors, materialised": materialised,
        "wcodec": lambda: wcodec.torch.load_file(archive, threads=args.threads),
    }
    expected, got = materialised(), loads["wcodec"]()
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[n].view(torch.uint8), got[n].view(torch.uint8)) for n in expected if expected[n].dim())
    del expected, got
    try:
        warnings.simplefilter("ignore")
        from zipnn import ZipNN

        with open(args.file, "rb") as f:
            data = f.read()
        data = bytearray(data[8 + int.from_bytes(data[:8], "little") :])
        size = len(data)
        zipnn = ZipNN(input_format="byte", bytearray_dtype="bfloat16", threads=args.threads)
        coded = zipnn.compress(data)
        path = archive + ".znn"
        with open(path, "wb") as f:
            f.write(coded)

        def decompress():
            with open(path, "rb") as f:
                return zipnn.decompress(bytearray(f.read()))

        assert len(decompress()) == size
        loads["zipnn, bytes"] = decompress
    except ImportError:
        print("zipnn is not installed")

    for cache in ["warm", "cold"]:
        if cache == "cold":
            try:
                forget()
            except (OSError, subprocess.CalledProcessError):
                print("cold is not measured: the page cache cannot be dropped")
                continue
        times = {name: [] for name in loads}
        for _ in range(args.runs):
            for name, load in loads.items():
                if cache == "cold":
                    forget()
                backed = numpy.ones(3 * os.path.getsize(args.file), "u1")
                # A guest may have given its memory back to the host (see `wcodec::back_memory`): nobody is to wait for that.
                del backed
                start = time.perf_counter()
                tensors = load()
                times[name].append(time.perf_counter() - start)
                del tensors
        unit = statistics.median(times["safetensors"])
        for name, seconds in times.items():
            middle = statistics.median(seconds)
            print(f"{cache}  {name:26} {1e3 * middle:8.2f} ms  ({1e3 * min(seconds):.2f} to {1e3 * max(seconds):.2f})  {middle / unit:6.2f} x safetensors")
    for name in os.listdir(os.path.dirname(archive)):
        os.remove(os.path.join(os.path.dirname(archive), name))
    os.rmdir(os.path.dirname(archive))


if __name__ == "__main__":
    main()
