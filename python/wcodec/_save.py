"""The header of a safetensors file that is only ever encoded."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from . import _wcodec
from ._frameworks import _BITS

#: dtype, shape, address, bytes, and what keeps them alive
Part = Tuple[str, List[int], int, int, Any]


def save(parts: Dict[str, Part], filename: Any, metadata: Optional[Dict[str, str]], effort: int) -> None:
    header: Dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    # As safetensors orders them, so that it is the same file: types as it counts them, from the last (and widest) on, then names.
    ranks = {dtype: -rank for rank, dtype in enumerate(_BITS)}
    ordered = sorted(parts.items(), key=lambda item: (ranks[item[1][0]], item[0]))
    for name, (dtype, shape, _, size, _) in ordered:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    addresses = [(address, size) for _, (_, _, address, size, _) in ordered]
    _wcodec.save(filename, len(text).to_bytes(8, "little") + text, addresses, effort=effort)
