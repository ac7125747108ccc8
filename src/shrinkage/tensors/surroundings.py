"""A call computes what it would alone, whatever modes, devices and threads it finds around it."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch

from shrinkage.tensors.own_thread import own_random_numbers

_one_at_a_time = threading.RLock()


def _load_whole(module: str) -> None:
    """Import what torch imports when it makes an optimizer, without an interrupt in the middle.

    Half imported, it makes whatever comes after it in the same process fail, or slow.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if module in sys.modules or not in_main or not callable(before):
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        importlib.import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def own_surroundings() -> Iterator[None]:
    """Let a call compute as if it were alone in a fresh process on the CPU.

    Calls in several threads come one after the other: each of them uses every core anyway, and
    forks processes, which it may not do while another one is at work. What has no seed of its own
    draws the numbers of seed 0.
    """
    _load_whole("torch._dynamo")
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        elsewhere = torch.get_default_device().type != "cpu"
        stack.enter_context(torch.device("cpu") if elsewhere else nullcontext())
        stack.enter_context(own_random_numbers(0))
        yield
