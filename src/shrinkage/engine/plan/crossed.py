"""Points: strengths crossed with the values of knobs, given or drawn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shrinkage.engine.member.given import OVER_DECADES, check_grid, make_strengths
from shrinkage.engine.member.knobs import check_lacking
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.strengths import automatic_strengths
from shrinkage.result.points import with_arguments
from shrinkage.tensors.own_thread import all_random_numbers


@all_random_numbers(0)
def make_points(
    problem: Problem, rows: int, settings: Settings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the strengths of all points and their knobs, one whole path per combination.

    Args:
        problem: What to train.
        rows: How many of the first rows are training rows.
        settings: Checked ones: the strengths, or how many automatic ones, which depend on the
            penalty's shape; knobs and their values or ranges; and how many to draw.

    Shape:
        strengths and each knob: (K,), float64.

    Raises:
        ShrinkageError: A knob is not possible with this problem.
    """
    grid, draws = settings.grid or {}, settings.draws
    values = check_grid(grid, draws, problem.penalty, settings.epochs)
    for name in values:
        check_lacking(problem, name)
    ranges = [name for name in values if isinstance(grid[name], tuple)]
    chosen = (
        list(itertools.product(*values.values()))
        if draws is None
        else _drawn(values, ranges, draws)
    )
    points: list[tuple[float, ...]] = []
    for combination in chosen:
        point = dict(zip(values, combination, strict=True))
        points += [(s, *combination) for s in _path(problem, rows, settings.strengths, point)]
    table = torch.tensor(points, dtype=torch.float64)
    return table[:, 0].clone(), {n: table[:, i].clone() for i, n in enumerate(values, start=1)}


def _drawn(
    values: Mapping[str, list[float]], ranges: Sequence[str], draws: int
) -> list[tuple[float, ...]]:
    even = torch.quasirandom.SobolEngine(len(values), scramble=True, seed=0)  # type: ignore[no-untyped-call]
    table = even.draw(draws, dtype=torch.float64)
    columns = []
    for share, (name, own) in zip(table.T.tolist(), values.items(), strict=True):
        if name not in ranges:
            columns.append([own[int(u * len(own))] for u in share])
        elif name in OVER_DECADES:
            columns.append([own[0] * (own[1] / own[0]) ** u for u in share])
        else:
            columns.append([own[0] + (own[1] - own[0]) * u for u in share])
    return list(zip(*columns, strict=True))


def _path(
    problem: Problem, rows: int, strengths: int | Sequence[float], point: Mapping[str, float]
) -> Sequence[float]:
    if not isinstance(strengths, int):
        return strengths
    problem = replace(problem, penalty=with_arguments(problem.penalty, point))
    return make_strengths(automatic_strengths(problem, rows, strengths).tolist()).tolist()
