"""Tensors: NumPy, torch, slices; what is saved is a safetensors file."""

import inspect

import numpy
import pytest
import wcodec
import wcodec.numpy
import wcodec.torch


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def archive(tmp_path, arrays):
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file(arrays, path, metadata={"made": "here"})
    return path


def test_arrays_come_back(archive, arrays):
    loaded = wcodec.numpy.load_file(archive)
    assert loaded.keys() == arrays.keys()
    assert all(same(loaded[name], arrays[name]) for name in arrays)
    loaded["large"][0, 0] = 1  # ours to write to


def test_what_is_saved_is_what_safetensors_saves(tmp_path, archive, arrays):
    theirs = pytest.importorskip("safetensors.numpy")
    theirs.save_file(arrays, tmp_path / "theirs.safetensors", metadata={"made": "here"})
    wcodec.decompress(archive, tmp_path / "ours.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_integers_as_floats(tmp_path):
    rng = numpy.random.default_rng(1)
    codes = rng.integers(-127, 128, (40, 300)).astype("i1")
    scales = rng.standard_normal((40, 1)).astype("<f2")
    norm = rng.standard_normal(300).astype("<f4")
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file({"a.weight": codes, "a.weight_scale": scales, "norm.weight": norm}, path)
    products = codes.astype("<f4") * scales.astype("<f4")
    for name, dtype in [("fp32", "<f4"), ("fp16", "<f2")]:
        loaded = wcodec.numpy.load_file(path, dequantize=name)
        assert loaded.keys() == {"a.weight", "norm.weight"}
        assert same(loaded["a.weight"], products.astype(dtype)) and same(loaded["norm.weight"], norm)
    with pytest.raises(wcodec.WcodecError, match="int8"):
        wcodec.numpy.load_file(path, dequantize="int8")


def test_safe_open(archive, arrays):
    with wcodec.safe_open(archive, framework="np") as file:
        assert file.keys() == sorted(arrays) and file.metadata() == {"made": "here"}
        assert all(same(file.get_tensor(name), arrays[name]) for name in arrays)
        together = file.get_tensors()
        assert list(together) == file.offset_keys() and all(same(together[name], arrays[name]) for name in arrays)
    with pytest.raises(wcodec.WcodecError, match="closed"):
        file.keys()
    with pytest.raises(wcodec.WcodecError, match="framework"):
        wcodec.safe_open(archive, framework="pencil")


def test_slices_are_those_of_numpy(archive, arrays):
    indices = {
        "large": [
            5, -1, slice(10, 20), slice(None), slice(20, 10), slice(5, 290, 7), (3, 4), (slice(1, 3), slice(600, 700)),
            (slice(None), 5), (slice(2, 9, 3), slice(1, -1, 2)), (-1, slice(None, 3)), (slice(5, 5), slice(1, 2)), Ellipsis,
        ],
        "vector": [7, slice(100, 200), slice(-3, None), slice(0, 1000, 9)],
        "cube": [1, slice(1, 3), (2, 3), (slice(0, 2), 1, slice(5, 30)), (1, slice(1, 4), 39), (slice(None), slice(None), 0)],
        "none": [slice(None), (slice(0, 0), slice(1, 3))],
        "scalar": [()],
    }
    with wcodec.safe_open(archive, framework="np") as file:
        for name, each in indices.items():
            part = file.get_slice(name)
            assert part.get_shape() == list(arrays[name].shape) and part.get_dtype() in ("F32", "F16")
            for index in each:
                expected = numpy.asarray(arrays[name][index])
                assert same(numpy.asarray(part[index]), numpy.ascontiguousarray(expected).reshape(expected.shape)), (name, index)
        for name, index in [("large", 300), ("large", (0, 700)), ("vector", (0, 0))]:
            with pytest.raises(IndexError):
                file.get_slice(name)[index]


def test_torch(tmp_path):
    torch = pytest.importorskip("torch")
    made = {
        "bf16": torch.randn(70, 130).to(torch.bfloat16),
        "fp8": torch.randn(64, 64).to(torch.float8_e4m3fn),
        "transposed": torch.randn(40, 50).t(),
        "half": torch.randn(3).half(),
        "long": torch.arange(10),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 3),
    }
    path = tmp_path / "model.wcodec"
    wcodec.torch.save_file(made, path, metadata={"format": "pt"})
    loaded = wcodec.torch.load_file(path)
    bytes_of = lambda t: t.contiguous().view(torch.uint8)  # noqa: E731
    equal = lambda a, b: a.dtype == b.dtype and a.shape == b.shape and torch.equal(bytes_of(a), bytes_of(b))  # noqa: E731
    for name, tensor in made.items():
        flat = lambda t: t.reshape(-1) if t.dim() == 0 else t  # noqa: E731
        assert equal(flat(loaded[name]), flat(tensor)), name
    with wcodec.safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_slice("transposed")[3:9, 2:], made["transposed"][3:9, 2:])
        assert file.get_slice("bf16")[5].dtype == torch.bfloat16
    reader = pytest.importorskip("safetensors.torch")
    wcodec.decompress(path, tmp_path / "model.safetensors")
    assert torch.equal(reader.load_file(tmp_path / "model.safetensors")["transposed"], made["transposed"])
    made["transposed"] = made["transposed"].contiguous()  # safetensors wants it so
    made["it's \"ü\"\n"] = torch.ones(3, dtype=torch.float8_e5m2)
    for metadata in [None, {"format": "pt"}]:
        wcodec.torch.save_file(made, path, metadata)
        reader.save_file(made, tmp_path / "theirs.safetensors", metadata)
        wcodec.decompress(path, tmp_path / "model.safetensors", force=True)
        assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_arrays_outlive_the_archive(archive, arrays):
    loaded = wcodec.numpy.load_file(archive)
    large = loaded.pop("large")
    del loaded
    archive.unlink()
    assert same(large, arrays["large"])


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_signatures_are_those_of_safetensors(name):
    theirs = pytest.importorskip(f"safetensors.{name}")
    for function in ["load_file", "save_file"]:
        ours = inspect.signature(getattr(getattr(wcodec, name), function)).parameters
        for parameter in inspect.signature(getattr(theirs, function)).parameters.values():
            mine = ours[parameter.name]
            assert (mine.kind, mine.default) == (parameter.kind, parameter.default), (function, parameter.name)
        positional = [p.name for p in ours.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        expected = inspect.signature(getattr(theirs, function)).parameters.values()
        assert positional == [p.name for p in expected if p.kind is p.POSITIONAL_OR_KEYWORD]
