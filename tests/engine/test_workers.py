"""Chunks side by side in forked processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from shrinkage.engine.keep.stopping import Stopped
from shrinkage.engine.plan.outcome import shared
from shrinkage.engine.run.workers import MemoryRanOutError, run_in_workers, worker_count
from shrinkage.errors import ShrinkageError, ShrinkageWarning

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.mark.parametrize(
    ("threads", "cores", "gpu", "workers"),
    [(4, 4, False, 4), (2, 8, False, 2), (8, 3, False, 3), (4, 1, False, 1), (4, 4, True, 1)],
)
def test_a_worker_for_every_thread_that_has_a_core_and_one_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, gpu: bool, workers: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert worker_count() == workers


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


@pytest.mark.parametrize("workers", [2, 3])
def test_what_a_killed_worker_did_is_done_by_the_others(workers: int) -> None:
    pids, done = shared((6,), torch.int64), shared((6,), torch.int64).zero_()

    def work(job: int) -> None:
        if pids[job] < 0 and job == 1:
            pids[job] = os.getpid()
            os.kill(os.getpid(), signal.SIGKILL)
        pids[job] = os.getpid()
        done[job] += 1

    left = "one process goes" if workers == 2 else "2 processes go"
    with pytest.warns(ShrinkageWarning, match=f"^memory: .*exit code -9.* {left} on") as said:
        run_in_workers(6, work, lambda: None, workers)
    assert len(said) == 1
    assert done.tolist() == [1] * 6


def test_the_last_worker_that_is_killed_is_memory_that_ran_out() -> None:
    pids = shared((2, 3), torch.int64)

    def work(job: int) -> None:
        pids[job, int((pids[job] >= 0).sum())] = os.getpid()
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        pytest.warns(ShrinkageWarning, match="one process goes on"),
        pytest.raises(MemoryRanOutError, match=r"exit code -9\), the last one.*max_memory"),
    ):
        run_in_workers(2, work, lambda: None, 2)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_died_otherwise_is_an_error_and_the_others_are_stopped(
    number: signal.Signals,
) -> None:
    pids = shared((2,), torch.int64)

    def work(job: int) -> None:
        pids[job] = os.getpid()
        while (pids < 0).any():  # until the other one has come
            time.sleep(0.01)
        if job == 0:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        time.sleep(60)

    with pytest.raises(ShrinkageError, match=rf"exit code -{number}.*max_memory"):
        run_in_workers(2, work, lambda: None, 2)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.tolist())


def test_a_worker_that_stops_lets_the_others_finish_and_begins_nothing() -> None:
    done, pids = shared((3,), torch.int64).zero_(), shared((1,), torch.int64)

    def work(job: int) -> None:
        if job == 0:
            pids[0] = os.getpid()
            raise Stopped
        while pids[0] < 0 or Path(f"/proc/{pids[0]}").exists():  # until the caller has ended it
            time.sleep(0.01)
        done[job] = 1

    run_in_workers(3, work, lambda: None, 2)
    assert done.tolist() == [0, 1, 0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # 3.12, as in the engine
def test_no_worker_outlives_its_parent() -> None:
    pids = shared((3,), torch.int64)

    def work(job: int) -> None:
        pids[job] = os.getpid()
        time.sleep(60)

    parent = os.fork()
    if parent == 0:
        try:
            run_in_workers(3, work, lambda: None, 3)
        finally:
            os._exit(1)
    while (pids < 0).any():
        time.sleep(0.01)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    for _ in range(3000):  # machines differ: half a minute of patience
        if not any(_runs(pid) for pid in pids.tolist()):
            return
        time.sleep(0.01)
    pytest.fail("a worker lives on")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
