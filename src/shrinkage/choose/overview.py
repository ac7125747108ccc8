"""What a path comes to, as plain numbers: the content of the screens and of ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from shrinkage.choose import curve, verdict
from shrinkage.choose.choices import best_path, choice_by
from shrinkage.choose.held_out import solved
from shrinkage.choose.per_strength import best_points, explained, total_norm, zero_share
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import knobs_at


def summarize(result: PathResult) -> dict[str, Any]:
    """Return the path, the choices, the verdict on the minimum, and their test metrics.

    Of a path with other knobs, the best strength of each combination, best first, and then the
    path of the best combination alone; the verdict chooses among all.

    Losses and scores of ``strengths`` are cross-validated means; those of ``test`` are means and
    standard deviations over the seeds of the models fit on all training rows. The score is the
    accuracy, or R2 for regression. What cannot be computed is NaN.
    """
    path, best = best_path(result), choice_by("minimum", result)
    rules = ("minimum", "one_standard_error")
    choices = [replace(choice_by(rule, path), knobs=best.knobs) for rule in rules]
    chosen = {choice.rule: choice.index for choice in choices}
    return {
        "knobs": _knob_rows(result),
        "strengths": path_rows(path),
        "choices": {choice.rule: _without(asdict(choice), "rule") for choice in choices},
        "verdict": asdict(verdict(result, best)),
        "test": _test_rows(path, {"no_penalty": 0, **chosen}),
    }


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


def path_rows(result: PathResult) -> list[dict[str, Any]]:
    """Return one row per strength: means over folds and seeds."""
    loss = curve(result)
    columns = {
        "strength": result.strengths,
        "loss": loss.mean,
        "standard_error": loss.standard_error,
        "fit_loss": result.fit_loss.mean((1, 2)),
        "norm": total_norm(result),
        "zeros": zero_share(result),
        "diverged": (result.diverged >= 0).sum((1, 2)),
    }
    if result.task == "classification":
        columns["accuracy"] = curve(result, "accuracy").mean
    else:
        columns["R2"] = explained(loss.mean, result.targets)
    if solved(result):
        columns["no_minimum"] = columns["diverged"]
    if result.dropped is not None:
        columns["dropped"] = result.dropped
    values = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _test_rows(result: PathResult, rules: Mapping[str, int]) -> list[dict[str, Any]]:
    targets = None if result.refit is None else result.refit.test_targets
    if targets is None:
        return []
    metrics = {"loss": result.test_metric("loss")}
    if result.task == "classification":
        metrics["accuracy"] = result.test_metric("accuracy")
    else:
        metrics["R2"] = explained(metrics["loss"], targets)
    rows = []
    for rule, index in rules.items():
        row: dict[str, Any] = {"rule": rule, "strength": result.strengths[index].item()}
        for name, values in metrics.items():
            seeds = values[index].double()
            row[name] = seeds.mean().item()
            row[f"{name}_sd"] = seeds.std().item() if len(seeds) > 1 else float("nan")
        rows.append(row)
    return rows


def _without(facts: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != key}
