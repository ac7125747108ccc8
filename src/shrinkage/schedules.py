"""Strengths that change during training: callables from the number of the step to a factor.

``regularize(..., schedule=...)`` multiplies every strength by ``schedule(step)``; the first step
is 0. Any callable will do, such as ``lambda step: 0.99**step``; these are the common ones. The
handle's ``state_dict()`` has the number of the step, so a resumed training goes on at its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from torch import Tensor
from torch.optim import Optimizer

from shrinkage.errors import ShrinkageError


def linear(start: float, end: float, steps: int) -> Callable[[int], float]:
    """Go evenly from ``start`` at step 0 to ``end`` at step ``steps``, and stay there.

    Args:
        start: First factor, at least 0.
        end: Last factor, at least 0.
        steps: Number of steps from one to the other, at least 1.

    Raises:
        ShrinkageError: An argument is out of range.

    Example:
        >>> [linear(0.0, 1.0, steps=4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    _check(start, end, steps)

    def factor(step: int) -> float:
        done = min(step / steps, 1.0)
        return (1 - done) * start + done * end

    return factor


def cosine(start: float, end: float, steps: int) -> Callable[[int], float]:
    """Go along half a wave from ``start`` at step 0 to ``end`` at step ``steps``, and stay there.

    Args:
        start: First factor, at least 0.
        end: Last factor, at least 0.
        steps: Number of steps from one to the other, at least 1.

    Raises:
        ShrinkageError: An argument is out of range.

    Example:
        >>> [round(cosine(1.0, 0.0, steps=4)(step), 3) for step in (0, 1, 2, 4, 9)]
        [1.0, 0.854, 0.5, 0.0, 0.0]
    """
    _check(start, end, steps)

    def factor(step: int) -> float:
        done = (1 - math.cos(math.pi * min(step / steps, 1.0))) / 2
        return (1 - done) * start + done * end

    return factor


def follow_lr(optimizer: Optimizer, lr: float) -> Callable[[int], float | Tensor]:
    """Follow the learning rate of ``optimizer``: the factor is its rate now over ``lr``.

    The decoupled and proximal couplings already multiply by the learning rate; with this factor,
    what they take off in a step goes as its square.

    Args:
        optimizer: The optimizer; the rate of its first parameter group counts.
        lr: The learning rate at which the factor is 1.

    Raises:
        ShrinkageError: ``lr`` is not positive and finite.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.05)
        >>> follow_lr(optimizer, lr=0.1)(0)
        0.5
    """
    if not (isinstance(lr, Real) and 0 < lr < math.inf):
        raise ShrinkageError(
            f"lr={lr!r}: give the positive learning rate at which the factor is 1."
        )

    def factor(step: int) -> float | Tensor:
        rate: float | Tensor = optimizer.param_groups[0]["lr"]
        return rate / lr

    return factor


def _check(start: float, end: float, steps: int) -> None:
    for name, factor in (("start", start), ("end", end)):
        if not (isinstance(factor, Real) and 0 <= factor < math.inf):
            raise ShrinkageError(f"{name}={factor!r}: give a finite factor >= 0.")
    if not (isinstance(steps, Real) and 1 <= steps < math.inf):
        raise ShrinkageError(f"steps={steps!r}: give a number of steps, at least 1.")
