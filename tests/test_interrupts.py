"""Ctrl-C, or the stop button of a notebook: one sentence, and a process as good as before."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from shrinkage import L2, fit_path, train
from shrinkage.tensors import surroundings

X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell that starts tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def interrupted_path(**given: Any) -> None:
    def interrupt(progress: Any) -> None:
        if progress.members_done >= 2:
            os.kill(os.getpid(), signal.SIGINT)

    small: dict[str, Any] = {"strengths": [0.1], "folds": 2, "seeds": 1, "chunk": 1}
    fit_path(net, X, Y, L2(1.0), **small, epochs=3, compile=False, progress=interrupt, **given)


def interrupted_training(**given: Any) -> None:
    def interrupt(moment: Any) -> None:
        if len(moment.curves) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    train(net(), X, Y, L2(1.0), epochs=9, progress=interrupt, **given)


@pytest.mark.parametrize("kept", [False, True], ids=["without a checkpoint", "with one"])
@pytest.mark.parametrize(
    ("act", "so_far"),
    [
        (interrupted_path, r"stopped at [2-5] of 6 members"),
        (interrupted_training, "stopped after 2 of 9 epochs"),
    ],
)
def test_an_interrupt_says_in_a_sentence_how_far_it_came_and_how_to_go_on(
    act: Any, so_far: str, kept: bool, tmp_path: Path
) -> None:
    place = tmp_path / "kept"
    again = f"the same call resumes from {place}" if kept else "nothing is kept; with checkpoint="
    threads, before = torch.get_num_threads(), torch.nn.functional.dropout
    with pytest.raises(KeyboardInterrupt, match=f"{so_far}; {again}") as caught:
        act(**({"checkpoint": place} if kept else {}))
    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 9
    assert caught.value.__suppress_context__
    assert torch.get_num_threads() == threads
    assert torch.nn.functional.dropout is before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_waits_until_torch_is_loaded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def load(name: str) -> ModuleType:
        os.kill(os.getpid(), signal.SIGINT)
        steps.append(name)
        return sys

    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(KeyboardInterrupt):
        surroundings._load_whole("a module that is not loaded")
    assert steps == ["a module that is not loaded"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
