from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from shrinkage.cli import app, commands
from shrinkage.cli.config import read_config, write_config
from shrinkage.cli.exits import Commands
from shrinkage.cli.path import job
from shrinkage.cli.path.options import PathOptions

PATH = write_config("path", PathOptions)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "NO_COLOR": "1"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PathOptions]:
    """What a small command with the options of ``path`` was asked for."""
    calls: list[PathOptions] = []
    monkeypatch.setattr(job, "run", lambda options, *screens, **more: calls.append(options))
    monkeypatch.chdir(tmp_path)
    return calls


def run(asked: list[PathOptions], *arguments: str) -> Result:
    own = typer.Typer(cls=Commands)

    commands.add_command(own, "path", PathOptions, "")
    own.command("other")(lambda: None)
    return CliRunner().invoke(own, ["path", *arguments])


def test_printed_file_gives_the_defaults(asked: list[PathOptions]) -> None:
    printed = call("config")
    assert printed.exit_code == 0
    Path("run.toml").write_text(printed.stdout, encoding="utf-8")
    assert run(asked, "--config", "run.toml").exit_code == 0
    assert asked == [PathOptions()]
    assert len(tomllib.loads(PATH)) > 10


def test_every_option_is_in_the_printed_file() -> None:
    keys = {field.name.replace("_", "-").removeprefix("as-") for field in fields(PathOptions)}
    assert keys == {key for key in keys if f"\n{key} = " in PATH or f"\n# {key} = " in PATH}


def test_typed_options_win_over_the_file(asked: list[PathOptions]) -> None:
    Path("run.toml").write_text(
        'data = "wine"\nfolds = 3\nlr = 1\nstrengths = [1e-3, 1e-2]\njson = true\nout = "a b"\n',
        encoding="utf-8-sig",
    )
    done = run(asked, "--folds", "4", "--config", "run.toml")
    assert done.exit_code == 0, done.output
    changed = {"data": "wine", "folds": 4, "lr": 1.0, "strengths": "0.001,0.01", "as_json": True}
    assert asdict(asked[0]) == {**asdict(PathOptions()), **changed, "out": Path("a b")}


def test_a_number_is_a_list_of_one(asked: list[PathOptions]) -> None:
    Path("run.toml").write_text("strengths = 1e-3", encoding="utf-8")
    assert run(asked, "--config", "run.toml").exit_code == 0
    assert asked[0].strengths == "0.001"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nfold = 3", "line 2: unknown key 'fold'; did you mean 'folds'?"),
        ("n_strengths = 3", "did you mean 'n-strengths'?"),
        ("zzz = 3", "choose from data, target"),
        ("[path]\nfolds = 3", "line 1: unknown key 'path'"),
        ("folds = 3\nfolds = 4\nlr = 1", "a key is given twice (at line 2"),
        ("folds = 3.0", "folds: 3.0 should be a whole number"),
        ("folds = true", "folds: True should be a whole number"),
        ('lr = "1e-3"', "lr: '1e-3' should be a number"),
        ("data = 3", "data: 3 should be a text"),
        ("data = 2026-01-01", "should be a text"),
        ("json = 1", "json: 1 should be true or false"),
        ("optimizer = 'lbfgs'", "'adam', 'adamw', 'sgd' or 'rmsprop'"),
        ("folds = 1", "--folds: 1 should be at least 2 (How many parts the rows are split into"),
        ("lr = -1.0", "above 0"),
        ("lr = nan", "above 0"),
        ("folds: 3", "is not TOML"),
        ("folds = ", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML|nested too deeply"),
        ("folds = 1" + "0" * 5000, "is not TOML"),
    ],
)
def test_bad_file_is_one_error(asked: list[PathOptions], text: str, said: str) -> None:
    Path("run.toml").write_text(text, encoding="utf-8")
    done = run(asked, "--config", "run.toml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert any(part in done.stderr for part in said.split("|")), done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 2
    assert not asked


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no.toml", "No such file"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("run.yaml", "is not TOML; `shrinkage config` prints"),
        ("latin", "not UTF-8"),
        ("huge", "more than 1,048,576 bytes"),
    ],
)
def test_bad_place_is_one_error(asked: list[PathOptions], name: str, said: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("run.yaml").write_text("folds: 3", encoding="utf-8")
    Path("latin").write_bytes(b"data = '\xe9'")
    Path("huge").write_bytes(b"#" * (1 << 20) + b"#")
    done = run(asked, "--config", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_config_of_a_command_without_options_is_refused() -> None:
    done = call("config", "config")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "choose from path" in done.stderr


@given(data=st.data())
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_only_usage_errors_escape_from_any_bytes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(PATH.encode())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=60)))
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    file.write_bytes(content)
    try:
        values: dict[str, Any] = read_config(file, PathOptions)
    except typer.BadParameter:
        return
    assert set(values) <= {field.name for field in fields(PathOptions)}
