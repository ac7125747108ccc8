"""Every optimizer that torch and a kept library have, measured alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

Seen = TypeVar("Seen")


def made(kind: type[Optimizer], w: Tensor) -> Optimizer:
    return kind([{"params": [w], "use_muon": True}], lr=1e-3)


def of_every_optimizer(measure: Callable[[type[Optimizer]], Seen]) -> dict[type[Optimizer], Seen]:
    """Return what is measured, of those that need no more than tensors and a rate."""
    library = pytest.importorskip("pytorch_optimizer")
    found: dict[type[Optimizer], Seen] = {}
    for kind in (*vars(torch.optim).values(), *vars(library).values()):
        if isinstance(kind, type) and issubclass(kind, Optimizer):
            with suppress(Exception):  # it needs a closure, a model or another optimizer
                found[kind] = measure(kind)
    return found
