"""How members train, whatever their data, model, penalty and strengths; each setting checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset

from shrinkage.engine.member.precision import Autocast
from shrinkage.engine.member.schedule import MOST_EPOCHS, MakeScheduler
from shrinkage.engine.member.update import MakeOptimizer
from shrinkage.errors import ShrinkageError, as_whole
from shrinkage.parameters import Selection
from shrinkage.rows.loss import Loss

Grid: TypeAlias = Mapping[str, Sequence[float]]

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)

GRADIENT_STEPS = functools.partial(torch.optim.SGD, lr=1.0)
"""Stands in for the optimizer of an exact solver: the gradient is taken as it is."""

REFINED = 8
"""Strengths of the second round where ``refine`` is just True."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """The arguments of ``fit_path``, which explains them, that say how members train."""

    grid: Grid
    seeds: int | Sequence[int]
    epochs: int
    batch_size: int | None
    loss: Loss
    optimizer: MakeOptimizer
    scheduler: MakeScheduler | None
    select: Selection
    how: str | None
    augmented: Dataset[Any] | DataLoader[Any] | None
    autocast: Autocast
    refine: int
    halving: int
    solver: Literal["steps", "exact"]
    compile: bool | Literal["auto"]
    chunk: int | None
    max_memory: int | None
    checkpoint: str | Path | None

    @property
    def exact(self) -> bool:
        return self.solver == "exact"

    def checked(self) -> Settings:
        """Return the settings as they will be used, before anything is read or built.

        Raises:
            ShrinkageError: One is not possible whatever the data and the model.
        """
        refine = REFINED if self.refine is True else self.refine
        whole = replace(
            self,
            epochs=as_whole("epochs", self.epochs, most=MOST_EPOCHS),
            halving=as_whole("halving", self.halving, least=0),
            refine=as_whole("refine", refine, least=0),
            chunk=_whole_if_given("chunk", self.chunk),
            max_memory=_whole_if_given("max_memory", self.max_memory),
            batch_size=_whole_if_given("batch_size", self.batch_size),
        )
        if not isinstance(self.grid, Mapping):
            raise ShrinkageError(
                f"grid={self.grid!r}: give values by name, such as {{'dropout': [0, 0.5]}}."
            )
        if self.compile not in (True, False, "auto"):
            raise ShrinkageError(f"compile={self.compile!r}: choose True, False or 'auto'.")
        if self.solver not in ("steps", "exact"):
            raise ShrinkageError(f"solver={self.solver!r}: choose 'steps' or 'exact'.")
        return whole._without_steps() if self.exact else whole

    def _without_steps(self) -> Settings:
        """Refuse settings that only training by steps uses; return those of an exact solver."""
        unused = {
            "optimizer": self.optimizer is not ADAM,
            "halving": self.halving > 0,
            "augmented": self.augmented is not None,
            "autocast": self.autocast is not None,
            "scheduler": self.scheduler is not None,
            "how": self.how is not None,
            "checkpoint": self.checkpoint is not None,
        }
        for name, given in unused.items():
            if given:
                raise ShrinkageError(
                    f"{name}= has no meaning with solver='exact', which takes no steps with a "
                    "learning rate; leave it out."
                )
        return replace(self, optimizer=GRADIENT_STEPS, epochs=1, seeds=1)


def _whole_if_given(name: str, value: int | None) -> int | None:
    return None if value is None else as_whole(name, value)
