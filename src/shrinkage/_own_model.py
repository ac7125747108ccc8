"""A model from the user's own code, named ``package.module:factory``."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from shrinkage.errors import ShrinkageError


def own_model(spec: str, features: int, outputs: int) -> Callable[[], nn.Module]:
    """Return the factory of a model, from a module that is installed or in the current directory.

    Args:
        spec: "package.module:factory". The factory is a function or a class; it is called with the
            numbers of inputs and outputs, or with nothing if it takes nothing.
        features: Inputs per row.
        outputs: Logits or values per row.

    Raises:
        ShrinkageError: There is no such module or factory, or its code fails, now or when called.
    """
    name, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    with _blamed(spec):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ShrinkageError(
                f"{spec}: there is no module {error.name!r}, neither installed nor in {here}."
            ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory) or isinstance(factory, nn.Module):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f"did you mean {near[0]!r}?" if near and near[0] != attribute else ""
        raise ShrinkageError(
            f"{spec}: {name} has no function or class {attribute!r}. {hint}".strip()
        )
    return functools.partial(_made, spec, factory, _arguments(spec, factory, (features, outputs)))


def _arguments(spec: str, factory: Callable[..., Any], sizes: tuple[int, int]) -> tuple[int, ...]:
    signature = inspect.signature(factory)
    for arguments in (sizes, ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return arguments
    raise ShrinkageError(
        f"{spec} takes {signature}; it must take the numbers of inputs and outputs, or nothing."
    )


def _made(spec: str, factory: Callable[..., Any], arguments: tuple[int, ...]) -> nn.Module:
    with _blamed(spec):
        model = factory(*arguments)
    if not isinstance(model, nn.Module):
        raise ShrinkageError(f"{spec} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


@contextmanager
def _blamed(spec: str) -> Iterator[None]:
    """Say that an error comes from the user's code, and from which line."""
    try:
        yield
    except ShrinkageError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if "site-packages" not in frame.filename][-1]
        where = f"{last.filename}, line {last.lineno}"
        if isinstance(error, SyntaxError):
            where = f"{error.filename}, line {error.lineno}"
        raise ShrinkageError(
            f"{spec}: your code raised {type(error).__name__}: {error} ({where})."
        ) from error
