"""The target: classes, with their names kept, or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.data.dataset import Task
from shrinkage.data.numbers import as_float32, check_exact
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_NUMBERED_CLASSES = 20
MOST_CLASSES = 65536


def read_target(
    source: str,
    name: str,
    found: NDArray[Any],
    numbers: NDArray[np.int64],
    task: Task | None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the target as int64 classes, with their names, or as float32 numbers without.

    Args:
        source: What to blame.
        name: Name of the target.
        found: The different values, sorted: numbers, truths or texts, none missing.
        numbers: (N,) the place of each row's value among them.
        task: None decides: text, truths, and whole numbers with at most 20 different values are
            classes.

    Raises:
        ShrinkageError: Text as a number to predict, a single class or value, labels that cannot be
            told apart, or too many classes.
    """
    import numpy as np

    rows, text = len(numbers), found.dtype.kind in "UO"
    if found.dtype.kind == "f" and np.isinf(found).any():
        as_float32(source, found[numbers, None], [name])
    if len(found) < 2:
        only = f"the single value {found[0]!s}" if len(found) else "no value"
        raise ShrinkageError(f"{source}: the target {name!r} holds {only}; nothing can be learned.")
    if task is None:
        whole = found.dtype.kind != "f" or not (found % 1).any()
        whole = text or (whole and len(found) <= MOST_NUMBERED_CLASSES)
        task = "classification" if whole else "regression"
    if task == "regression":
        if text:
            raise ShrinkageError(
                f"{source}: the target {name!r} holds text such as {str(found[0])[:40]!r}, which "
                "is not a number to predict; set task to 'classification' or choose another target."
            )
        return torch.from_numpy(as_float32(source, found[numbers, None], [name])[:, 0]), ()
    if len(found) > min(MOST_CLASSES, rows // 2):
        instead = "give more rows of each" if text else "set task to 'regression'"
        raise ShrinkageError(
            f"{source}: the target {name!r} holds {len(found)} different values in {rows} "
            f"rows, too many for classes; {instead} or choose another target."
        )
    check_exact(source, name, found)
    return torch.from_numpy(numbers.reshape(-1).astype(np.int64)), tuple(map(_named, found))


def _named(value: Any) -> str:
    import numpy as np

    whole = isinstance(value, np.floating) and value == int(value)
    return str(int(value)) if whole else str(value)
