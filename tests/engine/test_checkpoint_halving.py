"""Halving with a checkpoint: who is dropped is a function of curves, which are the same bits."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _checkpoints import Counter, assert_same, fit

from shrinkage import PathResult
from shrinkage.engine.keep import kept

HALVING = {"halving": 2, "epochs": 6, "strengths": [1e-4, 1e-3, 1e-2, 0.1, 1.0]}
OPTIMIZERS = [partial(kind, lr=0.1) for kind in (torch.optim.SGD, torch.optim.ASGD)]
FULL = HALVING | {"halving": 0}


def halved(directory: Path | None = None, **changes: Any) -> PathResult:
    return fit(directory, **HALVING | changes)


def assert_same_halving(a: PathResult, b: PathResult) -> None:
    assert_same(a, b)
    assert a.dropped is not None
    assert set(a.dropped.tolist()) == {-1, 2, 4}


@pytest.mark.parametrize(
    ("stop_at", "often"), [(10, False), (38, True), (71, False), (103, True), (120, False)]
)
def test_halving_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, often: bool
) -> None:
    """With three members a chunk, the rungs take 72, 36 and 36 steps."""
    whole = halved(chunk=3)
    if often:
        monkeypatch.setattr(kept, "SECONDS_BETWEEN_WRITES", -1.0)
    with monkeypatch.context() as patch:
        stopped = Counter(patch, stop_at, partial(os.kill, os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as caught:
            halved(tmp_path, chunk=3)
        assert caught.value.code == 143
        assert stopped.steps == stop_at
    counter = Counter(monkeypatch)
    assert_same_halving(whole, halved(tmp_path, chunk=3))
    rest = counter.steps
    halved(chunk=3)
    assert rest == (counter.steps - rest) - stop_at
    counter.steps = 0
    assert_same_halving(whole, halved(tmp_path, chunk=3))
    assert counter.steps == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_halving_takes_from_a_full_grid_what_its_members_were_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    lost = {"grid": {"lr": [0.1, 1000.0]}, "optimizer": optimizer, "seeds": 1}
    whole, full = halved(**lost), fit(tmp_path, **FULL | lost)
    assert (full.diverged[whole.diverged == -1] > 4).any()
    counter = Counter(monkeypatch)
    assert_same_halving(whole, halved(tmp_path, **lost))
    assert counter.steps == 0
    assert_same(full, fit(tmp_path, **FULL | lost))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_halving_dropped_goes_on_in_a_full_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    full = fit(**FULL, chunk=1, optimizer=optimizer)
    halved(tmp_path, chunk=1, optimizer=optimizer)
    Counter(monkeypatch)
    assert_same(full, fit(tmp_path, **FULL, chunk=1, optimizer=optimizer))
