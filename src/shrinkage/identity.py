"""Whether two things are the same: objects by code and data, tensors by a hash, facts by value."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)


class UnidentifiedError(Exception):
    """An object whose behavior cannot be read from its code and attributes."""


def identity(thing: object) -> str:
    """Return a text that two objects share only if they compute the same.

    It holds the source file of every class and function outside torch, and every attribute;
    of a module's own parameters and buffers only the shape, since they are not part of its code.

    Raises:
        UnidentifiedError: The object is of a kind whose code or data cannot be read.
    """
    if isinstance(thing, PLAIN):
        return repr(thing)
    if isinstance(thing, dict):
        return str(sorted((identity(k), identity(v)) for k, v in thing.items()))
    if isinstance(thing, list | tuple):
        return str([identity(item) for item in thing])
    if isinstance(thing, set | frozenset):
        return str(sorted(identity(item) for item in thing))
    if isinstance(thing, nn.Module):
        return _module(thing)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return identity((type(thing), vars(thing)))
    if isinstance(thing, Tensor):
        content = hashlib.sha256(thing.detach().cpu().contiguous().numpy().tobytes())
        return f"{_form(thing)} {content.hexdigest()}"
    if isinstance(thing, functools.partial):
        return identity((thing.func, thing.args, thing.keywords))
    if isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType):
        return _code(thing)
    if isinstance(thing, types.MethodType):
        return identity((thing.__func__, thing.__self__))
    raise UnidentifiedError(type(thing).__qualname__)


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


def source_digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _module(module: nn.Module) -> str:
    attributes = dict(vars(module))
    own = {**attributes.pop("_parameters"), **attributes.pop("_buffers")}
    forms = {name: None if t is None else _form(t) for name, t in own.items()}
    return str((_code(type(module)), identity(forms), identity(attributes)))


def _form(tensor: Tensor) -> str:
    return str((tuple(tensor.shape), tensor.dtype, tensor.requires_grad))


def _code(thing: type | types.FunctionType | types.BuiltinFunctionType) -> str:
    name = f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, types.BuiltinFunctionType) or name.startswith("torch."):
        return name
    try:
        source = source_digest(Path(inspect.getfile(thing)))
    except (TypeError, OSError) as error:
        raise UnidentifiedError(name) from error
    if isinstance(thing, type):
        return f"{name} {source}"
    closed_over = [cell.cell_contents for cell in thing.__closure__ or ()]
    return f"{name} {source} {identity([closed_over, thing.__defaults__, thing.__kwdefaults__])}"


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
