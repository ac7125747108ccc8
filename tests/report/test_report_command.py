from __future__ import annotations

from pathlib import Path

import pytest
from _results import make_result
from typer.testing import CliRunner

from shrinkage.cli import app


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_result().save(tmp_path / "run")
    return tmp_path / "run"


def call(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_report_lies_in_the_run_unless_told_otherwise(run: Path, tmp_path: Path) -> None:
    code, shown, _ = call(run)
    assert code == 0
    assert "report.html" in shown
    elsewhere = tmp_path / "mail me.html"
    assert call(run, "--out", elsewhere)[0] == 0
    assert elsewhere.read_bytes() == (run / "report.html").read_bytes()


def test_run_with_a_report_is_still_a_run(run: Path) -> None:
    assert call(run)[0] == 0
    assert call(run, "--overwrite")[0] == 0
    make_result().save(run, overwrite=True)
    assert not (run / "report.html").exists()


def test_report_that_is_there_is_kept(run: Path) -> None:
    call(run)
    code, shown, said = call(run)
    assert (code, shown) == (1, "")
    assert "--overwrite" in said


def test_what_is_no_run_is_one_error(tmp_path: Path) -> None:
    code, shown, said = call(tmp_path / "nothing")
    assert (code, shown) == (1, "")
    assert "not a run directory" in said
    assert len(said.strip().splitlines()) == 1


def test_a_directory_of_runs_names_them(run: Path) -> None:
    code, shown, said = call(run.parent)
    assert (code, shown) == (1, "")
    assert f"Give one of {run}." in said


def test_quiet_prints_nothing(run: Path) -> None:
    assert call(run, "--quiet") == (0, "", "")
