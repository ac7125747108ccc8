"""Named columns become features: numbers as they are, texts one-hot."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from shrinkage.data.dataset import Dataset, Task
from shrinkage.data.missing import Missing, kept_rows, notes_on
from shrinkage.data.numbers import as_float32
from shrinkage.data.target import read_target
from shrinkage.errors import ShrinkageError, counted, some_of
from shrinkage.identity import hash_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column: TypeAlias = NDArray[np.float64] | NDArray[np.str_] | NDArray[np.bool_]

MOST_LEVELS = 100


@dataclass(frozen=True, eq=False)
class Table:
    """What a file of named columns holds.

    Attributes:
        source: The file, to be blamed.
        name: What to call the data set.
        columns: What reads the (N,) values of each column. A missing number is NaN, a missing
            text is "".
    """

    source: str
    name: str
    columns: Mapping[str, Callable[[], Column]]


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

    _check_names(table, target, ignore, groups)
    assert target is not None
    columns = {name: read() for name, read in table.columns.items() if name not in ignore}
    answers = columns.pop(target)
    labels = None if groups is None else _labels(table.source, groups, columns.pop(groups))
    if not columns:
        raise ShrinkageError(f"{table.source}: no column is left beside the target {target!r}.")
    absent = np.stack([_absent(v) for v in [*columns.values(), answers]], 1)
    kept = kept_rows(table.source, absent, list(columns), target, missing)
    notes = notes_on(absent, kept)
    if labels is not None:
        labels = np.unique(labels[kept], return_inverse=True)[1]
        notes = (*notes, f"{counted(int(labels.max()) + 1, 'group')} by {groups}")
    features: dict[str, Any] = {}
    for name, values in columns.items():
        own = _features(table.source, name, values[kept])
        twice = sorted(own.keys() & features.keys())
        if twice:
            raise ShrinkageError(
                f"{table.source}: column {name!r} and another column both give the feature "
                f"{twice[0]!r}; rename or ignore one of them."
            )
        features |= own
    y, classes = read_target(table.source, target, answers[kept], task)
    X = torch.from_numpy(
        as_float32(table.source, np.stack(list(features.values()), 1), [*features])
    )
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
    )


def _labels(source: str, name: str, values: Column) -> Any:
    lacking = int(_absent(values).sum())
    if lacking:
        raise ShrinkageError(
            f"{source}: {counted(lacking, 'row')} without a group in column {name!r}; "
            "every row needs one."
        )
    return values


def _check_names(
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


def _features(source: str, name: str, values: Column) -> dict[str, Any]:
    import numpy as np

    if values.dtype.kind != "U":
        return {name: values.astype(np.float64)}
    levels = [level for level in np.unique(values) if level]
    if len(levels) > MOST_LEVELS:
        raise ShrinkageError(
            f"{source}: column {name!r} holds {len(levels)} different texts such as "
            f"{str(levels[0])[:40]!r}, and at most {MOST_LEVELS} become features; ignore it."
        )
    unknown = np.where(values == "", np.nan, 0.0)
    return {f"{name}={level}": (values == level) + unknown for level in levels}


def _absent(values: Column) -> Any:
    import numpy as np

    return values == "" if values.dtype.kind == "U" else np.isnan(values)
