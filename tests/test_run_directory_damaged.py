"""A run directory that is not what was saved is refused, and nothing in it is ever run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from shrinkage.errors import ShrinkageError
from shrinkage.result.path_result import PathResult


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
