"""Losses with one value per row, so that any row can be weighted."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError, choose_from, counted, shown

RowLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Loss: TypeAlias = str | nn.Module | RowLoss


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The cross-entropy of each row's logits with its class, or the probability of each class.

    Where classes have weights, they are the weights of their rows in the mean. The loss of a row is
    divided by its weight, so that this weighted mean equals torch's exactly.

    Attributes:
        smoothing: Share of the target that is spread over all classes.
        by_class: (C,) weight of each class, or None where all weigh the same.
    """

    smoothing: float | Tensor = 0.0
    by_class: Tensor | None = None

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if isinstance(self.smoothing, float) and self.smoothing == 0:
            return F.cross_entropy(output, target, reduction="none")
        each = -F.log_softmax(output, -1)
        if target.is_floating_point():  # the probability of each class
            own = (each * target).sum(-1)
        else:
            own = each.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        if self.by_class is None:
            spread = each.mean(-1)
        else:
            weights = self.by_class.to(each.dtype)
            spread = (each * weights).mean(-1) / weights[target]
        return (1 - self.smoothing) * own + self.smoothing * spread


@dataclass(frozen=True, eq=False)
class Unreduced:
    """A torch loss without its mean over rows."""

    module: nn.Module

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return _row_means(self.module(output, target))


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each row, its mean where a row has several targets."""
    return _row_means((output.reshape(target.shape) - target).square())


NAMED: dict[str, RowLoss] = {"cross_entropy": CrossEntropy(), "mse": mse}


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
    check_loss(loss)
    if loss == "auto":
        loss = "mse" if y.is_floating_point() else "cross_entropy"
    if isinstance(loss, str):
        return loss, NAMED[loss], None
    name = name_of(loss)
    if not isinstance(loss, nn.Module):
        return name, loss, None
    each, by_class = _unreduced(loss, classes=not y.is_floating_point())
    if by_class is None:
        return name, each, None
    if y.is_floating_point() or int(y.max()) >= len(by_class) or int(y.min()) < 0:
        raise ShrinkageError(
            f"{name} weighs {len(by_class)} classes; give integer targets below {len(by_class)}."
        )
    return name, each, by_class.double()[y.flatten()]


def name_of(loss: Loss) -> str:
    """Return what to call a loss."""
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


def check_loss(loss: Loss) -> None:
    """Refuse what is no loss, or has no plain mean over rows, whatever the targets.

    Raises:
        ShrinkageError: The message says what to give instead.
    """
    if isinstance(loss, str):
        if loss not in NAMED and loss != "auto":
            raise ShrinkageError(f"unknown loss {loss!r}; {choose_from(loss, NAMED)}")
        return
    name = name_of(loss)
    if isinstance(loss, type):
        raise ShrinkageError(f"loss={name} is a class; give an instance, such as {name}().")
    if not callable(loss):
        raise ShrinkageError(
            f"loss={shown(loss)}: give 'cross_entropy', 'mse', a torch loss, or a function "
            "(output, target) -> one value per row."
        )
    if isinstance(loss, nn.Module):
        _check_mean(loss)


def _check_mean(module: nn.Module) -> None:
    by_class = getattr(module, "weight", None)
    classed = isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss)
    plain = getattr(module, "reduction", None) == "mean" and (
        by_class is None
        or isinstance(module, nn.BCELoss | nn.BCEWithLogitsLoss)
        or (classed and bool((by_class > 0).all()))
    )
    if not (plain and getattr(module, "ignore_index", -100) < 0):
        raise ShrinkageError(
            f"{module!r}: give a torch loss with reduction='mean' and without ignore_index=; "
            "weight= goes with CrossEntropyLoss and NLLLoss (above 0) and the binary losses. "
            "Or give a function (output, target) -> one value per row."
        )


def _unreduced(module: nn.Module, *, classes: bool) -> tuple[RowLoss, Tensor | None]:
    """Return the loss of each row, and the class weights of torch's mean, if any."""
    by_class = getattr(module, "weight", None)
    classed = isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss)
    if type(module) is nn.CrossEntropyLoss and classes:
        return CrossEntropy(module.label_smoothing, by_class), by_class
    each = copy.deepcopy(module)
    each.reduction = "none"  # type: ignore[assignment]
    if classed:
        each.weight = None  # type: ignore[assignment]
    return Unreduced(each), by_class if classed else None


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
        ShrinkageError: The message gives both shapes and what would fit.
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
        classes = output.dim() == 2 and target.dim() == 1 and bool((targets % 1 == 0).all())
        advice = " Classes are integers: y.long()." if classes else ""
        raise ShrinkageError(f"{misfit}; mse needs one output per target.{advice}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # torch warns where it broadcasts
            values = loss(output, target)
    except (RuntimeError, ValueError, IndexError, TypeError, UserWarning) as error:
        raise ShrinkageError(f"the loss {name} refuses {shapes}: {error}.") from error
    if values.shape != (len(target),):
        raise ShrinkageError(
            f"the loss {name} returned shape {tuple(values.shape)} for "
            f"{counted(len(target), 'row')}; it must return one value per row, as torch's "
            "losses do with reduction='none'."
        )
