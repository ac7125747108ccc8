"""A check of what we do that has to fail on what falls into a pit, and ways to attach a penalty."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest
import torch
from _training import STRENGTH, assert_same
from torch import Tensor, nn
from torch.optim import Optimizer

from shrinkage.parameters import selected_parameters
from shrinkage.penalties import L1, catalogue
from shrinkage.regularizing.regularize import regularize

COUPLINGS = ["coupled", "decoupled", "proximal"]
Attach = Callable[[nn.Module, Optimizer], Any]
Check = Callable[..., None]
Operation = Callable[..., Tensor]

EVERY = [kind(**example) for kind in catalogue().values() for example in kind.examples]
every_penalty = pytest.mark.parametrize("penalty", EVERY, ids=repr)


def pitfall(
    ours: Any, naive: Any, fails: type[Exception] = AssertionError
) -> Callable[[Check], Check]:
    """Run a check on what we do, and on naive implementations, where it has to fail.

    Args:
        ours: What the check takes as its first argument; a dict of several.
        naive: The same from who does not know of the pit; a dict of several.
        fails: How the check ends there; a word or an error that is missed is a failure too.
    """

    def decorate(check: Check) -> Check:
        name = next(iter(inspect.signature(check).parameters))
        ways = {f"ours-{key}": (way, False) for key, way in _several(ours).items()}
        ways |= {f"naive-{key}": (way, True) for key, way in _several(naive).items()}

        @wraps(check)
        def test(**arguments: Any) -> None:
            arguments[name], falls = arguments[name]
            if falls:
                with pytest.raises((fails, pytest.fail.Exception)):
                    check(**arguments)
            else:
                check(**arguments)

        test.naive = _several(naive)  # type: ignore[attr-defined]
        return pytest.mark.parametrize(name, ways.values(), ids=ways)(test)

    return decorate


def _several(ways: Any) -> dict[str, Any]:
    return ways if isinstance(ways, dict) else {getattr(ways, "__name__", "way"): ways}


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def sum_of_squares(w: Tensor) -> Tensor:
    return (w * w).sum()


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
