"""Two processes that meet, and what each of them saw."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Task = Callable[[str, int], Any]


def in_two_processes(
    task: Task, names: Iterable[str], folder: Path, limit: float = 180
) -> dict[str, list[Any]]:
    """Let two processes do ``task(name, rank)`` for every name; return both outcomes of each.

    A task that fails has its traceback for an outcome, and all after it "never finished".
    """
    names = list(names)
    context = mp.get_context("spawn")
    ranks = [context.Process(target=_work, args=(r, task, names, folder)) for r in (0, 1)]
    for process in ranks:
        process.daemon = True
        process.start()
    end = time.monotonic() + limit
    for process in ranks:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return {name: [_read(folder / f"{name}-{rank}") for rank in (0, 1)] for name in names}


def _read(file: Path) -> Any:
    return torch.load(file) if file.exists() else "never finished"


def _work(rank: int, task: Task, names: list[str], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "meeting").as_uri(),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    for name in names:
        try:
            outcome = task(name, rank)
        except Exception:
            outcome = traceback.format_exc()
        torch.save(outcome, folder / f"{name}-{rank}")
        if isinstance(outcome, str):
            break  # the other process may wait for this one in vain
    with suppress(RuntimeError):
        dist.destroy_process_group()
