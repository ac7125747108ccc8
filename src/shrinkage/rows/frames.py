"""Frames, series and lists as arrays of numbers; pandas and polars are known by what they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def as_array(values: Any, name: str) -> Any:
    """Return frames, series and lists of arrays as an array, all else as it is.

    Args:
        values: What the caller gave.
        name: What to call it.

    Raises:
        ShrinkageError: A column does not hold numbers; the message names it.
    """
    if column_names(values) is not None:
        columns = [
            _column_array(own, f"{name}: column {label!r}") for label, own in _columns(values)
        ]
        return np.stack(columns, 1) if columns else np.empty((0, 0))
    if hasattr(values, "to_numpy"):
        return _column_array(values, name)
    if isinstance(values, list | tuple) and values and not isinstance(values[0], list | tuple):
        if isinstance(values[0], Tensor):
            return torch.stack(list(values))
        if isinstance(values[0], np.ndarray):
            return np.stack(values)
    if np.ma.is_masked(values):
        raise ShrinkageError(
            f"{name} is a masked array, and its mask would be lost; fill it, or leave the rows out."
        )
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f" and values.dtype.itemsize > 8:
            values = values.astype(np.float64)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        plain = values.flags.writeable and min(values.strides, default=0) >= 0
        return values if plain else values.copy()
    return values


def column_names(values: Any) -> list[str] | None:
    """Return the names of a frame's columns, or None for what is no frame."""
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):
        return [str(label) for label in values.columns]
    return None


def check_columns(X: Any, test: Any) -> None:
    """Refuse test rows whose columns have other names than those of the training rows.

    Raises:
        ShrinkageError: With the first names that differ.
    """
    names, others = column_names(X), column_names(test)
    if names is None or others is None or names == others:
        return
    pairs = zip([*names, *[""] * len(others)], [*others, *[""] * len(names)], strict=False)
    place, (own, other) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
    raise ShrinkageError(
        f"column {place} is {own!r} in X and {other!r} in the test rows; give both the same "
        "columns in the same order."
    )


def _columns(frame: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(frame, "iter_columns"):
        yield from ((column.name, column) for column in frame.iter_columns())
    else:
        yield from frame.items()


def _column_array(column: Any, name: str) -> Any:
    """Return a column as an array of numbers, with NaN where pandas has no value."""
    kind = getattr(column.dtype, "kind", None)
    if kind in ("i", "u", "f", "b") and not isinstance(column.dtype, np.dtype):
        whole = not column.isna().any()
        own = {"dtype": column.dtype.numpy_dtype} if whole else {"dtype": float, "na_value": np.nan}
        values = column.to_numpy(**own)
    else:
        values = column.to_numpy()
    if values.dtype.kind not in "biuf":
        raise ShrinkageError(
            f"{name} holds {column.dtype}, not numbers; turn it into 0/1 columns or codes, or "
            "leave it out."
        )
    return np.array(values)
