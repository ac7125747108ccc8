"""The data a path is trained on and judged by, from what the caller gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shrinkage.rows.classes import as_labels
from shrinkage.rows.datasets import in_memory, pair_in_memory
from shrinkage.rows.folds import Folds, make_folds
from shrinkage.rows.frames import check_columns, column_names
from shrinkage.rows.preprocess import Transformer, Views, preprocess_rows
from shrinkage.rows.rows import as_rows, as_weights, with_test_rows


@dataclass(frozen=True, eq=False)
class Data:
    """Training rows and test rows, each with its target and what else belongs to it.

    Attributes:
        views: Training rows, then test rows, as each fold sees them.
        y: Their targets.
        weights: Their weights as float64, or None where all weigh the same.
        folds: Which of the training rows each fold holds out and trains on.
        tests: Number of test rows.
        columns: Names of the columns, or None where the rows are no frame.
        classes: Labels of the classes, or None where they are their numbers.
    """

    views: Views
    y: Tensor
    weights: Tensor | None
    folds: Folds
    tests: int
    columns: list[str] | None
    classes: list[Any] | None


def read_data(
    X: Any,
    y: Any,
    test: Any,
    folds: Any,
    groups: Any,
    sample_weight: Any,
    transformer: Transformer | None,
    classes: Sequence[Any] | None = None,
) -> Data:
    """Read and check the data; see ``fit_path`` for the arguments.

    Raises:
        ShrinkageError: They are no numbers, or do not fit together.
    """
    finite = transformer is None
    X, y = in_memory(X, y)
    rows, targets = (given.cpu() for given in as_rows(X, y, finite=finite))
    labels = as_labels(classes, targets)
    made_folds = make_folds(folds, rows, targets, groups=groups, classes=labels)
    if test is not None:
        test = pair_in_memory(test, "test")
        check_columns(X, test[0])
    all_rows, all_targets = with_test_rows(rows, targets, test, finite=finite)
    tests = len(all_rows) - len(rows)
    return Data(
        views=preprocess_rows(transformer, all_rows, all_targets, made_folds, labels),
        y=all_targets,
        weights=as_weights(sample_weight, len(rows), tests),
        folds=made_folds,
        tests=tests,
        columns=column_names(X),
        classes=labels,
    )
