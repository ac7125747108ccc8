"""Chunks side by side: forked processes, each on one core, that write into shared memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.sharedctypes
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from shrinkage.engine.stopping import Stopped
from shrinkage.errors import ShrinkageError

SECONDS_BETWEEN_LOOKS = 0.05


OUT_OF_MEMORY = ("allocate memory", "not enough memory")
"""What torch's allocator says of it, on one system or another."""


class MemoryRanOutError(ShrinkageError):
    """Memory ran out while members trained."""


def worker_count() -> int:
    """Return how many chunks can train at once.

    One where processes cannot be forked safely: other systems than Linux, or a torch that may
    hold a GPU.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return 1
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: for work so small that waking the others takes longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_in_workers(
    jobs: int, work: Callable[[int], None], look: Callable[[], None], workers: int
) -> None:
    """Call ``work(0) ... work(jobs - 1)``, several at once.

    Args:
        jobs: How many there are. The first ones start first.
        work: Does one job; what it leaves behind must lie in shared memory.
        look: Called while the workers work.
        workers: How many at once; with 1 this process does all the work, and ``work`` has to
            call ``look`` itself.

    Raises:
        ShrinkageError: ``work`` raised one, or a worker died.
        MemoryRanOutError: ``work`` got no memory.
        Stopped: ``work`` raised it, with one worker; several just end.
    """
    if workers == 1:
        for job in range(jobs):
            with memory_faults_named():
                work(job)
        return
    context = multiprocessing.get_context("fork")
    following = context.Value("q", 0)

    def serve(sender: Connection) -> None:
        torch.set_num_threads(1)
        _keep_freed_memory()
        try:
            while (job := _take(following)) < jobs:
                with memory_faults_named():
                    work(job)
        except Stopped:
            pass
        except MemoryRanOutError as error:
            sender.send_bytes(b"M" + str(error).encode())
        except ShrinkageError as error:
            sender.send_bytes(b"E" + str(error).encode())
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException:
            sender.send_bytes(b"T" + traceback.format_exc().encode())
        os._exit(0)  # the parent's own clean-up is not the child's

    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(min(workers, jobs)):
            receiver, sender = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=serve, args=(sender,), daemon=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking beside threads
                process.start()
            sender.close()
            started.append((process, receiver))
        while alive := [process.sentinel for process, _ in started if process.is_alive()]:
            wait(alive, SECONDS_BETWEEN_LOOKS)
            look()
            _check(started)
        _check(started)
    finally:
        for process, receiver in started:
            process.kill()
            process.join()
            receiver.close()


@contextmanager
def memory_faults_named() -> Iterator[None]:
    """Raise MemoryRanOutError for whatever torch and Python raise where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(said in str(error) for said in OUT_OF_MEMORY):
            raise
        (said, *_) = str(error).splitlines() or [type(error).__name__]
        raise MemoryRanOutError(
            f"memory ran out ({said}); use a smaller model or batch_size, or fewer threads."
        ) from error


def _keep_freed_memory() -> None:
    """Tell glibc not to hand freed memory back: every step needs the same buffers again."""
    trim_threshold, mmap_threshold, bytes_kept = -1, -3, 1 << 25
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, 8 * bytes_kept)
        mallopt(mmap_threshold, bytes_kept)


def _take(following: multiprocessing.sharedctypes.Synchronized[int]) -> int:
    with following.get_lock():
        following.value += 1
        return following.value - 1


def _check(started: list[tuple[BaseProcess, Connection]]) -> None:
    for process, receiver in started:
        message = _message(receiver)
        if message.startswith(b"M"):
            raise MemoryRanOutError(message[1:].decode())
        if message.startswith(b"E"):
            raise ShrinkageError(message[1:].decode())
        if message:
            raise RuntimeError(f"a training process failed:\n{message[1:].decode()}")
        if process.exitcode not in (None, 0):
            raise ShrinkageError(
                f"a training process died (exit code {process.exitcode}); if memory ran out, "
                "lower max_memory or use a smaller model."
            )


def _message(receiver: Connection) -> bytes:
    try:
        return receiver.recv_bytes() if receiver.poll() else b""
    except EOFError:
        return b""
