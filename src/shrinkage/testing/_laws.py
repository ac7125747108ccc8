"""How laws are checked: each is a function that raises if it does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from shrinkage.testing._tensors import Tensors

T = TypeVar("T")


def check_laws(laws: Sequence[Callable[[T, Tensors], None]], thing: T, tensors: Tensors) -> None:
    """Check that ``thing`` obeys every law.

    Raises:
        AssertionError: A law does not hold; the first line names the law and the thing.
    """
    for law in laws:
        try:
            law(thing, tensors)
        except Exception as error:
            name = law.__name__.replace("_", " ")
            raise AssertionError(
                f"law '{name}' does not hold for {_shown(thing)}\n{type(error).__name__}: {error}"
            ) from error


def _shown(thing: object) -> str:
    try:
        return repr(thing)
    except Exception:
        return type(thing).__name__
