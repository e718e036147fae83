"""Whole files: the functions, the command, progress, errors."""

import subprocess
import sys

import numpy
import pytest
import wcodec
import wcodec.numpy

safetensors = pytest.importorskip("safetensors.numpy")


@pytest.fixture
def source(tmp_path, arrays):
    path = tmp_path / "model.safetensors"
    safetensors.save_file(arrays, path, metadata={"made": "here"})
    return path


def test_there_and_back(tmp_path, source):
    archive, back = tmp_path / "model.wcodec", tmp_path / "back.safetensors"
    told = []
    sizes = wcodec.compress(source, archive, progress=lambda done, total: told.append((done, total)))
    assert sizes == (source.stat().st_size, archive.stat().st_size)
    assert told[-1][0] == told[-1][1] == sizes[0]
    assert wcodec.verify(archive, source)[1] == sizes[0]
    assert wcodec.decompress(archive, back) == sizes[0]
    assert back.read_bytes() == source.read_bytes()
    reports = {r["name"]: r for r in wcodec.inspect(archive)}
    assert reports["large"]["dtype"] == "F32" and reports["large"]["shape"] == [300, 700]


def test_errors_are_exceptions_that_say_what(tmp_path, source):
    archive = tmp_path / "model.wcodec"
    wcodec.compress(source, archive)
    with pytest.raises(FileExistsError, match="model.wcodec"):
        wcodec.compress(source, archive)
    wcodec.compress(source, archive, force=True, effort=9)
    with pytest.raises(FileNotFoundError, match="missing"):
        wcodec.decompress(tmp_path / "missing.wcodec", tmp_path / "out")
    with pytest.raises(wcodec.WcodecError, match="safetensors"):
        wcodec.compress(archive, tmp_path / "other.wcodec")
    with pytest.raises(wcodec.WcodecError, match="input and output"):
        wcodec.compress(source, source, force=True)
    with pytest.raises(wcodec.WcodecError, match="profile"):
        wcodec.compress(source, archive, profile="best", force=True)
    with pytest.raises(KeyError, match="nothing"):
        with wcodec.safe_open(archive, "np") as file:
            file.get_tensor("nothing")
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    (tmp_path / "damaged.wcodec").write_bytes(damaged)
    with pytest.raises(wcodec.WcodecError, match="damaged"):
        wcodec.verify(tmp_path / "damaged.wcodec")
    with pytest.raises(wcodec.WcodecError, match="damaged"):
        wcodec.numpy.load_file(tmp_path / "damaged.wcodec")


def test_a_callback_that_raises_stops(tmp_path, source):
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        wcodec.compress(source, tmp_path / "stopped.wcodec", progress=stop)
    assert list(tmp_path.iterdir()) == [source]


def test_the_command(tmp_path, source):
    run = lambda *args: subprocess.run([sys.executable, "-m", "wcodec", *map(str, args)], capture_output=True, text=True)  # noqa: E731
    assert run("compress", source, tmp_path / "m.wcodec").returncode == 0
    assert "large" in run("inspect", tmp_path / "m.wcodec").stdout
    assert run("--version").stdout.startswith("wcodec ")
    assert run("compress", source, tmp_path / "m.wcodec").returncode == 7
    assert run("nonsense").returncode == 2


def test_a_base(tmp_path, arrays, source):
    tuned, archive, back = (tmp_path / name for name in ["tuned.safetensors", "tuned.wcodec", "back.safetensors"])
    arrays["vector"] = arrays["vector"] + numpy.float32(1e-4)
    safetensors.save_file(arrays, tuned)
    wcodec.compress(tuned, archive, base=source)
    with pytest.raises(wcodec.WcodecError, match="base"):
        wcodec.decompress(archive, back)
    wcodec.decompress(archive, back, base=source)
    assert back.read_bytes() == tuned.read_bytes()
    loaded = wcodec.numpy.load_file(archive, base=source)
    assert (loaded["vector"] == arrays["vector"]).all()


def test_a_directory(tmp_path, source):
    folder, archives, back = (tmp_path / name for name in ["folder", "archives", "back"])
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    source.rename(folder / "model.safetensors")
    wcodec.compress(folder, archives)
    assert sorted(p.name for p in archives.iterdir()) == ["config.json", "model.wcodec", "model.wcodec.index.json"]
    wcodec.verify(archives, folder)
    wcodec.decompress(archives, back)
    assert all((back / p.name).read_bytes() == p.read_bytes() for p in folder.iterdir())
    assert wcodec.numpy.load_file(archives / "model.wcodec").keys() == safetensors.load_file(folder / "model.safetensors").keys()
