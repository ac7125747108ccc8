"""Whether two things are the same: objects by code and data, tensors by a hash, facts by value."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrinkage.errors import warn

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)

WRITTEN_BY_PYTHON = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"}
"""What the body of a class holds besides what it does; and all that begins with ``_abc_``."""

INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


READS = ("LOAD_GLOBAL", "LOAD_NAME")
"""Instructions of Python that read a global."""

TAKES = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
"""Instructions that take a part of something, perhaps of a module."""

KNOWN_BY_VERSION = ("torch", "shrinkage")
"""Packages whose version, or whose files, whoever asks for an identity looks at by himself."""


HEAP_TYPE = 1 << 9
"""CPython's mark of a class that was made by a class statement."""


class UnidentifiedError(Exception):
    """An object whose behavior cannot be read from its code and attributes."""


def identity(thing: object, *, weights: bool = False) -> str:
    """Return a text that two objects share only if they compute the same.

    It holds the compiled code of every class and function, what they close over, the globals that
    they read, and every attribute. What is installed, torch too, is known by its name.

    Args:
        thing: The object.
        weights: Whether its own parameters and buffers count by value, as those of other modules
            do; else by their shape.

    Raises:
        UnidentifiedError: The object is of a kind whose code or data cannot be read.
    """
    try:
        return _Reading(thing, weights).text(thing)
    except RecursionError:
        raise UnidentifiedError(f"{type(thing).__qualname__}, which is nested too deeply") from None


def fingerprint(thing: object, what: str, *, weights: bool = False) -> str:
    """Return a hash of the identity of an object; warn where it cannot be read."""
    try:
        return hashlib.sha256(identity(thing, weights=weights).encode()).hexdigest()[:16]
    except UnidentifiedError as error:
        warn(
            "unidentified",
            f"the {what} holds {error}, whose code or data cannot be read, so a checkpoint will "
            "not notice if it changes.",
        )
        return "unidentified"


class _Reading:
    """One reading of an object and all that it refers to, each part once."""

    def __init__(self, thing: object, weights: bool) -> None:
        self.free = set() if weights else {id(t) for t in _own_tensors(thing)}
        self.known: dict[int, tuple[str, object]] = {}  # holds them, so that no id comes again
        self.under_way: list[int] = []

    def text(self, thing: object) -> str:
        if isinstance(thing, PLAIN):
            return repr(thing)
        if id(thing) in self.under_way:
            return f"<{len(self.under_way) - self.under_way.index(id(thing))} up>"
        if id(thing) not in self.known:
            self.under_way.append(id(thing))
            text = hashlib.sha256(self._read(thing).encode()).hexdigest()
            self.under_way.pop()
            self.known[id(thing)] = text, thing
        return self.known[id(thing)][0]

    def _read(self, thing: Any) -> str:
        if isinstance(thing, dict):
            return str(sorted((self.text(k), self.text(v)) for k, v in thing.items()))
        if isinstance(thing, list | tuple):
            return str([self.text(item) for item in thing])
        if isinstance(thing, set | frozenset):
            return str(sorted(self.text(item) for item in thing))
        if isinstance(thing, nn.Module):
            return self._module(thing)
        if isinstance(thing, nn.Parameter):
            return self._part_of_a_module(thing)
        if isinstance(thing, Tensor):
            return f"{_form(thing)} {hash_of(thing)}"
        if isinstance(thing, np.ndarray) and thing.dtype != object:
            content = hashlib.sha256(np.ascontiguousarray(thing).data).hexdigest()
            return f"{thing.dtype} {thing.shape} {content}"
        if isinstance(thing, functools.partial):
            return self.text([thing.func, thing.args, thing.keywords])
        if isinstance(thing, types.FunctionType):
            return self._function(thing)
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, types.ModuleType):
            return thing.__name__ if _is_installed(thing.__name__) else _digest_of(thing)
        if isinstance(thing, weakref.ref):
            return self.text(thing())
        if isinstance(thing, types.MethodType):
            return self.text([thing.__func__, thing.__self__])
        if isinstance(thing, property):
            return self.text([thing.fget, thing.fset, thing.fdel])
        if isinstance(thing, staticmethod | classmethod):
            return self.text(thing.__func__)
        return self._by_its_state(thing)

    def _module(self, module: nn.Module) -> str:
        attributes = {name: own for name, own in vars(module).items() if name != "training"}
        own = {**attributes.pop("_parameters"), **attributes.pop("_buffers")}
        forms = {name: None if t is None else self._part_of_a_module(t) for name, t in own.items()}
        return str([self.text(part) for part in (type(module), forms, attributes)])

    def _part_of_a_module(self, tensor: Tensor) -> str:
        return _form(tensor) + ("" if id(tensor) in self.free else f" {hash_of(tensor)}")

    def _function(self, function: types.FunctionType) -> str:
        if _is_installed(function.__module__):
            return _installed(function)
        codes = list(_codes(function.__code__))
        closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
        given = [function.__defaults__, function.__kwdefaults__, vars(function)]
        rest = [closed_over, given, self._read_outside(function)]
        return str([*map(self._code, codes), self.text(rest)])

    def _read_outside(self, function: types.FunctionType) -> dict[str, Any]:
        """Return the globals that a function reads, and what it imports and takes of modules."""
        steps = [step for code in _codes(function.__code__) for step in dis.get_instructions(code)]
        names = sorted({step.argval for step in steps if step.opname in READS})
        imported = sorted({step.argval for step in steps if step.opname == "IMPORT_NAME"})
        taken = sorted({step.argval for step in steps if step.opname in TAKES})
        own = {n: function.__globals__[n] for n in names if n in function.__globals__}
        own |= {f"import {n}": sys.modules[n] for n in imported if n in sys.modules}
        modules = [(n, m) for n, m in own.items() if isinstance(m, types.ModuleType)]
        return own | {
            f"{n}.{part}": vars(module)[part]
            for n, module in modules
            for part in taken
            if isinstance(vars(module).get(part, module), (types.FunctionType, Tensor, *PLAIN))
        }

    def _code(self, code: types.CodeType) -> str:
        constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
        names = (code.co_names, code.co_varnames, code.co_freevars)
        return str([code.co_code.hex(), *(self.text(c) for c in constants), *names])

    def _class(self, kind: type) -> str:
        if _is_installed(kind.__module__) and not _made_by_exec(kind):
            return _installed(kind)
        body = {
            n: value
            for n, value in vars(kind).items()
            if n not in WRITTEN_BY_PYTHON and not n.startswith("_abc_")
        }
        return f"{kind.__module__}.{kind.__qualname__} {self.text([kind.__bases__, body])}"

    def _by_its_state(self, thing: Any) -> str:
        """Read an object as copying it does: what makes it, and its state."""
        try:
            parts = thing.__reduce_ex__(4)
        except Exception as error:
            raise UnidentifiedError(f"a {type(thing).__qualname__}") from error
        if isinstance(parts, str):
            return f"{type(thing).__module__}.{parts}"
        state = [list(p) if isinstance(p, Iterator) else p for p in parts]
        return str([self.text(part) for part in (type(thing), state)])


