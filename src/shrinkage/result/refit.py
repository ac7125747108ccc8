"""The part of a result that comes from all training rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Refit:
    """The path fit once more, on all training rows: the models to keep.

    Shape:
        train_loss: (K, S, E). fit_loss, diverged, test_loss: (K, S). norms, sparsity: (K, S, P).
        weights: every parameter and buffer of the model, each (K, S, ...).
        test_predictions: (K, S, T, C). test_targets: (T,) or (T, M).
    """

    train_loss: Tensor
    fit_loss: Tensor
    norms: Tensor
    sparsity: Tensor
    diverged: Tensor
    weights: dict[str, Tensor]
    test_predictions: Tensor | None = None
    test_targets: Tensor | None = None
    test_loss: Tensor | None = None
