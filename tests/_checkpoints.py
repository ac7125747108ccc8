"""Runs that keep a checkpoint, and steps that are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from shrinkage import L2, PathResult, fit_path
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.run import chunks
from shrinkage.engine.run.stacked import Stacked

STRENGTHS = [1e-4, 1e-3, 1e-2]
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAGRAD = partial(torch.optim.Adagrad, lr=0.1)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 5, generator=generator)
    return X, (X[:, 0] + 0.5 * torch.randn(40, generator=generator) > 0).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def fit(directory: Path | None = None, **changes: Any) -> PathResult:
    settings: dict[str, Any] = {
        "penalty": L2(1.0),
        "strengths": STRENGTHS,
        "folds": 2,
        "seeds": 2,
        "epochs": 4,
        "batch_size": 16,
        "optimizer": SGD,
        "compile": False,
        "checkpoint": directory,
    } | changes
    return fit_path(net, *data(), **settings)


def assert_same(a: PathResult, b: PathResult) -> None:
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one.nan_to_num(), other.nan_to_num()), field.name
    assert a.refit is not None
    assert b.refit is not None
    for field in fields(a.refit):
        one, other = getattr(a.refit, field.name), getattr(b.refit, field.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one.nan_to_num(), other.nan_to_num()), f"refit.{field.name}"
    for name, weights in a.refit.weights.items():
        assert torch.equal(weights.nan_to_num(), b.refit.weights[name].nan_to_num()), name


def watch_steps(
    monkeypatch: pytest.MonkeyPatch, watch: Callable[[Chunk, Iterator[Any]], Iterator[Any]]
) -> None:
    """Let ``watch`` see every chunk in training, and yield the inputs of its steps."""
    made = chunks.stacked

    class Watched(Stacked):
        def inputs(self, epoch: int, first: int = 0) -> Iterator[Any]:
            return watch(self.chunk, super().inputs(epoch, first))

    monkeypatch.setattr(chunks, "stacked", lambda *given: Watched(**vars(made(*given))))


class Counter:
    """Counts the steps that are taken, and does something at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int = -1, do: Any = None) -> None:
        self.steps = 0

        def counted(_: Chunk, inputs: Iterator[Any]) -> Iterator[Any]:
            for values in inputs:
                self.steps += 1
                if self.steps == at:
                    do()
                yield values

        watch_steps(monkeypatch, counted)
        monkeypatch.setattr(
            "shrinkage.engine.run.together.worker_count", lambda: 1
        )  # where steps can be counted
        monkeypatch.setattr("shrinkage.engine.run.alone.worker_count", lambda: 1)
