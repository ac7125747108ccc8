"""Knobs beside the strength, and the exact solver, from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from _command import FakeEngine, call
from torch import nn

import shrinkage
from shrinkage.cli.path.arguments import BY_STEPS
from shrinkage.cli.path.options import PathOptions
from shrinkage.engine.member.given import TRAINING_KNOBS
from shrinkage.result.path_result import PathResult

SMALL = ["--data", "iris", "--n-strengths", "3", "--seeds", "2"]
RATES = torch.tensor([0.0] * 4 + [0.5] * 4, dtype=torch.float64)


def crossed(better: float) -> dict[str, Any]:
    """Two paths of four strengths; that with dropout 0.5 is better by so much."""
    strengths = torch.tensor([0, 1e-4, 1e-3, 1e-2], dtype=torch.float64).repeat(2)
    losses = torch.tensor([0.5, 0.4, 0.3, 0.6] * 2) - better * RATES.float()
    noise = torch.randn(8, 5, 2, 4, generator=torch.Generator().manual_seed(1))
    return {
        "strengths": strengths,
        "knobs": {"dropout": RATES},
        "valid_loss": losses.view(8, 1, 1, 1) + 1e-3 * noise,
    }


def test_lists_and_ranges_reach_the_engine(engine: FakeEngine) -> None:
    done = call(
        "path", *SMALL, "--grid", "dropout=0,0.5", "--grid", "lr=1e-4..1e-2", "--draws", "6"
    )
    assert done.exit_code == 0, done.output
    (asked,) = engine.calls
    assert asked["grid"] == {"dropout": [0.0, 0.5], "lr": (1e-4, 1e-2)}
    assert asked["draws"] == 6
    told = " ".join(done.stdout.split())
    assert "dropout 0, 0.5; lr 0.0001 to 0.01; 6 drawn" in told
    assert "6 combinations x 4 strengths x 5 folds x 2 seeds = 240, plus 48 refits" in told
    assert "learning rate" not in told


def test_every_combination_counts_as_members(engine: FakeEngine) -> None:
    done = call("path", *SMALL, "--grid", "dropout=0,0.5", "--grid", "lr=1,2,3", "--refine", "2")
    told = " ".join(done.stdout.split())
    assert "6 combinations x 4 strengths (2 around the best) x 5 folds x 2 seeds = 260" in told


@pytest.mark.parametrize(
    ("spec", "rates"), [("mlp:8,8", [0.0, 0.0]), ("mlp:8,dropout=0.3", [0.3]), ("linear", [])]
)
def test_a_grid_of_dropout_puts_dropout_into_our_models(
    engine: FakeEngine, spec: str, rates: list[float]
) -> None:
    for grid in (["--grid", "dropout=0,0.5"], []):
        assert call("path", *SMALL, "--model", spec, *grid).exit_code == 0
    with_it, without = (asked["model"]() for asked in engine.calls)
    assert [m.p for m in with_it.modules() if isinstance(m, nn.Dropout)] == rates
    assert sum(isinstance(m, nn.Dropout) for m in without.modules()) == ("=" in spec)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_combinations_are_listed_and_the_best_is_shown(
    engine: FakeEngine, tmp_path: Path, columns: int
) -> None:
    engine.changes = crossed(0.2)
    done = call("path", *SMALL, "--grid", "dropout=0,0.5", "--out", "mine", columns=columns)
    assert (done.exit_code, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= columns
    table = done.stdout.split("Knobs")[-1].split("Cross-validation")[0].splitlines()
    best, other = (next(line for line in table if f"dropout {p} " in line) for p in ("0.5", "0"))
    assert best.split()[:3] == ["dropout", "0.5", "1.00e-03"]
    assert best.rstrip().endswith("best")
    assert table.index(best) < table.index(other)
    curve = done.stdout.split("Cross-validation")[1].split("Test")[0]
    assert "dropout 0.5" in curve
    shown = [line.split()[0] for line in curve.splitlines() if line.strip()]
    strengths = [word for word in shown if word == "0" or "e-0" in word]
    assert strengths == ["0", "1.00e-04", "1.00e-03", "1.00e-02"]
    result = PathResult.load(tmp_path / "mine")
    sentence = shrinkage.verdict(result).sentence
    assert sentence in " ".join(done.stdout.split())
    with Path("mine/results.csv").open() as file:
        assert next(csv.reader(file))[:2] == ["strength", "dropout"]
    manifest = json.loads(Path("mine/manifest.json").read_text())
    assert manifest["choice"]["knobs"] == {"dropout": 0.5}


def test_json_holds_combinations_and_the_path_of_the_best(engine: FakeEngine) -> None:
    engine.changes = crossed(0.2)
    told = json.loads(call("path", *SMALL, "--grid", "dropout=0,0.5", "--json").stdout)
    assert [row["knobs"] for row in told["knobs"]] == [{"dropout": 0.5}, {"dropout": 0.0}]
    assert told["knobs"][0]["strength"] == told["choices"]["minimum"]["strength"] == 1e-3
    assert [row["strength"] for row in told["strengths"]] == [0, 1e-4, 1e-3, 1e-2]
    assert told["strengths"][0]["loss"] == pytest.approx(0.4, abs=2e-3)
    assert told["choices"]["minimum"]["index"] == 2
    assert told["choices"]["minimum"]["knobs"] == {"dropout": 0.5}
    engine.changes = {}
    assert json.loads(call("path", *SMALL, "--json").stdout)["knobs"] == []


def test_many_combinations_are_cut_and_counted(engine: FakeEngine) -> None:
    rates = torch.arange(14).repeat_interleave(2).double() / 20
    strengths = torch.tensor([0.0, 1e-3], dtype=torch.float64).repeat(14)
    losses = (1 + rates).float().view(28, 1, 1, 1).expand(28, 5, 2, 4).clone()
    engine.changes = {
        "K": 28, "strengths": strengths, "knobs": {"dropout": rates}, "valid_loss": losses,
    }  # fmt: skip
    told = call("path", *SMALL, "--grid", "dropout=0,0.5").stdout
    assert told.count("dropout 0.") == 9
    assert "and 4 more; results.csv has them all." in told


def test_strength_0_alone_compares_the_knobs(engine: FakeEngine) -> None:
    engine.changes = {
        "K": 2, "strengths": torch.zeros(2, dtype=torch.float64),
        "knobs": {"dropout": torch.tensor([0, 0.5], dtype=torch.float64)},
    }  # fmt: skip
    done = call("path", *SMALL[:2], "--strengths", "0", "--grid", "dropout=0,0.5")
    assert (done.exit_code, done.stderr) == (0, "")
    assert engine.calls[0]["strengths"] == [0.0]
    told = " ".join(done.stdout.split())
    assert "2 combinations x 1 strength x 5 folds" in told
    assert "Cannot tell: no strength above 0 was tried (5 folds x 2 seeds)." in told
    assert "Note" not in told


def test_forward_passes_in_bfloat16(engine: FakeEngine) -> None:
    for options, wanted in (["--bfloat16"], torch.bfloat16), ([], None):
        done = call("path", *SMALL, *options)
        assert engine.calls[-1]["autocast"] == wanted
        assert ("epochs, bfloat16" in " ".join(done.stdout.split())) == bool(options)


def test_exact_passes_nothing_about_steps(engine: FakeEngine) -> None:
    done = call("path", *SMALL[:4], "--model", "linear", "--penalty", "l1", "--solver", "exact")
    assert done.exit_code == 0, done.output
    (asked,) = engine.calls
    assert asked["solver"] == "exact"
    assert not BY_STEPS & {n for n, value in asked.items() if value is not None} - {"compile"}
    told = " ".join(done.stdout.split())
    assert "4 strengths x 5 folds x 1 seed = 20" in told
    assert "the exact solver finds the minimum itself" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--grid drop=0.1", "--grid: 'drop' is not a knob; did you mean 'dropout'?"),
        ("--grid l1_ratio=0.5", "'l1_ratio' is not a knob"),
        ("--grid dropout", "write dropout=0,0.2,0.5"),
        ("--grid dropout=", "write dropout=0,0.2,0.5"),
        ("--grid dropout=0,x", "write dropout=0,0.2,0.5"),
        ("--grid dropout=0.1..", "a range lr=1e-4..1e-2"),
        ("--grid dropout=0,2", "dropout=2 must be finite and at least 0, below 1"),
        ("--grid lr=nan", "distinct finite numbers"),
        ("--grid lr=0", "above 0"),
        ("--grid lr=1 --grid lr=2", "'lr' is given twice"),
        ("--grid epochs=3,50", "epochs=50 must be whole numbers from 1 to"),
        ("--grid strength=1", "give it by --strengths"),
        ("--grid lr=1e-4..1e-2", "is a range to draw from; give draws"),
        ("--grid lr=1e-2..1e-4 --draws 3", "not a range (low, high)"),
        ("--grid weight_decay=0..1 --draws 3", "start above 0"),
        ("--grid lr=1,2 --draws 3", "draws=3 needs a range"),
        ("--draws 3", "draws=3 needs a range to draw from; give one in grid"),
        ("--draws 0 --grid lr=1..2", "--draws"),
        ("--solver exactly", "'steps', 'exact'"),
        ("--solver exact", "add --model linear"),
        ("--solver exact --model linear --penalty mcp", "mcp is not convex"),
        ("--solver exact --model linear --lr 0.1", "leave --lr out"),
        ("--solver exact --model linear --batch-size 9", "leave --batch-size out"),
        ("--solver exact --model linear --bfloat16", "leave --bfloat16 out"),
        ("--solver exact --model linear --checkpoint kept", "leave --checkpoint out"),
    ],
)
def test_wrong_usage_is_one_error_and_exit_code_2(
    engine: FakeEngine, tmp_path: Path, options: str, said: str
) -> None:
    done = call("path", *options.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[0]
    assert not engine.calls
    assert not any(tmp_path.iterdir())


def test_the_help_names_every_knob() -> None:
    told = " ".join(call("path", "--help", columns=200).stdout.split())
    for name in (*TRAINING_KNOBS, "l1_ratio"):
        assert name in told


def test_what_has_no_meaning_for_exact_are_options() -> None:
    kinds = get_type_hints(PathOptions, include_extras=True)
    panels = {name: kind.__metadata__[-1].rich_help_panel for name, kind in kinds.items()}
    training = {name for name, panel in panels.items() if panel == "Training"}
    assert training - {"solver"} < BY_STEPS
    assert {*PathOptions().__dict__} > BY_STEPS


def test_a_table_in_the_file_reaches_the_engine(engine: FakeEngine) -> None:
    Path("run.toml").write_text(
        'data = "iris"\nmodel = "mlp:8"\ndraws = 3\n[grid]\ndropout = [0, 0.5]\nlr = "0.1..0.2"\n'
    )
    done = call("path", "--config", "run.toml")
    assert done.exit_code == 0, done.output
    assert engine.calls[0]["grid"] == {"dropout": [0.0, 0.5], "lr": (0.1, 0.2)}
    Path("run.toml").write_text('ignore = "ghost"\ngrid = ["lr=1,2"]\ndata = "iris"\n')
    assert "ghost" in call("path", "--config", "run.toml").stderr
    for broken in ("grid = 3", "[grid]\nlr = { low = 1 }"):
        Path("run.toml").write_text(broken)
        done = call("path", "--config", "run.toml")
        assert (done.exit_code, done.stdout) == (2, "")


def test_a_real_path_with_knobs_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = "--data iris --model mlp:4 --n-strengths 2 --folds 2 --seeds 1 --epochs 3"
    done = call("path", *small.split(), "--grid", "dropout=0,0.5", "--grid", "epochs=1,3")
    assert done.exit_code == 0, done.output
    result = PathResult.load(tmp_path / "runs" / "iris-l2")
    assert set(result.knobs) == {"dropout", "epochs"}
    assert len(result.strengths) == 4 * 3
    assert (tmp_path / "runs" / "iris-l2" / "report.html").exists()
    assert (tmp_path / "runs" / "iris-l2" / "path.svg").exists()
