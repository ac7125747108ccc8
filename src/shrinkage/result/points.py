"""The points of a path: strengths, crossed with the values of other knobs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty, Sum, catalogue
from shrinkage.tensors.norms import is_number


def knobs_at(knobs: Mapping[str, Tensor], index: int) -> dict[str, float]:
    """Return the knobs of one point by name.

    Args:
        knobs: Name and values, each (K,).
        index: The point.
    """
    return {name: values[index].item() for name, values in knobs.items()}


def knobs_text(knobs: Mapping[str, float]) -> str:
    """Return the knobs of one point in words.

    Example:
        >>> knobs_text({"dropout": 0.5, "lr": 1e-4})
        'dropout 0.5, lr 0.0001'
    """
    return ", ".join(f"{name} {value:.4g}" for name, value in knobs.items())


def alike(knobs: Mapping[str, Tensor], index: int, points: int) -> Tensor:
    """Return which points have the same knobs as one of them: the path it lies on.

    Args:
        knobs: Name and values, each (K,).
        index: The point.
        points: How many there are, K.

    Shape:
        (K,) bool.
    """
    same = torch.ones(points, dtype=torch.bool)
    for values in knobs.values():
        same &= values == values[index]
    return same


def matching(knobs: Mapping[str, Tensor], wanted: Mapping[str, float], points: int) -> Tensor:
    """Return which points have the wanted knobs.

    Args:
        knobs: Name and values, each (K,).
        wanted: Name and value of some of them.
        points: How many there are, K.

    Shape:
        (K,) bool.

    Raises:
        ShrinkageError: A knob or a value that no point has; the message lists those there are.
    """
    found = torch.ones(points, dtype=torch.bool)
    for name, value in wanted.items():
        if name not in knobs:
            there = ", ".join(knobs) or "none: it has strengths only"
            raise ShrinkageError(f"{name!r} is not a knob of this path; its knobs are: {there}.")
        if not is_number(value):
            raise ShrinkageError(f"{name}={value!r} is not a number; give one.")
        hit = torch.isclose(
            knobs[name], torch.tensor(value, dtype=torch.float64), rtol=1e-9, atol=0
        )
        if not hit.any():
            values = ", ".join(f"{v:g}" for v in sorted(set(knobs[name].tolist())))
            raise ShrinkageError(f"no point has {name}={value!r}; its values: {values}.")
        found &= hit
    if not found.any():
        said = ", ".join(f"{name}={value:g}" for name, value in wanted.items())
        raise ShrinkageError(f"no point has {said} together; each occurs, but with other values.")
    return found


def combinations(knobs: Mapping[str, Tensor], points: int) -> list[Tensor]:
    """Return the points of every combination of knobs: indices, in the order they first occur."""
    left, found = torch.ones(points, dtype=torch.bool), []
    while left.any():
        own = alike(knobs, int(left.nonzero()[0]), points)
        found.append(own.nonzero().flatten())
        left &= ~own
    return found


def arguments(penalty: Penalty) -> list[str]:
    """Return the names of a penalty's numeric arguments that may be knobs, its strength left out.

    Those of a sum's terms begin with the name of the term, such as ``l2_strength``; where two terms
    are of one kind, neither has any.
    """
    types = _field_types(type(penalty))
    own = [f.name for f in fields(penalty)[1:] if float in types[f.name]]
    for term, prefix in _terms(penalty):
        own += [prefix + name for name in ("strength", *arguments(term)) if prefix]
    return own


def _field_types(kind: type[Penalty]) -> dict[str, tuple[Any, ...]]:
    """Return the types that each field of a kind of penalty may have."""
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise ShrinkageError(
            f"the annotations of {kind.__name__} say which of its arguments may be knobs, but "
            f"{error}; import it where the class is defined."
        ) from error
    unions = (UnionType, Union)
    return {n: get_args(h) if get_origin(h) in unions else (h,) for n, h in hints.items()}


def with_arguments(
    penalty: Penalty, values: Mapping[str, float | Tensor], *, checked: bool = True
) -> Penalty:
    """Return the penalty with other arguments, named as by :func:`arguments`.

    Args:
        penalty: A penalty.
        values: Name and value; names that are no arguments are left out.
        checked: Whether the penalty checks them, which it cannot where they are mapped tensors.

    Raises:
        ShrinkageError: A value is out of range.
    """
    known = {f.name for f in fields(penalty)[1:]}
    own: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    if isinstance(penalty, Sum):
        own["terms"] = tuple(
            _with_strength(term, _under(prefix, values), checked)
            for term, prefix in _terms(penalty)
        )
    if checked:
        return replace(penalty, **own)
    changed = copy.copy(penalty)
    for name, value in own.items():
        object.__setattr__(changed, name, value)
    return changed


def _with_strength(term: Penalty, values: Mapping[str, float | Tensor], checked: bool) -> Penalty:
    term = term.at(values["strength"]) if "strength" in values else term
    return with_arguments(term, values, checked=checked)


def _under(prefix: str, values: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
    own = {name: value for name, value in values.items() if prefix and name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in own.items()}


def _terms(penalty: Penalty) -> list[tuple[Penalty, str]]:
    """The terms of a sum, and what the names of their arguments begin with."""
    terms = penalty.terms if isinstance(penalty, Sum) else ()
    names = {kind: f"{name}_" for name, kind in catalogue().items()}
    own = [names.get(type(term), "") for term in terms]
    unique = [prefix if own.count(prefix) == 1 else "" for prefix in own]
    return list(zip(terms, unique, strict=True))
