"""The line that the report gives to copy is the penalty of the run, and nothing else."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shrinkage import L1, L2, fit_path, regularize
from shrinkage.choose import Choice
from shrinkage.parameters import everything
from shrinkage.report.findings import code_of

SGD, ADAMW = (
    functools.partial(torch.optim.SGD, lr=0.05),
    functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=0),
)
RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(40, 3, generator=RANDOM, dtype=torch.float64)
Y = X @ torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) + 1
START = [torch.randn(s, generator=RANDOM, dtype=torch.float64) for s in ((4, 3), 4, (1, 4), 1)]
EPOCHS = 12


def net() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for parameter, start in zip(made.parameters(), START, strict=True):
            parameter.copy_(start)
    return made


def as_advised(line: str, optimizer: Any) -> dict[str, Tensor]:
    """Return the weights of a training of one's own with this line in it."""
    model = net()
    opt = optimizer(model.parameters())
    handle = eval(
        line,
        {"regularize": regularize, "L1": L1, "L2": L2, "re": re},
        {"model": model, "optimizer": opt},
    )
    for _ in range(EPOCHS):
        opt.zero_grad()
        nn.functional.mse_loss(model(X)[:, 0], Y).backward()
        opt.step()
    handle.remove()
    return dict(model.named_parameters())


@pytest.mark.filterwarnings("ignore:small threshold")
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize(
    ("penalty", "settings", "line"),
    [
        (L2(1.0), {}, "L2(0.5))"),
        (L2(1.0), {"how": "coupled", "select": "*.weight"}, "L2(0.5))"),
        (L2(1.0), {"how": "decoupled"}, "L2(0.5), how='decoupled')"),
        (L1(1.0), {"how": "decoupled"}, "L1(0.5), how='decoupled')"),
        (L1(1.0), {}, "L1(0.5))"),
        (L2(1.0), {"how": "proximal"}, "L2(0.5), how='proximal')"),
        (L2(1.0), {"select": "0.*"}, "L2(0.5), select='0.*')"),
        (
            L2(1.0),
            {"select": lambda name, tensor: name.startswith("0")},
            "L2(0.5), select=re.compile('^(0\\\\.weight|0\\\\.bias)$'))",
        ),
        (
            L1(1.0),
            {"select": everything, "how": "coupled"},
            "L1(0.5), how='coupled', select='*')",
        ),
    ],
)
def test_the_line_trains_what_the_run_trained(
    penalty: Any, settings: dict[str, Any], line: str, optimizer: Any
) -> None:
    rest: dict[str, Any] = {"folds": 2, "seeds": 1, "epochs": EPOCHS, "batch_size": 40}
    result = fit_path(
        net, X, Y, penalty, strengths=[0.5], optimizer=optimizer, compile=False, **rest, **settings
    )
    told = code_of(result, Choice("by hand", 1, 0.5, False))
    assert told == f"regularize(model, optimizer, {line}"
    assert result.refit is not None
    for name, trained in as_advised(told, optimizer).items():
        torch.testing.assert_close(result.refit.weights[name][1, 0], trained, atol=1e-9, rtol=1e-7)
