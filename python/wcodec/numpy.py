"""Archives as safetensors.numpy has files: ``load_file`` and ``save_file``."""

from __future__ import annotations

from typing import Any, Dict, Optional

from . import _wcodec
from ._frameworks import _ML_DTYPES, _NUMPY, Numpy
from ._save import Part, save


def load_file(
    filename: Any, *, backend: str = "mmap", base: Any = None, threads: int = 0, dequantize: Optional[str] = None
) -> Dict[str, Any]:
    """All tensors of an archive by name, as arrays that share the memory that they were decoded into.

    ``backend`` is safetensors', and changes nothing here. ``base``: the file that the archive was made against. ``threads``: 0 for one a core.
    ``dequantize``: "bf16", "fp16" or "fp32", the weights of a quantized checkpoint as such floats instead of integers and scales.
    """
    return Numpy.load(_wcodec.Archive(filename, base), "cpu", threads, dequantize)


def save_file(
    tensor_dict: Dict[str, Any], filename: Any, metadata: Optional[Dict[str, str]] = None, *, effort: int = 1
) -> None:
    """Writes an archive that decompresses to what ``safetensors.numpy.save_file`` would have written, byte for byte (of several metadata, theirs
    are in any order)."""
    import numpy

    names = {numpy.dtype(t): name for name, t in _NUMPY.items()}
    by_name = {t: name for name, t in _ML_DTYPES.items()}
    parts: Dict[str, Part] = {}
    for name, array in tensor_dict.items():
        dtype = names.get(array.dtype) or by_name.get(array.dtype.name)
        if dtype is None:
            raise _wcodec.WcodecError(f"{name}: safetensors has no {array.dtype}")
        own = numpy.ascontiguousarray(array)
        parts[name] = (dtype, list(array.shape), own.ctypes.data, own.nbytes, own)
    save(parts, filename, metadata, effort)
