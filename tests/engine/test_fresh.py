"""Models of a factory: what they share is copied, and they start alike or are refused."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shrinkage import L2, PathResult, ShrinkageError, fit_path

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
NOISE = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(1))


def path(model: Callable[[], nn.Module], **given: Any) -> PathResult:
    small = {"strengths": [1e-3], "folds": 2, "seeds": 1, "epochs": 5, "compile": False}
    return fit_path(model, X, NOISE, L2(1.0), **{**small, **given})


OPTIMIZERS = {
    "together": functools.partial(torch.optim.Adam, lr=0.05),
    "one by one": functools.partial(torch.optim.Adagrad, lr=0.05),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_members_that_share_a_pretrained_part_learn_nothing_of_each_other(optimizer: str) -> None:
    backbone = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16))
    before = copy.deepcopy(backbone.state_dict())

    def on(part: Callable[[], nn.Module]) -> PathResult:
        net = lambda: nn.Sequential(part(), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
        return path(net, optimizer=OPTIMIZERS[optimizer])

    shared, copied = on(lambda: backbone), on(lambda: copy.deepcopy(backbone))
    assert torch.equal(shared.valid_loss, copied.valid_loss)
    assert all(map(torch.equal, backbone.state_dict().values(), before.values()))


def of_numpy() -> nn.Module:
    net = nn.Linear(5, 2)
    net.weight.data = torch.from_numpy(np.random.default_rng().normal(size=(2, 5))).float()
    return net


WIDTHS = itertools.count(3)


def wider_and_wider() -> nn.Module:
    width = next(WIDTHS)
    return nn.Sequential(nn.Linear(5, width), nn.Linear(width, 2))


@pytest.mark.parametrize(
    "factory",
    [
        of_numpy,
        functools.partial(next, itertools.cycle([nn.Linear(5, 2), nn.Sequential(nn.Linear(5, 2))])),
        wider_and_wider,
    ],
    ids=["numbers of its own", "two models in turn", "another size at each call"],
)
def test_a_factory_whose_models_do_not_start_alike_is_refused(
    factory: Callable[[], nn.Module],
) -> None:
    with pytest.raises(ShrinkageError, match="at each call although"):
        path(factory)
