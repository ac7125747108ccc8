"""What every formula on one tensor needs: real numbers, a type to sum in, norms of groups."""

from __future__ import annotations

from math import inf, prod
from numbers import Real
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError

Dim: TypeAlias = int | tuple[int, ...]


def accumulated(w: Tensor) -> Tensor:
    """Return ``w`` in a type wide enough to sum in (at least float32)."""
    return w.float() if w.dtype in (torch.float16, torch.bfloat16) else w


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a real number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def readable(number: Tensor) -> float | None:
    """Return the value of a 0-d CPU tensor; None on a device, under ``compile`` or ``vmap``."""
    if not number.is_cpu or torch.compiler.is_compiling():
        return None
    try:
        return number.item()
    except RuntimeError:
        return None


def check_real(w: Tensor, owner: str) -> None:
    """Refuse a tensor that is not of a floating-point type."""
    if not w.is_floating_point():
        raise ShrinkageError(
            f"{owner}: a tensor of type {w.dtype} has no weights to shrink; it acts on real "
            "floating-point tensors. Leave this one out with select=."
        )


def check_dim(dim: Dim, owner: str) -> None:
    """Refuse a ``dim`` that is neither an axis nor a tuple of axes."""
    axes = dim if isinstance(dim, tuple) else (dim,)
    if not axes or any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
        raise ShrinkageError(
            f"{owner}: dim={dim!r} is neither an axis nor a tuple of axes; give one such as 0, 1 "
            "or (0, 1)."
        )


def check_l1_ratio(l1_ratio: object, owner: str) -> None:
    """Refuse an ``l1_ratio`` that is no share."""
    if not (is_number(l1_ratio) and 0 <= l1_ratio <= 1):
        raise ShrinkageError(f"{owner}: l1_ratio={l1_ratio!r} must be a number in [0, 1].")


def check_gamma(gamma: object, least: float, owner: str) -> None:
    """Refuse a ``gamma`` with which the penalty would not fade as it should: ``least`` or less."""
    if not (is_number(gamma) and least < gamma < inf):
        raise ShrinkageError(f"{owner}: gamma={gamma!r} must be a finite number above {least}.")


def group_axes(w: Tensor, dim: Dim, owner: str) -> tuple[int, ...]:
    """Return the axes that number the groups of ``w``, none negative, in order.

    Args:
        w: The tensor.
        dim: One axis or several, negative ones from the end.
        owner: Whose groups they are, for the message.

    Raises:
        ShrinkageError: ``w`` has no such axes.
    """
    axes = dim if isinstance(dim, tuple) else (dim,)
    found = sorted({axis % max(w.dim(), 1) for axis in axes if -w.dim() <= axis < w.dim()})
    if len(found) < len(axes):
        raise ShrinkageError(
            f"{owner}: dim={dim} is not an axis of a tensor of shape {tuple(w.shape)}; "
            "choose another dim or leave the tensor out with select=."
        )
    return tuple(found)


def group_norms(w: Tensor, dim: Dim, owner: str) -> tuple[Tensor, int]:
    """Return the norm of every group, broadcastable to ``w``, and their size.

    Args:
        w: The tensor.
        dim: The axes that number the groups; a group is what lies along all others.
        owner: Whose groups they are, for the message.

    Returns:
        The norms, and the number of entries in a group (1 if there are none).

    Raises:
        ShrinkageError: ``w`` has no such axes.
    """
    axes = group_axes(w, dim, owner)
    others = [axis for axis in range(w.dim()) if axis not in axes]
    size = max(prod([w.shape[axis] for axis in others]), 1)
    return torch.linalg.vector_norm(w, dim=others, keepdim=True) if others else w.abs(), size


def largest(w: Tensor) -> Tensor:
    """Return the largest absolute entry, 0 of an empty tensor."""
    return w.abs().max() if w.numel() else w.sum()
