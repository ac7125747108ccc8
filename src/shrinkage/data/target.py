"""The target: classes, with their names kept, or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.data.dataset import Task
from shrinkage.data.numbers import as_float32
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_NUMBERED_CLASSES = 20
MOST_CLASSES = 65536
FIRST_MERGED = 2**53
"""From here on a float64 no longer tells whole numbers apart."""


def read_target(
    source: str, name: str, values: NDArray[Any], task: Task | None
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the target as int64 classes, with their names, or as float32 numbers without.

    Args:
        source: What to blame.
        name: Name of the target.
        values: (N,) numbers, truths or texts, none missing.
        task: None decides: text, truths, and whole numbers with at most 20 different values are
            classes.

    Raises:
        ShrinkageError: Text as a number to predict, a single class or value, labels that cannot be
            told apart, or too many classes.
    """
    import numpy as np

    single = None if values.dtype.kind == "U" else as_float32(source, values[:, None], [name])[:, 0]
    found, numbers = np.unique(values, return_inverse=True)
    merged = values.dtype.kind == "f" and bool((np.abs(found) >= FIRST_MERGED).any())
    few = len(found) < 2 or (task != "regression" and len(found) <= MOST_NUMBERED_CLASSES)
    if merged and (few or task == "classification"):
        raise ShrinkageError(
            f"{source}: the target {name!r} holds labels from 2**53 = {FIRST_MERGED} on, which "
            "become one another when they are read as numbers; write them as text, such as "
            "'id 9007199254740993', or as smaller numbers."
        )
    if len(found) < 2:
        only = f"the single value {found[0]!s}" if len(found) else "no value"
        raise ShrinkageError(f"{source}: the target {name!r} holds {only}; nothing can be learned.")
    if task is None:
        whole = single is None or (len(found) <= MOST_NUMBERED_CLASSES and not (single % 1).any())
        task = "classification" if whole else "regression"
    if task == "regression":
        if single is None:
            raise ShrinkageError(
                f"{source}: the target {name!r} holds text such as {str(found[0])[:40]!r}, which "
                "is not a number to predict; set task to 'classification' or choose another target."
            )
        return torch.from_numpy(single), ()
    if len(found) > min(MOST_CLASSES, len(values) // 2):
        instead = "give more rows of each" if single is None else "set task to 'regression'"
        raise ShrinkageError(
            f"{source}: the target {name!r} holds {len(found)} different values in {len(values)} "
            f"rows, too many for classes; {instead} or choose another target."
        )
    return torch.from_numpy(numbers.reshape(-1).astype(np.int64)), tuple(map(_named, found))


def _named(value: Any) -> str:
    if value.dtype.kind == "f" and value == int(value):
        return str(int(value))
    return str(value)
