"""Data sets: scikit-learn's bundled ones by name, MNIST-style directories of IDX files by path."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from shrinkage._idx import read_pair
from shrinkage.errors import ShrinkageError

Task = Literal["classification", "regression"]

BUILT_IN: dict[str, Task] = {
    "digits": "classification",
    "breast_cancer": "classification",
    "wine": "classification",
    "iris": "classification",
    "diabetes": "regression",
}


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows and their targets, with what a run's manifest says about them.

    Args:
        name: built-in name, or the name of the directory.
        X: float32, one flat row of features per sample.
        y: int64 classes counted from 0, or float32 targets.
        task: "classification" or "regression".
        sha256: hash of the values, types and shapes of ``X`` and ``y``, however they were stored.
        feature_shape: shape of one row before it was flattened, such as ``(28, 28)``.
        test: the test part that came with the data, if one did.

    Shape:
        X: (N, features). y: (N,).

    Example:
        >>> load_data("iris")
        Dataset('iris', classification: 150 rows, 4 features, 3 outputs)
    """

    name: str
    X: Tensor
    y: Tensor
    task: Task
    sha256: str
    feature_shape: tuple[int, ...]
    test: Dataset | None = None

    @property
    def outputs(self) -> int:
        """Width of a model's output: the number of classes, or 1 for regression."""
        return int(self.y.max()) + 1 if self.task == "classification" else 1

    def __repr__(self) -> str:
        """One line of sizes."""
        rows, features = self.X.shape
        with_test = f", {len(self.test.y)} test rows" if self.test else ""
        return (
            f"Dataset({self.name!r}, {self.task}: {rows} rows{with_test}, {features} features, "
            f"{self.outputs} output{'s' if self.outputs != 1 else ''})"
        )


def load_data(source: str | Path, *, max_bytes: int = 2 * 1024**3) -> Dataset:
    """Data set behind a built-in name or in a directory of MNIST-style IDX files.

    Only images are scaled, by a constant: digits by 1/16, uint8 images by 1/255. Anything else is
    the caller's, who standardizes within each training fold (so diabetes comes in raw units).

    Args:
        source: a name in ``BUILT_IN``, or a directory with ``train-images-idx3-ubyte`` and
            ``train-labels-idx1-ubyte``, the same two for ``t10k`` (the test part), or all four;
            each may end in ``.gz``. A built-in name wins over a directory of that name; write
            ``"./digits"``, or pass a ``Path``, for the directory.
        max_bytes: largest uncompressed size of one file. Images take four times that as float32.

    Returns:
        The training part with the t10k part as its ``test``; the t10k part itself if it is alone.

    Raises:
        ShrinkageError: unknown name, or a file that is missing, damaged, oversized or mislabeled.

    Example:
        >>> digits = load_data("digits")
        >>> digits.X.shape, digits.feature_shape, digits.outputs
        (torch.Size([1797, 64]), (8, 8), 10)
    """
    if isinstance(source, str) and source in BUILT_IN:
        return _bundled(source)
    if not os.path.lexists(source):
        near = difflib.get_close_matches(str(source).lower(), BUILT_IN, n=1, cutoff=0.5)
        raise ShrinkageError(
            f"unknown data set {str(source)!r}{f', did you mean {near[0]!r}?' if near else '.'} "
            f"Choose from {', '.join(BUILT_IN)}, or give a directory of MNIST-style IDX files."
        )
    return _directory(Path(source), max_bytes)


