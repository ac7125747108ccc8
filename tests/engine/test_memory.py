"""Memory that runs out: it is recognized, the chunk is halved, and the numbers stay the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _checkpoints import ADAGRAD, assert_same, fit, watch_steps

from shrinkage import ShrinkageError, ShrinkageWarning
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.plan.outcome import shared
from shrinkage.engine.run import together
from shrinkage.engine.run.alone import Alone
from shrinkage.engine.run.workers import MemoryRanOutError, memory_faults_named, run_in_workers
from shrinkage.rows.groups import Group

forked = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

OUT_OF_MEMORY: dict[str, Exception] = {
    "Python": MemoryError(),
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "Linux": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    "Windows": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
}


@pytest.mark.parametrize("count", [1, 2])
def test_what_torch_raises_here_is_recognized(count: int) -> None:
    def work(job: int) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(MemoryRanOutError, match=r"memory ran out .*; use a smaller"):
        run_in_workers(2, work, lambda: None, count)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_recognized_in_this_process_and_in_workers(name: str, count: int) -> None:
    def work(job: int) -> None:
        raise OUT_OF_MEMORY[name]

    with pytest.raises(MemoryRanOutError, match=r"memory ran out .*; use a smaller"):
        run_in_workers(2, work, lambda: None, count)


def test_other_errors_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes") as caught, memory_faults_named():
        raise RuntimeError("shapes do not fit")
    assert not isinstance(caught.value, ShrinkageError)


def test_memory_that_runs_out_while_the_step_is_tried_halves_the_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare = together.difference_together

    def scarce(*given: Any) -> Any:
        if given[1].members > 2:
            raise OUT_OF_MEMORY["Linux"]
        return compare(*given)

    monkeypatch.setattr(together, "difference_together", scarce)
    notes: list[str] = []
    result = fit(chunk=4, progress=lambda now: notes.append(now.note))
    assert result.about["engine"] == "vectorized, eager"
    assert "memory ran out: 2 members at a time now" in notes


def test_one_by_one_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*given: Any) -> None:
        raise OUT_OF_MEMORY["Linux"]

    monkeypatch.setattr(Alone, "train", none_left)
    with pytest.raises(ShrinkageError, match=r"memory ran out .*use a smaller model"):
        fit(optimizer=ADAGRAD)


def kill_workers(monkeypatch: pytest.MonkeyPatch, condemned: Callable[[Chunk], bool]) -> None:
    """Let three workers train, and have those killed whose chunk is condemned."""
    parent = os.getpid()

    def deadly(chunk: Chunk, inputs: Iterator[Any]) -> Iterator[Any]:
        for number, values in enumerate(inputs):
            if number == 1 and condemned(chunk):
                assert os.getpid() != parent
                os.kill(os.getpid(), signal.SIGKILL)
            yield values

    watch_steps(monkeypatch, deadly)
    monkeypatch.setattr(together, "worker_count", lambda: 3)
    monkeypatch.setattr(together, "WORTH_FORKING", 0)


@forked
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_worker_that_linux_kills_costs_its_own_chunk_and_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bool
) -> None:
    whole, kills = fit(chunk=2), shared((1,)).zero_()

    def once(chunk: Chunk) -> bool:
        if kills[0] or chunk.group != Group(1, 0) or 0 not in chunk.strengths:
            return False
        kills[0] = 1
        return True

    kill_workers(monkeypatch, once)
    with pytest.warns(ShrinkageWarning, match=r"^memory: .* go on with its work") as said:
        assert_same(whole, fit(tmp_path if checkpoint else None, chunk=2))
    assert len(said) == 1
    assert kills[0] == 1


@forked
def test_when_every_worker_is_killed_the_chunk_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(chunk=4)
    kill_workers(monkeypatch, lambda chunk: chunk.members > 2)
    notes: list[str] = []
    with pytest.warns(ShrinkageWarning, match="^memory: "):
        halved = fit(chunk=4, progress=lambda now: notes.append(now.note))
    assert "memory ran out: 2 members at a time now" in notes
    torch.testing.assert_close(whole.valid_loss, halved.valid_loss, rtol=1e-5, atol=1e-6)


@forked
def test_workers_that_are_killed_with_one_member_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_workers(monkeypatch, lambda chunk: True)
    with (
        pytest.warns(ShrinkageWarning, match="^memory: "),
        pytest.raises(ShrinkageError, match=r"one member at a time.*exit code -9.*max_memory"),
    ):
        fit(chunk=2)
