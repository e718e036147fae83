"""transformers: ``from_pretrained`` of a directory that has archives instead of safetensors files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Any, Dict, Iterator, Optional

from .torch import load_file

_original: Any = None


def state_dict(directory: Any) -> Optional[Dict[str, Any]]:
    """The tensors of ``model.wcodec``, or of the archives that ``model.wcodec.index.json`` lists; None where there is neither, or where there are
    safetensors files beside them."""
    here = lambda name: os.path.join(directory, name)  # noqa: E731
    if os.path.exists(here("model.safetensors")) or os.path.exists(here("model.safetensors.index.json")) and not os.path.exists(
        here("model.wcodec.index.json")
    ):
        return None
    if os.path.exists(here("model.wcodec")):
        return load_file(here("model.wcodec"))
    if not os.path.exists(here("model.wcodec.index.json")):
        return None
    with open(here("model.wcodec.index.json"), encoding="utf-8") as file:
        weights = json.load(file)["weight_map"]
    out: Dict[str, Any] = {}
    for name in sorted(set(weights.values())):
        if os.path.basename(name) != name:
            raise ValueError(f"{here('model.wcodec.index.json')}: '{name}' is no file of this directory")
        out.update(load_file(here(name)))
    return out


def install() -> None:
    """Makes ``from_pretrained`` find archives, from now on."""
    global _original
    if _original is not None:
        return
    from transformers import PreTrainedModel

    _original = PreTrainedModel.__dict__["from_pretrained"]
    plain = _original.__func__

    @functools.wraps(plain)
    def from_pretrained(cls: Any, path: Any = None, *args: Any, **kwargs: Any) -> Any:
        tensors = None
        if path is not None and os.path.isdir(path) and kwargs.get("state_dict") is None:
            tensors = state_dict(os.path.join(path, kwargs.get("subfolder") or ""))
        if tensors is None:
            return plain(cls, path, *args, **kwargs)
        if kwargs.get("config") is None:
            kwargs["config"] = cls.config_class.from_pretrained(path)
        return plain(cls, None, *args, state_dict=tensors, **kwargs)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


def uninstall() -> None:
    """Undoes :func:`install`."""
    global _original
    if _original is not None:
        from transformers import PreTrainedModel

        PreTrainedModel.from_pretrained = _original
        _original = None


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Archives are found within this context."""
    install()
    try:
        yield
    finally:
        uninstall()
