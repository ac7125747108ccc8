"""A run directory: exact, whole, and in place of another only when asked."""

from __future__ import annotations

import csv
import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from _results import assert_same, make_result, same_bits

from shrinkage.choose import minimum
from shrinkage.disk import files, replacing, run_directory
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.result.path_result import PathResult


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"test": False},
        {"task": "regression", "diverged": [(1, 0, 0), (4, 2, 1)]},
        {"penalty": ElasticNet(0.1, l1_ratio=0.25)},
        {"penalty": GroupLasso(torch.tensor(0.5), dim=1)},
        {"about": {"versions": {"torch": "2"}, "text": "naïve \ud800", "n": [1, 2.5, None, True]}},
    ],
)
def test_round_trip_is_exact(tmp_path: Path, changes: dict[str, Any]) -> None:
    result = make_result(5, 3, 2, 2, **changes)
    result.save(tmp_path / "a" / "run")
    assert_same(result, PathResult.load(tmp_path / "a" / "run"))


def test_every_bit_of_odd_tensors_returns(tmp_path: Path) -> None:
    result = make_result(3, 2, 1, 1)
    payload = torch.tensor([0x7FC00001, 0x7F800000, -0x80000000, 1], dtype=torch.int32)
    odd = payload.view(torch.float32).view(1, 1, 4).expand(3, 1, 4)
    base = torch.arange(12.0).view(3, 1, 4)
    extra = {
        "payload": odd,
        "tied": base,
        "tied_too": base,
        "turned": torch.arange(12).view(2, 2, 3).transpose(0, 2)[:, :1],
        "half": torch.ones(3, 1, 2, dtype=torch.bfloat16),
        "flags": torch.tensor([[True], [False], [True]]),
        "empty": torch.empty(3, 1, 0),
        "also_empty": torch.empty(3, 1, 0),
    }
    result = replace(result, refit=replace(result.refit, weights=extra))
    result.save(tmp_path / "run")
    assert_same(result, PathResult.load(tmp_path / "run"))


def test_chosen_weights_are_a_state_dict(run: Path) -> None:
    result = PathResult.load(run)
    k = minimum(result).index
    state = safetensors.torch.load_file(run / "weights.safetensors")
    assert state.keys() == result.refit.weights.keys()
    assert all(same_bits(state[n], t[k, 0]) for n, t in result.refit.weights.items())
    kept = json.loads((run / "manifest.json").read_text())["choice"]
    assert kept == {
        "rule": "minimum",
        "index": k,
        "strength": result.strengths[k].item(),
        "weights_seed": 0,
    }


def test_weights_skip_a_seed_that_diverged(tmp_path: Path) -> None:
    result = make_result(5, 3, 2, 2)
    k = minimum(result).index
    result.refit.diverged[k, 0] = 9
    result.save(tmp_path / "one", choice=minimum(result))
    state = safetensors.torch.load_file(tmp_path / "one" / "weights.safetensors")
    assert same_bits(state["0.weight"], result.refit.weights["0.weight"][k, 1])
    result.refit.diverged[k, 1] = 9
    result.save(tmp_path / "none", choice=minimum(result))
    assert not (tmp_path / "none" / "weights.safetensors").exists()
    PathResult.load(tmp_path / "none")


def test_a_choice_of_another_path_is_refused(tmp_path: Path) -> None:
    other = minimum(make_result(7, 3, 2))
    with pytest.raises(ShrinkageError, match="not from this path"):
        make_result(5, 3, 2).save(tmp_path / "run", choice=other)
    assert not list(tmp_path.iterdir())


