"""What a path comes to, as plain numbers: the content of the screens and of ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shrinkage.choose import Choice, curve, verdict
from shrinkage.per_strength import explained, total_norm, zero_share
from shrinkage.result import PathResult


def summarize(result: PathResult, *choices: Choice) -> dict[str, Any]:
    """Return the path, the choices, the verdict on the first of them, and their test metrics.

    Losses and scores of ``strengths`` are cross-validated means; those of ``test`` are means and
    standard deviations over the seeds of the models fit on all training rows. The score is the
    accuracy, or R2 for regression. What cannot be computed is NaN.
    """
    chosen = {choice.rule: choice.index for choice in choices}
    return {
        "strengths": path_rows(result),
        "choices": {choice.rule: _without(asdict(choice), "rule") for choice in choices},
        "verdict": asdict(verdict(result, choices[0])),
        "test": _test_rows(result, {"no_penalty": 0, **chosen}),
    }


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
