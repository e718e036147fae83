"""Without a copy: NumPy, torch, JAX; who keeps what alive; devices."""

import gc
import sys

import numpy
import pytest
import wcodec
import wcodec.numpy
import wcodec.torch
from wcodec import _wcodec


@pytest.fixture
def archive(tmp_path, arrays):
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file(arrays, path)
    return path


def address_of(memory):
    return memory.__array_interface__["data"][0]


def test_numpy_shares(archive):
    for _, _, _, memory in _wcodec.Archive(archive).load():
        if len(memory):
            assert numpy.asarray(memory).ctypes.data == address_of(memory)
    one = _wcodec.Archive(archive).tensor("large")
    assert numpy.asarray(one).ctypes.data == address_of(one)


def test_torch_shares(archive, arrays):
    torch = pytest.importorskip("torch")
    from wcodec._frameworks import Torch

    for name, dtype, shape, memory in _wcodec.Archive(archive).load():
        tensor = Torch.tensor(memory, dtype, shape)
        expected = torch.from_numpy(arrays[name])
        assert tensor.dtype == expected.dtype and torch.equal(tensor, expected), name
        if not len(memory):
            continue
        assert tensor.data_ptr() == address_of(memory) and tensor.data_ptr() % 64 == 0
        # A storage each: what saves one tensor does not save all of them.
        assert tensor.untyped_storage().nbytes() == len(memory)


def test_tensors_are_ours_to_write_to_and_outlive_each_other(archive, arrays):
    torch = pytest.importorskip("torch")
    for _ in range(4):  # arenas are used again
        loaded = wcodec.torch.load_file(archive)
        large, cube = loaded.pop("large"), loaded.pop("cube")
        del loaded
        gc.collect()
        assert torch.equal(large, torch.from_numpy(arrays["large"]))
        large.zero_()
        assert torch.equal(cube, torch.from_numpy(arrays["cube"]))
    # While one arena is held, another load has memory of its own.
    again = wcodec.torch.load_file(archive)
    again["large"].fill_(1)
    assert float(large.abs().max()) == 0


def test_jax_shares(archive, arrays):
    jax = pytest.importorskip("jax")
    from wcodec._frameworks import Jax

    with wcodec.safe_open(archive, framework="flax") as file:
        for name in file.keys():
            got, expected = file.get_tensor(name), jax.numpy.asarray(arrays[name])
            assert isinstance(got, jax.Array) and got.dtype == expected.dtype and got.shape == expected.shape
            assert numpy.array_equal(numpy.asarray(got), numpy.asarray(expected)), name
        assert numpy.array_equal(numpy.asarray(file.get_slice("large")[3:5, 1:9]), arrays["large"][3:5, 1:9])
    memory = _wcodec.Archive(archive).tensor("large")
    assert Jax.tensor(memory, "F32", [300, 700]).unsafe_buffer_pointer() == address_of(memory)


def test_a_capsule_is_taken_once(archive):
    torch = pytest.importorskip("torch")
    capsule = _wcodec.Archive(archive).tensor("large").__dlpack__()
    assert torch.utils.dlpack.from_dlpack(capsule).shape == (300, 700)
    with pytest.raises(Exception):
        torch.utils.dlpack.from_dlpack(capsule)
    assert _wcodec.Archive(archive).tensor("large").__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError):
        _wcodec.Archive(archive).tensor("c8").__dlpack__()


def test_types_that_numpy_lacks(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.wcodec"
    made = {"bf16": torch.randn(30, 40).bfloat16(), "fp8": torch.randn(8).to(torch.float8_e5m2)}
    wcodec.torch.save_file(made, path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ml_dtypes", None)
        with pytest.raises(wcodec.WcodecError, match="install ml_dtypes"):
            wcodec.numpy.load_file(path)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    loaded = wcodec.numpy.load_file(path)
    assert loaded["bf16"].dtype == ml_dtypes.bfloat16 and loaded["fp8"].dtype == ml_dtypes.float8_e5m2
    assert numpy.array_equal(loaded["bf16"].astype("f4"), made["bf16"].float().numpy())
    wcodec.numpy.save_file(loaded, tmp_path / "again.wcodec")
    again = wcodec.torch.load_file(tmp_path / "again.wcodec")
    assert all(torch.equal(again[n].view(torch.uint8), made[n].view(torch.uint8)) for n in made)


def test_cuda(archive, arrays):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    loaded = wcodec.torch.load_file(archive, device="cuda")
    for name, array in arrays.items():
        assert loaded[name].is_cuda and torch.equal(loaded[name].cpu(), torch.from_numpy(array)), name
    with wcodec.safe_open(archive, framework="pt", device="cuda:0") as file:
        assert file.get_slice("large")[2:4].is_cuda
