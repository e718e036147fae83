"""Archives as safetensors.torch has files: ``load_file`` and ``save_file``."""

from __future__ import annotations

from typing import Any, Dict, Optional

from . import _wcodec
from ._frameworks import _TORCH, RAW, Torch
from ._save import Part, save


def load_file(filename: Any, device: Any = "cpu", *, base: Any = None, threads: int = 0) -> Dict[str, Any]:
    """All tensors of an archive by name.

    ``device``: as safetensors has it. On the CPU tensors share the memory that they were decoded into; an archive that CUDA kernels can decode is
    decoded there (others are by the CPU, and copied). ``base``: the file that the archive was made against. ``threads``: 0 for one a core.
    """
    archive = _wcodec.Archive(filename, base)
    ordinal = _ordinal(device)
    if ordinal is not None and base is None:
        try:
            there = archive.load_on(ordinal, RAW)
        except _wcodec.WcodecError:
            pass  # What a GPU does not decode, or the error that the CPU finds too.
        else:
            return {name: Torch.taken(capsule, dtype, shape, device) for name, dtype, shape, capsule in there}
    loaded = archive.load(None, threads)
    return {name: Torch.tensor(memory, dtype, shape, device) for name, dtype, shape, memory in loaded}


def _ordinal(device: Any) -> Optional[int]:
    """The number of a CUDA device; None for others."""
    if str(device) == "cpu":
        return None
    import torch

    wanted = torch.device(device)
    if wanted.type != "cuda" or torch.version.cuda is None or not torch.cuda.is_available():
        return None
    return torch.cuda.current_device() if wanted.index is None else wanted.index


def save_file(tensors: Dict[str, Any], filename: Any, metadata: Optional[Dict[str, str]] = None, *, effort: int = 1) -> None:
    """Writes an archive that decompresses to what ``safetensors.torch.save_file`` would have written: a safetensors file of these."""
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
