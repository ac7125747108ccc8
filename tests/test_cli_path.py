"""``shrinkage path``: what reaches the engine, and what is written."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from _command import SMALL, FakeEngine, call
from _results import make_result

import shrinkage
from shrinkage.cli.learning import OPTIMIZERS
from shrinkage.cli.path import job
from shrinkage.cli.path.options import PathOptions
from shrinkage.engine.member.schedule import learning_rates
from shrinkage.result.path_result import PathResult

DRAW = job._draw


def _fail(*arguments: Any, **options: Any) -> None:
    raise OSError("no font")


def test_fault_21_strengths_are_sorted_and_merged_and_it_says_so(engine: FakeEngine) -> None:
    done = call("path", "--data", "iris", "--strengths", "1e-2,1e-3,1e-2")
    assert done.exit_code == 0
    assert engine.calls[0]["strengths"] == [0, 0.001, 0.01]
    assert "Note: strengths: given more than once but trained once: 0.01.\n" in done.stderr
    assert "Note: the strengths were sorted.\n" in done.stderr


def test_options_reach_the_engine(engine: FakeEngine) -> None:
    options = "--penalty l1 --select 0.* --strengths 1e-2,0,1e-3 --seeds 4 --epochs 7 --lr 0.5"
    done = call(
        "path", *options.split(), "--optimizer", "rmsprop", "--batch-size", "9", "--folds", "3"
    )
    assert done.exit_code == 0, done.output
    (asked,) = engine.calls
    assert asked["strengths"] == [0.0, 1e-3, 1e-2]
    assert isinstance(asked["penalty"], shrinkage.L1)
    assert (asked["select"], asked["how"], asked["compile"]) == ("0.*", "proximal", "auto")
    assert (asked["seeds"], asked["epochs"], asked["batch_size"]) == (range(4), 7, 9)
    assert set(asked["folds"].of_rows.tolist()) == {0, 1, 2}
    assert asked["optimizer"].func is torch.optim.RMSprop
    assert asked["optimizer"].keywords == {"lr": 0.5}
    assert len(asked["test"][1]) + len(asked["X"]) == 1797
    assert "sorted" in done.stderr


def test_rows_are_split_again_and_again(engine: FakeEngine) -> None:
    done = call(
        *[
            "path",
            "--data",
            "wine",
            "--folds",
            "3",
            "--repeats",
            "4",
            "--seeds",
            "2",
            "--strengths",
            "1e-2",
        ]
    )
    told = " ".join(done.stdout.split())
    assert "2 strengths x 3 folds x 4 repeats x 2 seeds = 48, plus 4 refits" in told
    (asked,) = engine.calls
    held = asked["folds"].held
    assert len(held) == 12
    for repeat in range(4):
        rows = torch.cat(held[3 * repeat : 3 * repeat + 3])
        assert torch.equal(rows.sort().values, torch.arange(len(asked["X"])))
    Path("run.toml").write_text("repeats = 4\nfolds = 3", encoding="utf-8")
    call("path", "--data", "wine", "--config", "run.toml")
    assert len(engine.calls[1]["folds"].held) == 12


def test_a_seed_changes_test_rows_folds_and_starts(engine: FakeEngine) -> None:
    for seed in ("0", "1"):
        call("path", "--data", "digits", "--seeds", "3", "--seed", seed)
    first, second = engine.calls
    assert (first["seeds"], second["seeds"]) == (range(3), range(3, 6))
    assert not torch.equal(first["folds"].of_rows, second["folds"].of_rows)
    assert not torch.equal(first["test"][0], second["test"][0])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("step:2,0.5", [0.4, 0.4, 0.2, 0.2]),
        ("exponential:0.5", [0.4, 0.2, 0.1, 0.05]),
        ("cosine", [0.4, 0.2 + 0.2 * math.sqrt(0.5), 0.2, 0.2 - 0.2 * math.sqrt(0.5)]),
    ],
)
def test_a_schedule_sets_the_rate_of_every_epoch(
    engine: FakeEngine, spec: str, expected: list[float]
) -> None:
    call("path", *SMALL, "--scheduler", spec, "--lr", "0.4", "--epochs", "4", "--optimizer", "sgd")
    (asked,) = engine.calls
    rates = learning_rates(asked["optimizer"], asked["scheduler"], 4)
    assert rates.tolist() == pytest.approx(expected)


def test_adamw_is_decoupled_and_brings_no_decay_of_its_own(engine: FakeEngine) -> None:
    call("path", *SMALL, "--optimizer", "adamw")
    (asked,) = engine.calls
    assert asked["how"] == "decoupled"
    assert asked["optimizer"].keywords["weight_decay"] == 0


def test_tables_are_standardized_within_folds_and_images_are_not(engine: FakeEngine) -> None:
    for name in ("wine", "digits", "diabetes"):
        assert call("path", "--data", name).exit_code == 0
    wine, digits, diabetes = engine.calls
    assert repr(wine["preprocess"]) == repr(diabetes["preprocess"]) == "StandardScaler()"
    assert digits["preprocess"] is None
    assert (digits["X"].min(), digits["X"].max()) == (0, 1)
    assert float(wine["X"].mean()) > 60


def test_targets_of_a_regression_are_scaled_and_their_unit_is_kept(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.changes = {"task": "regression"}
    call("path", "--data", "diabetes", "--out", "mine")
    y = engine.calls[0]["y"]
    assert abs(float(y.mean())) < 1e-5
    assert float(y.std(correction=0)) == pytest.approx(1)
    unit = PathResult.load(tmp_path / "mine").about["data"]["target"]
    back = y * unit["sd"] + unit["mean"]
    assert set(back.round().tolist()) <= set(shrinkage.data.load_data("diabetes").y.tolist())


def test_json_is_one_object_without_nan(engine: FakeEngine) -> None:
    engine.changes = {"diverged": [(7, 0, 0)]}
    done = call("path", *SMALL, "--json")
    assert done.exit_code == 0

    def refuse(text: str) -> None:
        raise AssertionError(text)

    told = json.loads(done.stdout, parse_constant=refuse)
    assert told["directory"] == "runs/iris-l2"
    assert told["strengths"][7]["loss"] is None
    assert told["strengths"][7]["diverged"] == 1
    result = make_result(diverged=[(7, 0, 0)])
    assert told["choices"]["minimum"]["strength"] == shrinkage.minimum(result).strength
    assert told["verdict"]["answer"] == "helped"
    assert [row["rule"] for row in told["test"]] == ["no_penalty", "minimum", "one_standard_error"]
    assert told["test"][0]["loss"] == pytest.approx(result.test_metric("loss")[0].mean().item())
    assert told["data"]["sha256"]


def test_manifest_tells_command_data_and_versions(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home()
    monkeypatch.setattr(sys, "argv", ["/x/shrinkage", "path", "--out", f"{home}/a b", f"{home}er"])
    call("path", *SMALL)
    about = PathResult.load(tmp_path / "runs" / "iris-l2").about
    assert about["command"] == f"shrinkage path --out '~/a b' {home}er"
    assert set(about["versions"]) == {"numpy", "python", "scikit-learn", "shrinkage", "torch"}
    assert about["data"]["rows"] == 120
    assert about["engine"] == "vectorized: eager"


def test_picture_that_fails_does_not_hide_the_results(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(job, "save_figures", _fail)
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert "Helped" in done.stdout
    assert "no font" in done.stderr
    assert (tmp_path / "runs" / "iris-l2" / "manifest.json").exists()
    assert (tmp_path / "runs" / "iris-l2" / "report.html").exists()


def test_report_is_written_into_the_run_and_named_last(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(job, "save_figures", lambda result, directory: None)
    done = call("path", *SMALL, "--out", "mine")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split()[0] == "mine/report.html"
    PathResult.load(tmp_path / "mine").report(tmp_path / "again.html")
    assert (tmp_path / "mine" / "report.html").read_bytes() == (
        tmp_path / "again.html"
    ).read_bytes()
    assert call("path", *SMALL, "--out", "mine", "--overwrite").exit_code == 0


def test_report_that_fails_leaves_the_run_and_its_pictures(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(PathResult, "report", _fail)
    drawn: list[Path] = []
    monkeypatch.setattr(job, "save_figures", lambda result, directory: drawn.append(directory))
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert "Helped" in done.stdout
    assert "no font" in done.stderr
    assert len(drawn) == 1
    PathResult.load(tmp_path / "runs" / "iris-l2")


def test_default_directory_is_a_new_one_each_time(engine: FakeEngine, tmp_path: Path) -> None:
    for _ in range(3):
        call("path", *SMALL)
    call("path", *SMALL, "--overwrite")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "iris-l2",
        "iris-l2-2",
        "iris-l2-3",
    ]


def test_overwrite_replaces_a_run(engine: FakeEngine, tmp_path: Path) -> None:
    call("path", *SMALL, "--out", "mine")
    engine.changes = {"K": 4}
    assert call("path", *SMALL, "--out", "mine", "--overwrite").exit_code == 0
    assert len(PathResult.load(tmp_path / "mine").strengths) == 4


def test_options_name_what_there_is() -> None:
    kinds = get_type_hints(PathOptions)
    assert set(get_args(kinds["optimizer"])) == set(OPTIMIZERS)
    assert get_args(kinds["missing"]) == get_args(shrinkage.data.Missing)
