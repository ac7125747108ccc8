"""Nested values with tensors, as one safetensors file whose header holds the rest as JSON.

One file, renamed into place when it is whole: a checkpoint is of one moment, or not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shrinkage.disk.files import atomic_write, open_regular
from shrinkage.disk.storable import restored, storable
from shrinkage.errors import ShrinkageError
from shrinkage.identity import differences, hash_of

FORMAT = "shrinkage training 2"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write dicts, lists, numbers, texts and tensors, whole or not at all.

    Raises:
        ShrinkageError: A value is of another kind, or the file cannot be written.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, "state", tensors))
    tensors = tensors or {"": torch.zeros(0)}
    with atomic_write(path) as stream:
        stored = storable(tensors)
        facts = {"format": FORMAT, "state": text, "sha256": _digest(text, stored)}
        stream.write(save(stored, facts))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote.

    Raises:
        ShrinkageError: The file is damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_regular(path), safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT:
                raise ShrinkageError(f"{path} is not a checkpoint of {FORMAT!r}. Remove it.")
            # Copied into new memory: sums over other alignments round differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if facts["sha256"] != _digest(facts["state"], tensors):
            raise ValueError("its content is not what was written")
        state: dict[str, Any] = _unpack(json.loads(facts["state"]), restored(tensors))
        return state
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ShrinkageError):
            raise
        raise ShrinkageError(
            f"{path} is damaged ({error}). Remove it to start anew, or restore it from a copy."
        ) from error


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    names = sorted(tensors)
    content = f"{text} {names} {hash_of(*(tensors[name] for name in names))}"
    return hashlib.sha256(content.encode()).hexdigest()


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[k, _pack(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [_pack(part, f"{name}.{i}", tensors) for i, part in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ShrinkageError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot hold: only numbers, "
        "texts, tensors, lists and dicts. Train without a checkpoint, or with another optimizer "
        "or scheduler."
    )


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "tuple" in value:
        return tuple(_unpack(part, tensors) for part in value["tuple"])
    return {key: _unpack(part, tensors) for key, part in value["dict"]}


def architecture(model: nn.Module) -> str:
    """Return the class of a model, and a hash of its parts with their sizes."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    text = f"{model!r} {shapes}"
    return f"{type(model).__name__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def check_same(given: Mapping[str, Any], kept: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another training; the message shows what differs."""
    changed = differences(kept, given)
    if changed:
        raise ShrinkageError(
            f"{path} is the checkpoint of another training ({'; '.join(changed)}). Give the same "
            "arguments to go on with it, or another place for the checkpoint."
        )
