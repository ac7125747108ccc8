"""Chunks side by side: forked processes, each on one core, that write into shared memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from shrinkage.engine.keep.stopping import Stopped
from shrinkage.errors import ShrinkageError, warn

SECONDS_BETWEEN_TELLS = 0.05

DONE, STOPPED, KILLED = b"D", b"S", b"K"

PR_SET_PDEATHSIG = 1

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


def run_in_workers(
    jobs: int, work: Callable[[int], None], tell: Callable[[], None], workers: int
) -> None:
    """Call ``work(0) ... work(jobs - 1)``, several at once.

    A worker that is killed is taken for one that Linux killed because memory ran out: its job is
    begun anew by one of those that are left, so fewer are at work from then on.

    Args:
        jobs: How many there are. The first ones start first.
        work: Does one job; what it leaves behind must lie in shared memory, and stay right if the
            job is done again.
        tell: Called while the workers work.
        workers: How many at once; with 1 this process does all the work, and ``work`` has to
            call ``tell`` itself.

    Raises:
        ShrinkageError: ``work`` raised one, or a worker died.
        MemoryRanOutError: ``work`` got no memory, or the last worker was killed.
        Stopped: ``work`` raised it, with one worker; several just end.
    """
    if workers == 1:
        for job in range(jobs):
            with memory_faults_named():
                work(job)
        return
    waiting = list(range(jobs))
    crew: list[_Worker] = []
    try:
        with memory_faults_named():
            for _ in range(min(workers, jobs)):
                crew.append(_Worker(work))
        while waiting or any(worker.job is not None for worker in crew):
            for worker in crew:
                if waiting and worker.job is None:
                    worker.begin(waiting.pop(0))
            tell()
            wait([worker.pipe for worker in crew], SECONDS_BETWEEN_TELLS)
            for worker in list(crew):
                said = worker.said()
                if said == DONE:
                    worker.job = None
                elif said == STOPPED:
                    crew.remove(worker)
                    waiting.clear()
                    worker.end()
                elif said == KILLED:
                    crew.remove(worker)
                    waiting[:0] = [] if worker.job is None else [worker.job]
                    worker.end()
                    _check_left(len(crew))
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A forked process that does one job after the other.

    Attributes:
        pipe: Where it is told the number of a job, and says what came of it.
        job: The job it was told to do, or None.
    """

    def __init__(self, work: Callable[[int], None]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other_end = context.Pipe()
        self.job: int | None = None
        self._process = context.Process(
            target=_serve, args=(work, other_end, os.getpid()), daemon=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking beside threads
            self._process.start()
        other_end.close()

    def begin(self, job: int) -> None:
        """Let it do a job."""
        self.job = job
        with suppress(OSError):  # it died; what it says next is that
            self.pipe.send_bytes(b"%d" % job)

    def said(self) -> bytes:
        """Return DONE, STOPPED, KILLED, or nothing where it has nothing to say yet.

        Raises:
            ShrinkageError: It raised one, or died.
            MemoryRanOutError: It got no memory.
        """
        try:
            message = self.pipe.recv_bytes() if self.pipe.poll() else b""
        except (EOFError, OSError):
            self._process.join()
            if self._process.exitcode == -signal.SIGKILL:
                return KILLED
            raise ShrinkageError(
                f"a training process died (exit code {self._process.exitcode}); if memory ran out, "
                "lower max_memory or use a smaller model."
            ) from None
        if message.startswith(b"M"):
            raise MemoryRanOutError(message[1:].decode())
        if message.startswith(b"E"):
            raise ShrinkageError(message[1:].decode())
        if message.startswith(b"T"):
            raise RuntimeError(f"a training process failed:\n{message[1:].decode()}")
        return message

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(work: Callable[[int], None], pipe: Connection, parent: int) -> None:
    _die_first(parent)
    torch.set_num_threads(1)
    _keep_freed_memory()
    try:
        while True:
            job = int(pipe.recv_bytes())
            with memory_faults_named():
                work(job)
            pipe.send_bytes(DONE)
    except Stopped:
        pipe.send_bytes(STOPPED)
    except MemoryRanOutError as error:
        pipe.send_bytes(b"M" + str(error).encode())
    except ShrinkageError as error:
        pipe.send_bytes(b"E" + str(error).encode())
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        pipe.send_bytes(b"T" + traceback.format_exc().encode())
    os._exit(0)  # the parent's own clean-up is not the child's


def _die_first(parent: int) -> None:
    """Have Linux kill this process when its parent is gone, and before it where memory is short.

    An orphan would hold the checkpoint's lock; the parent knows how to go on, and no one else does.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(OSError):
        own = Path("/proc/self/oom_score_adj")
        own.write_text(str(min(1000, int(own.read_text()) + 100)))


def _check_left(workers: int) -> None:
    killed = f"a training process was killed (exit code {-signal.SIGKILL})"
    if not workers:
        raise MemoryRanOutError(
            f"{killed}, the last one; if memory ran out, lower max_memory or use a smaller model."
        )
    left = f"{workers} processes go" if workers > 1 else "one process goes"
    warn(
        "memory",
        f"{killed}, as Linux does when memory runs out; {left} on with its work, to the "
        "same numbers.",
    )


@contextmanager
def memory_faults_named() -> Iterator[None]:
    """Raise MemoryRanOutError for whatever torch and Python raise where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
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
