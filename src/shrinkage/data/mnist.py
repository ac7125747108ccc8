"""A directory of MNIST-style IDX files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shrinkage.data.builtin import BUILT_IN
from shrinkage.data.dataset import Dataset
from shrinkage.data.idx import read_pair
from shrinkage.errors import ShrinkageError
from shrinkage.identity import hash_of


def read_directory(directory: Path, max_bytes: int) -> Dataset:
    """Return the train part with the t10k part as its test; the t10k part itself if alone."""
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
    return Dataset(name, X, y, "classification", hash_of(X, y), tuple(images.shape[1:]))
