"""The curves of the page as plain numbers: validation, layers, learning."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from shrinkage import labels
from shrinkage.choose.held_out import fold_rows, mean_and_error, solved
from shrinkage.choose.overview import loss_name
from shrinkage.report.thin import evenly, plain
from shrinkage.result.path_result import PathResult

MOST_STRENGTHS, MOST_EPOCHS, MOST_TENSORS, NAMED_TENSORS = 120, 80, 40, 8

UNITS = {"cross_entropy": "cross-entropy, nats per row", "mse": "mean squared error"}


def loss_label(result: PathResult) -> str:
    """Return the loss and its unit, for an axis."""
    name = loss_name(result)
    return f"loss ({UNITS.get(name, labels.printable(name)[:40])})" if name else "loss"


def strength_axis(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Return labels and logarithms of the strengths; that of 0 is None."""
    strengths = result.strengths[places]
    return {
        "labels": [labels.number(s) for s in strengths.tolist()],
        "logs": [math.log10(s) if s else None for s in strengths.tolist()],
    }


def layers(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Return norm and exact zeros of each penalized tensor, at most 40 of them."""
    norms, sparsity = _layers(result)
    shown = evenly(norms.shape[1], MOST_TENSORS)
    named = {shown[i] for i in evenly(len(shown), NAMED_TENSORS)}
    names = labels.short_names([result.tensor_names[p] for p in shown], 28) if shown else []
    return {
        "names": names,
        "named": [i for i, p in enumerate(shown) if p in named],
        "total": norms.shape[1],
        "norms": plain(norms[places][:, shown].T),
        "zeros": plain(100 * sparsity[places][:, shown].T)
        if bool((sparsity.nan_to_num() > 0).any())
        else None,
        "source": "models fit on all training rows" if result.refit else "models of the folds",
    }


def _layers(result: PathResult) -> tuple[Tensor, Tensor]:
    """Norms and sparsity (K, P): of the refit models, or else of those of the folds."""
    if result.refit is None:
        return result.norms.double().mean((1, 2)), result.sparsity.double().mean((1, 2))
    lost = (result.refit.diverged >= 0).any(1, keepdim=True)
    norms, sparsity = result.refit.norms.double().mean(1), result.refit.sparsity.double().mean(1)
    return norms.masked_fill(lost, torch.nan), sparsity.masked_fill(lost, torch.nan)


def learning(result: PathResult, places: list[int]) -> dict[str, Any] | None:
    """Return training and validation loss of every epoch: means, and the range over the folds.

    None where nothing was learned in steps.
    """
    if solved(result):
        return None
    epochs = evenly(result.train_loss.shape[-1], MOST_EPOCHS)
    train, valid = (
        losses[places][..., epochs].double() for losses in (result.train_loss, result.valid_loss)
    )
    by_fold = valid.mean(2)
    mean, _ = mean_and_error(by_fold.movedim(1, -1), fold_rows(result))
    return {
        "epochs": [epoch + 1 for epoch in epochs],
        "train": plain(train.mean((1, 2))),
        "valid": plain(mean),
        "low": plain(by_fold.amin(1)),
        "high": plain(by_fold.amax(1)),
    }
