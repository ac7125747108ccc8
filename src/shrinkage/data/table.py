"""Named columns become features: numbers as they are, texts one-hot."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from shrinkage.data.columns import (
    as_floats,
    codes_of,
    distinct,
    is_integer,
    is_missing,
    is_text,
)
from shrinkage.data.dataset import Dataset, Task
from shrinkage.data.missing import Missing, kept_rows, notes_on
from shrinkage.data.numbers import as_float32, check_exact, check_whole
from shrinkage.data.spelling import check_repeats, check_spelling
from shrinkage.data.target import read_target
from shrinkage.errors import ShrinkageError, counted, some_of
from shrinkage.identity import hash_of

if TYPE_CHECKING:
    from shrinkage.data.columns import Column

MOST_LEVELS = 100
UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?(\.\d+)?|__index_level_\d+__|\.\.\.\d+")
"""What pandas, Parquet files of pandas, and readr call a column without a name."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a file of named columns holds.

    Attributes:
        source: The file, to be blamed.
        name: What to call the data set.
        columns: What reads each column.
        place: Says in words where a row stands.
        index: Names of columns that only number or name the rows, and are no features.
    """

    source: str
    name: str
    columns: Mapping[str, Callable[[], Column]]
    place: Callable[[int], str]
    index: Sequence[str] = ()


def table_dataset(
    table: Table,
    target: str | None,
    task: Task | None,
    missing: Missing,
    ignore: Sequence[str],
    groups: str | None = None,
) -> Dataset:
    """Return the data set of a table; see ``load_data`` for the arguments."""
    import numpy as np

    _check_options(table, target, ignore, groups)
    assert target is not None
    asked = {*ignore, target, groups}
    names = [name for name in table.columns if name not in {*table.index, *asked}]
    if not names:
        raise ShrinkageError(f"{table.source}: no column is left beside the target {target!r}.")
    _check_named(table.source, [*names, target, groups or target])
    answers, columns = table.columns[target](), {name: table.columns[name]() for name in names}
    absent = np.stack([is_missing(own) for own in [*columns.values(), answers]], 1)
    kept = kept_rows(table.source, absent, names, target, missing)
    left_out = [f"index {name!r} left out" for name in table.index if name not in asked]
    notes = (*left_out, *notes_on(absent, kept))
    labels = None
    if groups is not None:
        labels = _groups(table, groups, kept)
        notes = (*notes, f"{counted(labels.max() + 1, 'group')} by {groups}")
    features: dict[str, Any] = {}
    for name, column in columns.items():
        own = _features(table, name, column, kept)
        twice = sorted(own.keys() & features.keys())
        if twice:
            raise ShrinkageError(
                f"{table.source}: column {name!r} and another column both give the feature "
                f"{twice[0]!r}; rename or ignore one of them."
            )
        features |= own
    if is_text(answers):
        check_spelling(answers, _place(table, target))
    y, classes = read_target(table.source, target, *distinct(_kept(answers, kept)), task)
    X = torch.from_numpy(as_float32(table.source, np.stack([*features.values()], 1), [*features]))
    return Dataset(
        table.name,
        X,
        y,
        "classification" if classes else "regression",
        hash_of(X, y),
        (X.shape[1],),
        feature_names=tuple(features),
        classes=classes,
        notes=notes,
        groups=None if labels is None else torch.from_numpy(labels).long(),
        columns=len(names),
    )


def _groups(table: Table, name: str, kept: Any) -> Any:
    values = _kept(table.columns[name](), kept)
    lacking = int(is_missing(values).sum())
    if lacking:
        raise ShrinkageError(
            f"{table.source}: {counted(lacking, 'row')} {'has' if lacking == 1 else 'have'} no "
            f"group in column {name!r}; every row needs one."
        )
    found, numbers = distinct(values)
    check_exact(table.source, name, found)
    return numbers


def _kept(column: Column, kept: Any) -> Column:
    import pyarrow as pa

    return column if kept.all() else column.filter(pa.array(kept))


def _check_named(source: str, names: Sequence[str]) -> None:
    for name in names:
        if UNNAMED.fullmatch(name):
            raise ShrinkageError(
                f"{source}: column {name!r} has no name but what a program called it, and is most "
                "likely the number of the row; name it, or ignore it (pandas: "
                "to_csv(..., index=False) writes no unnamed row numbers)."
            )


def _place(table: Table, column: str) -> Callable[[int], str]:
    return lambda row: f"{table.place(row)}, column {column!r}"


def _check_options(
    table: Table, target: str | None, ignore: Sequence[str], groups: str | None
) -> None:
    names = list(table.columns)
    known = some_of(map(repr, names), most=20)
    asked = [("ignore", name) for name in ignore] + [("groups", groups)] * (groups is not None)
    for option, name in [("target", target), *asked]:
        if name is None:
            raise ShrinkageError(
                f"{table.source}: which column is the target? Set target (--target) to one "
                f"of {known}."
            )
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {known}."
            raise ShrinkageError(f"{table.source} has no column {name!r} ({option}); {hint}")
    if target in ignore:
        raise ShrinkageError(
            f"{table.source}: column {target!r} is both the target and ignored; leave it out of "
            "one."
        )
    if groups is not None and groups in (target, *ignore):
        raise ShrinkageError(
            f"{table.source}: column {groups!r} names the groups, so it is not a feature; "
            "it can be neither the target nor ignored."
        )


def _features(table: Table, name: str, column: Column, kept: Any) -> dict[str, Any]:
    import numpy as np

    if not is_text(column):
        floats = as_floats(column)[kept]
        if is_integer(column) and np.nanmax(abs(floats), initial=0) >= 2**24:
            check_whole(table.source, name, _kept(column, kept).drop_null().to_numpy())
        return {name: floats}
    check_spelling(column, _place(table, name), feature=True)
    levels, codes = column.dictionary.to_pylist(), codes_of(column)[kept]
    used = np.unique(codes[codes >= 0]).tolist()
    if len(used) > MOST_LEVELS:
        raise ShrinkageError(
            f"{table.source}: column {name!r} holds {len(used)} different texts such as "
            f"{levels[used[0]][:40]!r}, and at most {MOST_LEVELS} become features; ignore it."
        )
    check_repeats(column, _place(table, name))
    unknown = np.where(codes < 0, np.nan, 0.0)
    return {f"{name}={levels[code]}": (codes == code) + unknown for code in used}
