"""Classes: numbers inside, and the caller's own labels wherever his code looks at targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from shrinkage.errors import ShrinkageError, counted, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = "biufU"
"""The kinds of NumPy's truths, numbers and texts."""


def distinct_labels(classes: Sequence[Any] | None) -> list[Any] | None:
    """Return the labels of the classes 0, 1, ... as Python's own truths, numbers or texts.

    Args:
        classes: One label a class, or None where the classes are called by their numbers.

    Raises:
        ShrinkageError: They are no distinct labels.
    """
    if classes is None:
        return None
    labels = np.asarray(classes)
    if labels.ndim == 1 and labels.dtype.kind in "OT" and all(isinstance(c, str) for c in labels):
        labels = labels.astype(str)
    if (
        labels.ndim != 1
        or labels.dtype.kind not in KINDS
        or len(set(labels.tolist())) < len(labels)
    ):
        raise ShrinkageError(
            f"classes={shown(classes)[:80]}: give one label a class, distinct texts or numbers."
        )
    found: list[Any] = labels.tolist()
    return found


def as_labels(classes: Sequence[Any] | None, y: Tensor) -> list[Any] | None:
    """Return the labels of the classes of these targets.

    Args:
        classes: As for `distinct_labels`.
        y: Targets: classes, or floating-point zeros and ones, which two labels name.

    Raises:
        ShrinkageError: They are no distinct labels, or fewer than the targets need.
    """
    labels = distinct_labels(classes)
    if labels is None:
        return None
    if y.is_floating_point() and not ((y == 0) | (y == 1)).all():
        raise ShrinkageError("classes= names classes, but y holds numbers; give y.long(), or none.")
    needed = 2 if y.is_floating_point() else int(y.max()) + 1
    if len(labels) < needed:
        raise ShrinkageError(
            f"classes= has {counted(len(labels), 'label')}, but y has classes 0 to {needed - 1}."
        )
    return labels


def labeled(y: Tensor, classes: Sequence[Any] | None) -> NDArray[Any]:
    """Return targets as their caller knows them, of the same shape."""
    values: NDArray[Any] = y.cpu().numpy()
    return values if classes is None else np.asarray(classes)[values.astype(int)]
