"""``shrinkage path``: wrong usage, places that cannot be used, and faults on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _command import SMALL, FakeEngine, call


def write_idx(directory: Path) -> Path:
    """A directory with an MNIST-style file that ends too early."""
    directory.mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (directory / name).write_bytes(b"\0\0\x08\x01\0\0\0\x09only5")
    return directory


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "digit"], "did you mean 'digits'"),
        (["--penalty", "l3"], "elastic_net, group_lasso, l1, l2"),
        (["--penalty", "L1"], "did you mean 'l1'?"),
        (["--penalty", "l2:1e-3"], "--penalty l2 --strengths 1e-3"),
        (["--missing", "impute"], "--missing: 'impute' is not one of 'refuse', 'drop', 'mean'"),
        (["--model", "net"], "mlp:128"),
        (["--select", "nothing*"], "nearest names: 0.weight"),
        (["--how", "magic"], "coupled"),
        (["--optimizer", "lbfgs"], "adamw"),
        (["--strengths", ""], "1e-5,1e-4,1e-3"),
        (["--strengths", "1e-3,x"], "not a list of numbers"),
        (["--strengths", "-1"], "finite and >= 0"),
        (["--strengths", "1,nan"], "finite and >= 0"),
        (["--strengths", "inf"], "finite and >= 0"),
        (["--strengths", "0"], "no strength above 0"),
        (["--strengths", "1", "--n-strengths", "3"], "not both"),
        (["--n-strengths", "1"], "--n-strengths: '1' should be at least 2 (How many"),
        (["--folds", "1"], "--folds: '1' should be at least 2 (How many parts"),
        (["--folds", "few"], "--folds: 'few' should be a whole number (How many parts"),
        (["--folds", "2.5"], "--folds: '2.5' should be a whole number (How many parts"),
        (["--folds", "1000"], "--folds"),
        (["--seeds", "0"], "--seeds"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "0"], "above 0"),
        (["--lr", "x"], "--lr: 'x' should be a number (Learning rate)."),
        (["--lr", "nan"], "above 0"),
        (["--scheduler", "step:5"], "step:5,0.7"),
        (["--scheduler", "step:2.5,0.7"], "step:5,0.7"),
        (["--scheduler", "exponential:1.5"], "up to 1"),
        (["--scheduler", "cosine:3"], "cosine"),
        (["--scheduler", "exponential:nan"], "above 0"),
        (["--unknown"], "--unknown"),
        (["wine"], "(wine); each needs its option, such as --data wine."),
        (["--folds", "3", "wine", "x"], "(wine x); each needs its option, such as --data wine."),
    ],
)
def test_wrong_usage_is_one_error_and_exit_code_2(
    engine: FakeEngine, tmp_path: Path, options: list[str], said: str
) -> None:
    done = call("path", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Error: ")
    assert said in first
    assert rest == ["Try 'root path --help'."] * len(rest)
    assert not engine.calls
    assert not any(tmp_path.iterdir())


def in_use(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").touch()
    return ["--out", "mine"]


def somebody_elses(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    return ["--out", "mine", "--overwrite"]


def below_a_file(tmp_path: Path) -> list[str]:
    (tmp_path / "file").touch()
    return ["--out", "file/run"]


def link(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").symlink_to(tmp_path)
    return ["--out", "mine"]


def bad_idx(tmp_path: Path) -> list[str]:
    return ["--data", str(write_idx(tmp_path / "mnist"))]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (in_use, "pass --overwrite"),
        (somebody_elses, "thesis.tex"),
        (below_a_file, "Choose another --out"),
        (link, "is a link or a file"),
        (bad_idx, "train-"),
    ],
)
def test_fault_before_training_is_one_line_and_exit_code_1(
    engine: FakeEngine, tmp_path: Path, prepare: Callable[[Path], list[str]], said: str
) -> None:
    options = prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = call("path", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not engine.calls
    assert sorted(tmp_path.rglob("*")) == before


def test_when_all_diverge_the_table_is_shown_and_nothing_saved(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.changes = {"diverged": [(k, 0, 0) for k in range(8)]}
    for columns in (60, 120):
        done = call("path", *SMALL, columns=columns)
        assert done.exit_code == 1
        assert done.stdout.count("1 diverged") == 8
        assert done.stderr.startswith("Error: no strength can be chosen")
        assert not any(tmp_path.iterdir())


def test_unexpected_fault_is_one_line_and_debug_shows_where(engine: FakeEngine) -> None:
    def fail() -> None:
        raise RuntimeError("out of luck")

    engine.before = fail
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: RuntimeError: out of luck.")
    assert "--debug" in done.stderr
    assert isinstance(call("path", *SMALL, "--debug").exception, RuntimeError)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("notes.txt", "is not a run directory"),
        ("iris-l2/manifest.json", "is not a run, but it holds some"),
        ("comparison.csv", "holds a comparison"),
    ],
)
def test_report_of_what_is_no_run_is_refused_before_torch_is_loaded(
    file: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    code = "import sys, shrinkage.cli as c\ntry: c.main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(tmp_path)], capture_output=True, text=True
    )
    assert said in " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (1, "False\n")
