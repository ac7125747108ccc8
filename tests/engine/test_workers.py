"""Chunks side by side in forked processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from shrinkage.engine.outcome import shared
from shrinkage.engine.workers import one_thread, run_in_workers
from shrinkage.errors import ShrinkageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_job_is_done_once_and_seen_by_all(workers: int) -> None:
    done = shared((7,), torch.int64).zero_()
    looks = []

    def work(job: int) -> None:
        done[job] += job + 1

    run_in_workers(7, work, lambda: looks.append(1), workers)
    assert done.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert bool(looks) == (workers > 1)


def test_workers_are_other_processes_with_one_thread() -> None:
    seen = shared((2, 2), torch.int64)

    def work(job: int) -> None:
        seen[job] = torch.tensor([os.getpid(), torch.get_num_threads()])
        while (seen < 0).any():  # until the other one has come
            time.sleep(0.01)

    run_in_workers(2, work, lambda: None, 2)
    pids, threads = seen.unbind(1)
    assert os.getpid() not in pids.tolist()
    assert len(set(pids.tolist())) == 2
    assert threads.tolist() == [1, 1]


def fail(job: int) -> None:
    raise ShrinkageError(f"job {job} cannot be done") if job == 2 else KeyError("some bug")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ShrinkageError, match=r"^job 2 cannot be done$"):
        run_in_workers(3, lambda job: fail(job) if job == 2 else None, lambda: None, workers)


def test_a_bug_reaches_the_caller_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)training process failed.*in fail.*some bug"):
        run_in_workers(3, lambda job: fail(1), lambda: None, 2)


def test_a_killed_worker_is_noticed_and_the_others_are_stopped() -> None:
    pids = shared((2,), torch.int64)

    def work(job: int) -> None:
        pids[job] = os.getpid()
        if job == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    with pytest.raises(ShrinkageError, match=r"exit code -9.*max_memory"):
        run_in_workers(2, work, lambda: None, 2)
    for pid in pids.tolist():
        assert pid < 0 or not Path(f"/proc/{pid}").exists()


def test_one_thread_is_for_a_while() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
