"""Where the noise of the verdict comes from, as the page tells it."""

from __future__ import annotations

import math
from typing import Any

from shrinkage.choose import Noise, curve, noise
from shrinkage.choose.choices import choice_by
from shrinkage.choose.held_out import whole_members
from shrinkage.choose.scatter import components
from shrinkage.errors import ShrinkageError
from shrinkage.labels import capitalized
from shrinkage.report.thin import plain_number
from shrinkage.result.path_result import PathResult

ROWS = {
    "fold": ("folds", "some rows are harder than others", "shared"),
    "seed": ("seeds", "some starts are luckier than others", "shared"),
    "strength_by_fold": ("strength × fold", "some rows like another strength", "left"),
    "residual": ("strength × seed", "some starts like another strength", "left"),
}


def scatter(result: PathResult) -> dict[str, Any]:
    """Return the noise in the comparison with strength 0, as standard deviations, in words too.

    ``rows`` is empty where there is nothing to split; the sentence says why.
    """
    try:
        parts = noise(result)
    except ShrinkageError as error:
        return {"rows": [], "sentence": capitalized(str(error))}
    compared = _compared(result)
    rows = [
        {"name": name, "why": why, "kind": kind, "size": plain_number(math.sqrt(compared[part]))}
        for part, (name, why, kind) in ROWS.items()
        if not math.isnan(compared[part])
    ]
    mean = curve(result).mean
    effect = abs(float(mean[choice_by("minimum", result).index] - mean[0]))
    if effect > 0:
        why = "minimum against no penalty"
        rows.append(
            {"name": "the penalty", "why": why, "kind": "effect", "size": plain_number(effect)}
        )
    return {"rows": rows, "sentence": _pairing(parts)}


def seeds_matter(result: PathResult) -> bool:
    """Return whether seeds blur the comparison with strength 0 more than folds do."""
    parts = _compared(result)
    return parts["residual"] / len(result.seeds) > parts["strength_by_fold"]


def _compared(result: PathResult) -> dict[str, float]:
    """The components at strength 0 and the minimum alone: strengths that ruin the fit add noise."""
    values = whole_members(result, "loss")
    best = choice_by("minimum", result).index
    pair = values[[0, best]]
    if best == 0 or pair.isnan().any():
        pair = values[~values.isnan().flatten(1).any(1)]
    return components(pair)


def _pairing(parts: Noise) -> str:
    paired, unpaired, times = parts.paired_error, parts.unpaired_error, parts.folds_saved
    text = (
        "All strengths share folds and starts, and what these have in common cancels when they are "
        "compared"
    )
    if not (times > 1 and math.isfinite(times)):
        return f"{text}."
    times = float(f"{times:.2g}")
    return (
        f"{text}. The standard error of the difference between the minimum and no penalty is "
        f"{paired:.2g} instead of {unpaired:.2g}; without pairing, it would take {times:,.0f} "
        "times as many folds."
    )
