"""One entry of a checkpoint: whose state it is, how far it came, and whether it can be that.

The hash in the name of a file says that it is as it was written, not by whom. So what is read is
compared with what a run writes before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from shrinkage.disk.storable import restored


class UnlikeError(Exception):
    """What was read is not what a run of these members writes."""


@dataclass(frozen=True)
class Entry:
    """Tensors and what is said of them, as they were put.

    Attributes:
        about: What was said of the tensors.
        path: Where they are; :meth:`load` reads them.
    """

    about: dict[str, Any]
    path: Path

    def load(self) -> dict[str, Tensor]:
        """Return the tensors.

        Raises:
            UnlikeError: There are none.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return restored(load_file(self.path))
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise UnlikeError(str(error)) from error


@dataclass(frozen=True)
class About:
    """What is said of the members of one entry.

    Attributes:
        group: The name of their fold's rows and their seed.
        points: Strength and knobs of each, as JSON.
        steps: How many steps they have behind them.
        lrs: The learning rates of their epochs.
        width: Members of their chunk, or None where they trained alone.
    """

    group: str
    points: tuple[str, ...]
    steps: int
    lrs: list[float]
    width: int | None


def about_members(said: dict[str, Any]) -> About:
    """Return what is said of the members of an entry.

    Raises:
        UnlikeError: It is not what a run says.
    """
    group, points, steps, lrs = (said.get(name) for name in ("group", "points", "steps", "lrs"))
    width = said.get("width")
    if (
        isinstance(group, str)
        and isinstance(points, list)
        and all(isinstance(point, dict) for point in points)
        and isinstance(steps, int)
        and steps > 0
        and isinstance(lrs, list)
        and all(isinstance(lr, float) for lr in lrs)
        and (width is None or (isinstance(width, int) and width > 0))
    ):
        return About(group, tuple(map(json.dumps, points)), steps, lrs, width)
    raise UnlikeError("it does not say whose state it holds")


def like(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those of the tensors that are wanted.

    Raises:
        UnlikeError: One is missing, or has another shape or type than the wanted one.
    """
    for name, example in wanted.items():
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (example.shape, example.dtype):
            raise UnlikeError(f"{name} is missing or not of the shape and type of these members")
    return {name: tensors[name] for name in wanted}


def row_of(tensors: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return one member of those that were stacked; tensors that do not have it are left out."""
    return {name: t[row] for name, t in tensors.items() if t.dim() and row < len(t)}
