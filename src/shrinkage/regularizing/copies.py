"""A copied optimizer has lost its hooks, and with them the penalty: a warning says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from shrinkage.errors import warn

WARNING = (
    "the copy has no penalty, since copy.deepcopy and pickle drop an optimizer's hooks; call "
    "regularize on it."
)


class WatchedDefaults(dict[str, Any]):
    """An optimizer's ``defaults``, which copies contain and ``state_dict()`` does not."""

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return defaults_of_copy(copy.deepcopy(dict(self), memo))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[dict[str, Any]]]:
        return defaults_of_copy, (dict(self),)


def defaults_of_copy(defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the plain defaults of a copied optimizer, with a warning that it has no penalty."""
    warn("copied optimizer", WARNING)
    return defaults


def watch(optimizer: Optimizer) -> None:
    """Let copies of ``optimizer`` say that they have no penalty."""
    optimizer.defaults = WatchedDefaults(optimizer.defaults)


def unwatch(optimizer: Optimizer) -> None:
    """Let ``optimizer`` be copied in silence again."""
    optimizer.defaults = dict(optimizer.defaults)
