"""A signal asks a run to stop: the step is finished and the work is written first."""

from __future__ import annotations

import mmap
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shrinkage.errors import ShrinkageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Training ended between two steps, on request; what was done is written."""


def interrupted(so_far: str, checkpoint: str | Path | None) -> KeyboardInterrupt:
    """Return the interrupt that says how far a run came, and what goes on from there."""
    again = (
        "nothing is kept; with checkpoint= the same call would go on from here"
        if checkpoint is None
        else f"the same call resumes from {checkpoint}"
    )
    return KeyboardInterrupt(f"stopped {so_far}; {again}.")


@contextmanager
def stopping_gently() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True, in forked processes too, once a signal has come.

    The first signal does nothing else; the next one ends the process as it always does. Leaving
    the block by :class:`Stopped` raises what the signal stands for: ``KeyboardInterrupt``, or
    ``SystemExit`` with 128 plus its number. Outside the main thread signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    try:
        came = mmap.mmap(-1, 1)
    except OSError as error:
        raise ShrinkageError(
            f"there is no memory to note a signal in ({error.strerror or error}); raise the limit "
            "of this process (ulimit -v)."
        ) from error
    before = {n: handler for n in SIGNALS if (handler := signal.getsignal(n)) is not None}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        came[0] = number
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: came[0] > 0
    except Stopped:
        if came[0] == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + came[0]) from None
    finally:
        restore()
        came.close()
