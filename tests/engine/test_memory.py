"""Memory that runs out: it is recognized, the chunk is halved, and the numbers stay the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _checkpoints import ADAGRAD, fit

from shrinkage import ShrinkageError
from shrinkage.engine import loop, together
from shrinkage.engine.workers import MemoryRanOutError, memory_faults_named, run_in_workers

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
        if given[3].members > 2:
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

    monkeypatch.setattr(loop, "_train", none_left)
    with pytest.raises(ShrinkageError, match=r"memory ran out .*use a smaller model"):
        fit(optimizer=ADAGRAD)
