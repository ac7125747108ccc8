"""A contender: a method at the values that cross-validation chose, and its losses on test rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.choose import curve
from shrinkage.choose.choices import choice_by
from shrinkage.comparing.methods import Method
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import explained
from shrinkage.result.path_result import PathResult
from shrinkage.rows.loss import row_loss

NONE = "none"


@dataclass(frozen=True, eq=False)
class Contender:
    """One method with one optimizer, tuned and tested.

    Attributes:
        optimizer: The optimizer's name.
        method: The method's name.
        chosen: Strength and settings that cross-validation chose, without those that do nothing;
            empty where no regularization was best.
        cv_loss: The cross-validated loss there.
        losses: The loss of each test row, a mean over the seeds, NaN where a seed diverged.
        score: Accuracy, or R2, on the test rows.
        at_edge: Whether the largest value was chosen, so that a better one may lie beyond.
        note: Why there is no number, or "".

    Shape:
        losses: (T,), float64.
    """

    optimizer: str
    method: str
    chosen: dict[str, float]
    cv_loss: float
    losses: Tensor
    score: float
    at_edge: bool = False
    note: str = ""

    @property
    def test_loss(self) -> float:
        """The mean loss on the test rows."""
        return self.losses.mean().item()


def choose_contender(
    path: PathResult, method: Method, optimizer: str, off: Mapping[str, float]
) -> Contender:
    """Return what the path of a method comes to, at its cross-validated minimum.

    Raises:
        ShrinkageError: Some member diverged at every value.
    """
    choice = choice_by("minimum", path)
    chosen = used(path, choice.index, off)
    last = {name: values[-1] for name, values in method.settings.items()}
    at_edge = choice.at_edge or any(chosen.get(name) == value for name, value in last.items())
    return at_point(path, choice.index, method.name, optimizer, chosen, at_edge)


def unregularized(path: PathResult, optimizer: str, off: Mapping[str, float]) -> Contender:
    """Return the contender of no regularization: the point at which every setting is off."""
    for index in range(len(path.strengths)):
        if not used(path, index, off):
            return at_point(path, index, NONE, optimizer, {}, at_edge=False)
    raise ShrinkageError("the path has no point without any regularization.")


def used(path: PathResult, index: int, off: Mapping[str, float]) -> dict[str, float]:
    """Return strength and settings of a point, by name, without those that do nothing."""
    strength = path.strengths[index].item()
    settings = {name: path.knobs[name][index].item() for name in off}
    found = {name: value for name, value in settings.items() if value != off[name]}
    return {"strength": strength, **found} if strength else found


def at_point(
    path: PathResult,
    index: int,
    method: str,
    optimizer: str,
    chosen: dict[str, float],
    at_edge: bool,
) -> Contender:
    """Return the contender at one point of a path."""
    losses = row_losses(path, index)
    note = "" if losses.isfinite().all() else "training on all rows diverged"
    cv_loss = curve(path).mean[index].item()
    score = float(score_of(path, losses, index))
    return Contender(optimizer, method, chosen, cv_loss, losses, score, at_edge, note)


def failed(optimizer: str, method: str, reason: str) -> Contender:
    """Return the contender that has no number."""
    losses = torch.full((1,), torch.nan, dtype=torch.float64)
    return Contender(optimizer, method, {}, math.nan, losses, math.nan, note=reason)


def row_losses(path: PathResult, index: int) -> Tensor:
    """Return the loss of each test row at one point, a mean over the seeds.

    Shape:
        (T,), float64.
    """
    predictions, targets = _tested(path)
    _, each, _ = row_loss(path.about["plan"]["loss"], targets)
    outputs = predictions[index].double()
    return torch.stack([each(own, targets) for own in outputs]).double().mean(0)


def score_of(path: PathResult, losses: Tensor, index: int) -> Tensor:
    """Return the accuracy, or R2 of the mean squared error, on the test rows."""
    if path.task == "classification":
        return path.test_metric("accuracy")[index].mean()
    _, targets = _tested(path)
    return explained(losses.mean(), targets)


def _tested(path: PathResult) -> tuple[Tensor, Tensor]:
    """Return the predictions for the test rows, and their targets."""
    refit = path.refit
    if refit is None or refit.test_predictions is None or refit.test_targets is None:
        raise ShrinkageError("a comparison needs test rows: test=(X, y).")
    return refit.test_predictions, refit.test_targets
