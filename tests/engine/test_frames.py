"""Rows from pandas, polars, numpy and lists are the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from _problems import assert_same_result, classes, fit, numbers
from torch import nn

from shrinkage.errors import ShrinkageError
from shrinkage.rows.frames import as_array
from shrinkage.rows.rows import as_rows

X, Y = classes()
NAMES = ["a", "b", "c", "d"]
QUICK: dict[str, Any] = {"epochs": 1, "seeds": 1}


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS: dict[str, Any] = {
    "pandas": (pd.DataFrame(X.numpy(), columns=NAMES), pd.Series(Y.numpy(), name="y")),
    "polars": (pl.DataFrame(X.numpy(), schema=NAMES), pl.Series("y", Y.numpy())),
    "a frame of one target": (pd.DataFrame(X.numpy()), pd.DataFrame({"y": Y.numpy()})),
    "pandas' own types": (
        pd.DataFrame(X.numpy(), columns=NAMES).astype("Float64"),
        pd.Series(Y.numpy()).astype("Int64"),
    ),
    "read-only arrays": (read_only(X.numpy()), read_only(Y.numpy())),
    "arrays turned around": (X.numpy()[::-1].copy()[::-1], Y.numpy()[::-1].copy()[::-1]),
    "lists of tensors": (list(X), list(Y)),
    "lists of arrays": (list(X.numpy()), Y.tolist()),
    "lists of lists": (X.tolist(), Y.tolist()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_holds_the_same_rows(kind: str) -> None:
    rows, targets = as_rows(*KINDS[kind])
    torch.testing.assert_close(rows.double(), X, rtol=1e-6, atol=0)
    assert torch.equal(targets.flatten(), Y)
    assert targets.dtype == torch.int64


def test_a_path_takes_a_frame_as_it_is() -> None:
    frame, y = KINDS["pandas"]
    result = fit(nn.Linear(4, 3), frame, y, test=(frame[:5], y[:5]), **QUICK)
    assert_same_result(
        result, fit(nn.Linear(4, 3), X, Y, test=(X[:5], Y[:5]), **QUICK), rtol=0, atol=0
    )
    assert result.about["columns"] == NAMES
    assert "columns" not in fit(nn.Linear(4, 3), X, Y, **QUICK).about


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["red"] * 32, r"X: column 'color' holds .*, not numbers"),
        ([None, *[1.5] * 31], "X holds NaN or infinite numbers in 1 of 32 rows, first in row 0"),
        (pd.date_range("2024-01-01", periods=32), "X: column 'color' holds datetime64"),
        (pd.Series([None, *[1] * 31], dtype="Int64"), "X holds NaN .* in 1 of 32 rows"),
        (pd.Categorical(["a", "b"] * 16), "X: column 'color' holds category, not numbers"),
    ],
    ids=["text", "missing", "dates", "missing integer", "categories"],
)
def test_a_column_that_is_no_number_is_named(column: Any, words: str) -> None:
    frame = pd.DataFrame(X.numpy(), columns=NAMES).assign(color=column)
    with pytest.raises(ShrinkageError, match=words):
        as_rows(frame, Y)


@pytest.mark.parametrize(
    ("rows", "targets", "words"),
    [
        (pl.DataFrame({"a": ["x", "y"]}), [0, 1], "X: column 'a' holds String, not numbers"),
        (X, pd.Series(["setosa"] * 32, name="kind"), "y holds .*, not numbers"),
        (X, 3, r"y has shape \(\): it holds no rows"),
        (pd.DataFrame(index=range(32)), Y, "it holds no rows"),
        ([[1.0, 2.0], [3.0]], [0, 1], "X is not an array of numbers"),
    ],
    ids=["polars", "labels", "one number", "no columns", "ragged"],
)
def test_what_holds_no_numbers_is_refused(rows: Any, targets: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        as_rows(rows, targets)


@pytest.mark.parametrize("names", [["a", "b", "d", "c"], ["a", "b", "c"]], ids=["order", "fewer"])
def test_test_rows_need_the_same_columns(names: list[str]) -> None:
    frame = pd.DataFrame(X.numpy(), columns=NAMES)
    place = "2 is 'c' in X and 'd'" if len(names) == 4 else "3 is 'd' in X and ''"
    with pytest.raises(ShrinkageError, match=f"column {place} in the test rows"):
        fit(nn.Linear(4, 3), frame, Y, test=(frame[names], Y), **QUICK)


def test_numbers_of_any_width_and_bools() -> None:
    frame = pd.DataFrame({"yes": [True, False] * 16, "small": np.arange(32, dtype=np.int8)})
    rows, _ = as_rows(frame, numbers()[1])
    assert rows[1].tolist() == [0, 1]


@pytest.mark.parametrize("kind", [">f8", ">i4", "longdouble"])
def test_arrays_of_another_byte_order_or_length_are_taken_as_numbers(kind: str) -> None:
    torch.testing.assert_close(
        torch.as_tensor(as_array(np.arange(4).astype(kind), "X")).double(),
        torch.arange(4.0).double(),
    )


def test_a_mask_is_not_lost() -> None:
    masked = np.ma.masked_array([1, 2], [False, True])
    assert np.isnan(as_array(masked, "X")).tolist() == [False, True]
    assert np.isnan(as_array([masked, masked], "X")).tolist() == [[False, True]] * 2
