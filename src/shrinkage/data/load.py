"""One door for all data: what a source is decides who reads it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from shrinkage.data.builtin import BUILT_IN, read_builtin
from shrinkage.data.dataset import Dataset, Task
from shrinkage.data.delimited import DELIMITERS, read_delimited
from shrinkage.data.missing import Missing
from shrinkage.data.mnist import read_directory
from shrinkage.data.npz import read_npz
from shrinkage.data.parquet import read_parquet
from shrinkage.data.table import table_dataset
from shrinkage.errors import ShrinkageError

FILES = (".npz", *DELIMITERS, ".parquet")


def load_data(
    source: str | Path,
    *,
    target: str | None = None,
    task: Task | None = None,
    missing: Missing = "refuse",
    ignore: Sequence[str] = (),
    groups: str | None = None,
    max_bytes: int = 2 * 1024**3,
) -> Dataset:
    """Return the data set of a built-in name, a file, or a directory of MNIST-style IDX files.

    Only images are scaled, by a constant: digits by 1/16, uint8 images by 1/255. Anything else is
    the caller's, who standardizes within each training fold (so diabetes comes in raw units).

    Text columns of a table become one 0/1 feature per text. Nothing is guessed: a cell that does
    not fit its column, a date, a number in another spelling or a missing value is refused with its
    place. Rows without a target are left out, and so is the index that pandas notes in a Parquet
    file; ``notes`` says so.

    Args:
        source: A name in ``BUILT_IN``; a ``.csv``, ``.tsv`` or ``.parquet`` table whose columns
            have names; an ``.npz`` with arrays ``X`` and ``y``, and ``X_test`` and ``y_test`` if
            there is a test part; or a directory with ``train-images-idx3-ubyte`` and
            ``train-labels-idx1-ubyte``, the same two for ``t10k`` (the test part), or all four;
            each may end in ``.gz``. A built-in name wins over a directory of that name; write
            ``"./digits"``, or pass a ``Path``, for the directory.
        target: Name of the target column of a table, or of the array in an ``.npz``.
        task: None decides: text, and whole numbers with at most 20 different values, are classes.
        missing: What to do about missing values: "refuse"; "drop" the rows; or "mean", which
            leaves NaN for an imputation that is fitted on each training fold.
        ignore: Names of columns to leave out, such as row numbers.
        groups: Name of the column that says which rows belong together, such as a patient's. It
            becomes the ``groups`` of the data set, and no feature.
        max_bytes: Largest uncompressed size of one file or array. Images take four times that as
            float32.

    Returns:
        The training part with the test part, if the data bring one, as its ``test``; the t10k
        part itself if it is alone.

    Raises:
        ShrinkageError: Unknown name, or a file that is missing, damaged, oversized or mislabeled.

    Example:
        >>> digits = load_data("digits")
        >>> digits.X.shape, digits.feature_shape, digits.outputs
        (torch.Size([1797, 64]), (8, 8), 10)
    """
    _check_words(task, missing, ignore)
    if isinstance(source, str) and source in BUILT_IN:
        _no_columns(source, target, task, ignore, groups)
        return read_builtin(source)
    if not os.path.lexists(source):
        if Path(source).suffix.lower() in FILES:
            raise ShrinkageError(f"there is no file {str(source)!r}{_like(Path(source))}")
        near = difflib.get_close_matches(str(source).lower(), BUILT_IN, n=1, cutoff=0.5)
        raise ShrinkageError(
            f"unknown data set {str(source)!r}{f', did you mean {near[0]!r}?' if near else '.'} "
            f"Choose from {', '.join(BUILT_IN)}, or give a directory of MNIST-style IDX files or "
            f"a file that ends in {', '.join(FILES)}."
        )
    path = Path(source)
    ending = path.suffix.lower()
    if path.is_dir():
        _no_columns(str(source), target, task, ignore, groups)
        return read_directory(path, max_bytes)
    if ending == ".npz":
        _no_columns(str(source), None, None, ignore, groups)
        return read_npz(path, target, task, missing, max_bytes)
    if ending in DELIMITERS:
        table = read_delimited(path, max_bytes)
    elif ending == ".parquet":
        table = read_parquet(path, max_bytes)
    else:
        raise ShrinkageError(
            f"{path} has an unknown ending; give a directory of MNIST-style IDX files or a file "
            f"that ends in {', '.join(FILES)}."
        )
    return table_dataset(table, target, task, missing, ignore, groups)


def _check_words(task: Task | None, missing: Missing, ignore: Sequence[str]) -> None:
    if task not in (None, *get_args(Task)):
        raise ShrinkageError(f"task={task!r}: choose from {', '.join(get_args(Task))}.")
    if missing not in get_args(Missing):
        raise ShrinkageError(f"missing={missing!r}: choose from {', '.join(get_args(Missing))}.")
    if isinstance(ignore, str):
        raise ShrinkageError(f"ignore={ignore!r} is one text; give a list of names: [{ignore!r}].")


def _like(path: Path) -> str:
    """Return a question after the most similar file there is."""
    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=1)
    return f", did you mean {str(path.with_name(near[0]))!r}?" if near else "; check its name."


def _no_columns(
    source: str, target: str | None, task: Task | None, ignore: Sequence[str], groups: str | None
) -> None:
    asked = {"target": target, "task": task, "ignore": ignore, "groups": groups}
    for name, value in asked.items():
        if value:
            raise ShrinkageError(
                f"{source} has no columns to choose from, so {name}={value!r} has no meaning "
                "here; leave it out."
            )
