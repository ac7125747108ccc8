"""What torch is for the calling thread alone: its functions, its random numbers, its threads.

Torch keeps all three for the whole process. Whoever changes them there while something runs changes
the numbers of every other thread, and gets theirs.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

Functions: TypeAlias = Mapping[str, Callable[..., Any]]
Place: TypeAlias = tuple[ModuleType, str]


class _Here(threading.local):
    """The functions that stand for torch's in one thread."""

    def __init__(self) -> None:
        self.functions: dict[Place, Callable[..., Any]] = {}
        self.draws_by_itself = False


_here = _Here()
_users: Counter[Place] = Counter()
_lock = threading.Lock()


class _Asking:
    """Stands for a function that some thread replaces: every other thread gets the usual one."""

    def __init__(self, place: Place, usual: Callable[..., Any]) -> None:
        self.place, self.usual = place, usual

    def __call__(self, *given: Any, **named: Any) -> Any:
        return _here.functions.get(self.place, self.usual)(*given, **named)


def current(module: ModuleType, name: str) -> Callable[..., Any]:
    """Return the function that the calling thread has now, to call it from one that replaces it."""
    return _here.functions.get((module, name)) or _usual(module, name)


def _usual(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name)
    return found.usual if isinstance(found, _Asking) else found


@contextmanager
def replaced(module: ModuleType, functions: Functions) -> Iterator[None]:
    """Replace functions of a module for the calling thread, while the block runs."""
    before = _here.functions
    places = {(module, name): function for name, function in functions.items()}
    _ask(places)
    _here.functions = {**before, **places}
    try:
        yield
    finally:
        _here.functions = before
        _ask_no_more(places)


def _ask(places: Mapping[Place, object]) -> None:
    with _lock:
        for place in places:
            module, name = place
            if not _users[place]:
                setattr(module, name, _Asking(place, getattr(module, name)))
            _users[place] += 1


def _ask_no_more(places: Mapping[Place, object]) -> None:
    with _lock:
        for place in places:
            _users[place] -= 1
            if not _users[place]:
                setattr(*place, _usual(*place))


@contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Let all that draws inside draw the numbers of one seed, and nobody else's change.

    The numbers are those that ``torch.manual_seed(seed)`` gives. Where other threads may draw too,
    every operation of this one is given a generator of its own, which takes a little longer;
    what asks for the state of the random numbers, as checkpointing of activations does, gets its.
    """
    if threading.active_count() == 1 and not _here.draws_by_itself:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    own = torch.Generator().manual_seed(seed)
    states: Functions = {
        "get_rng_state": own.get_state,
        "set_rng_state": own.set_state,
        "initial_seed": own.initial_seed,
        "manual_seed": lambda number: own.manual_seed(int(number)),
        "seed": own.seed,
    }
    before, _here.draws_by_itself = _here.draws_by_itself, True
    try:
        with replaced(torch, states), replaced(torch.random, states), _DrawnBy(own):
            yield
    finally:
        _here.draws_by_itself = before


@contextmanager
def all_random_numbers(seed: int) -> Iterator[None]:
    """Seed torch, numpy and ``random`` while the block runs; all are left as they were."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with own_random_numbers(seed):
            seed_others(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def seed_others(seed: int) -> None:
    """Seed the global generators of numpy and Python, which are the whole process's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def others_drew(act: Callable[[], object]) -> bool:
    """Return whether a call draws from numpy's or Python's global generator."""
    with all_random_numbers(0):
        first = random.random(), np.random.random()
    with all_random_numbers(0):
        act()
        return first != (random.random(), np.random.random())


class _DrawnBy(TorchDispatchMode):
    """Gives every operation that draws without a generator one."""

    def __init__(self, own: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own = own

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and named.get("generator") is None:
            func = _taking_a_generator(func)
            named["generator"] = self.own
        return func(*args, **named)


def _taking_a_generator(func: Any) -> Any:
    """Return the overload of an operation that takes a generator beside the same arguments."""
    wanted = [argument.name for argument in func._schema.arguments]
    if "generator" in wanted:
        return func
    packet = func.overloadpacket
    for name in packet.overloads():
        overload = getattr(packet, name)
        own = [argument.name for argument in overload._schema.arguments]
        if "generator" in own and sorted(own) == sorted([*wanted, "generator"]):
            return overload
    raise RuntimeError(f"{func} draws random numbers from no generator that could be given")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for what the calling thread does.

    For work so small that waking the others takes longer. Threads that start meanwhile have as many
    as before.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _in_another_thread(lambda: torch.set_num_threads(threads))  # for threads yet to come
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_another_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
