"""A penalty as facts that JSON knows, and the penalty that such facts describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty, catalogue


def penalty_facts(penalty: Penalty) -> dict[str, Any]:
    """Return the name and the fields of a penalty as JSON-able facts."""
    values = {field.name: getattr(penalty, field.name) for field in fields(penalty)}
    plain = {name: _plain(value) for name, value in values.items() if value is not None}
    return {"name": _name(type(penalty)), "fields": plain}


def penalty_from(facts: Mapping[str, Any]) -> Penalty:
    """Make the penalty that `penalty_facts` described; nothing is imported for it."""
    known = {_name(kind): kind for kind in Penalty.__subclasses__()}
    if facts["name"] not in known:
        raise ShrinkageError(
            f"the run's penalty {facts['name']!r} is not one of {', '.join(sorted(known))}. "
            "Import the module that defines it, then load again."
        )
    given = {name: _restored(value) for name, value in facts["fields"].items()}
    return known[facts["name"]](**given)


def _plain(value: Any) -> Any:
    """Return a field as JSON knows it."""
    if isinstance(value, Penalty):
        return penalty_facts(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, Tensor) else value


def _restored(value: Any) -> Any:
    """Return the field that `_plain` made plain: a list is a tuple, in a mapping it is a tensor."""
    if isinstance(value, Mapping) and value.keys() == {"name", "fields"}:
        return penalty_from(value)
    if isinstance(value, Mapping):
        return {name: torch.tensor(item, dtype=torch.float64) for name, item in value.items()}
    return tuple(map(_restored, value)) if isinstance(value, list) else value


def _name(kind: type[Penalty]) -> str:
    names = {known: name for name, known in catalogue().items()}
    return names.get(kind, f"{kind.__module__}.{kind.__qualname__}")
