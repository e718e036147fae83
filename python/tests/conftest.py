"""Small tensors of many types, and real models where they are fetched."""

import os
import pathlib

import numpy
import pytest


@pytest.fixture
def arrays():
    rng = numpy.random.default_rng(1)
    kinds = ["u1", "i1", "<i2", "<u2", "<f2", "<i4", "<u4", "<f4", "<f8", "<i8", "<u8", "<c8", "bool"]
    out = {f"{kind.strip('<')}": (100 * rng.standard_normal((7, 33))).astype(kind) for kind in kinds}
    out["vector"] = rng.standard_normal(1000).astype("<f4")
    out["cube"] = rng.standard_normal((3, 5, 40)).astype("<f2")
    out["large"] = rng.standard_normal((300, 700)).astype("<f4")
    out["scalar"] = numpy.array(3.5, "<f4")
    out["none"] = numpy.zeros((0, 4), "<f4")
    return out


@pytest.fixture
def model():
    """A model's file by its name, or a word why the test is skipped."""

    def find(name):
        here = pathlib.Path(__file__).parents[2] / "models"
        path = pathlib.Path(os.environ.get("WCODEC_MODELS", here)) / name
        if not path.exists():
            pytest.skip("run `cargo xtask models`")
        return path

    return find
