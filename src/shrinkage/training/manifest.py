"""What a training is, in words: a checkpoint goes on only with the same."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from shrinkage._provenance import differences
from shrinkage.errors import ShrinkageError


def architecture(model: nn.Module) -> str:
    """Return the class of a model, and a hash of its parts with their sizes."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    text = f"{model!r} {shapes}"
    return f"{type(model).__name__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def call(make: Any) -> str:
    """Return a class or function, with the arguments a ``functools.partial`` gives it.

    Example:
        >>> import torch
        >>> call(functools.partial(torch.optim.SGD, lr=0.1))
        'SGD(lr=0.1)'
    """
    if isinstance(make, functools.partial):
        given = [*map(repr, make.args), *(f"{k}={v!r}" for k, v in sorted(make.keywords.items()))]
        inner = call(make.func)
        return f"{inner}({', '.join(given)})"
    return str(getattr(make, "__qualname__", make))


def check_same(given: Mapping[str, Any], kept: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another training; the message shows what differs."""
    changed = differences(kept, given)
    if changed:
        raise ShrinkageError(
            f"{path} is the checkpoint of another training ({'; '.join(changed)}). Give the same "
            "arguments to go on with it, or another place for the checkpoint."
        )
