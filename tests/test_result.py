"""PathResult: shapes that fit, metrics, and a run directory that is exact or refused."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from _results import make_result
from torch import Tensor

from shrinkage import _run_directory, files
from shrinkage.choose import minimum
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.result import PathResult


def same_bits(a: Tensor, b: Tensor) -> bool:
    bytes_of = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bytes_of)


def assert_same(a: Any, b: Any) -> None:
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name == "refit":
            assert_same(x, y)
        elif f.name == "weights":
            assert x.keys() == y.keys()
            assert all(same_bits(x[name], y[name]) for name in x)
        elif isinstance(x, Tensor):
            assert same_bits(x, y), f.name
        elif isinstance(x, Penalty):
            assert repr(x) == repr(y)
        else:
            assert x == y, f.name


@pytest.fixture
def run(tmp_path: Path) -> Path:
    result = make_result(5, 3, 2, 2)
    result.save(tmp_path / "run", choice=minimum(result))
    return tmp_path / "run"


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


def test_shapes_that_do_not_fit_are_named_in_one_error() -> None:
    result = make_result(5, 3, 2, 4)
    with pytest.raises(ShrinkageError) as error:
        replace(
            result,
            valid_loss=result.valid_loss[:, :2],
            norms=result.norms.long(),
            predictions=result.predictions.double(),
            fit_loss=None,
            refit=replace(
                result.refit,
                fit_loss=result.refit.fit_loss[:3],
                weights={"w": torch.ones(4, 2, 3)},
                test_loss=None,
            ),
            about={"time": math.nan},
        )
    message = str(error.value)
    for name in (
        "valid_loss has shape (5, 2, 2, 4), not (K=5, F=3, S=2, E=4)",
        "norms is torch.int64",
        "predictions is torch.float64, not torch.float32",
        "fit_loss is missing or not a tensor",
        "refit.fit_loss has shape (3, 2), not (K=5, S=2)",
        "refit.weights.w has shape (4, 2, 3), not (K=5, S=2, ...)",
        "refit.test_targets come only with",
        "about cannot be written as JSON",
    ):
        assert name in message
    assert "train_loss has" not in message


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("strengths", torch.tensor([0.0, 2, 1]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0.5, 1, 2]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0, 1, math.inf]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0.0, 1, 2]), "torch.float32, not torch.float64"),
        ("strengths", torch.zeros(0).double(), "strengths has shape"),
        ("folds", torch.tensor([0, 2] * 30), "without a gap"),
        ("folds", torch.zeros(60), "not torch.int64"),
        ("targets", torch.zeros(60, dtype=torch.bool), "not a floating type"),
        ("seeds", (0,), "S=1"),
        ("tensor_names", ("a", "b", "c"), "P=3"),
    ],
)
def test_bad_axes_are_refused(name: str, value: object, match: str) -> None:
    with pytest.raises(ShrinkageError, match=match):
        replace(make_result(3, 2, 2), **{name: value})


def test_accuracy_counts_the_held_out_rows_of_each_fold() -> None:
    result = make_result(3, 2, 1, rows=10, diverged=[(2, 1, 0)])
    accuracy = result.metric("accuracy")
    right = result.predictions[1, 0].argmax(-1) == result.targets
    by_hand = [right[result.folds == f].double().mean().item() for f in range(2)]
    assert accuracy[1, :, 0].tolist() == by_hand
    assert accuracy[2].flatten().isnan().tolist() == [False, True]
    assert result.test_metric("accuracy").shape == (3, 1)
    torch.testing.assert_close(result.metric("loss"), result.valid_loss[..., -1], equal_nan=True)
    torch.testing.assert_close(result.test_metric("loss"), result.refit.test_loss)


def test_one_output_is_a_logit() -> None:
    result = make_result(2, 2, 1, rows=4, classes=1, test=False)
    outputs = torch.tensor([-1.0, 2.0, 3.0, -4.0]).view(1, 1, 4, 1).expand(2, 1, 4, 1)
    targets = torch.tensor([0, 1, 0, 0])
    result = replace(result, predictions=outputs, targets=targets)
    assert result.metric("accuracy")[0, :, 0].tolist() == [0.5, 1.0]


def test_metrics_that_do_not_exist_are_refused() -> None:
    regression = make_result(3, 2, 1, task="regression", test=False)
    assert regression.task == "regression"
    assert regression.n_folds == 2
    assert repr(regression) == "PathResult(L2, regression: 3 strengths x 2 folds x 1 seed)"
    with pytest.raises(ShrinkageError, match="not a metric of numbers"):
        regression.metric("accuracy")
    with pytest.raises(ShrinkageError, match="Choose from loss, accuracy"):
        make_result(3, 2, 1).metric("auc")
    with pytest.raises(ShrinkageError, match="no test rows"):
        regression.test_metric("loss")


@pytest.mark.parametrize("name", ["results.csv", "path.safetensors", "weights.safetensors"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_byte_is_refused(run: Path, name: str, place: int) -> None:
    content = bytearray((run / name).read_bytes())
    content[place] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(ShrinkageError, match=f"{name} is not the file that was saved"):
        PathResult.load(run)


def test_a_flipped_byte_anywhere_in_the_manifest_is_refused(run: Path) -> None:
    whole = (run / "manifest.json").read_bytes()
    original = json.loads(whole)
    refused = 0
    for place in range(0, len(whole), 7):
        (run / "manifest.json").write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        try:
            PathResult.load(run)
        except ShrinkageError:
            refused += 1
        else:
            assert json.loads((run / "manifest.json").read_bytes()) == original
    assert refused > len(whole) / 20


@pytest.mark.parametrize("name", ["manifest.json", "results.csv", "path.safetensors"])
def test_a_missing_file_is_refused(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(ShrinkageError, match=name):
        PathResult.load(run)


def rewrite(run: Path, **changes: object) -> None:
    """Change a manifest and make its checksum fit again."""
    manifest = {**json.loads((run / "manifest.json").read_text()), **changes}
    manifest.pop("sha256")
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    (run / "manifest.json").write_text(json.dumps({**manifest, "sha256": digest}))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, "format version 2; this shrinkage reads version 1"),
        ({"format_version": None}, "format version None"),
        ({"format": "other"}, "not the manifest of a shrinkage run"),
        ({"files": {}}, "not that of a run"),
        ({"files": {"../../secret": "0"}}, "not that of a run"),
        ({"files": 3}, "changed after"),
        ({"seeds": 3}, "does not hold a whole run"),
        ({"seeds": [0, 1, 2]}, "S=3"),
        ({"penalty": {}}, "does not hold a whole run"),
        ({"penalty": {"name": "os.system", "fields": {"strength": 1}}}, "not one of elastic_net"),
        ({"penalty": {"name": "l2", "fields": {"strength": 1, "x": 2}}}, "does not hold"),
        ({"penalty": {"name": "l2", "fields": {"strength": -1}}}, "strength"),
    ],
)
def test_a_forged_manifest_is_refused(run: Path, changes: dict[str, Any], match: str) -> None:
    rewrite(run, **changes)
    with pytest.raises(ShrinkageError, match=match):
        PathResult.load(run)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not a readable manifest"),
        ("[]", "not the manifest of a shrinkage run"),
        ("null", "not the manifest of a shrinkage run"),
        ("[" * 100_000, "not a readable manifest"),
        ('{"a":' * 100_000, "not a readable manifest"),
        ('{"format": NaN}', "NaN is not a JSON number"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": 1' + "0" * 5000 + "}", "not a readable manifest"),
        ("\xff", "not a readable manifest"),
        ("\0", "not a readable manifest"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused(run: Path, text: str, match: str) -> None:
    (run / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ShrinkageError, match=match):
        PathResult.load(run)


class Payload:
    """Creates its marker when unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("write", [pickle.dumps, None])
def test_a_pickle_is_never_run(run: Path, tmp_path: Path, write: Any) -> None:
    marker, path = tmp_path / "marker", run / "path.safetensors"
    if write:
        path.write_bytes(write(Payload(str(marker))))
    else:
        torch.save(Payload(str(marker)), path)
    known = json.loads((run / "manifest.json").read_text())["files"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rewrite(run, files={**known, "path.safetensors": digest})
    with pytest.raises(ShrinkageError, match="not a safetensors file"):
        PathResult.load(run)
    assert not marker.exists()


def test_tensors_that_do_not_fit_are_refused_by_load(run: Path) -> None:
    path = run / "path.safetensors"
    tensors = safetensors.torch.load_file(path)
    for wrong in ({"surprise": torch.ones(1)}, {"refit.surprise": torch.ones(1)}):
        safetensors.torch.save_file({**tensors, **wrong}, path)
        known = json.loads((run / "manifest.json").read_text())["files"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rewrite(run, files={**known, "path.safetensors": digest})
        with pytest.raises(ShrinkageError, match="surprise"):
            PathResult.load(run)


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
    assert manifest["format_version"] == _run_directory.FORMAT_VERSION
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