def test_the_table_reads_back_exactly(run: Path) -> None:
    result = PathResult.load(run)
    with (run / "results.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == ["strength", "fold", "seed", "epoch", "train_loss", "valid_loss"]
    assert len(table) == 5 * (3 + 1) * 2 * 2
    strengths = result.strengths.tolist()
    for row in table:
        k, s, e = strengths.index(float(row["strength"])), int(row["seed"]), int(row["epoch"]) - 1
        if row["fold"] == "all":
            assert float(row["train_loss"]) == result.refit.train_loss[k, s, e].item()
            assert row["valid_loss"] == ""
        else:
            f = int(row["fold"])
            assert float(row["train_loss"]) == result.train_loss[k, f, s, e].item()
            assert float(row["valid_loss"]) == result.valid_loss[k, f, s, e].item()


def test_another_run_is_replaced_only_when_asked(run: Path) -> None:
    (run / "path.png").write_bytes(b"drawn for the old run")
    other = make_result(4, 2, 1, 1, seed=5)
    with pytest.raises(ShrinkageError, match="overwrite=True"):
        other.save(run)
    assert PathResult.load(run).n_folds == 3
    other.save(run, overwrite=True)
    assert_same(other, PathResult.load(run))
    assert {path.name for path in run.iterdir()} == {
        "manifest.json",
        "results.csv",
        "path.safetensors",
    }
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_an_empty_directory_is_filled_and_foreign_files_are_safe(tmp_path: Path) -> None:
    result = make_result(3, 2, 1, 1)
    (tmp_path / "empty").mkdir()
    result.save(str(tmp_path / "empty"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    for name, match in (("home", "thesis.tex"), ("link", "link or a file"), ("file", "link or a")):
        with pytest.raises(ShrinkageError, match=match):
            result.save(tmp_path / name, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


def test_the_current_directory_can_hold_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_result(3, 2, 1, 1).save(".")
    assert PathResult.load(tmp_path / "here").n_folds == 2


def full(*anything: object, **more: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("broken", ["fsync", "save_file", "mkdir", "rename"])
def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, overwrite: bool
) -> None:
    old, new = make_result(3, 2, 1, 1), make_result(4, 2, 1, 1)
    if overwrite:
        old.save(tmp_path / "run")
    rename = Path.rename

    def half_rename(path: Path, target: Path) -> Path:
        return full() if path.name.endswith(".new") else rename(path, target)  # type: ignore[return-value]

    with monkeypatch.context() as patch:
        if broken == "fsync":
            patch.setattr(files.os, "fsync", full)
        elif broken == "save_file":
            patch.setattr(safetensors.torch, "save_file", full)
        elif broken == "mkdir":
            patch.setattr(Path, "mkdir", full)
        else:
            patch.setattr(Path, "rename", half_rename)
            patch.setattr(replacing, "_exchanged", lambda *_: False)
        with pytest.raises(ShrinkageError, match="No space left on device"):
            new.save(tmp_path / "run", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if overwrite else [])
    if overwrite:
        assert_same(old, PathResult.load(tmp_path / "run"))


def test_the_manifest_names_neither_host_nor_home(run: Path) -> None:
    text = (run / "manifest.json").read_text() + (run / "results.csv").read_text()
    secrets = [socket.gethostname(), str(Path.home()) + "/", str(run.parent)]
    secrets += [value for value in os.environ.values() if len(value) > 8]
    assert not [secret for secret in secrets if len(secret) > 3 and secret in text]


def test_the_manifest_says_what_the_run_was(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["format_version"] == run_directory.FORMAT_VERSION
    assert manifest["penalty"] == {"name": "l2", "fields": {"strength": 1.0}}
    assert manifest["axes"]["folds"] == 3
    assert manifest["about"]["data"]["name"] == "synthetic"


def test_a_penalty_of_the_user_returns_while_its_class_is_known(tmp_path: Path) -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Mine(L1):
        pass

    @dataclass(frozen=True, eq=False, repr=False)
    class Ours(Penalty):
        convex, smooth, examples = True, True, ({"strength": 1.0},)
        value = L2.value
        gradient = L2.gradient
        prox = L2.prox
        strength_max = L2.strength_max

    make_result(3, 2, 1, 1, penalty=Ours(0.5)).save(tmp_path / "run")
    assert type(PathResult.load(tmp_path / "run").penalty) is Ours
    make_result(3, 2, 1, 1, penalty=Mine(0.5)).save(tmp_path / "other")
    with pytest.raises(ShrinkageError, match="Import the module that defines it"):
        PathResult.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("dropped", "refused"), [([-1, -1, -1], False), ([-1, 2, -1], True)], ids=["unused", "used"]
)
def test_a_run_from_before_halving_went_is_read_unless_it_dropped_strengths(
    tmp_path: Path, dropped: list[int], refused: bool
) -> None:
    result = make_result(3, 2, 1, 2)
    result.save(tmp_path / "now")
    manifest, tensors = run_directory.read(tmp_path / "now")
    tensors["dropped"] = torch.tensor(dropped)
    run_directory.write(tmp_path / "then", manifest, [], tensors, None, overwrite=False)
    if refused:
        with pytest.raises(ShrinkageError, match=r"then holds a run by successive halving"):
            PathResult.load(tmp_path / "then")
    else:
        assert_same(result, PathResult.load(tmp_path / "then"))
