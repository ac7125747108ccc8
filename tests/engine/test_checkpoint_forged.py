"""An entry with a right hash that no run wrote: its members are trained again, and that is said."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from _checkpoints import ADAGRAD, Counter, assert_same, fit
from safetensors.torch import load, save

from shrinkage import ShrinkageError

Parts = tuple[dict[str, Any], dict[str, torch.Tensor]]


def forge(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]) -> None:
    """Write the file anew with a changed content, under the name that its hash gives."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about, tensors = json.loads(header["__metadata__"]["about"]), load(content)
    said = change(about, tensors)
    text = said if isinstance(said, str) else json.dumps(about)
    put(path, save(tensors, {"about": text}))


def put(path: Path, content: bytes) -> None:
    name = path.name.partition(".")[0]
    digest = hashlib.sha256(content).hexdigest()[:32]
    path.unlink()
    path.with_name(f"{name}.{digest}.safetensors").write_bytes(content)


def without(name: str) -> Callable[..., Any]:
    return lambda about, _: about.pop(name) and None


def with_(**said: Any) -> Callable[..., Any]:
    return lambda about, _: about.update(said)


def changed(do: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    return lambda _, tensors: tensors.update({n: do(t).clone() for n, t in tensors.items()})


FORGED: dict[str, Callable[..., Any]] = {
    "no points": without("points"),
    "no group": without("group"),
    "no learning rates": without("lrs"),
    "no steps": without("steps"),
    "steps in words": with_(steps="many"),
    "no steps done": with_(steps=0),
    "points that are none": with_(points=[1, 2]),
    "a group that is a list": with_(group=[]),
    "learning rates in words": with_(lrs=["0.1"]),
    "a width in words": with_(width="wide"),
    "something else": lambda *_: "[]",
    "deeply nested": lambda *_: "[" * 100_000,
    "no tensors": lambda _, tensors: tensors.clear(),
    "another type": changed(lambda t: t.double() if t.is_floating_point() else t),
    "another shape": changed(lambda t: t.unsqueeze(-1)),
    "no rows": changed(lambda t: t[:0] if t.dim() else t[None]),
    "numbers": changed(lambda t: torch.zeros(())),
    "curves that are too short": lambda _, tensors: tensors.update(
        train_loss=tensors["train_loss"][..., :1].clone()
    ),
}


@pytest.mark.parametrize("engine", ["together", "alone"])
@pytest.mark.parametrize("what", FORGED)
def test_it_is_not_used_and_its_members_are_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, engine: str
) -> None:
    alone = {"optimizer": ADAGRAD, "seeds": 1, "epochs": 2, "strengths": [0.01], "refit": False}
    given: dict[str, Any] = alone if engine == "alone" else {"seeds": 1, "refit": False}
    Counter(monkeypatch)
    whole = fit(tmp_path, **given)
    forge(sorted(tmp_path.glob("*.safetensors"))[0], FORGED[what])
    with pytest.warns(UserWarning, match="damaged: .* trained again"):
        again = fit(tmp_path, **given)
    assert torch.equal(again.valid_loss, whole.valid_loss)
    assert torch.equal(again.predictions, whole.predictions)


def test_a_file_whose_tensors_cannot_be_read_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Counter(monkeypatch)
    whole = fit(tmp_path)
    path = sorted(tmp_path.glob("*.safetensors"))[0]
    put(path, path.read_bytes()[:-8])
    with pytest.warns(UserWarning, match="damaged: .* trained again"):
        assert_same(fit(tmp_path), whole)


@pytest.mark.parametrize("place", ["", "\0", 3, b"runs"])
def test_what_is_no_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ShrinkageError, match=r"checkpoint=.*give a path"):
        fit(place)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_AS"])
def test_under_a_limit_of_the_system_it_ends_with_one_clear_line(
    tmp_path: Path, limit: str
) -> None:
    code = f"""
import resource, sys
from pathlib import Path
from shrinkage.engine.keep.store import open_store
from shrinkage.engine.keep.stopping import stopping_gently
from shrinkage import ShrinkageError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
bound = 4 if {limit!r} == "RLIMIT_NOFILE" else used
resource.setrlimit(resource.{limit}, (bound, bound))
try:
    with open_store(Path(sys.argv[1]), {{}}) as store, stopping_gently():
        list(store.entries())
    sys.exit("not limited")
except ShrinkageError:
    pass
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits are Linux's")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "kept"],
        check=False, capture_output=True, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
