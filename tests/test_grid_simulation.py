"""The automatic grid holds the minimum: a reduced version of ``benchmarks/grid.py``."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path


def test_the_minimum_lies_inside_the_automatic_grid() -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "grid.py"
    spec = importlib.util.spec_from_file_location("simulated_grid", path)
    assert spec is not None
    assert spec.loader is not None
    grid = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grid)
    paths = islice(grid.paths("adam, long", ("iris",)), 2)
    assert [(net, grid.place(path)) for net, _, path in paths] == [
        ("linear", "at 0"),
        ("MLP", "inside"),
    ]
