"""What tensors are in each framework, and what safetensors calls their types."""

from __future__ import annotations

import warnings
from typing import Any, Dict, List, Optional, Type

from ._wcodec import Archive, WcodecError

#: In the order of safetensors.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}
_NUMPY = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4", "F32": "<f4",
    "C64": "<c8", "F64": "<f8", "I64": "<i8", "U64": "<u8",
}
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "C64": "complex64", "F64": "float64", "I64": "int64", "U64": "uint64",
    **{k: v for k, v in _ML_DTYPES.items() if k != "BF16"},
}
#: What DLPack has a word for that every consumer knows. Others go as bytes.
_DLPACK = frozenset(["U8", "I8", "I16", "F16", "BF16", "I32", "F32", "F64", "I64"])
#: What JAX narrows unless it is told not to.
_WIDE = frozenset(["F64", "I64"])
#: Those others.
RAW = sorted(_BITS.keys() - _DLPACK)


class Numpy:
    """Arrays that share the decoded bytes. BF16 and FP8 need the package ml_dtypes."""

    @staticmethod
    def bytes_of(dtype: str) -> Optional[int]:
        bits = _BITS.get(dtype)
        return bits and bits // 8

    @staticmethod
    def dtype(name: str) -> Any:
        import numpy

        if name in _NUMPY:
            return numpy.dtype(_NUMPY[name])
        if name in _ML_DTYPES:
            try:
                import ml_dtypes
            except ImportError as e:
                raise WcodecError(f"NumPy has no {name}: install ml_dtypes, or use framework='pt'") from e
            return numpy.dtype(getattr(ml_dtypes, _ML_DTYPES[name]))
        raise WcodecError(f"NumPy has no {name}")

    @classmethod
    def tensor(cls, memory: Any, dtype: str, shape: List[int], device: Any = "cpu") -> Any:
        import numpy

        return numpy.asarray(memory).view(cls.dtype(dtype)).reshape(shape)


    @classmethod
    def load(cls, archive: Archive, device: Any = "cpu", threads: int = 0, dequantize: Optional[str] = None) -> Dict[str, Any]:
        """All tensors of an archive, decoded side by side."""
        loaded = archive.load(None, threads, dequantize)
        return {name: cls.tensor(memory, dtype, shape, device) for name, dtype, shape, memory in loaded}


class Torch(Numpy):
    """Tensors that share the decoded bytes on the CPU, or are decoded on a CUDA device; copies elsewhere."""

    @staticmethod
    def dtype(name: str) -> Any:
        import torch

        found = getattr(torch, _TORCH.get(name, ""), None)
        if found is None:
            raise WcodecError(f"torch {torch.__version__} has no {name}")
        return found

    @classmethod
    def tensor(cls, memory: Any, dtype: str, shape: List[int], device: Any = "cpu") -> Any:
        tensor = cls.taken(memory.__dlpack__() if dtype in _DLPACK else memory.raw(), dtype, shape)
        return tensor if str(device) == "cpu" else tensor.to(device)

    @classmethod
    def taken(cls, capsule: Any, dtype: str, shape: List[int], device: Any = "cpu") -> Any:
        """The tensor of a capsule on ``device``, which is of bytes where DLPack has no word for the type that every torch knows."""
        import torch
        from torch.utils.dlpack import from_dlpack

        if 0 in shape:
            return torch.empty(shape, dtype=cls.dtype(dtype), device=device)
        tensor = from_dlpack(capsule)
        return tensor if dtype in _DLPACK else tensor.view(cls.dtype(dtype)).reshape(shape)


    @classmethod
    def load(cls, archive: Archive, device: Any = "cpu", threads: int = 0, dequantize: Optional[str] = None) -> Dict[str, Any]:
        # Integers become floats on the CPU.
        ordinal = cls.ordinal(device) if dequantize is None else None
        if ordinal is not None:
            try:
                loaded = archive.load_on(ordinal, RAW)
            except WcodecError as e:
                warnings.warn(f"decoding on the CPU: {e}", RuntimeWarning, stacklevel=3)
            else:
                return {name: cls.taken(capsule, dtype, shape, device) for name, dtype, shape, capsule in loaded}
        return super().load(archive, device, threads, dequantize)

    @staticmethod
    def ordinal(device: Any) -> Optional[int]:
        """The number of a CUDA device; None for others."""
        if str(device) == "cpu":
            return None
        import torch

        wanted = torch.device(device)
        if wanted.type != "cuda" or torch.version.cuda is None or not torch.cuda.is_available():
            return None
        return torch.cuda.current_device() if wanted.index is None else wanted.index


class Jax(Numpy):
    """Arrays of JAX, on the CPU by DLPack: they share the decoded bytes."""

    @classmethod
    def tensor(cls, memory: Any, dtype: str, shape: List[int], device: Any = "cpu") -> Any:
        import jax.dlpack
        import jax.numpy

        if len(memory) == 0 or dtype not in _DLPACK or dtype in _WIDE and not getattr(jax.config, "jax_enable_x64", False):
            return jax.numpy.asarray(super().tensor(memory, dtype, shape))
        return jax.dlpack.from_dlpack(memory)


def framework_of(name: str) -> Type[Numpy]:
    """The framework that safetensors calls so."""
    known: Dict[str, Type[Numpy]] = {"pt": Torch, "torch": Torch, "pytorch": Torch, "np": Numpy, "numpy": Numpy, "flax": Jax, "jax": Jax}
    found = known.get(name)
    if found is None:
        raise WcodecError(f"there is no framework '{name}': pt, np or flax")
    return found