def split_test(dataset: Dataset, fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training part and test part of a data set; stratified by class for classification.

    A test part that came with the data is returned as it is, and nothing is drawn. Otherwise every
    class gives the rounded fraction of its rows, at least one and never all. Rows keep their order.

    Args:
        dataset: what ``load_data`` returned.
        fraction: share of the rows for the test part, between 0 and 1.
        seed: seed of the draw; the global random state is left alone.

    Raises:
        ShrinkageError: a fraction outside (0, 1), or a class with a single row.

    Example:
        >>> train, test = split_test(load_data("iris"))
        >>> len(train.y), test.y.bincount().tolist()
        (120, [10, 10, 10])
    """
    if dataset.test is not None:
        return replace(dataset, test=None), dataset.test
    if not 0 < fraction < 1:
        raise ShrinkageError(f"fraction={fraction}: choose a number between 0 and 1, such as 0.2.")
    classification = dataset.task == "classification"
    strata = dataset.y if classification else torch.zeros(len(dataset.y))
    shuffled = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed))
    in_test = torch.zeros(len(strata), dtype=torch.bool)
    for stratum in sorted(set(strata.tolist())):
        rows = shuffled[strata[shuffled] == stratum]
        if len(rows) < 2:
            of_class = f" of class {int(stratum)}" if classification else ""
            raise ShrinkageError(
                f"{dataset.name} has a single row{of_class}, and a split needs two; "
                "add rows or leave them out."
            )
        in_test[rows[: min(max(round(fraction * len(rows)), 1), len(rows) - 1)]] = True
    return _rows(dataset, ~in_test, dataset.name), _rows(dataset, in_test, f"{dataset.name} test")


def _rows(dataset: Dataset, kept: Tensor, name: str) -> Dataset:
    X, y = dataset.X[kept], dataset.y[kept]
    return replace(dataset, name=name, X=X, y=y, sha256=_sha256(X, y))


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def _bundled(name: str) -> Dataset:
    raw_units = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")(**raw_units)
    task = BUILT_IN[name]
    X = torch.as_tensor(bunch.data).float() / (16 if name == "digits" else 1)
    y = torch.as_tensor(bunch.target).to(torch.int64 if task == "classification" else torch.float32)
    _require_finite(name, "X", X)
    _require_finite(name, "y", y)
    feature_shape = tuple(bunch.images.shape[1:]) if name == "digits" else tuple(X.shape[1:])
    return Dataset(name, X, y, task, _sha256(X, y), feature_shape)


def _require_finite(name: str, letter: str, values: Tensor) -> None:
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        rows = set(bad[:, 0].tolist())
        column = f", column {int(bad[0, 1])}" if values.ndim > 1 else ""
        raise ShrinkageError(
            f"{name}: {letter} holds {len(bad)} values that are not finite as float32, in "
            f"{len(rows)} rows (first: row {int(bad[0, 0])}{column}); remove or replace them."
        )


def _directory(directory: Path, max_bytes: int) -> Dataset:
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise ShrinkageError(
            f"cannot list {directory}: {error.strerror}; give a built-in name "
            f"({', '.join(BUILT_IN)}) or a directory of MNIST-style IDX files."
        ) from error
    name = directory.resolve().name
    train = _part(directory, names, "train", name, max_bytes)
    t10k = _part(directory, names, "t10k", name if train is None else f"{name} test", max_bytes)
    if t10k is None:
        if train is None:
            raise ShrinkageError(
                f"{directory} holds no IDX images. Looked for train-images-idx3-ubyte, "
                "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, also "
                "with '.idx' for '-idx' and with .gz at the end; put them there."
            )
        return train
    if train is None:
        return t10k
    if train.feature_shape != t10k.feature_shape:
        raise ShrinkageError(
            f"{directory}: the train images are {train.feature_shape} and the t10k images "
            f"{t10k.feature_shape}; use two parts of one data set."
        )
    if t10k.outputs > train.outputs:
        raise ShrinkageError(
            f"{directory}: the t10k labels go up to {t10k.outputs - 1} and the train labels to "
            f"{train.outputs - 1}; use two parts of one data set."
        )
    return replace(train, test=t10k)


def _part(
    directory: Path, names: set[str], prefix: str, name: str, max_bytes: int
) -> Dataset | None:
    pair = read_pair(directory, names, prefix, max_bytes)
    if pair is None:
        return None
    images, y = pair
    X = images.flatten(1).float().div_(255)
    return Dataset(name, X, y, "classification", _sha256(X, y), tuple(images.shape[1:]))
