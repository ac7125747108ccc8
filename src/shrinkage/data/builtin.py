"""The data sets that scikit-learn brings along."""

from __future__ import annotations

import importlib

import torch

from shrinkage.data.dataset import Dataset, Task
from shrinkage.identity import hash_of

BUILT_IN: dict[str, Task] = {
    "digits": "classification",
    "breast_cancer": "classification",
    "wine": "classification",
    "iris": "classification",
    "diabetes": "regression",
}


def read_builtin(name: str) -> Dataset:
    """Return a built-in set; only the images of digits are scaled, by 1/16."""
    raw_units = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")(**raw_units)
    task = BUILT_IN[name]
    X = torch.as_tensor(bunch.data).float() / (16 if name == "digits" else 1)
    y = torch.as_tensor(bunch.target).to(torch.int64 if task == "classification" else torch.float32)
    feature_shape = tuple(bunch.images.shape[1:]) if name == "digits" else tuple(X.shape[1:])
    classes = tuple(map(str, bunch.target_names)) if task == "classification" else ()
    names = tuple(map(str, bunch.feature_names))
    return Dataset(
        name, X, y, task, hash_of(X, y), feature_shape, feature_names=names, classes=classes
    )
