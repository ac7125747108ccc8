"""Rows and targets with what is known of them, and how they are split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, counted
from shrinkage.identity import hash_of

Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows and their targets, with what a run's manifest says about them.

    Args:
        name: Built-in name, or the name of the file or directory.
        X: float32, one flat row of features per sample; NaN only where a missing value is still
            to be imputed.
        y: int64 classes counted from 0, or float32 targets.
        task: "classification" or "regression".
        sha256: Hash of the values, types and shapes of ``X`` and ``y``, however they were stored.
        feature_shape: Shape of one row before it was flattened, such as ``(28, 28)``.
        test: The test part that came with the data, if one did.
        feature_names: Names of the features, if they have any; "color=red" is one of a text column.
        classes: Names of the classes in the order of their numbers, if they have any.
        notes: What was done to the data as they were read.
        groups: The number of each row's group, such as a patient, if a column names it.
        columns: How many columns of a table the features come from; 0 if from no table.

    Shape:
        X: (N, features). y, groups: (N,).

    Example:
        >>> X, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
        >>> Dataset("mine", X, y, "classification", hash_of(X, y), (2,))
        Dataset('mine', classification: 4 rows, 2 features, 2 outputs)
    """

    name: str
    X: Tensor
    y: Tensor
    task: Task
    sha256: str
    feature_shape: tuple[int, ...]
    test: Dataset | None = None
    feature_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    groups: Tensor | None = None
    columns: int = 0

    @property
    def outputs(self) -> int:
        """Width of a model's output: the number of classes, or 1 for regression."""
        return int(self.y.max()) + 1 if self.task == "classification" else 1

    def __repr__(self) -> str:
        """One line of sizes."""
        rows, features = self.X.shape
        sizes = [
            counted(rows, "row"),
            counted(features, "feature"),
            counted(self.outputs, "output"),
        ]
        if self.test:
            sizes.insert(1, counted(len(self.test.y), "test row"))
        return f"Dataset({self.name!r}, {self.task}: {', '.join(sizes)})"


def split_test(dataset: Dataset, fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the training and test parts of a data set; stratified by class for classification.

    A test part that came with the data is returned as it is, and nothing is drawn. Otherwise every
    class gives the rounded fraction of its rows, at least one and never all. Rows keep their order.
    Where rows have groups, whole groups are drawn, and the fraction is approximate.

    Args:
        dataset: What ``load_data`` returned.
        fraction: Share of the rows for the test part, between 0 and 1.
        seed: Seed of the draw; the global random state is left alone.

    Raises:
        ShrinkageError: A fraction outside (0, 1), or a class with a single row or group.

    Example:
        >>> from shrinkage.data import load_data
        >>> train, test = split_test(load_data("iris"))
        >>> len(train.y), test.y.bincount().tolist()
        (120, [10, 10, 10])
    """
    if dataset.test is not None:
        return replace(dataset, test=None), dataset.test
    if not 0 < fraction < 1:
        raise ShrinkageError(f"fraction={fraction}: choose a number between 0 and 1, such as 0.2.")
    if dataset.groups is not None:
        return _parts(dataset, _whole_groups(dataset, dataset.groups, fraction, seed))
    classification = dataset.task == "classification"
    strata = dataset.y if classification else torch.zeros(len(dataset.y))
    shuffled = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed))
    in_test = torch.zeros(len(strata), dtype=torch.bool)
    for stratum in sorted(set(strata.tolist())):
        rows = shuffled[strata[shuffled] == stratum]
        if len(rows) < 2:
            named = dataset.classes[int(stratum)] if dataset.classes else int(stratum)
            of_class = f" of class {named}" if classification else ""
            raise ShrinkageError(
                f"{dataset.name} has a single row{of_class}, but a split needs two; add rows or "
                "leave them out."
            )
        in_test[rows[: min(max(round(fraction * len(rows)), 1), len(rows) - 1)]] = True
    return _parts(dataset, in_test)


def _parts(dataset: Dataset, in_test: Tensor) -> tuple[Dataset, Dataset]:
    train = take_rows(dataset, ~in_test, dataset.name)
    return train, take_rows(dataset, in_test, f"{dataset.name} test")


def _whole_groups(dataset: Dataset, groups: Tensor, fraction: float, seed: int) -> Tensor:
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

    count = len(set(groups.tolist()))
    if count < 2:
        raise ShrinkageError(f"{dataset.name} has a single group, but a split needs two.")
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    if dataset.task == "classification":
        parts = min(max(2, round(1 / fraction)), count)
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class is rare; checked here
        _, drawn = next(splitter.split(dataset.X.numpy(), dataset.y.numpy(), groups.numpy()))
    in_test = torch.zeros(len(groups), dtype=torch.bool)
    in_test[torch.from_numpy(drawn)] = True
    lost = set(dataset.y[in_test].tolist()) - set(dataset.y[~in_test].tolist())
    if dataset.task == "classification" and lost:
        name = dataset.classes[min(lost)] if dataset.classes else min(lost)
        raise ShrinkageError(
            f"class {name} of {dataset.name} would lie only in the test part, because groups are "
            "kept whole; try another seed, or groups that hold several classes."
        )
    return in_test


def take_rows(dataset: Dataset, kept: Tensor, name: str) -> Dataset:
    """Return the part of a data set whose rows are kept."""
    X, y = dataset.X[kept], dataset.y[kept]
    groups = None if dataset.groups is None else dataset.groups[kept]
    return replace(dataset, name=name, X=X, y=y, sha256=hash_of(X, y), groups=groups)
