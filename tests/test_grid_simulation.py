"""The automatic grid holds the minimum: a reduced version of ``benchmarks/grid.py``."""

from __future__ import annotations

import functools
import importlib.util
from itertools import islice
from pathlib import Path
from typing import Any

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


def test_the_simulation_of_halving_is_what_halving_does() -> None:
    """A reduced version of ``benchmarks/halving.py``, against real runs."""
    settings = {"strengths": [1e-4, 1e-3, 1e-2, 0.1, 1.0], "folds": 3, "seeds": 1, "epochs": 9}
    halving = benchmark("halving")
    for name, factor in (("iris", 2), ("wine", 3)):
        X, y = benchmark("grid").rows_of(name)
        net = benchmark("grid").nets(X.shape[1], 3)["MLP"]
        full = fit_path(net, X, y, L2(1.0), optimizer=ADAM, compile=False, **settings)
        part = fit_path(
            net, X, y, L2(1.0), optimizer=ADAM, compile=False, halving=factor, **settings
        )
        chosen, share = halving.halved(halving.by_epoch(full), factor)
        assert minimum(part).index == chosen
        trained = part.dropped.where(part.dropped > 0, torch.tensor(9)).sum()
        assert share == trained.item() / (6 * 9)
