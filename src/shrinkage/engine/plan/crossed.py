"""Points: strengths crossed with the values of knobs, given or drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shrinkage.engine.member.knobs import check_lacking, check_values
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Grid
from shrinkage.engine.plan.strengths import automatic_strengths, make_strengths
from shrinkage.errors import ShrinkageError, as_whole, is_whole
from shrinkage.penalties import Penalty
from shrinkage.result.points import with_arguments
from shrinkage.tensors.own_thread import all_random_numbers

OVER_DECADES = ("lr", "weight_decay")
"""Knobs whose ranges are drawn evenly in the logarithm."""


@all_random_numbers(0)
def make_points(
    problem: Problem,
    rows: int,
    strengths: int | Sequence[float],
    grid: Grid,
    draws: int | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the strengths of all points and their knobs, one whole path per combination.

    Args:
        problem: What to train.
        rows: How many of the first rows are training rows.
        strengths: The strengths, or how many automatic ones; these depend on the penalty's shape.
            ``[0]`` compares the knobs alone.
        grid: Knobs by name: a list of values, or with ``draws`` a range ``(low, high)``.
        draws: How many combinations to draw, or None for all.

    Shape:
        strengths and each knob: (K,), float64.

    Raises:
        ShrinkageError: A knob, a value, a range or ``draws`` is not possible.
    """
    values = check_grid(grid, draws, problem.penalty, len(problem.lrs))
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
        points += [(s, *combination) for s in _path(problem, rows, strengths, point)]
    table = torch.tensor(points, dtype=torch.float64)
    return table[:, 0].clone(), {n: table[:, i].clone() for i, n in enumerate(values, start=1)}


def check_grid(
    grid: Grid, draws: int | None, penalty: Penalty, epochs: int
) -> dict[str, list[float]]:
    """Return the numbers of every knob; refuse those that no model could train with.

    Raises:
        ShrinkageError: A knob, a value, a range or ``draws`` is not possible.
    """
    values = {name: _numbers(name, given) for name, given in grid.items()}
    for name, own in values.items():
        check_values(penalty, epochs, name, own)
    ranges = [name for name in values if isinstance(grid[name], tuple)]
    if draws is None and ranges:
        raise ShrinkageError(
            f"grid: {ranges[0]}={grid[ranges[0]]} is a range to draw from; give draws, such as 8 "
            "combinations, or list its values."
        )
    if draws is not None and as_whole("draws", draws) and not ranges:
        raise ShrinkageError(
            f"draws={draws} needs a range to draw from; give one in grid, such as lr from 1e-4 to "
            "1e-2."
        )
    for name in set(ranges) & set(OVER_DECADES):
        if grid[name][0] == 0:
            raise ShrinkageError(
                f"grid: {name}=(0, {grid[name][1]:g}) is drawn on a log scale; start above 0."
            )
    return values


def _numbers(name: str, given: Sequence[float]) -> list[float]:
    try:
        if isinstance(given, str):
            raise TypeError("a text")
        values = [float(value) for value in given]
    except (TypeError, ValueError) as error:
        raise ShrinkageError(f"grid: {name}={given!r} is not a list of numbers.") from error
    if not values or len(set(values)) < len(values) or not all(map(math.isfinite, values)):
        raise ShrinkageError(f"grid: {name}={given!r}: give distinct finite numbers.")
    if isinstance(given, tuple) and (len(values) != 2 or values[0] >= values[1]):
        raise ShrinkageError(
            f"grid: {name}={given!r} is not a range (low, high); give values as a list."
        )
    return values


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


def _path(problem: Problem, rows: int, strengths: Any, point: Mapping[str, float]) -> list[float]:
    if is_whole(strengths):
        problem = replace(problem, penalty=with_arguments(problem.penalty, point))
        strengths = automatic_strengths(problem, rows, int(strengths)).tolist()
    elif point and isinstance(strengths, Sequence) and list(strengths) == [0]:
        return [0.0]
    return make_strengths(strengths).tolist()
