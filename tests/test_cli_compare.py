"""shrinkage compare: options, table at every width, the directory, the page, mistakes."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from shrinkage import PathResult, ShrinkageError
from shrinkage.cli import app
from shrinkage.cli.compare.screen import notes, show_comparison
from shrinkage.cli.screens import make_console
from shrinkage.comparing import Comparison, Contender
from shrinkage.comparing.comparison import ranked
from shrinkage.data import load_data, split_test
from shrinkage.report.comparison import render_comparison

SMALL = ["compare", "--data", "wine", "--model", "mlp:6", "--values", "4", "--folds", "2"]
SMALL += ["--seeds", "1", "--epochs", "3", "--batch-size", "64", "--compile", "off"]


def call(*arguments: str, columns: int = 80) -> Result:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("runs") / "wine"
    return call(*SMALL, "--out", str(out), "--optimizer", "adam,adamw,sgd:0.5"), out


def test_a_run_ranks_every_method_and_saves_all(run: tuple[Result, Path]) -> None:
    done, out = run
    assert done.exit_code == 0, done.output
    names = {"manifest.json", "comparison.csv", "test_losses.csv", "paths", "report.html"}
    assert {path.name for path in out.iterdir()} == names | {"comparison.png", "comparison.svg"}
    with (out / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    single = {
        "none", "L2", "L1", "elastic net", "group lasso", "decoupled decay", "dropout",
        "label smoothing", "early stopping",
    }  # fmt: skip
    for optimizer in ("adam", "sgd:0.5"):
        assert single <= {row["method"] for row in rows if row["optimizer"] == optimizer}
    assert {row["optimizer"] for row in rows} == {"adam", "sgd:0.5"}
    assert "adamw is left out" in " ".join(done.stderr.split())
    losses = [float(row["test_loss"]) for row in rows]
    assert losses == sorted(losses)
    with (out / "test_losses.csv").open() as stream:
        table = list(csv.reader(stream))
    by_row = torch.tensor([[float(cell) for cell in line] for line in table[1:]])
    torch.testing.assert_close(by_row.mean(0), torch.tensor(losses))
    assert len(table) == 1 + 36
    facts = json.loads((out / "manifest.json").read_text())
    assert [row["method"] for row in facts["rows"]] == [row["method"] for row in rows]
    assert facts["about"]["data"]["name"] == "wine"
    path = PathResult.load(out / "paths" / "sgd-0.5-dropout")
    assert path.knobs["dropout"].tolist() == [0.0, 0.233, 0.467, 0.7]
    assert list(path.knobs) == ["dropout"]
    assert not PathResult.load(out / "paths" / "adam-L2").knobs
    done = call("report", str(out))
    assert (done.exit_code, "holds a comparison" in " ".join(done.stderr.split())) == (1, True)
    for method in ("L1", "early-stopping"):
        page = call(
            "report", str(out / "paths" / f"adam-{method}"), "--out", f"{out}-{method}.html"
        )
        assert page.exit_code == 0, page.output
    done, _ = run
    for name in single:
        assert name in " ".join(done.stdout.split())


def test_json_holds_the_table_and_nothing_else_is_printed(tmp_path: Path) -> None:
    done = call(*SMALL, "--methods", "l2,early_stopping", "--json", "--out", str(tmp_path / "r"))
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {row["method"] for row in said["rows"]} == {"none", "L2", "early stopping"}
    assert said["answer"].endswith(".")
    assert said["directory"] == str(tmp_path / "r")


def test_a_regression_has_no_label_smoothing(tmp_path: Path) -> None:
    small = [*SMALL[:2], "diabetes", *SMALL[3:]]
    done = call(*small, "--model", "linear", "--out", str(tmp_path / "r"))
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "R2" in text
    assert "label smoothing" not in text
    assert "dropout is left out, because the model has no dropout layers" in text
    paired = " + " in (tmp_path / "r" / "comparison.csv").read_text()
    assert ("no best pair for adam" in text) != paired


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "an unknown method": (["--methods", "l2,lasso"], 2, "--methods: 'lasso' is unknown"),
    "an unknown optimizer": (
        ["--optimizer", "adamax"],
        2,
        "'adamax' is unknown",
    ),
    "an optimizer twice": (["--optimizer", "sgd,sgd"], 2, "sgd is given twice"),
    "no learning rate": (["--optimizer", "sgd:fast"], 2, "'sgd:fast' has no learning rate"),
    "a learning rate of 0": (["--optimizer", "sgd:0"], 2, "no learning rate above 0"),
    "too few values": (["--values", "3"], 2, "values"),
    "data that are not there": (["--data", "nowhere.csv"], 2, "nowhere.csv"),
    "everything diverges": (["--optimizer", "sgd:1e30"], 1, "nothing could be trained"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_error_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    arguments, code, words = MISTAKES[name]
    done = call(*SMALL, *arguments, "--out", str(tmp_path / "out"))
    assert done.exit_code == code, done.output
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_directory_in_use_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for flags, words in ((["--overwrite"], "do not belong to a run"), ([], "is in use")):
        done = call(*SMALL, "--out", str(tmp_path), *flags)
        assert (done.exit_code, words in " ".join(done.stderr.split())) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def contender(method: str, losses: torch.Tensor, **more: Any) -> Contender:
    chosen = {} if method == "none" else {"strength": 1e-3}
    return Contender(
        more.pop("optimizer", "adam"), method, chosen, 0.5, losses.double(), 0.9, **more
    )


@pytest.fixture(scope="module")
def hostile() -> Comparison:
    random = torch.Generator().manual_seed(0)
    base = torch.rand(60, generator=random)
    failure = "<script>alert(1)</script> broke\nit"
    rows = [
        contender("none", base + 0.2),
        contender("L2", base + 0.01 * torch.rand(60, generator=random), at_edge=True),
        contender("elastic net + label smoothing", base),
        contender("dropout", base + 0.2 + 0.3 * torch.randn(60, generator=random)),
        contender("L1", base + 0.5),
        contender("group lasso", torch.full((1,), torch.nan), note=failure),
    ]
    return ranked(rows, {}, "classification", {"data": {"name": "<b>&'\""}})


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_table_fits(
    hostile: Comparison, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    console = make_console()
    console.width = columns
    show_comparison(console, hostile, 60)
    printed = capsys.readouterr().out
    assert all(len(line) <= columns for line in printed.splitlines())
    assert "…" not in printed
    lines = [line for line in printed.splitlines() if re.match(r" *(\d|-) ", line)]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "3", "5", "-"]
    assert [line.split()[-1] for line in lines][1:5] == ["better", "=", "?", "worse"]
    assert any(note.startswith("group lasso: <script>") for note in notes(hostile))
    assert any("largest value was chosen for L2" in note for note in notes(hostile))


@pytest.mark.parametrize("columns", [40, 60, 72, 80, 88, 120])
def test_small_differences_of_several_optimizers_fit(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    random = torch.Generator().manual_seed(0)
    rows = []
    for optimizer in ("adam", "sgd:0.0125"):
        base = 0.1 + 0.1 * torch.rand(60, generator=random, dtype=torch.float64)
        for n, method in enumerate(("none", "decoupled decay", "L2 + label smoothing")):
            noise = 1e-5 * n * torch.randn(60, generator=random, dtype=torch.float64)
            rows.append(contender(method, base + noise, optimizer=optimizer))
    console = make_console()
    console.width = columns
    show_comparison(console, ranked(rows, {}, "classification", {}), 60)
    printed = capsys.readouterr().out
    lines = [line.rstrip() for line in printed.splitlines()]
    assert max(map(len, lines)) <= columns
    assert [line[-1] for line in lines if re.match(r"\d ", line)] == [*"??==??"]
    header = next(line for line in lines if line.startswith("#"))
    expected = dict.fromkeys((40, 60), "# contender loss")
    expected |= dict.fromkeys((72, 80), "# method optimizer chosen test loss to none ±")
    expected |= dict.fromkeys((88, 120), "# method optimizer chosen test loss accuracy to none ±")
    assert " ".join(header.split()) == expected[columns]
    assert not re.search(r"0\.\d{5}", printed)
    assert ("+0.0000 ± 0.0000" in printed) == (columns > 60)
    assert "-0.0000" not in printed


class Text(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert not any(name in ("src", "onclick", "onload") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_names_as_text_and_runs_nothing(hostile: Comparison) -> None:
    page = render_comparison(hostile)
    read = Text()
    read.feed(page)
    assert not {"script", "b", "iframe", "img"} & set(read.tags)
    assert "<script>alert(1)</script> broke" in read.text
    assert "Comparison on <b>&'\"" in read.text
    assert "Best: elastic net + label smoothing" in read.text
    assert read.tags.count("svg") == 5
    policy = re.search(r"Content-Security-Policy\" content=\"([^\"]*)", page)
    assert policy
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "//" not in page


def test_a_comparison_is_saved_whole_or_not_at_all(
    hostile: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "c"
    hostile.save(place)
    before = (place / "comparison.csv").read_bytes()
    with pytest.raises(ShrinkageError, match="another run"):
        hostile.save(place)
    with monkeypatch.context() as broken:
        broken.setattr("shrinkage.comparing.saved.json.dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hostile.save(place, overwrite=True)
    assert (place / "comparison.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    hostile.save(place, overwrite=True)


def test_rows_are_split_again_and_passes_are_in_bfloat16(tmp_path: Path) -> None:
    options = ["--repeats", "2", "--bfloat16", "--methods", "l2", "--out", str(tmp_path / "run")]
    done = call(*SMALL, *options)
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "each at 4 values x 2 folds x 2 repeats x 1 seed," in told
    assert "3 epochs, bfloat16" in told
    path = PathResult.load(tmp_path / "run" / "paths" / "adam-L2")
    assert path.n_folds == 4
    assert path.rows_held is not None
    assert path.rows_held.bincount().tolist() == [2] * 142
    assert path.about["plan"]["autocast"] == "torch.bfloat16"


def test_groups_stay_together(tmp_path: Path) -> None:
    rows = [f"{n % 5},{'yn'[n % 2]},patient {n // 3}" for n in range(60)]
    file = tmp_path / "mine.csv"
    file.write_text("size,kind,who\n" + "\n".join(rows), encoding="utf-8")
    own = ["--data", str(file), "--target", "kind", "--groups", "who", "--methods", "l2"]
    done = call(*SMALL, *own, "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    folds = PathResult.load(tmp_path / "run" / "paths" / "adam-L2").folds
    train, _ = split_test(load_data(str(file), target="kind", groups="who"))
    assert train.groups is not None
    pairs = set(zip(train.groups.tolist(), folds.tolist(), strict=True))
    assert len(pairs) == len(set(train.groups.tolist()))
