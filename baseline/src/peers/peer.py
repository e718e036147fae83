"""A Python package measured on tensors that come by standard input: a line of JSON and as many bytes, one answer a line.

Only the package's own calls are timed; what comes back is compared. One thread.
"""

import json
import sys
import time
import warnings

ENOUGH = 0.05
ZIPNN_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def zipnn():
    from zipnn import ZipNN

    coders = {name: ZipNN(input_format="byte", bytearray_dtype=name, threads=1) for name in ZIPNN_TYPES.values()}

    def call(method, data, dtype):
        # What is no float it does not know: kept as it is.
        return getattr(coders[ZIPNN_TYPES[dtype]], method)(data) if dtype in ZIPNN_TYPES else bytes(data)

    return "zipnn", lambda data, dtype: call("compress", data, dtype), lambda coded, dtype: call("decompress", coded, dtype)


def blosc2():
    import blosc2

    blosc2.set_nthreads(1)
    sizes = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "I16": 2}
    encode = lambda data, dtype: blosc2.compress2(
        data, codec=blosc2.Codec.ZSTD, clevel=5, typesize=sizes.get(dtype, 1), nthreads=1, filters=[blosc2.Filter.SHUFFLE]
    )
    return "blosc2 zstd", encode, lambda coded, dtype: blosc2.decompress2(coded, nthreads=1)


def median(call, runs):
    times, result = [], None
    while len(times) < runs and (not times or sum(times) < ENOUGH):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2], result


def measure(encode, decode, data, dtype, runs):
    # ZipNN takes its input apart: each call has a copy of its own.
    times, coded = [], None
    while len(times) < runs and (not times or sum(times) < ENOUGH):
        fresh = bytearray(data)
        seconds, coded = median(lambda: encode(fresh, dtype), 1)
        times.append(seconds)
    decode_s, out = median(lambda: decode(coded, dtype), runs)
    if bytes(out) != data:
        return {"error": "did not come back exactly"}
    return {"coded": len(coded), "encode_s": sorted(times)[len(times) // 2], "decode_s": decode_s}


def answer(value):
    print(json.dumps(value), flush=True)


def main():
    warnings.simplefilter("ignore")
    package = {"zipnn": zipnn, "blosc2": blosc2}[sys.argv[1]]
    try:
        label, encode, decode = package()
    except ImportError:
        return answer({"error": "the Python package is not installed"})
    answer({"label": label})
    source = sys.stdin.buffer
    while line := source.readline():
        question = json.loads(line)
        data = source.read(question["len"])
        try:
            answer(measure(encode, decode, data, question["dtype"], question["runs"]))
        except Exception as e:
            answer({"error": f"{type(e).__name__}: {e}"})


main()
