"""Every test starts from one seed, on one thread, away from the user's home and caches."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from _command import FakeEngine

settings.register_profile(
    "shrinkage",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("shrinkage")

SHOWN_BY = (
    "COLUMNS",
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "LINES",
    "NO_COLOR",
    "PY_COLORS",
    "TERMINAL_WIDTH",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)
"""What Rich and Typer take colors and widths from, on some machines and not on others."""


def pytest_configure(config: pytest.Config) -> None:
    # Parallel workers inherit the moved HOME, so the real one is remembered only once.
    os.environ.setdefault("SHRINKAGE_TESTS_USER_HOME", str(Path.home()))
    place = tempfile.TemporaryDirectory(prefix="shrinkage-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(place.cleanup)
    home = Path(place.name)
    for name in SHOWN_BY:
        os.environ.pop(name, None)
    os.environ.update(
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        SHRINKAGE_CACHE=str(home / "cache" / "shrinkage"),
        TORCHINDUCTOR_CACHE_DIR=str(home / "cache" / "torchinductor"),
        MPLBACKEND="Agg",
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """What stands in for `fit_path` under ``shrinkage path``."""
    from _command import stand_in

    return stand_in(monkeypatch, tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a saved path of five strengths, three folds, two seeds and two epochs."""
    from _results import make_result

    from shrinkage.choose import minimum

    result = make_result(5, 3, 2, 2)
    result.save(tmp_path / "run", choice=minimum(result))
    return tmp_path / "run"
