"""What the tests of pitfalls compare with, and by what they attach a penalty."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from _training import (
    STRENGTH,
    assert_same,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from shrinkage.parameters import selected_parameters
from shrinkage.penalties import L1
from shrinkage.regularize import regularize

COUPLINGS = ["coupled", "decoupled", "proximal"]
Attach = Callable[[nn.Module, Optimizer], Any]


def weights_of(model: nn.Module) -> list[Tensor]:
    return list(selected_parameters(model).values())


def soften_after(model: nn.Module, optimizer: Optimizer) -> None:
    """The prox of L1 as a step post-hook of one line, with the rate the optimizer was made with."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            w.data = L1(STRENGTH).prox(w.data, optimizer.defaults["lr"])

    optimizer.register_step_post_hook(hook)


def nothing(model: nn.Module, optimizer: Optimizer) -> None:
    """No penalty."""


def ours(penalty: Any, how: str | None = None) -> Attach:
    return partial(regularize, penalty=penalty, how=how)


def differ(one: nn.Module, other: nn.Module) -> bool:
    try:
        assert_same(one, other, rtol=1e-5, atol=1e-7)
    except AssertionError:
        return True
    return False
