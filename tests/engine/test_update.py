"""The pure updates equal torch's optimizers, step by step."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from shrinkage.engine.member.update import unmoving, update_for
from shrinkage.errors import ShrinkageError

STEPS = 14

OPTIMIZERS: dict[str, Any] = {
    "sgd": functools.partial(SGD, lr=0.1),
    "sgd class": SGD,
    "sgd weight decay": functools.partial(SGD, lr=0.1, weight_decay=0.2),
    "sgd momentum": functools.partial(SGD, lr=0.1, momentum=0.9),
    "sgd dampening": functools.partial(SGD, lr=0.1, momentum=0.9, dampening=0.3),
    "sgd nesterov": functools.partial(SGD, lr=0.1, momentum=0.8, nesterov=True),
    "sgd maximize": functools.partial(SGD, lr=0.1, momentum=0.8, weight_decay=0.3, maximize=True),
    "sgd all": functools.partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": functools.partial(Adam, lr=0.05),
    "adam class": Adam,
    "adam betas": functools.partial(Adam, lr=0.05, betas=(0.5, 0.7)),
    "adam zero betas": functools.partial(Adam, lr=0.05, betas=(0.0, 0.0)),
    "adam eps": functools.partial(Adam, lr=0.05, eps=0.3),
    "adam weight decay": functools.partial(Adam, lr=0.05, weight_decay=0.2),
    "adam maximize": functools.partial(Adam, lr=0.05, weight_decay=0.2, maximize=True),
    "adam decoupled": functools.partial(
        Adam, lr=0.05, weight_decay=0.2, decoupled_weight_decay=True
    ),
    "adam foreach": functools.partial(Adam, lr=0.05, foreach=True),
    "adamw": functools.partial(AdamW, lr=0.05),
    "adamw weight decay": functools.partial(AdamW, lr=0.05, weight_decay=0.3, betas=(0.8, 0.9)),
    "adamw maximize": functools.partial(AdamW, lr=0.05, weight_decay=0.3, maximize=True),
    "rmsprop": functools.partial(RMSprop, lr=0.03),
    "rmsprop alpha": functools.partial(RMSprop, lr=0.03, alpha=0.6, eps=0.1),
    "rmsprop centered": functools.partial(RMSprop, lr=0.03, centered=True),
    "rmsprop momentum": functools.partial(RMSprop, lr=0.03, momentum=0.7),
    "rmsprop all": functools.partial(
        RMSprop, lr=0.03, momentum=0.7, centered=True, weight_decay=0.2, maximize=True
    ),
}


def start_and_noise(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    draw = torch.randn(STEPS + 1, 3, 2, generator=random, dtype=torch.float64).to(dtype)
    return draw[0], draw[1:]


def gradient(w: Tensor, noise: Tensor) -> Tensor:
    return 0.5 * w + noise


def rates() -> list[float]:
    return [0.1 / (1 + step % 4) for step in range(STEPS)]


def by_torch(make: Any, dtype: torch.dtype) -> list[Tensor]:
    w, noise = start_and_noise(dtype)
    parameter = torch.nn.Parameter(w.clone())
    optimizer = make([parameter])
    path = []
    for step, lr in enumerate(rates()):
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = gradient(parameter.detach(), noise[step])
        optimizer.step()
        path.append(parameter.detach().clone())
    return path


def by_us(make: Any, dtype: torch.dtype) -> list[Tensor]:
    w, noise = start_and_noise(dtype)
    update = update_for(make)
    assert update is not None
    state = tuple(torch.zeros_like(w) for _ in range(update.slots))
    path = []
    for step, lr in enumerate(rates()):
        factors = torch.tensor(update.factors(step + 1), dtype=dtype)
        rate = torch.tensor(lr, dtype=dtype)
        w, state = update.apply(w, gradient(w, noise[step]), state, factors, rate)
        assert len(state) == update.slots
        assert w.dtype == dtype
        path.append(w)
    return path


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_torch_in_double_precision(name: str) -> None:
    make = OPTIMIZERS[name]
    for ours, theirs in zip(by_us(make, torch.float64), by_torch(make, torch.float64), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_torch_to_rounding_in_single_precision(name: str) -> None:
    make = OPTIMIZERS[name]
    for ours, theirs in zip(by_us(make, torch.float32), by_torch(make, torch.float32), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_inputs_are_left_alone(name: str) -> None:
    update = update_for(OPTIMIZERS[name])
    assert update is not None
    given = [torch.full((2,), 0.5 + i) for i in range(2 + update.slots)]
    before = [t.clone() for t in given]
    w, g, *state = given
    update.apply(w, g, tuple(state), torch.tensor(update.factors(2)), torch.tensor(0.1))
    for now, then in zip(given, before, strict=True):
        assert torch.equal(now, then)


class MyAdam(Adam):
    """A subclass may do anything in its step."""


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(Adam, lr=0.1, amsgrad=True),
        functools.partial(AdamW, amsgrad=True),
        functools.partial(SGD, lr=0.1, differentiable=True),
        Adagrad,
        functools.partial(Adagrad, lr=0.1),
        MyAdam,
        lambda parameters: SGD(parameters, lr=0.1),
        functools.partial(lambda parameters, lr: SGD(parameters, lr=lr), lr=0.1),
    ],
)
def test_what_has_no_pure_form_is_left_to_torch(make: Any) -> None:
    assert update_for(make) is None


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (functools.partial(SGD, lr=0.1, betas=(0.9, 0.99)), "betas"),
        (functools.partial(Adam, learning_rate=0.1), "learning_rate"),
        (functools.partial(Adam, lr=-1.0), "learning rate"),
        (functools.partial(Adam, betas=(0.9, 1.5)), "beta"),
        (functools.partial(SGD, lr=0.1, nesterov=True), "Nesterov"),
        (functools.partial(RMSprop, weight_decay=-0.1), "weight_decay"),
    ],
)
def test_settings_that_torch_refuses_are_refused(make: Any, word: str) -> None:
    with pytest.raises(ShrinkageError, match=word):
        update_for(make)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_unmoving_optimizer_has_the_settings_of_the_real_one(name: str) -> None:
    w = torch.nn.Parameter(torch.ones(1))
    real, dummy = OPTIMIZERS[name]([w]), unmoving(OPTIMIZERS[name])
    assert dummy.defaults == real.defaults
    assert {**dummy.param_groups[0], "params": 0} == {**real.param_groups[0], "params": 0}
    parameter = dummy.param_groups[0]["params"][0]
    parameter.grad = torch.ones(1)
    dummy.step()
    assert torch.equal(parameter, torch.zeros(1))