def _own_tensors(thing: object) -> list[Tensor]:
    """Return the parameters and buffers of a module, or of the modules in a list."""
    modules = thing if isinstance(thing, list) else [thing]
    return [t for m in modules if isinstance(m, nn.Module) for t in [*m.parameters(), *m.buffers()]]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _is_installed(module: str | None) -> bool:
    """Return whether a module belongs to Python, to what is installed, or to this package."""
    if _top(module) in {*sys.builtin_module_names, *KNOWN_BY_VERSION}:
        return True
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return file is not None and file.startswith(INSTALLED)


def _made_by_exec(kind: type) -> bool:
    """Return whether a class was made where no module had a name: it then claims to be built in."""
    return kind.__module__ == "builtins" and bool(kind.__flags__ & HEAP_TYPE)


def _installed(thing: type | types.FunctionType) -> str:
    """Return the name of what is installed, and the hash of its file where no version tells it."""
    known = _top(thing.__module__) in {*sys.builtin_module_names, *KNOWN_BY_VERSION}
    file = "" if known else _digest_of(sys.modules[thing.__module__])
    return f"{thing.__module__}.{thing.__qualname__} {file}"


def _top(module: str | None) -> str:
    return str(module).partition(".")[0]


@functools.cache
def _digest_of(module: types.ModuleType) -> str:
    try:
        return source_digest(Path(inspect.getfile(module)))
    except (TypeError, OSError) as error:
        raise UnidentifiedError(f"the module {module.__name__}") from error


def _form(tensor: Tensor) -> str:
    return str((tuple(tensor.shape), tensor.dtype, tensor.requires_grad))


def source_digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def named(make: object) -> str:
    """Return a class or function by name, with the arguments a ``functools.partial`` gives it.

    Example:
        >>> named(functools.partial(torch.optim.SGD, lr=0.1))
        'SGD(lr=0.1)'
    """
    if isinstance(make, functools.partial):
        given = [*map(repr, make.args), *(f"{k}={v!r}" for k, v in sorted(make.keywords.items()))]
        return f"{named(make.func)}({', '.join(given)})"
    return str(getattr(make, "__name__", type(make).__name__))


def hash_of(*tensors: Tensor) -> str:
    """Return the hash of values, types and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(content.numpy().data)
    return digest.hexdigest()


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return the facts that differ, each with both values.

    Example:
        >>> differences({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
        ['lr: 0.1 then, 0.2 now']
    """
    return [
        f"{name}: {then.get(name, 'nothing')} then, {now.get(name, 'nothing')} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
