"""What a path comes to, worked out once: for the screen, for ``--json``, the page, the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shrinkage.choose.choices import Choice, choice_by, choices_of
from shrinkage.choose.held_out import curve, solved
from shrinkage.choose.judgment import Verdict, verdict
from shrinkage.choose.per_strength import best_points, total_norm, zero_share
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import explained
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import knobs_at

SQUARED_ERRORS = {"mse", "MSELoss"}


@dataclass(frozen=True, eq=False)
class Overview:
    """A path of strengths, and what it comes to.

    Attributes:
        path: The path.
        among: The whole result of which it is the best slice, or None.
        choices: The choices by rule; empty where every strength diverged.
        verdict: On the minimum among all points; None where nothing was chosen, or from one fold.
    """

    path: PathResult
    among: PathResult | None
    choices: dict[str, Choice]
    verdict: Verdict | None

    @cached_property
    def columns(self) -> dict[str, Tensor]:
        """Numbers (K,) per strength, means over folds and seeds; what has no value is NaN."""
        path, loss = self.path, curve(self.path)
        columns = {
            "strength": path.strengths,
            "loss": loss.mean,
            "standard_error": loss.standard_error,
            "fit_loss": path.fit_loss.double().mean((1, 2)),
            "norm": total_norm(path),
            "zeros": zero_share(path),
            "diverged": (path.diverged >= 0).sum((1, 2)),
        }
        if path.task == "classification":
            columns["accuracy"] = curve(path, "accuracy").mean
        elif _is_squared_error(path):
            columns["R2"] = explained(loss.mean, path.targets)
        if solved(path):
            columns["no_minimum"] = columns["diverged"]
        return columns

    @cached_property
    def tests(self) -> dict[str, Tensor]:
        """Mean and deviation (K,) over the seeds of each test metric; empty without test rows."""
        path = self.path
        targets = None if path.refit is None else path.refit.test_targets
        if targets is None:
            return {}
        metrics = {"loss": path.test_metric("loss").double()}
        if path.task == "classification":
            metrics["accuracy"] = path.test_metric("accuracy").double()
        elif _is_squared_error(path):
            metrics["R2"] = explained(metrics["loss"], targets)
        columns = {}
        for name, values in metrics.items():
            unknown = torch.full_like(values[:, 0], torch.nan)
            columns[name] = values.mean(1)
            columns[f"{name}_sd"] = values.std(1) if values.shape[1] > 1 else unknown
        return columns

    @cached_property
    def majority(self) -> str:
        """A word of caution where no accuracy is above the share of the largest class, or ""."""
        if "accuracy" not in self.columns:
            return ""
        accuracy, targets = self.columns["accuracy"], self.path.targets
        known, share = accuracy[accuracy.isfinite()], int(targets.bincount().max()) / len(targets)
        if not len(known) or known.max() >= share + 1 / len(targets):
            return ""
        return (
            f"The largest class has {share:.1%} of the rows, and no strength is right more often "
            "than that: accuracy says nothing here. Go by the loss, or by balanced accuracy."
        )


def overview(path: PathResult, among: PathResult | None = None) -> Overview:
    """Return what a path comes to.

    Args:
        path: A path of strengths alone.
        among: The whole result, if ``path`` is its best slice and the verdict is to choose among
            all of its points.
    """
    whole = among or path
    try:
        choices, best = choices_of(path), choice_by("minimum", whole)
    except ShrinkageError:
        return Overview(path, among, {}, None)
    if among is not None:
        choices = {rule: replace(choice, knobs=best.knobs) for rule, choice in choices.items()}
    return Overview(path, among, choices, verdict(whole, best) if path.n_folds > 1 else None)


def as_plain(seen: Overview) -> dict[str, Any]:
    """Return knobs, strengths, choices, verdict and test of the best path as plain numbers.

    ``knobs`` has the best strength of each combination, best first.
    """
    whole = seen.among or seen.path
    places = {"no_penalty": 0, **{rule: choice.index for rule, choice in seen.choices.items()}}
    tested = {"strength": seen.columns["strength"], **seen.tests}
    tests = zip(places, rows_of(tested, list(places.values())), strict=True)
    return {
        "knobs": _knob_rows(whole),
        "strengths": rows_of(seen.columns),
        "choices": {
            rule: _without(asdict(choice), "rule") for rule, choice in seen.choices.items()
        },
        "verdict": seen.verdict and asdict(seen.verdict),
        "test": [{"rule": rule, **row} for rule, row in tests] if seen.tests else [],
        "majority": seen.majority,
    }


def rows_of(
    columns: dict[str, Tensor], places: Sequence[int] | slice = slice(None)
) -> list[dict[str, Any]]:
    """Return columns as one dict per strength, or for those at some places."""
    values = [column[places].tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def loss_name(result: PathResult) -> str:
    """Return what the engine called the loss, or "" if the result does not know."""
    plan = result.about.get("plan")
    return str(plan.get("loss", "")) if isinstance(plan, dict) else ""


def _is_squared_error(path: PathResult) -> bool:
    return loss_name(path) in SQUARED_ERRORS


def _knob_rows(result: PathResult) -> list[dict[str, Any]]:
    loss = curve(result)
    return [
        {
            "knobs": knobs_at(result.knobs, k),
            "strength": result.strengths[k].item(),
            "loss": loss.mean[k].item(),
            "standard_error": loss.standard_error[k].item(),
        }
        for k in (best_points(result) if result.knobs else ())
    ]


def _without(facts: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != key}
