"""Help, version and completion; and that none of them waits for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from _command import call

import shrinkage
from shrinkage.penalties import catalogue


def printed_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.mark.parametrize("arguments", [[], ["path", "--help"], ["report", "-h"]])
@pytest.mark.parametrize("columns", [100, 40])
def test_flags_take_nothing(arguments: list[str], columns: int) -> None:
    told = call(*arguments, columns=columns).stdout
    assert "bool" not in told.lower()
    assert "--help" in told


@pytest.mark.parametrize("arguments", [[], ["--help"], ["path", "--help"], ["train", "-h"]])
def test_help_has_an_example(arguments: list[str]) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    command = arguments[0] if len(arguments) > 1 else ""
    assert f"Example: shrinkage {command}" in done.stdout
    for name in () if command else ("path", "compare", "train", "report"):
        assert f"Example: shrinkage {name} " in done.stdout


def test_every_word_of_a_narrow_help_is_whole() -> None:
    told = call("path", "--help", columns=40).stdout.split()
    for word in ("breast_cancer,", "classification", "sparse_group_lasso", "label_smoothing,"):
        assert word in told


def test_help_and_config_stand_with_the_other_options() -> None:
    told = call("path", "--help").stdout
    assert "─ Options ─" not in told
    assert "--help" in told.partition("─ Output ─")[2]


@pytest.mark.parametrize("arguments", [[], ["path", "--help"], ["config", "--help"]])
def test_help_in_a_narrow_terminal_cuts_no_word(arguments: list[str]) -> None:
    done = call(*arguments, columns=40)
    assert done.exit_code == 0
    assert "│" not in done.stdout
    assert "…" not in done.stdout
    assert done.stdout.replace("[ARGS]...", "").count("...") == 0
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert "│" in call(*arguments, columns=80).stdout


def test_help_names_every_penalty_and_data_set() -> None:
    told = call("path", "--help", columns=200).stdout
    for name in [*catalogue(), *shrinkage.data.BUILT_IN]:
        assert name in told


def test_version() -> None:
    assert call("--version").stdout == f"shrinkage {shrinkage.__version__}\n"


def test_command_line_loads_nothing_heavy() -> None:
    shown = "import sys, shrinkage.cli; print(*sys.modules)"
    loaded = printed_by(shown).split()
    assert "shrinkage.cli" in loaded
    assert not {"torch", "sklearn", "numpy", "matplotlib", "shrinkage.engine"} & set(loaded)


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [
        ("shrinkage ", "1", {"path", "report", "config"}),
        ("shrinkage path --opt", "2", {"--optimizer"}),
        ("shrinkage path --optimizer ", "3", {"adam", "adamw", "sgd", "rmsprop"}),
    ],
)
def test_completion_offers_names_and_does_not_wait_for_torch(
    words: str, place: str, offered: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SHRINKAGE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", place)
    code = """
import sys
import shrinkage.cli
try:
    shrinkage.cli.main()
finally:
    assert not {"torch", "numpy", "sklearn", "pydantic"} & set(sys.modules)
"""
    assert offered <= set(printed_by(code).split())
