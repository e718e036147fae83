"""transformers: ``from_pretrained`` of a directory that has archives instead of safetensors files.

What is looked for, in this order: ``model.wcodec``; the archives that ``model.wcodec.index.json`` lists (what ``wcodec compress DIRECTORY``
writes); those that are there in place of the shards that ``model.safetensors.index.json`` lists. Where there are safetensors files nothing changes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from typing import Any, Dict, Iterator, List, Optional

from .torch import load_file

_original: Any = None


def archives(directory: Any) -> Optional[List[str]]:
    """The archives of a directory's model; None where it has none, or has safetensors files as well."""
    here = functools.partial(os.path.join, os.fspath(directory))
    if os.path.exists(here("model.safetensors")):
        return None
    if os.path.exists(here("model.wcodec")):
        return [here("model.wcodec")]
    if os.path.exists(here("model.wcodec.index.json")):
        return [here(name) for name in _shards(here("model.wcodec.index.json"))]
    if not os.path.exists(here("model.safetensors.index.json")):
        return None
    shards = [here(name) for name in _shards(here("model.safetensors.index.json"))]
    compressed = [os.path.splitext(name)[0] + ".wcodec" for name in shards]
    if any(map(os.path.exists, shards)) or not all(map(os.path.exists, compressed)):
        return None
    return compressed


def _shards(index: str) -> List[str]:
    """The files that an index lists."""
    with open(index, encoding="utf-8") as file:
        weights = json.load(file)["weight_map"]
    names = sorted(set(weights.values()))
    for name in names:
        # An index is what somebody else wrote: it does not reach out of its directory.
        if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(f"{index}: '{name}' is no file of this directory")
    return names


def state_dict(directory: Any, device: Any = "cpu") -> Optional[Dict[str, Any]]:
    """The tensors of a directory's archives; None where it has none, or has safetensors files as well."""
    found = archives(directory)
    if found is None:
        return None
    out: Dict[str, Any] = {}
    for path in found:
        out.update(load_file(path, device))
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
        path = kwargs.pop("pretrained_model_name_or_path", path)
        named = ("state_dict", "gguf_file", "variant")
        tensors = None
        if path is not None and os.path.isdir(path) and not any(kwargs.get(name) for name in named):
            tensors = state_dict(os.path.join(path, kwargs.get("subfolder") or ""))
        if tensors is None:
            return plain(cls, path, *args, **kwargs)
        if kwargs.get("config") is None:
            # Where it is found, with whatever of the arguments is for it.
            kwargs["config"] = path
        kwargs["state_dict"] = tensors
        loaded = plain(cls, None, *args, **kwargs)
        _complete(loaded[0] if isinstance(loaded, tuple) else loaded, path, kwargs)
        return loaded

    setattr(PreTrainedModel, "from_pretrained", classmethod(from_pretrained))


def _complete(model: Any, path: Any, kwargs: Dict[str, Any]) -> None:
    """What a model has of its directory beside its weights."""
    from transformers import GenerationConfig

    model.config.name_or_path = model.name_or_path = os.fspath(path)
    folder = os.path.join(path, kwargs.get("subfolder") or "")
    wanted = kwargs.get("generation_config") is None and os.path.exists(os.path.join(folder, "generation_config.json"))
    if wanted and getattr(model, "can_generate", lambda: False)():
        model.generation_config = GenerationConfig.from_pretrained(folder)


def uninstall() -> None:
    """Undoes :func:`install`."""
    global _original
    if _original is not None:
        from transformers import PreTrainedModel

        setattr(PreTrainedModel, "from_pretrained", _original)
        _original = None


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Archives are found within this context."""
    before = _original is not None
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()
