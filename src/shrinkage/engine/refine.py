"""A second round of strengths around the minimum of the first, on the same folds and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from shrinkage.engine.plan.outcome import Outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.result.points import alike, combinations
from shrinkage.rows.groups import ALL_ROWS

BEYOND = 10.0
BELOW = 100.0
"""Where the minimum lies at an end, the factors by which the second round reaches past it."""


def refined(
    plan: Plan, outcome: Outcome, refine: int, train: Callable[[Plan], Outcome]
) -> tuple[Plan, Outcome]:
    """Train strengths around the minimum and return both rounds as one.

    A member depends on its strength and on the keys of its fold and seed, never on its neighbors,
    so the second round is paired with the first as if all had been trained at once. Where strengths
    are crossed with other knobs, the second round stays on the path of the best point.

    Args:
        plan: The first round.
        outcome: What it left.
        refine: How many strengths the second round has.
        train: Trains a plan.
    """
    losses = cross_validated(plan, outcome)
    path = alike(plan.knobs, int(losses.argmin()), len(losses))
    new = around_minimum(plan.strengths[path], losses[path], refine)
    if not len(new):
        return plan, outcome
    knobs = {name: values[path][0].expand(len(new)) for name, values in plan.knobs.items()}
    second = train(replace(plan, strengths=new, knobs=knobs))
    whole = replace(
        plan,
        strengths=torch.cat([plan.strengths, new]),
        knobs={name: torch.cat([values, knobs[name]]) for name, values in plan.knobs.items()},
    )
    paths = combinations(whole.knobs, len(whole.strengths))
    order = torch.cat([own[whole.strengths[own].argsort()] for own in paths])
    ordered = replace(
        whole,
        strengths=whole.strengths[order],
        knobs={name: values[order] for name, values in whole.knobs.items()},
    )
    return ordered, _joined(outcome, second, order)


def cross_validated(plan: Plan, outcome: Outcome) -> Tensor:
    """Return the held-out loss of each strength, infinite where a member diverged.

    Shape:
        (K,).
    """
    places = [column for group, column in outcome.columns.items() if group.fold != ALL_ROWS]
    groups = [group for group in outcome.columns if group.fold != ALL_ROWS]
    rows = torch.tensor([float(len(plan.held_rows(group))) for group in groups])
    losses = outcome.held_loss[:, places, -1].double()
    lost = (outcome.diverged[:, places] >= 0) | ~losses.isfinite()
    mean = (losses * rows).sum(1) / rows.sum()
    return mean.masked_fill(lost.any(1), math.inf)


def around_minimum(strengths: Tensor, losses: Tensor, count: int) -> Tensor:
    """Return new strengths, equally spaced in the logarithm on either side of the minimum.

    They reach to its neighbors. Beyond the largest strength they reach a factor of 10, below the
    smallest one a factor of 100.

    Args:
        strengths: The first round, from 0 upwards.
        losses: Its held-out losses; infinite ones never win.
        count: How many to return.

    Shape:
        strengths, losses: (K,). Returned: (count,), rising.
    """
    if not losses.isfinite().any():
        return strengths[:0]
    last = len(strengths) - 1
    best = last - int(losses.flip(0).argmin())
    low = float(strengths[best - 1] if best > 1 else strengths[1] / BELOW)
    high = float(strengths[best + 1] if best < last else strengths[last] * BEYOND)
    if best == 0:
        return _between(low, high, count)
    middle = float(strengths[best])
    lower = math.ceil(count / 2)
    return torch.cat([_between(low, middle, lower), _between(middle, high, count - lower)])


def _between(low: float, high: float, count: int) -> Tensor:
    """Return ``count`` strengths between two others, without them."""
    ends = torch.logspace(math.log10(low), math.log10(high), count + 2, dtype=torch.float64)
    return ends[1:-1]


def _joined(first: Outcome, second: Outcome, order: Tensor) -> Outcome:
    """Put the strengths of two outcomes into one order; their groups are the same."""

    def both(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other])[order]

    return Outcome(
        columns=first.columns,
        train_loss=both(first.train_loss, second.train_loss),
        held_loss=both(first.held_loss, second.held_loss),
        fit_loss=both(first.fit_loss, second.fit_loss),
        norms=both(first.norms, second.norms),
        sparsity=both(first.sparsity, second.sparsity),
        diverged=both(first.diverged, second.diverged),
        outputs={g: both(first.outputs[g], second.outputs[g]) for g in first.outputs},
        weights={
            group: {name: both(own[name], second.weights[group][name]) for name in own}
            for group, own in first.weights.items()
        },
        epochs_done=both(first.epochs_done, second.epochs_done),
    )
