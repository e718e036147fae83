#!/usr/bin/env python3
"""ZipNN beside wcodec on one safetensors file, one thread each, round after round.

    cargo build --release
    python3 benches/peers/zipnn_bench.py models/minilm-bf16.safetensors --wcodec target/release/wcodec

ZipNN gets the file's data section as one bytearray of the file's most frequent element type and is called as its users call it:
ZipNN(input_format="byte", bytearray_dtype=..., threads=1), compress() and decompress(). wcodec is measured by `wcodec bench
--threads 1 --json`, encoding from and decoding to memory: the whole file, of which it takes a SHA-256 as it goes, and the tensors
alone, which is what ZipNN does ("tensors": hashes of each tensor and CRCs of each tile are still taken). GB/s are 1e9 uncompressed bytes each second; ratios
are coded / uncompressed bytes.

Page faults are kept out of ZipNN's time as they are out of wcodec's. ZipNN allocates its outputs with malloc, which by default
gives large blocks back to the system at once, so that every call would fault all its pages in anew: on the machine of the stored
results that alone takes decoding from 3.6 GB/s down to 1.8. So this script runs itself again with malloc told to keep what it
has (MALLOC_MMAP_THRESHOLD_ and so on: glibc only), and warms up until the pages are there. compress() takes its input apart, so
each call gets a fresh copy, made outside of the timing.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import time
import warnings

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
WARM_UPS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a safetensors file of mostly BF16, F16 or F32")
    parser.add_argument("--wcodec", default="target/release/wcodec", help="the wcodec command")
    parser.add_argument("--runs", type=int, default=7, help="rounds; figures are their medians")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    args = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        # malloc reads its settings when the process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
    if args.runs < 1:
        sys.exit("--runs must be at least 1")
    if not os.path.exists(args.file):
        sys.exit(f"{args.file}: not there (skipped: run `cargo xtask models`)")
    if not os.path.exists(args.wcodec):
        sys.exit(f"{args.wcodec}: not there; build it with `cargo build --release`")
    try:
        # ZipNN's use of torch.jit draws a warning at every start.
        warnings.simplefilter("ignore")
        from zipnn import ZipNN
    except ImportError as e:
        sys.exit(f"zipnn is missing ({e}); install it with `pip install zipnn torch`")
    report = measure(args, ZipNN)
    print(json.dumps(report, indent=2) if args.json else table(report))
    if not all(codec["exact"] for codec in (report["zipnn"], report["wcodec"])):
        sys.exit(1)


def measure(args, ZipNN):
    name, data = read(args.file)
    if name not in DTYPES:
        sys.exit(f"{args.file}: mostly {name}, which is unsupported here (bfloat16, float16, float32)")
    zipnn = ZipNN(input_format="byte", bytearray_dtype=DTYPES[name], threads=1)
    for _ in range(WARM_UPS):
        zipnn.decompress(zipnn.compress(bytearray(data)))
    encode, decode, rounds, exact = [], [], [], True
    for _ in range(args.runs):
        fresh = bytearray(data)
        start = time.perf_counter()
        coded = zipnn.compress(fresh)
        encode.append(time.perf_counter() - start)
        size = len(coded)
        start = time.perf_counter()
        decoded = zipnn.decompress(coded)
        decode.append(time.perf_counter() - start)
        exact = exact and decoded == data
        del fresh, coded, decoded
        rounds.append(wcodec(args))
    gb = len(data) / 1e9
    ours = {key: statistics.median(r[key] for r in rounds) for key in ("ratio", "encode_gb_s", "encode_tensors_gb_s", "decode_gb_s")}
    theirs = {
        "ratio": size / len(data),
        "encode_gb_s": gb / statistics.median(encode),
        "decode_gb_s": gb / statistics.median(decode),
    }
    return {
        "file": args.file,
        "dtype": DTYPES[name],
        "runs": args.runs,
        "zipnn": {**theirs, "exact": exact},
        "wcodec": {**ours, "exact": all(r["exact"] for r in rounds)},
        "encode_times": ours["encode_gb_s"] / theirs["encode_gb_s"],
        "encode_tensors_times": ours["encode_tensors_gb_s"] / theirs["encode_gb_s"],
        "decode_times": ours["decode_gb_s"] / theirs["decode_gb_s"],
    }


def read(path):
    """The element type that most bytes have, and the data section."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    sizes = {}
    for name, info in header.items():
        if name != "__metadata__":
            start, end = info["data_offsets"]
            sizes[info["dtype"]] = sizes.get(info["dtype"], 0) + end - start
    return max(sizes, key=sizes.get), data


def wcodec(args):
    """One round: the command's own median of three, so that its first, cold one does not count."""
    # The settings above are for ZipNN's sake: wcodec runs as it always does.
    environment = {k: v for k, v in os.environ.items() if k not in MALLOC}
    command = [args.wcodec, "bench", args.file, "--threads", "1", "--runs", "3", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    if report["threads"] != 1:
        sys.exit(f"{args.wcodec}: ran on {report['threads']} threads")
    return report


def table(r):
    lines = [
        f"{r['file']} as {r['dtype']}, one thread, median of {r['runs']} rounds",
        "",
        "| codec | ratio | encode GB/s | tensors | decode GB/s | exact |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for name in ("zipnn", "wcodec"):
        c = r[name]
        exact = "yes" if c["exact"] else "NO"
        tensors = f"{c['encode_tensors_gb_s']:.3f}" if "encode_tensors_gb_s" in c else ""
        lines.append(f"| {name} | {c['ratio']:.4f} | {c['encode_gb_s']:.3f} | {tensors} | {c['decode_gb_s']:.2f} | {exact} |")
    lines.append(f"| wcodec / zipnn | | {r['encode_times']:.2f} × | {r['encode_tensors_times']:.2f} × | {r['decode_times']:.2f} × | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
