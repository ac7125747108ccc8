"""Schedules turn the number of a step into a factor."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from shrinkage.errors import ShrinkageError
from shrinkage.schedules import cosine, follow_lr, linear


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.1)])
def test_a_ramp_goes_from_start_to_end_and_stays(make: object, start: float, end: float) -> None:
    factor = make(start, end, steps=7)  # type: ignore[operator]
    values = [factor(step) for step in range(10)]
    assert (values[0], *values[7:]) == (start, end, end, end)
    assert values == sorted(values, reverse=start > end)


def test_a_factor_is_its_formula() -> None:
    for step in range(5):
        assert linear(1.0, 3.0, steps=4)(step) == pytest.approx(1 + 2 * step / 4)
        wave = 1 + 2 * (1 - math.cos(math.pi * step / 4)) / 2
        assert cosine(1.0, 3.0, steps=4)(step) == pytest.approx(wave)


def test_cosine_is_the_curve_of_torchs_learning_rate() -> None:
    optimizer = SGD([torch.zeros(1)], lr=0.4)
    scheduler = CosineAnnealingLR(optimizer, T_max=6, eta_min=0.1)
    ours, following = cosine(0.4, 0.1, steps=6), follow_lr(optimizer, lr=0.4)
    for step in range(6):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        assert following(step) == pytest.approx(ours(step) / 0.4)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("make", [linear, cosine])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 1.0, 5), r"start=-0\.1: give a finite"),
        ((0.0, math.inf, 5), "end=inf"),
        ((math.nan, 1.0, 5), "start=nan"),
        (("0", 1.0, 5), "start='0': give a finite"),
        ((0.0, 1.0, 0), "steps=0: give a number of steps, at least 1"),
        ((0.0, 1.0, math.nan), "steps=nan"),
        ((0.0, 1.0, None), "steps=None"),
    ],
)
def test_what_is_out_of_range_is_refused(make: object, arguments: object, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        make(*arguments)  # type: ignore[operator, misc]


@pytest.mark.parametrize("lr", [0.0, -1.0, math.inf, math.nan, None])
def test_a_rate_to_follow_is_positive(lr: Any) -> None:
    with pytest.raises(ShrinkageError, match=f"lr={lr}: give the positive"):
        follow_lr(SGD([torch.zeros(1)], lr=0.1), lr)
