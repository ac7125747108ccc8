"""Frames, series and lists as arrays of numbers; pandas and polars are known by what they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError

DATES = "mM"
"""The kinds of NumPy's dates and spans of time."""


def as_array(values: Any, name: str) -> Any:
    """Return frames, series, lists of arrays and arrays as torch takes them, all else as it is.

    What an array masks is missing: NaN. The order of bytes becomes the machine's, and numbers of
    more than 64 bits lose their last ones.

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
            return np.stack([plain_array(np.asanyarray(own)) for own in values])
    return plain_array(values) if isinstance(values, np.ndarray) else values


def plain_array(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of a type, a layout and an order of bytes that torch has, without a mask."""
    if isinstance(values, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(values).any()
        values = np.where(values.mask, np.nan, values.data) if masked else values.data
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(float)
    if not values.dtype.isnative:
        return values.astype(values.dtype.newbyteorder("="))
    plain = values.flags.writeable and min(values.strides, default=0) >= 0
    return values if plain else values.copy()


def check_dates(values: Any, name: str) -> None:
    """Refuse dates and spans of time, whose numbers would be nanoseconds.

    Raises:
        ShrinkageError: With the name of the column.
    """
    kinds = (
        [(f"{name}: column {label!r}", own.dtype) for label, own in _columns(values)]
        if column_names(values) is not None
        else [(name, getattr(values, "dtype", None))]
    )
    for where, kind in kinds:
        temporal = getattr(kind, "is_temporal", bool)
        if temporal() or str(getattr(kind, "kind", "")) in tuple(DATES):
            raise ShrinkageError(
                f"{where} holds {kind}, not numbers; turn it into numbers of your choice, such as "
                "days since a date, or leave it out."
            )


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
