"""A checkpoint of a training that is no file, damaged or forged is refused at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from shrinkage import ShrinkageError, train
from shrinkage.training import checkpoint as file
from shrinkage.training.checkpoint import read_checkpoint, write_checkpoint


def fit(place: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    X = torch.randn(60, 4)
    return train(nn.Linear(4, 3), X, torch.arange(60) % 3, epochs=2, checkpoint=place, **more)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, link_to_a_device])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "c")
    with pytest.raises(ShrinkageError, match="is not a regular file"):
        fit(tmp_path / "c")


@pytest.mark.parametrize("place", ["", "\0", 3, b"c"])
def test_what_is_no_path_is_refused(place: Any) -> None:
    with pytest.raises(ShrinkageError, match=r"checkpoint=.*give a path"):
        fit(place)


def test_a_place_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    steps: list[Any] = []
    with pytest.raises(ShrinkageError, match=r"cannot write .*no directory"):
        fit(tmp_path / "none" / "c", progress=steps.append)
    assert not steps


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    fit(tmp_path / "c")
    whole = (tmp_path / "c").read_bytes()
    for place in range(0, len(whole), 41):
        (tmp_path / "c").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ShrinkageError, match=r"is damaged|is not a checkpoint"):
            read_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("part", ["manifest", "model", "optimizer", "rng", "curves", "best"])
@pytest.mark.parametrize("forged", [None, [], {"dict": []}, 7])
def test_a_state_of_another_kind_is_refused(tmp_path: Path, part: str, forged: Any) -> None:
    fit(tmp_path / "c")
    state = read_checkpoint(tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    write_checkpoint(tmp_path / "c", {**state, part: forged})
    assert (tmp_path / "c").read_bytes() != before
    with pytest.raises(ShrinkageError, match=r"checkpoint of another|does not hold the state"):
        fit(tmp_path / "c")


def test_a_state_that_is_deeply_nested_is_refused(tmp_path: Path) -> None:
    fit(tmp_path / "c")
    content = (tmp_path / "c").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    text, tensors = "[" * 100_000, load(content)
    facts = {**header, "state": text, "sha256": file._digest(text, tensors)}
    (tmp_path / "c").write_bytes(save(tensors, facts))
    with pytest.raises(ShrinkageError, match="is damaged"):
        fit(tmp_path / "c")
