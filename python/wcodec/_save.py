"""The header of a safetensors file that is only ever encoded."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from . import _wcodec

#: dtype, shape, address, bytes, and what keeps them alive
Part = Tuple[str, List[int], int, int, Any]


def save(parts: Dict[str, Part], filename: Any, metadata: Optional[Dict[str, str]], effort: int) -> None:
    header: Dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    at = 0
    # Widest types first, then by name, as safetensors orders them: so each is aligned.
    ordered = sorted(parts.items(), key=lambda item: (-_width(item[1]), item[0]))
    for name, (dtype, shape, _, size, _) in ordered:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    addresses = [(address, size) for _, (_, _, address, size, _) in ordered]
    _wcodec.save(filename, len(text).to_bytes(8, "little") + text, addresses, effort=effort)


def _width(part: Part) -> int:
    elements = 1
    for n in part[1]:
        elements *= n
    return part[3] // elements if elements else 0
