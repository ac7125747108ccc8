"""The learning rate of every epoch, as torch's own schedulers would set it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from shrinkage.engine.member.update import MakeOptimizer, unmoving
from shrinkage.errors import ShrinkageError

MakeScheduler: TypeAlias = Callable[[Optimizer], LRScheduler]

MOST_EPOCHS = 10_000_000
"""Every epoch has a learning rate of its own, and a place in the curves of every member."""


def learning_rates(
    optimizer: MakeOptimizer, scheduler: MakeScheduler | None, epochs: int
) -> Tensor:
    """Run the scheduler once, stepped after each epoch, and return the learning rates.

    Args:
        optimizer: The optimizer's class or a ``functools.partial`` of it.
        scheduler: ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)`` or the
            like, or None for a constant rate.
        epochs: How many rates.

    Shape:
        (epochs,), float64.

    Raises:
        ShrinkageError: The scheduler needs a metric, or changes more than the learning rate; or all
            rates are 0.

    Example:
        >>> from functools import partial
        >>> half = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
        >>> learning_rates(partial(torch.optim.SGD, lr=0.1), half, 4)
        tensor([0.1000, 0.1000, 0.0500, 0.0500], dtype=torch.float64)
    """
    dummy = unmoving(optimizer)
    rates = []
    before = _other_settings(dummy)
    schedule = _made(scheduler, dummy) if scheduler else None
    if isinstance(schedule, ReduceLROnPlateau):
        raise ShrinkageError(
            "ReduceLROnPlateau follows a metric, so the members would differ in their learning "
            "rates; use a schedule of the epoch, such as StepLR or CosineAnnealingLR."
        )
    for _ in range(epochs):
        rates.append(float(dummy.param_groups[0]["lr"]))
        dummy.step()
        if schedule is not None:
            schedule.step()
        if _other_settings(dummy) != before:
            raise ShrinkageError(
                f"{type(schedule).__name__} changes more than the learning rate; "
                "pass cycle_momentum=False."
            )
    if max(rates) == 0:
        raise ShrinkageError(
            "the learning rate is 0 in every epoch, so nothing would be trained; give one above 0, "
            "such as functools.partial(torch.optim.Adam, lr=1e-3)."
        )
    return torch.tensor(rates, dtype=torch.float64)


def _made(scheduler: MakeScheduler, optimizer: Optimizer) -> LRScheduler:
    try:
        return scheduler(optimizer)
    except (TypeError, ValueError) as error:
        raise ShrinkageError(
            f"scheduler={scheduler!r:.60} makes no schedule from an optimizer: {error}; give one "
            "such as functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)."
        ) from error


def _other_settings(optimizer: Optimizer) -> dict[str, Any]:
    ignored = ("params", "lr", "initial_lr", "max_lr", "min_lr")
    return {k: v for k, v in optimizer.param_groups[0].items() if k not in ignored}
