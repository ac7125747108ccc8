"""How models learn: the optimizer and the schedule of the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, StepLR

from shrinkage.cli.exits import usage
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from shrinkage.cli.compare.options import CompareOptions
    from shrinkage.cli.path.options import PathOptions
    from shrinkage.cli.train.options import TrainOptions

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": partial(torch.optim.AdamW, weight_decay=0.0),
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


COMPILE: dict[str, Any] = {"auto": "auto", "on": True, "off": False}
"""What ``--compile`` stands for."""


def make_optimizer(options: PathOptions | TrainOptions) -> Callable[..., Optimizer]:
    """Return what makes the optimizer from parameters."""
    return partial(OPTIMIZERS[options.optimizer], lr=options.lr)


def make_scheduler(
    options: PathOptions | CompareOptions | TrainOptions,
) -> Callable[[Optimizer], LRScheduler] | None:
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
            f"{options.scheduler!r} is not a schedule; write step:5,0.7 (times 0.7 every 5 "
            "epochs), exponential:0.9 or cosine, with factors above 0 and up to 1."
        )


def _factor(number: float) -> float:
    if not 0 < number <= 1:
        raise ValueError(number)
    return number
