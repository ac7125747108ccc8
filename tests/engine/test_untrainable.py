"""What cannot be trained is refused with one line, by a path and by one training, at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from _problems import classes, fit
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from shrinkage import L2, ShrinkageError, train

X, Y = classes()
X = X.float()


class Detached(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Unused(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3]


class ScriptInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = scripted()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def scripted() -> nn.Module:
    return torch.jit.trace(nn.Linear(4, 3), torch.ones(2, 4))


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "frozen": (lambda: nn.Linear(4, 3).requires_grad_(False), "no parameter with requires_grad"),
    "detached": (lambda: Detached(4, 3), "output has no gradient"),
    "unused": (lambda: Unused(4, 3), "output has no gradient"),
    "half": (lambda: nn.Linear(4, 3).half(), "weight is of torch.float16"),
    "script": (scripted, "the model is a TorchScript module"),
    "script inside": (ScriptInside, "the module 'inner' is a TorchScript module"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("how", ["path", "path of a module", "train"])
@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_cannot_be_trained(what: str, how: str) -> None:
    make, message = MODELS[what]
    given = make if how == "path" else make()
    call = partial(train, epochs=1) if how == "train" else partial(fit, penalty=L2(1.0), seeds=1)
    with pytest.raises(ShrinkageError, match=message):
        call(given, X, Y)


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a learning rate of 0": ({"optimizer": partial(SGD, lr=0.0)}, "learning rate"),
    "more epochs than end": ({"epochs": 10**20}, r"epochs=1.*at most 10,000,000"),
}


@pytest.mark.parametrize("how", ["path", "train"])
@pytest.mark.parametrize("what", SETTINGS)
def test_a_training_that_would_come_to_nothing_or_to_no_end(what: str, how: str) -> None:
    changes, message = SETTINGS[what]
    call = train if how == "train" else partial(fit, penalty=L2(1.0))
    with pytest.raises(ShrinkageError, match=message):
        call(nn.Linear(4, 3), X, Y, **changes)


@pytest.mark.parametrize("seeds", [2**64, [2**63], [0, -(2**63) - 1], 10**12])
def test_seeds_that_no_result_could_hold(seeds: Any) -> None:
    with pytest.raises(ShrinkageError, match="seeds="):
        fit(partial(nn.Linear, 4, 3), X, Y, L2(1.0), seeds=seeds)


def test_the_largest_and_the_smallest_seed_are_trained() -> None:
    result = fit(partial(nn.Linear, 4, 3), X, Y, L2(1.0), seeds=[2**63 - 1, -(2**63)])
    assert result.seeds == (2**63 - 1, -(2**63))
    with pytest.raises(ShrinkageError, match="seed="):
        train(nn.Linear(4, 3), X, Y, seed=2**64)


def test_a_schedule_may_begin_at_0() -> None:
    warm_up = partial(LambdaLR, lr_lambda=lambda epoch: min(1.0, epoch / 2))
    result = fit(partial(nn.Linear, 4, 3), X, Y, L2(1.0), seeds=1, scheduler=warm_up)
    assert result.valid_loss.isfinite().all()
