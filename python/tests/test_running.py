"""While it runs: the interpreter's lock, signals, progress, forks, threads."""

import os
import signal
import threading
import time

import numpy
import pytest
import wcodec
import wcodec.numpy


@pytest.fixture
def noise():
    return {"noise": numpy.random.default_rng(2).standard_normal((4000, 1000)).astype("<f4")}


@pytest.fixture
def source(tmp_path, noise):
    path = tmp_path / "model.safetensors"
    pytest.importorskip("safetensors.numpy").save_file(noise, path)
    return path


def test_others_run_meanwhile(tmp_path, source):
    thread = threading.Thread(target=wcodec.compress, args=(source, tmp_path / "model.wcodec"), kwargs={"effort": 5})
    count = 0
    thread.start()
    while thread.is_alive():
        count += 1
    # With the lock held all the while it would be a handful.
    assert count > 1000


def test_signals_stop_it(tmp_path, source):
    def interrupt(done, total):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

    # Who runs in the background may have been started with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            wcodec.compress(source, tmp_path / "model.wcodec", progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.iterdir()) == [source]


def test_a_bar(tmp_path, source, capfd):
    pytest.importorskip("tqdm")
    wcodec.compress(source, tmp_path / "model.wcodec", progress=True)
    assert "compressing: 100%" in capfd.readouterr().err
    wcodec.verify(tmp_path / "model.wcodec", progress=True)
    wcodec.decompress(tmp_path / "model.wcodec", tmp_path / "back", progress=True)
    assert "decompressing: 100%" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_fork_has_threads_of_its_own(tmp_path, noise):
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file(noise, path)
    wcodec.numpy.load_file(path)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = numpy.array_equal(wcodec.numpy.load_file(path)["noise"], noise["noise"])
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads_share_an_archive(tmp_path, noise):
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file(noise, path)
    wrong = []
    with wcodec.safe_open(path, framework="np") as file:

        def read(row):
            if not numpy.array_equal(file.get_slice("noise")[row], noise["noise"][row]):
                wrong.append(row)

        threads = [threading.Thread(target=read, args=(row,)) for row in range(0, 4000, 250)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_slice_reads_its_tiles_only(tmp_path, noise):
    path = tmp_path / "model.wcodec"
    wcodec.numpy.save_file(noise, path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with wcodec.safe_open(path, framework="np") as file:
        part = file.get_slice("noise")
        assert numpy.array_equal(part[:100], noise["noise"][:100]) and numpy.array_equal(part[-100:], noise["noise"][-100:])
        with pytest.raises(wcodec.WcodecError, match="'noise', tile .* damaged"):
            part[:]
        with pytest.raises(wcodec.WcodecError, match="'noise', tile .* damaged"):
            file.get_tensor("noise")
