"""The verdict where the truth is known: a reduced version of ``benchmarks/verdict.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATHS = 150


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "verdict.py"
    spec = importlib.util.spec_from_file_location("simulated_verdict", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def share(
    simulation: ModuleType,
    scenario: object,
    folds: int,
    answer: str = "helped",
    paths: int = PATHS,
) -> float:
    made = scenario(np.random.default_rng(1), paths, folds)  # type: ignore[operator]
    return simulation.answers(made.losses).count(answer) / paths


@pytest.mark.parametrize("folds", [5, 10])
@pytest.mark.parametrize("shared", [False, True])
def test_noise_is_rarely_called_a_help(simulation: ModuleType, folds: int, shared: bool) -> None:
    for rough in (0.1, 5):
        scenario = simulation.noise_table(20, rough=rough, shared=shared)
        # 5% and two standard errors of that share in so few paths
        assert share(simulation, scenario, folds) <= 0.05 + 2 * (0.05 * 0.95 / PATHS) ** 0.5


def test_the_same_folds_would_call_it_a_help_too_often(simulation: ModuleType) -> None:
    made = simulation.noise_table(20, rough=0.5, shared=True)(np.random.default_rng(1), PATHS, 5)
    assert simulation.without_corrections(made.losses, overlap=False).mean() > 0.12
    assert simulation.without_corrections(made.losses, overlap=True).mean() > 0.05


def test_trainings_whose_strength_does_nothing(simulation: ModuleType) -> None:
    assert share(simulation, simulation.random_nets(4, rows=40, width=8), 5) <= 0.05


def test_a_large_effect_is_seen(simulation: ModuleType) -> None:
    strengths = np.concatenate([[0], np.geomspace(1e-3, 3, 8)])
    assert share(simulation, simulation.ridge(300, 150, 1.0, strengths), 5, paths=40) > 0.7
    harmful = np.array([0, 30.0])
    assert share(simulation, simulation.ridge(60, 3, 0.1, harmful), 5, "did not help") == 1
