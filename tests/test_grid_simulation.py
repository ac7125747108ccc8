"""The automatic grid holds the minimum: a reduced version of ``benchmarks/grid.py``."""

from __future__ import annotations

import functools
import importlib.util
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from shrinkage import L2, fit_path, minimum

ADAM = functools.partial(torch.optim.Adam, lr=1e-2)


def benchmark(name: str) -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_minimum_lies_inside_the_automatic_grid() -> None:
    grid = benchmark("grid")
    paths = islice(grid.paths("adam, long", ("iris",)), 2)
    assert [(net, grid.place(path)) for net, _, path in paths] == [
        ("linear", "at 0"),
        ("MLP", "inside"),
    ]


@pytest.mark.filterwarnings("ignore:no minimum")  # at strength 0, of classes that are set apart
def test_at_convergence_the_minimum_keeps_half_a_decade_from_both_ends() -> None:
    """By the exact solver: Adam, in any training of a sane length, still falls on these rows."""
    grid = benchmark("grid")
    for _, name, path in grid.paths("linear: exact", ("iris", "wine")):
        assert grid.place(path) == "inside", name
        smallest, largest = path.strengths[1].item(), path.strengths[-1].item()
        assert 10**0.5 * smallest < minimum(path).strength < largest / 10**0.5, name


def test_training_on_says_whether_it_converged_and_overfits() -> None:
    """Without a penalty: a short training falls and is at its best, a long one is past it."""
    grid = benchmark("grid")
    X, y = grid.rows_of("breast_cancer")
    fit = functools.partial(
        fit_path, lambda: torch.nn.Linear(30, 2), X[:120], y[:120], L2(1.0), optimizer=ADAM,
        strengths=[1.0], folds=3, seeds=1, refit=False, compile=False,
    )  # fmt: skip
    (falls, past), (falls_on, past_on) = (grid.without_penalty(fit(epochs=e)) for e in (8, 160))
    assert falls > 0.01 > falls_on > 0
    assert past == 0 < 0.01 < past_on
