"""Archives as safetensors.torch has files: ``load_file`` and ``save_file``."""

from __future__ import annotations

from typing import Any, Dict, Optional

from . import _wcodec
from ._frameworks import _TORCH, Torch
from ._save import Part, save


def load_file(
    filename: Any, device: Any = "cpu", *, backend: str = "mmap", base: Any = None, threads: int = 0, dequantize: Optional[str] = None
) -> Dict[str, Any]:
    """All tensors of an archive by name.

    ``device``: as safetensors has it. On the CPU tensors share the memory that they were decoded into; on a CUDA device they are decoded by its
    kernels, into its memory. ``backend`` is safetensors', and changes nothing here. ``base``: the file that the archive was made against.
    ``threads``: 0 for one a core. ``dequantize``: "bf16", "fp16" or "fp32", the weights of a quantized checkpoint as such floats instead of integers
    and scales; that is done on the CPU.
    """
    return Torch.load(_wcodec.Archive(filename, base), device, threads, dequantize)


def save_file(tensors: Dict[str, Any], filename: Any, metadata: Optional[Dict[str, str]] = None, *, effort: int = 1) -> None:
    """Writes an archive that decompresses to what ``safetensors.torch.save_file`` would have written, byte for byte (of several metadata, theirs
    are in any order)."""
    import torch

    names = {getattr(torch, t): name for name, t in _TORCH.items() if hasattr(torch, t)}
    parts: Dict[str, Part] = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in names:
            raise _wcodec.WcodecError(f"{name}: safetensors has no {tensor.dtype}")
        # Kept alive until it is written.
        own = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        parts[name] = (names[tensor.dtype], list(own.shape), own.data_ptr(), own.numel() * own.element_size(), own)
    save(parts, filename, metadata, effort)
