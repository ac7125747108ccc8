"""scikit-learn estimators whose inputs are already the outputs of a model, for its scorers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.metrics.at_once import predicted


def reader_of_numbers() -> Any:
    """Return an estimator that predicts the output itself."""
    return _kinds()[0]()


def reader_of_classes(classes: Sequence[Any]) -> Any:
    """Return an estimator that predicts one of these labels by the largest output."""
    return _kinds()[1](np.asarray(classes))


def reader_of_labels(classes: Sequence[Any], columns: int) -> Any:
    """Return an estimator of several labels a row, each by the sign of its logit.

    It has no probabilities: scikit-learn's log loss takes them for those of one class each.

    Args:
        classes: What a negative and what a positive logit stands for.
        columns: How many labels a row has.
    """
    return _kinds()[2](np.asarray(classes), columns)


@functools.cache
def _kinds() -> tuple[Any, Any, Any]:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Numbers(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def predict(self, X: Any) -> Any:
            return X[:, 0] if X.shape[1] == 1 else X

    class Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, classes: Any) -> None:
            self.classes_ = classes

        def predict(self, X: Any) -> Any:
            return self.classes_[predicted(torch.from_numpy(X)).numpy()]

        def predict_proba(self, X: Any) -> Any:
            return _logits(X).softmax(1).numpy()

        def decision_function(self, X: Any) -> Any:
            logits = _logits(X).numpy()
            return logits if len(self.classes_) > 2 else logits[:, 1] - logits[:, 0]

    class Labels(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, classes: Any, columns: int) -> None:
            self.classes_ = [classes] * columns

        def predict(self, X: Any) -> Any:
            return self.classes_[0][(X > 0).astype(int)]

        def decision_function(self, X: Any) -> Any:
            return X

    return Numbers, Classes, Labels


def _logits(outputs: Any) -> Tensor:
    logits = torch.from_numpy(outputs)
    return torch.nn.functional.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits
