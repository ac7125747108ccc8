"""Tensors in the types that safetensors has: complex128, which it lacks, as pairs of numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PAIRS = " (real, imaginary)"
"""What the name of a tensor of pairs, (..., 2), ends in."""


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that safetensors can write; `restored` undoes it."""
    wide = {name for name, tensor in tensors.items() if tensor.dtype == torch.complex128}
    pairs = {name + PAIRS: torch.view_as_real(tensors[name]) for name in wide}
    return {name: tensor for name, tensor in tensors.items() if name not in wide} | pairs


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `storable` was given."""
    return {
        name.removesuffix(PAIRS): torch.view_as_complex(tensor) if name.endswith(PAIRS) else tensor
        for name, tensor in tensors.items()
    }
