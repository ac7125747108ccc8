"""The command line without a process, and an engine that answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _results import make_result
from typer.testing import CliRunner, Result

from shrinkage.cli import app
from shrinkage.cli.path import job
from shrinkage.engine import Progress
from shrinkage.result.path_result import PathResult

SMALL = ["--data", "iris", "--n-strengths", "7", "--seeds", "2"]


class FakeEngine:
    """Stands in for `fit_path`: remembers what it was asked and answers at once."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.changes: dict[str, Any] = {}
        self.note = ""
        self.before: Callable[[], object] = lambda: None

    def __call__(self, *arguments: Any, **options: Any) -> PathResult:
        names = ("model", "X", "y", "penalty")
        self.calls.append({**options, **dict(zip(names, arguments, strict=True))})
        self.before()
        for stage in ("check", "compile", "train"):
            options["progress"](Progress(stage, 0, 96, 1, 4, 24, 96, self.note))
        return make_result(penalty=arguments[3], **self.changes)


def stand_in(monkeypatch: pytest.MonkeyPatch, place: Path) -> FakeEngine:
    """Put a fake engine under ``shrinkage path``, leave out its pictures, and go to ``place``."""
    fake = FakeEngine()
    monkeypatch.setattr(job, "fit_path", fake)
    monkeypatch.setattr(job, "_draw", lambda result, directory: None)
    monkeypatch.chdir(place)
    return fake


def call(*arguments: str, columns: int = 80, charset: str = "utf-8") -> Result:
    """Run a command."""
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner(charset=charset).invoke(app, arguments, env=environment)
