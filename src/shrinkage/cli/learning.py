"""How members are fit: by which solver, optimizer and schedule of the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, StepLR

from shrinkage.cli.exits import usage
from shrinkage.cli.options import LearningOptions, TrainingOptions
from shrinkage.cli.path.options import PathOptions
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": partial(torch.optim.AdamW, weight_decay=0.0),
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


BY_STEPS = {
    *("batch_size", "bfloat16", "checkpoint", "compile", "epochs"),
    *("how", "lr", "optimizer", "scheduler", "seeds"),
}
"""What has no meaning for the exact solver."""


def check_solver(job: PathOptions, penalty: Penalty) -> None:
    """Refuse the exact solver where it cannot be used, or beside options of the other."""
    if job.solver == "steps":
        return
    with usage("--solver"):
        if job.model.partition(":")[0] in ("mlp", "cnn"):
            raise ShrinkageError(
                f"exact needs a model that is linear in its parameters, and {job.model} has "
                "hidden layers; add --model linear."
            )
        if not penalty.convex:
            raise ShrinkageError(f"exact needs a convex penalty, and {job.penalty} is not convex.")
        for field in fields(job):
            if field.name in BY_STEPS and getattr(job, field.name) != field.default:
                option = f"--{field.name.replace('_', '-')}"
                raise ShrinkageError(f"exact takes no steps; leave {option} out.")


def training_of(job: PathOptions, how: str | None) -> dict[str, Any]:
    """Return how members are fit, as arguments of `fit_path`."""
    if job.solver == "exact":
        return {"solver": "exact"}
    return {
        "how": how,
        "seeds": range(job.seed * job.seeds, (job.seed + 1) * job.seeds),
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "optimizer": make_optimizer(job),
        "scheduler": make_scheduler(job),
        "autocast": torch.bfloat16 if job.bfloat16 else None,
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
            f"{options.scheduler!r} is not a schedule; write step:5,0.7 (times 0.7 every 5 "
            "epochs), exponential:0.9 or cosine, with factors above 0 and up to 1."
        )


def _factor(number: float) -> float:
    if not 0 < number <= 1:
        raise ValueError(number)
    return number
