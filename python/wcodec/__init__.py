"""Model weights, smaller, bit for bit, and loaded faster than raw.

``compress``, ``decompress``, ``verify`` and ``inspect`` are for files; ``safe_open``, ``wcodec.torch`` and ``wcodec.numpy`` are for
tensors, with the signatures of safetensors'; ``install`` makes transformers find archives.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from . import _wcodec
from ._open import safe_open
from ._wcodec import WcodecError, __version__

__all__ = ["WcodecError", "__version__", "compress", "decompress", "inspect", "install", "safe_open", "verify"]

Path = Union[str, "os.PathLike[str]"]
Progress = Union[bool, Callable[[int, int], Any], None]


def _told(progress: Progress, what: str) -> Tuple[Optional[Callable[[int, int], Any]], Callable[[], None]]:
    """A callback for ``progress``, and what ends it: True is a bar of tqdm."""
    if not progress:
        return None, lambda: None
    if callable(progress):
        return progress, lambda: None
    from tqdm.auto import tqdm

    bar = tqdm(desc=what, unit="B", unit_scale=True)

    def tell(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return tell, bar.close


def compress(
    source: Path,
    archive: Path,
    *,
    profile: str = "default",
    effort: Optional[int] = None,
    base: Optional[Path] = None,
    force: bool = False,
    threads: int = 0,
    progress: Progress = None,
) -> Tuple[int, int]:
    """Makes an archive of a safetensors, a GGUF or a PyTorch file, or a directory of archives of a directory of such; gives the bytes of both.

    ``profile`` is "default" or "max"; ``effort``, from 1 to 9, says it in finer steps. ``base``: a file that the source is a
    fine-tune of. ``progress``: True for a bar, or a function of the bytes done and all bytes. The archive appears under its
    name when it is complete; it replaces another only with ``force``.
    """
    tell, end = _told(progress, "compressing")
    try:
        return _wcodec.compress(
            source, archive, profile=profile, effort=effort, base=base, force=force, threads=threads, progress=tell
        )
    finally:
        end()


def decompress(
    archive: Path,
    output: Path,
    *,
    base: Optional[Path] = None,
    force: bool = False,
    threads: int = 0,
    progress: Progress = None,
) -> int:
    """Restores the file or the directory that was compressed, byte for byte; gives its bytes."""
    tell, end = _told(progress, "decompressing")
    try:
        return _wcodec.decompress(archive, output, base=base, force=force, threads=threads, progress=tell)
    finally:
        end()


def verify(
    archive: Path,
    original: Optional[Path] = None,
    *,
    base: Optional[Path] = None,
    threads: int = 0,
    progress: Progress = None,
) -> Tuple[int, int]:
    """Checks every checksum and hash of an archive, with ``original`` every byte against it; gives tensors and bytes."""
    tell, end = _told(progress, "verifying")
    try:
        return _wcodec.verify(archive, original, base=base, threads=threads, progress=tell)
    finally:
        end()


def inspect(archive: Path) -> List[Dict[str, Any]]:
    """How each tensor of an archive is coded."""
    reports: List[Dict[str, Any]] = json.loads(_wcodec.inspect(archive))
    return reports


def install() -> None:
    """From now on ``from_pretrained`` of transformers finds ``model.wcodec`` in directories without safetensors files."""
    from .transformers import install as patch

    patch()
