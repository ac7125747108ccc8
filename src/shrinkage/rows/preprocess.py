"""What a transformer learns from rows before training, such as means: for each fold without it."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.rows.classes import labeled
from shrinkage.rows.folds import Folds
from shrinkage.rows.groups import ALL_ROWS
from shrinkage.rows.rows import check_finite, flat

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Transformer(Protocol):
    """What scikit-learn calls a transformer: a scaler, an imputer, a pipeline of them."""

    def fit(self, X: Any, y: Any) -> Any: ...
    def transform(self, X: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Views:
    """The rows as the members of each fold see them.

    Attributes:
        X: All rows, by the transformer fitted on all training rows.
        by_fold: All rows, by the one fitted on the fold's training rows; empty without one.
        facts: The transformer, and what it learned from all training rows.
    """

    X: Tensor
    by_fold: tuple[Tensor, ...] = ()
    facts: dict[str, Any] | None = None

    def of(self, fold: int) -> Tensor:
        """Return the rows for members that hold ``fold`` out."""
        return self.by_fold[fold] if self.by_fold and fold != ALL_ROWS else self.X


def preprocess_rows(
    transformer: Transformer | None,
    X: Tensor,
    y: Tensor,
    folds: Folds,
    classes: Sequence[Any] | None = None,
) -> Views:
    """Fit a copy of a transformer on the training rows of each fold, and on all of them.

    Args:
        transformer: Anything with ``fit(X, y)`` and ``transform(X)``; it is never fitted itself.
        X: Training rows, then test rows.
        y: Their targets.
        folds: Which training rows each fold trains on.
        classes: The labels of the classes, which the transformer sees in place of their numbers.

    Raises:
        ShrinkageError: The transformer refuses the rows, or makes other than finite rows of one
            shape.
    """
    check_transformer(transformer)
    if transformer is None:
        return Views(X)
    known = labeled(flat(y), classes)
    whole, fitted = _transformed(transformer, X, known, torch.arange(folds.rows))
    views = []
    for fold, trained in enumerate(folds.trained):
        view, _ = _transformed(transformer, X, known, trained)
        if view.shape != whole.shape:
            raise ShrinkageError(
                f"{transformer!r} makes rows of shape {tuple(view.shape[1:])} for fold {fold} "
                f"and {tuple(whole.shape[1:])} of all rows; every member needs the same inputs."
            )
        views.append(view)
    facts = {"transformer": repr(transformer), "learned": _learned(fitted)}
    return Views(whole, tuple(views), facts)


def check_transformer(transformer: Transformer | None) -> None:
    """Refuse what cannot be fitted.

    Raises:
        ShrinkageError: It lacks ``fit`` or ``transform``, or is a class.
    """
    if transformer is None:
        return
    if isinstance(transformer, type) or not (
        hasattr(transformer, "fit") and hasattr(transformer, "transform")
    ):
        raise ShrinkageError(
            f"preprocess={transformer!r} cannot be fitted; give a transformer such as "
            "sklearn.preprocessing.StandardScaler()."
        )


def _transformed(
    transformer: Transformer, X: Tensor, y: NDArray[Any], rows: Tensor
) -> tuple[Tensor, Transformer]:
    fitted = copy.deepcopy(transformer)
    try:
        fitted.fit(X[rows].numpy(), y[rows.numpy()])
        values = torch.as_tensor(fitted.transform(X.numpy()))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ShrinkageError(f"{transformer!r} cannot preprocess X: {error}") from error
    if len(values) != len(X):
        raise ShrinkageError(f"{transformer!r} makes {len(values)} rows of {len(X)}.")
    check_finite(values, f"X after {type(transformer).__name__}")
    return values, fitted


def _learned(fitted: Any) -> dict[str, Any]:
    """Return the attributes that a transformer, or each step of a pipeline, has when fitted."""
    if hasattr(fitted, "steps"):
        return {name: _learned(step) for name, step in fitted.steps}
    public = {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    known = {n: v.tolist() if hasattr(v, "tolist") else v for n, v in public.items() if n[0] != "_"}
    return {n: v for n, v in known.items() if isinstance(v, (list, str, numbers.Number))}
