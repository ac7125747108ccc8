"""The facts of a training: a checkpoint goes on only if they are the same."""

from __future__ import annotations

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


def check_same(given: Mapping[str, Any], kept: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another training; the message shows what differs."""
    changed = differences(kept, given)
    if changed:
        raise ShrinkageError(
            f"{path} is the checkpoint of another training ({'; '.join(changed)}). Give the same "
            "arguments to go on with it, or another place for the checkpoint."
        )
