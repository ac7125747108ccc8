"""Strengths, seeds and knobs as the caller gives them: read without data or a model, or refused."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, as_seed, as_whole, choose_from, is_whole, warn
from shrinkage.penalties import Penalty
from shrinkage.result.points import arguments, with_arguments

Grid: TypeAlias = Mapping[str, Sequence[float]]

TRAINING_KNOBS = ("dropout", "epochs", "label_smoothing", "lr", "weight_decay")
"""The knobs that are no arguments of the penalty."""

OVER_DECADES = ("lr", "weight_decay")
"""Knobs whose ranges are drawn evenly in the logarithm."""


MOST_SEEDS = 1_000_000


def count_or_strengths(strengths: Any, *, crossed: bool) -> int | tuple[float, ...]:
    """Return how many automatic strengths are asked for, or the given ones with 0 in front.

    Args:
        strengths: What the caller gives.
        crossed: Whether there are knobs, which 0 alone compares without a penalty.

    Raises:
        ShrinkageError: Fewer than two are asked for, or those given are not possible.
    """
    if is_whole(strengths):
        if strengths < 2:
            raise ShrinkageError(
                f"strengths={strengths}: give at least 2, or the strengths themselves."
            )
        return int(strengths)
    if crossed and isinstance(strengths, Sequence) and list(strengths) == [0]:
        return (0.0,)
    return tuple(make_strengths(strengths).tolist())


def make_strengths(strengths: Iterable[float]) -> Tensor:
    """Return the strengths sorted, each once, with 0 in front.

    Raises:
        ShrinkageError: One is negative, not finite or not a number, or none is given.

    Warns:
        ShrinkageWarning: One is given twice.

    Example:
        >>> make_strengths([1e-2, 1e-3])
        tensor([0.0000, 0.0010, 0.0100], dtype=torch.float64)
    """
    try:
        given = list(strengths)
        if any(isinstance(s, str) for s in given):
            raise TypeError("a text")
        values = [float(s) for s in given]
    except (TypeError, ValueError) as error:
        raise ShrinkageError(
            f"strengths={strengths!r} are not numbers >= 0; give such numbers, or how many "
            "automatic ones."
        ) from error
    bad = [s for s in values if not (math.isfinite(s) and s >= 0)]
    if bad:
        raise ShrinkageError(f"strengths must be finite and >= 0; got {', '.join(map(str, bad))}.")
    twice = sorted({s for s in values if values.count(s) > 1})
    if twice:
        listed = ", ".join(f"{s:g}" for s in twice)
        warn("strengths", f"given more than once but trained once: {listed}.")
    if not any(values):
        raise ShrinkageError("no strength above 0 is given; a path needs at least one.")
    return torch.tensor(sorted({0.0, *values}), dtype=torch.float64)


def make_seeds(seeds: Any) -> tuple[int, ...]:
    """Return the seeds; a number S stands for 0..S-1.

    Raises:
        ShrinkageError: ``seeds`` is neither a number >= 1 nor distinct integers of 64 bits.
    """
    if is_whole(seeds):
        as_whole("seeds", seeds, most=MOST_SEEDS)
    try:
        chosen = tuple(range(seeds) if is_whole(seeds) else map(operator.index, seeds))
    except TypeError as error:
        raise ShrinkageError(f"seeds={seeds!r}: give a number or distinct integers.") from error
    if not chosen or len(set(chosen)) < len(chosen):
        raise ShrinkageError(f"seeds={seeds!r}: give a number >= 1 or distinct integers.")
    return tuple(as_seed("seeds", seed) for seed in chosen)


def check_grid(
    grid: Grid, draws: int | None, penalty: Penalty, epochs: int
) -> dict[str, list[float]]:
    """Return the numbers of every knob; refuse those that no model could train with.

    Raises:
        ShrinkageError: A knob, a value, a range or ``draws`` is not possible.
    """
    values = {name: _values_of(name, given) for name, given in grid.items()}
    for name, own in values.items():
        _check_values(penalty, epochs, name, own)
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


def _values_of(name: str, given: Sequence[float]) -> list[float]:
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


def _check_values(penalty: Penalty, epochs: int, name: str, values: Sequence[float]) -> None:
    """Refuse an unknown knob, or a value that is out of its range.

    Raises:
        ShrinkageError: The message names the nearest knob and all others, or the allowed values.
    """
    shape = arguments(penalty)
    if name == "strength":
        raise ShrinkageError(
            "grid: the strength has an argument of its own; give strengths=[...] and cross it "
            "with the knobs in grid."
        )
    if name not in (*TRAINING_KNOBS, *shape):
        raise ShrinkageError(
            f"grid: {name!r} is not a knob; {choose_from(name, [*TRAINING_KNOBS, *shape])}"
        )
    if name in shape:
        for value in values:
            with_arguments(penalty, {name: value})
        return
    if name == "epochs":
        bad = [value for value in values if value not in range(1, epochs + 1)]
        if bad:
            raise ShrinkageError(
                f"grid: epochs={', '.join(f'{v:g}' for v in bad)} must be whole numbers from 1 to "
                f"the epochs of the run, {epochs}."
            )
        return
    low, high = (0.0, float("inf")) if name in ("lr", "weight_decay") else (0.0, 1.0)
    bad = [v for v in values if not (low <= v < high) or (name == "lr" and v == 0)]
    if bad:
        allowed = {"lr": "above 0", "weight_decay": "at least 0"}.get(name, "at least 0, below 1")
        raise ShrinkageError(
            f"grid: {name}={', '.join(f'{v:g}' for v in bad)} must be finite and {allowed}."
        )
