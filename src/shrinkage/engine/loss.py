"""Losses with one value per row, so that any row can be weighted."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError

RowLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Loss: TypeAlias = str | nn.Module | RowLoss


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of each row's logits."""
    return F.cross_entropy(output, target, reduction="none")


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each row, its mean where a row has several targets."""
    return _row_means((output.reshape(target.shape) - target).square())


NAMED: dict[str, RowLoss] = {"cross_entropy": cross_entropy, "mse": mse}


def row_loss(loss: Loss, y: Tensor) -> tuple[str, RowLoss, Tensor | None]:
    """Return the name and the per-row form of a loss, and the weights that it gives to the rows.

    Args:
        loss: ``"auto"`` (cross-entropy for integer targets, else mean squared error), a name,
            a torch loss module, or a function ``(output, target) -> one value per row``.
        y: The targets.

    Raises:
        ShrinkageError: The loss is unknown, or its mean is not a plain mean over rows.

    Example:
        >>> import torch
        >>> row_loss("auto", torch.tensor([0, 1]))[0]
        'cross_entropy'
    """
    if loss == "auto":
        loss = "mse" if y.is_floating_point() else "cross_entropy"
    if isinstance(loss, str):
        if loss not in NAMED:
            raise ShrinkageError(f"unknown loss {loss!r}; choose from {', '.join(NAMED)}.")
        return loss, NAMED[loss], None
    name = getattr(loss, "__name__", type(loss).__name__)
    if not isinstance(loss, nn.Module):
        return name, loss, None
    each, by_class = _unreduced(loss)
    if by_class is None:
        return name, each, None
    if y.is_floating_point() or int(y.max()) >= len(by_class) or int(y.min()) < 0:
        raise ShrinkageError(
            f"{name} weighs {len(by_class)} classes; give integer targets below {len(by_class)}."
        )
    return name, each, by_class.double()[y.flatten()]


def _unreduced(module: nn.Module) -> tuple[RowLoss, Tensor | None]:
    """The loss of each row, and the class weights by which torch weighs their mean."""
    by_class = getattr(module, "weight", None)
    classed = isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss)
    plain = getattr(module, "reduction", None) == "mean" and (
        by_class is None
        or isinstance(module, nn.BCELoss | nn.BCEWithLogitsLoss)
        or (classed and not getattr(module, "label_smoothing", 0) and bool((by_class > 0).all()))
    )
    if not (plain and getattr(module, "ignore_index", -100) < 0):
        raise ShrinkageError(
            f"{module!r}: give a torch loss with reduction='mean' and without ignore_index=; "
            "weight= goes with CrossEntropyLoss and NLLLoss (above 0, without label_smoothing=) "
            "and the binary losses. Or give a function (output, target) -> one value per row."
        )
    each = copy.deepcopy(module)
    each.reduction = "none"  # type: ignore[assignment]
    if classed:
        each.weight = None  # type: ignore[assignment]
    return lambda output, target: _row_means(each(output, target)), by_class if classed else None


def _row_means(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1) if values.dim() > 1 else values


def check_fit(loss: RowLoss, name: str, output: Tensor, targets: Tensor) -> None:
    """Refuse an output that does not fit the targets.

    Args:
        loss: The loss of each row.
        name: Its name.
        output: The model's output on the first rows.
        targets: All targets.

    Raises:
        ShrinkageError: With both shapes and what would fit.
    """
    target = targets[: len(output)]
    shapes = f"output {tuple(output.shape)}, targets {tuple(target.shape)} of {targets.dtype}"
    misfit = f"the model's output does not fit the targets: {shapes}"
    if name == "cross_entropy":
        if targets.is_floating_point():
            raise ShrinkageError(f"{misfit}; cross_entropy needs integer classes 0..C-1.")
        lowest, classes = int(targets.min()), int(targets.max()) + 1
        if lowest < 0 or output.dim() != 2 or output.shape[1] < classes:
            raise ShrinkageError(
                f"{misfit}, classes {lowest} to {classes - 1}; cross_entropy needs classes from 0 "
                f"and one output per class ({classes})."
            )
    elif name == "mse" and output.numel() != target.numel():
        raise ShrinkageError(f"{misfit}; mse needs one output per target.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # torch warns where it broadcasts
            values = loss(output, target)
    except (RuntimeError, ValueError, IndexError, TypeError, UserWarning) as error:
        raise ShrinkageError(f"the loss {name} refuses {shapes}: {error}.") from error
    if values.shape != (len(target),):
        raise ShrinkageError(
            f"the loss {name} returned shape {tuple(values.shape)} for {len(target)} rows; "
            "it must return one value per row."
        )
