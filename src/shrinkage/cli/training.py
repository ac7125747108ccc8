"""Optimizers and schedules of the learning rate, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, StepLR

from shrinkage.cli.exits import usage
from shrinkage.cli.options import LearningOptions, TrainingOptions
from shrinkage.errors import ShrinkageError

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": partial(torch.optim.AdamW, weight_decay=0.0),
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def make_optimizer(options: TrainingOptions) -> Callable[..., Optimizer]:
    """Return what makes the optimizer from parameters."""
    return partial(OPTIMIZERS[options.optimizer], lr=options.lr)


def make_scheduler(options: LearningOptions) -> Callable[[Optimizer], LRScheduler] | None:
    """Return what makes the scheduler from the optimizer, or None for a constant rate."""
    if options.scheduler is None:
        return None
    name, _, numbers = options.scheduler.partition(":")
    with usage("--scheduler"):
        try:
            match name, [float(number) for number in numbers.split(",") if numbers]:
                case "step", [epochs, factor] if epochs >= 1 and epochs.is_integer():
                    return partial(StepLR, step_size=int(epochs), gamma=_factor(factor))
                case "exponential", [factor]:
                    return partial(ExponentialLR, gamma=_factor(factor))
                case "cosine", []:
                    return partial(CosineAnnealingLR, T_max=options.epochs)
        except ValueError:
            pass
        raise ShrinkageError(
            f"{options.scheduler!r} is no schedule; write step:5,0.7 (times 0.7 every 5 epochs), "
            "exponential:0.9 or cosine, with factors above 0 and up to 1."
        )


def _factor(number: float) -> float:
    if not 0 < number <= 1:
        raise ValueError(number)
    return number
