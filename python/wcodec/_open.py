"""``safe_open``: safetensors' interface over an archive."""

from __future__ import annotations

import json
import numbers
from typing import Any, Dict, List, Optional, Tuple, Type

from . import _wcodec
from ._frameworks import Numpy, framework_of


class safe_open:
    """Opens an archive as ``safetensors.safe_open`` opens a file: a context manager that reads what is asked for.

    ``framework``: "pt" (torch), "np" (NumPy) or "flax"/"jax"; ``device``: where torch's tensors go. ``backend`` is safetensors', and changes
    nothing here. ``base``: the file that the archive was made against.
    """

    def __init__(
        self, filename: Any, framework: str = "pt", device: Any = "cpu", *, backend: str = "mmap", base: Any = None
    ) -> None:
        self._archive: Optional[_wcodec.Archive] = _wcodec.Archive(filename, base)
        self._framework: Type[Numpy] = framework_of(framework)
        self._device = device

    def __enter__(self) -> "safe_open":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._archive = None

    def _open(self) -> _wcodec.Archive:
        if self._archive is None:
            raise _wcodec.WcodecError("the archive is closed")
        return self._archive

    def keys(self) -> List[str]:
        """Names of the tensors, sorted, as safetensors has them."""
        return sorted(self._open().keys())

    def offset_keys(self) -> List[str]:
        """Names of the tensors, in the order of the file."""
        return self._open().keys()

    def metadata(self) -> Optional[Dict[str, str]]:
        """What the safetensors header has of its own; None where it has nothing."""
        header = self._open().header()
        if header is None or header[:4] == b"GGUF":
            return None
        metadata: Optional[Dict[str, str]] = json.loads(header[8:]).get("__metadata__")
        return metadata

    def get_tensor(self, name: str) -> Any:
        """A tensor, whole."""
        archive = self._open()
        dtype, shape = archive.info(name)
        return self._framework.tensor(archive.tensor(name), dtype, shape, self._device)

    def get_tensors(self) -> Dict[str, Any]:
        """All tensors, decoded side by side."""
        return self._framework.load(self._open(), self._device)

    def get_slice(self, name: str) -> "Slice":
        """A tensor of which only the parts are decoded that are asked for."""
        self._open().info(name)
        return Slice(self, name)


class Slice:
    """A tensor that is indexed before it is decoded."""

    def __init__(self, file: safe_open, name: str) -> None:
        self._file, self._name = file, name
        self._dtype, self._shape = file._open().info(name)

    def get_shape(self) -> List[int]:
        return list(self._shape)

    def get_dtype(self) -> str:
        return self._dtype

    def __getitem__(self, index: Any) -> Any:
        archive, framework = self._file._open(), self._file._framework
        index = tuple(_number(i) for i in (index if isinstance(index, tuple) else (index,)))
        shape = self._shape
        rows, _ = archive.grid(self._name)
        element = framework.bytes_of(self._dtype)
        if not shape or element is None or any(isinstance(i, bool) or not isinstance(i, (int, slice)) for i in index):
            return self._file.get_tensor(self._name)[index if len(index) != 1 else index[0]]
        if len(index) > len(shape):
            raise IndexError(f"{len(index)} indices for {len(shape)} dimensions")
        ranges = [_range(i, n) for i, n in zip(index, shape)] + [(0, n) for n in shape[len(index) :]]
        # Of the first dimension the rows that are touched, of the last the columns; the rest is indexed afterwards.
        if len(shape) == 1:
            (left, right), (first, end) = ranges[0], (0, rows)
            taken: Tuple[Any, ...] = (_rest(index[0]),)
            part = [right - left]
        else:
            each = rows // shape[0] if shape[0] else 0
            first, end = ranges[0][0] * each, ranges[0][1] * each
            left, right = ranges[-1]
            part = [ranges[0][1] - ranges[0][0], *shape[1:-1], right - left]
            ends = (0, len(shape) - 1)
            taken = tuple(_rest(i) if d in ends else i for d, i in enumerate(index))
        memory = archive.rows(self._name, first, max(first, end), left, max(left, right), part)
        return framework.tensor(memory, self._dtype, part, self._file._device)[taken if len(taken) != 1 else taken[0]]


def _number(index: Any) -> Any:
    """NumPy's numbers as Python's; what else is an index as it is."""
    return int(index) if isinstance(index, numbers.Integral) and not isinstance(index, bool) else index


def _range(index: Any, n: int) -> Tuple[int, int]:
    """What of a dimension of ``n`` is touched."""
    if isinstance(index, int):
        at = index + n if index < 0 else index
        if not 0 <= at < n:
            raise IndexError(f"index {index} is outside of {n}")
        return at, at + 1
    touched = range(n)[index]
    return (0, 0) if len(touched) == 0 else (min(touched[0], touched[-1]), max(touched[0], touched[-1]) + 1)


def _rest(index: Any) -> Any:
    """The index within what was touched."""
    if isinstance(index, int):
        return 0
    return slice(None, None, index.step)
