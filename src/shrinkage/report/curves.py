"""The curves of the page as plain numbers: validation, layers, learning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from shrinkage import labels
from shrinkage.choose import Choice, Curve, curve
from shrinkage.report.thin import evenly, plain
from shrinkage.result import PathResult

MOST_STRENGTHS, MOST_EPOCHS, MOST_TENSORS, NAMED_TENSORS = 120, 80, 40, 8

UNITS = {"cross_entropy": "cross-entropy, nats per row", "mse": "mean squared error"}


def loss_label(result: PathResult) -> str:
    """Return the loss and its unit, for an axis."""
    name = loss_name(result)
    return f"loss ({UNITS.get(name, labels.printable(name)[:40])})" if name else "loss"


def loss_name(result: PathResult) -> str:
    """Return what the engine called the loss, or "" if the result does not know."""
    plan = result.about.get("plan")
    return str(plan.get("loss", "")) if isinstance(plan, dict) else ""


def strength_axis(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Return labels and logarithms of the strengths; that of 0 is None."""
    strengths = result.strengths[places]
    return {
        "labels": [labels.number(s) for s in strengths.tolist()],
        "logs": [math.log10(s) if s else None for s in strengths.tolist()],
    }


def validation(result: PathResult, places: list[int], choices: Sequence[Choice]) -> dict[str, Any]:
    """Return validation and training loss, the frame to show them in, and the axis on top."""
    values = curve(result)
    train = result.fit_loss.double().mean((1, 2)).masked_fill(values.mean.isnan(), torch.nan)
    judged = [0, *(choice.index for choice in choices)]
    return {
        "valid": plain(values.mean[places]),
        "error": plain(values.standard_error[places]),
        "train": plain(train[places]),
        "frame": _frame(values, train, judged),
        "top": _shrinkage(result, places),
    }


def _frame(values: Curve, train: Tensor, judged: list[int]) -> list[float] | None:
    """Let strengths that ruin the fit leave the frame, so that the choice stays visible."""
    error = values.standard_error.nan_to_num()
    known = values.mean.isfinite()
    if not known.any():
        return None
    high, low = values.mean + error, torch.minimum(values.mean - error, train.nan_to_num(math.inf))
    at = [i for i in judged if known[i]] or known.nonzero().flatten().tolist()
    top, bottom = float(high[at].max()), float(low[known].min())
    room = (top - bottom) or abs(top) or 1.0
    return [bottom - 0.08 * room, min(top + 0.75 * room, float(high[known].max()) + 0.08 * room)]


def _shrinkage(result: PathResult, places: list[int]) -> dict[str, Any] | None:
    """The axis on top: exact zeros where there are any, else how much of the norm is left."""
    if not result.tensor_names:
        return None
    zeros = zero_share(result)
    if zeros is not None:
        return {"title": "weights that are exactly zero", "percent": plain(100 * zeros[places])}
    total = total_norm(result)
    title = "weight norm left, no exact zeros"
    return {"title": title, "percent": plain(100 * (total / total[0])[places])}


def total_norm(result: PathResult) -> Tensor:
    """Return the norm (K,) of all penalized weights together, in the models of the folds."""
    return result.norms.double().square().sum(-1).sqrt().mean((1, 2))


def zero_share(result: PathResult) -> Tensor | None:
    """Return the share (K,) of exact zeros in the models of the folds; None if there are none."""
    sparsity = result.sparsity.double().mean((1, 2))
    if not bool((sparsity.nan_to_num() > 0).any()):
        return None
    sizes = _sizes(result)
    return (sparsity * sizes).sum(1) / sizes.sum()


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
    norms, sparsity = result.refit.norms, result.refit.sparsity
    return tuple(t.double().mean(1).masked_fill(lost, torch.nan) for t in (norms, sparsity))  # type: ignore[return-value]


def _sizes(result: PathResult) -> Tensor:
    known = result.refit.weights if result.refit else {}
    sizes = [known[n][0, 0].numel() if n in known else 1 for n in result.tensor_names]
    return torch.tensor(sizes, dtype=torch.float64)


def learning(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Return training and validation loss of every epoch: means, and the range over the folds."""
    epochs = evenly(result.train_loss.shape[-1], MOST_EPOCHS)
    train, valid = (
        losses[places][..., epochs].double() for losses in (result.train_loss, result.valid_loss)
    )
    by_fold = valid.mean(2)
    return {
        "epochs": [epoch + 1 for epoch in epochs],
        "train": plain(train.mean((1, 2))),
        "valid": plain(by_fold.mean(1)),
        "low": plain(by_fold.amin(1)),
        "high": plain(by_fold.amax(1)),
    }
