"""The learning rates equal those of a real optimizer under a real scheduler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as lrs

from shrinkage.engine.member.schedule import learning_rates
from shrinkage.errors import ShrinkageError

EPOCHS = 12


def warm_then_cosine(optimizer: Optimizer) -> Any:
    warm = lrs.LinearLR(optimizer, start_factor=0.1, total_iters=3)
    return lrs.SequentialLR(optimizer, [warm, lrs.CosineAnnealingLR(optimizer, T_max=9)], [3])


def chained(optimizer: Optimizer) -> Any:
    return lrs.ChainedScheduler(
        [lrs.ConstantLR(optimizer, factor=0.5, total_iters=4), lrs.ExponentialLR(optimizer, 0.9)]
    )


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "step": functools.partial(lrs.StepLR, step_size=5, gamma=0.7),
    "multi step": functools.partial(lrs.MultiStepLR, milestones=[2, 7, 8], gamma=0.3),
    "exponential": functools.partial(lrs.ExponentialLR, gamma=0.8),
    "cosine": functools.partial(lrs.CosineAnnealingLR, T_max=EPOCHS, eta_min=1e-3),
    "linear": functools.partial(lrs.LinearLR, total_iters=6),
    "constant": functools.partial(lrs.ConstantLR, factor=0.2, total_iters=3),
    "polynomial": functools.partial(lrs.PolynomialLR, total_iters=8, power=2),
    "one cycle": functools.partial(
        lrs.OneCycleLR, max_lr=0.5, total_steps=EPOCHS + 1, cycle_momentum=False
    ),
    "cyclic": functools.partial(
        lrs.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=3, cycle_momentum=False
    ),
    "warm restarts": functools.partial(lrs.CosineAnnealingWarmRestarts, T_0=3, T_mult=2),
    "lambda": functools.partial(lrs.LambdaLR, lr_lambda=lambda epoch: 1 / (1 + epoch)),
    "multiplicative": functools.partial(lrs.MultiplicativeLR, lr_lambda=lambda epoch: 0.9),
    "sequential": warm_then_cosine,
    "chained": chained,
}

OPTIMIZERS: dict[str, Any] = {
    "sgd": functools.partial(SGD, lr=0.1),
    "adam": functools.partial(Adam, lr=0.1),
    "lambda": lambda parameters: SGD(parameters, lr=0.1),
    "lbfgs": functools.partial(torch.optim.LBFGS, lr=0.1),
}


def real_rates(make: Any, scheduler: Callable[[Optimizer], Any]) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = make([parameter])
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(EPOCHS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step(lambda: 0.0)
        schedule.step()
    return rates


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_equals_a_real_scheduler(scheduler: str, optimizer: str) -> None:
    make, schedule = OPTIMIZERS[optimizer], SCHEDULERS[scheduler]
    ours = learning_rates(make, schedule, EPOCHS)
    assert ours.dtype == torch.float64
    assert ours.tolist() == real_rates(make, schedule)
    assert len(set(ours.tolist())) > 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_scheduler_is_a_constant_rate(optimizer: str) -> None:
    assert learning_rates(OPTIMIZERS[optimizer], None, 3).tolist() == [0.1] * 3


def test_the_default_rate_is_the_optimizers() -> None:
    assert learning_rates(Adam, None, 2).tolist() == [1e-3] * 2


@pytest.mark.parametrize("optimizer", ["sgd", "lambda"])
def test_a_scheduler_that_follows_a_metric_is_refused(optimizer: str) -> None:
    with pytest.raises(ShrinkageError, match="ReduceLROnPlateau"):
        learning_rates(OPTIMIZERS[optimizer], lrs.ReduceLROnPlateau, EPOCHS)


@pytest.mark.parametrize(
    "scheduler",
    [
        functools.partial(lrs.OneCycleLR, max_lr=0.5, total_steps=EPOCHS + 1),
        functools.partial(lrs.CyclicLR, base_lr=0.01, max_lr=0.2),
        # sets the momentum once, when it is made, and keeps it there
        functools.partial(
            lrs.OneCycleLR, max_lr=0.5, total_steps=13, base_momentum=0.7, max_momentum=0.7
        ),
    ],
)
def test_a_scheduler_that_moves_the_momentum_is_refused(scheduler: Any) -> None:
    with pytest.raises(ShrinkageError, match="cycle_momentum=False"):
        learning_rates(functools.partial(SGD, lr=0.1, momentum=0.9), scheduler, EPOCHS)


def test_the_rates_reach_the_members() -> None:
    from _problems import classes, fit, linear

    X, y = classes()
    once = functools.partial(lrs.LambdaLR, lr_lambda=lambda epoch: float(epoch == 0))
    one_epoch = fit(linear(), X, y, epochs=1)
    frozen_after_one = fit(linear(), X, y, epochs=4, scheduler=once)
    for name, tensor in one_epoch.refit.weights.items():
        assert torch.equal(frozen_after_one.refit.weights[name], tensor)
