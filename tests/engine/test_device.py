"""Paths are trained on the CPU: data comes there, a model from elsewhere is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from _problems import assert_same_result, classes, fit
from torch import nn

from shrinkage.errors import ShrinkageError

X, Y = (t.float() if t.is_floating_point() else t for t in classes())
QUICK: dict[str, Any] = {"epochs": 1, "seeds": 1}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def gpu_model() -> nn.Module:
    return nn.Linear(4, 3, device="cuda")


@pytest.mark.parametrize(
    ("model", "device"),
    [
        (nn.Linear(4, 3, device="meta"), "meta"),
        (lambda: nn.Linear(4, 3, device="meta"), "meta"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, device="meta")), "meta"),
        pytest.param(gpu_model, "cuda:0", marks=needs_gpu),
    ],
)
def test_a_model_on_another_device_is_refused(model: Any, device: str) -> None:
    with pytest.raises(ShrinkageError, match=rf"the model is on {device}, .* give model.cpu\(\)"):
        fit(model, X, Y, **QUICK)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    before = torch.get_default_device()
    torch.set_default_device("meta")
    yield
    torch.set_default_device(before)


@pytest.mark.usefixtures("elsewhere")
def test_torchs_default_device_changes_nothing() -> None:
    result = fit(lambda: nn.Linear(4, 3), X, Y, **QUICK)
    assert torch.get_default_device().type == "meta"
    torch.set_default_device("cpu")
    assert_same_result(result, fit(lambda: nn.Linear(4, 3), X, Y, **QUICK), rtol=0, atol=0)


@needs_gpu
def test_rows_on_a_gpu_are_brought_to_the_cpu() -> None:
    given = {"test": (X, Y), "sample_weight": torch.rand(32) + 1, "folds": torch.arange(32) % 3}
    there = {
        name: tuple(t.cuda() for t in own) if isinstance(own, tuple) else own.cuda()
        for name, own in given.items()
    }
    one = fit(nn.Linear(4, 3), X, Y, **QUICK, **given)
    other = fit(nn.Linear(4, 3), X.cuda(), Y.cuda(), **QUICK, **there)
    assert_same_result(one, other, rtol=0, atol=0)
