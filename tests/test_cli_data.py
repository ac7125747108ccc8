"""Every data door from the command line: real runs, and what goes wrong before one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from shrinkage.cli import app
from shrinkage.data import load_data, split_test
from shrinkage.errors import ShrinkageError
from shrinkage.result.path_result import PathResult

TINY = "--model linear --strengths 1e-3,1e-2 --folds 2 --seeds 1 --epochs 2 --out run".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, ["path", *arguments], env=environment)


def table(rows: int = 40) -> str:
    cells = [f"{i % 7},{'red' if i % 3 else 'blue'},{'yn'[i % 2]}" for i in range(rows)]
    return "\n".join(["size,color,kind", *cells])


def facts() -> dict[str, Any]:
    found: dict[str, Any] = PathResult.load(Path("run")).about["data"]
    return found


def test_a_table_with_holes_is_imputed_and_standardized_within_folds() -> None:
    Path("mine.csv").write_text(table().replace("\n3,", "\n,"), encoding="utf-8")
    done = call("--data", "mine.csv", "--target", "kind", "--missing", "mean", *TINY)
    assert done.exit_code == 0, done.output
    assert "mine: 32 training rows, 8 test rows, 3 features" in done.stdout
    assert "3 features from 2 columns, 2 classes" in " ".join(done.stdout.split())
    assert "6 missing values imputed" in " ".join(done.stdout.split())
    assert facts()["classes"] == ["n", "y"]
    assert facts()["feature_names"] == ["size", "color=blue", "color=red"]
    learned = PathResult.load(Path("run")).about["plan"]["preprocess"]["learned"]
    assert set(learned) == {"simpleimputer", "standardscaler"}


def test_what_was_left_out_is_noted_on_the_screen_and_in_the_report() -> None:
    Path("mine.csv").write_text(table().replace("\n3,", "\n,") + "\n1,red,", encoding="utf-8")
    drop = ["--missing", "drop", "--ignore", "color"]
    done = call("--data", "mine.csv", "--target", "kind", *drop, *TINY)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "1 feature, 2 classes, 1 row left out without a target, 6 rows with missing" in said
    assert "6 rows with missing values dropped" in Path("run/report.html").read_text("utf-8")


def test_dropping_many_rows_is_a_note_that_names_the_column() -> None:
    Path("mine.csv").write_text(table().replace("\n3,", "\n,").replace("\n1,", "\n,"), "utf-8")
    done = call("--data", "mine.csv", "--target", "kind", "--missing", "drop", *TINY)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "Note: many rows dropped: 12 of 40 rows of mine.csv lack a value" in said
    assert "12 of them in column 'size'; ignore this column (--ignore)" in said
    assert "Silence" not in said


def test_groups_stay_together_in_folds_and_test() -> None:
    rows = [f"{n % 5},{'yn'[n % 2]},patient {n // 3}" for n in range(60)]
    Path("mine.csv").write_text("size,kind,who\n" + "\n".join(rows), encoding="utf-8")
    done = call("--data", "mine.csv", "--target", "kind", "--groups", "who", *TINY)
    assert done.exit_code == 0, done.output
    assert "20 groups by who" in " ".join(done.stdout.split())
    assert facts()["test_part"] == "about a fifth, in whole groups, seed 0"
    train, _ = split_test(load_data("mine.csv", target="kind", groups="who"))
    folds = PathResult.load(Path("run")).folds
    assert train.groups is not None
    pairs = set(zip(train.groups.tolist(), folds.tolist(), strict=True))
    assert len(pairs) == len(set(train.groups.tolist()))


def test_an_archive_of_images_meets_a_cnn() -> None:
    images = np.random.default_rng(0).integers(0, 255, (30, 8, 8), np.uint8)
    np.savez("mine.npz", X=images, y=np.arange(30) % 3)
    tiny = ["cnn:4" if word == "linear" else word for word in TINY]
    done = call("--data", "mine.npz", "--json", *tiny)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["plan"]["preprocess"] is None


def test_options_from_a_file_reach_a_real_run() -> None:
    Path("mine.tsv").write_text(table().replace(",", "\t"), encoding="utf-8")
    Path("run.toml").write_text(
        'data = "mine.tsv"\ntarget = "size"\ntask = "regression"\nignore = ["kind"]\n'
        "strengths = [1e-2, 1e-3]\nfolds = 2\nseeds = 1\nepochs = 2\n"
        'model = "linear"\nout = "run"\n',
        encoding="utf-8",
    )
    done = call("--config", "run.toml")
    assert done.exit_code == 0, done.output
    assert facts()["feature_names"] == ["color=blue", "color=red"]
    assert PathResult.load(Path("run")).strengths.tolist() == [0, 1e-3, 1e-2]


def test_a_model_from_the_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cli_own_net.py").write_text(
        "from torch import nn\n\ndef net(inputs, outputs):\n"
        "    return nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, outputs))\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(Path.cwd())
    tiny = ["cli_own_net:net" if word == "linear" else word for word in TINY]
    done = call("--data", "iris", *tiny)
    assert done.exit_code == 0, done.output
    assert "cli_own_net:net, 35 parameters" in done.stdout


GOOD = table()
FAULTS: dict[str, tuple[str, bytes, list[str], str]] = {
    "5-gzip": ("a.csv", gzip.compress(GOOD.encode()), [], "is gzip"),
    "7-text-as-npz": ("a.npz", b"1,2\n", [], "not an .npz file"),
    "9-empty": ("a.csv", b"", [], "is empty"),
    "9-ragged": ("a.csv", (GOOD + ",x,y").encode(), [], "line 41"),
    "10-twice": ("a.csv", GOOD.replace("color", "size").encode(), [], "two columns 'size'"),
    "11-semicolons": ("a.csv", GOOD.replace(",", ";").encode(), [], "separated by ';'"),
    "12-missing": (
        "a.csv",
        GOOD.replace("\n3,", "\n,").encode(),
        [],
        "Set missing (--missing) to 'drop'",
    ),
    "13-no-target": ("a.csv", GOOD.encode(), ["--target", "kin"], "did you mean 'kind'"),
    "14-text-as-parquet": ("a.parquet", b"PAR1", [], "damaged or not a Parquet file"),
    "16-rare-class": ("a.csv", (GOOD + "\n1,red,z").encode(), [], "single row of class z"),
    "16-one-row": ("a.csv", b"size,kind\n1,u\n", [], "single value"),
    "19-unknown-ending": ("a.dat", b"1", [], "unknown ending"),
    "6-too-large": ("a.csv", GOOD.encode(), ["--max-bytes", "100"], "more than 100 bytes"),
    "61-hostile": ("a.csv", GOOD.replace("\n4,", "\n\x1b[2J,").encode(), [], "'\\x1b[2J'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_data_is_one_line_exit_code_1_and_nothing_written(fault: str) -> None:
    name, content, options, said = FAULTS[fault]
    Path(name).write_bytes(content)
    target = [] if name.endswith("npz") or options[:1] == ["--target"] else ["--target", "kind"]
    done = call("--data", name, *target, *options, *TINY)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert [path.name for path in Path().iterdir()] == [name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "missing.csv"], "there is no file 'missing.csv'; check its name."),
        (["--data", "nowhere/missing.csv"], "there is no file"),
        (["--missing", "zero"], "'refuse', 'drop', 'mean'"),
        (["--task", "ranking"], "'classification', 'regression'"),
        (["--max-bytes", "0"], "--max-bytes"),
        (["--model", "nowhere:net"], "there is no module 'nowhere'"),
        (["--data", "iris", "--model", "cnn"], "needs images of at least 4 x 4 pixels"),
    ],
)
def test_wrong_usage_is_exit_code_2(options: list[str], said: str) -> None:
    done = call(*TINY[2:], *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert not any(Path().iterdir())


def test_a_class_rarer_than_the_folds_is_named() -> None:
    Path("a.csv").write_text(GOOD + "\n1,red,rare\n2,red,rare", encoding="utf-8")
    done = call("--data", "a.csv", "--target", "kind", *TINY)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--folds: class 'rare' has 1 training row, fewer than 2 folds" in done.stderr


def test_the_most_similar_file_is_offered() -> None:
    Path("people.csv").write_text(GOOD, encoding="utf-8")
    assert "did you mean 'people.csv'?" in call("--data", "pepole.csv").stderr


def test_a_fault_in_the_users_model_is_theirs_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "def net(inputs, outputs):\n    return unknown\n"
    Path("cli_faulty_net.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(Path.cwd())
    options = ["--data", "iris", "--model", "cli_faulty_net:net"]
    done = call(*options)
    assert done.exit_code == 2
    assert "--model: cli_faulty_net:net: your code raised NameError" in done.stderr
    assert "cli_faulty_net.py, line 2)" in done.stderr
    shown = call(*options, "--debug").exception
    assert isinstance(shown, ShrinkageError)
    assert isinstance(shown.__cause__, NameError)
