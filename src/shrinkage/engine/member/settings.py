"""How members train: every setting of a path with its default, each checked by itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch.utils.data import DataLoader, Dataset

from shrinkage.coupling import resolve_coupling
from shrinkage.disk.files import as_path
from shrinkage.engine.member.given import Grid, check_grid, count_or_strengths, make_seeds
from shrinkage.engine.member.precision import Autocast, check_type
from shrinkage.engine.member.schedule import MOST_EPOCHS, MakeScheduler, learning_rates
from shrinkage.engine.member.update import ADAM, MakeOptimizer
from shrinkage.errors import ShrinkageError, as_whole, is_whole, shown
from shrinkage.parameters import Selection, check_selection, weights
from shrinkage.penalties import Penalty
from shrinkage.rows.classes import distinct_labels
from shrinkage.rows.loss import Loss, check_loss
from shrinkage.rows.preprocess import Transformer, check_transformer

GRADIENT_STEPS = functools.partial(torch.optim.SGD, lr=1.0)
"""Stands in for the optimizer of an exact solver: the gradient is taken as it is."""

REFINED = 8
"""Strengths of the second round where ``refine`` is just True."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Settings:
    """The arguments of ``fit_path`` after the penalty; it explains each of them.

    This is the one list of their names and defaults: ``tests/test_settings.py`` holds every other
    one to it.
    """

    test: tuple[Any, Any] | Dataset[Any] | DataLoader[Any] | None = None
    augmented: Dataset[Any] | DataLoader[Any] | None = None
    strengths: int | Sequence[float] = 20
    grid: Grid | None = None
    draws: int | None = None
    refine: int = 0
    classes: Sequence[Any] | None = None
    folds: Any = 5
    groups: Any = None
    seeds: int | Sequence[int] = 3
    epochs: int = 20
    batch_size: int | None = None
    loss: Loss = "auto"
    sample_weight: Any = None
    optimizer: MakeOptimizer = ADAM
    scheduler: MakeScheduler | None = None
    preprocess: Transformer | None = None
    select: Selection = weights
    how: str | None = None
    refit: bool = True
    autocast: Autocast = None
    solver: Literal["steps", "exact"] = "steps"
    compile: bool | Literal["auto"] = "auto"
    progress: Callable[[Any], None] | None = None
    chunk: int | None = None
    max_memory: int | None = None
    checkpoint: str | Path | None = None

    @classmethod
    def among(cls, arguments: Mapping[str, Any]) -> Self:
        """Return the settings among the arguments of a function, by name."""
        return cls(**{setting.name: arguments[setting.name] for setting in fields(cls)})

    @property
    def exact(self) -> bool:
        return self.solver == "exact"

    def checked(self, penalty: Penalty) -> Settings:
        """Return the settings as they will be used, before anything is read or built.

        Raises:
            ShrinkageError: One is not possible whatever the data and the model.
        """
        if not isinstance(penalty, Penalty):
            raise ShrinkageError(
                f"penalty={shown(penalty)} is not a penalty; give L2(1.0) or the like."
            )
        if not isinstance(self.grid, Mapping | None):
            raise ShrinkageError(
                f"grid={self.grid!r}: give values by name, such as {{'dropout': [0, 0.5]}}."
            )
        whole = self._in_numbers()
        check_grid(whole.grid or {}, whole.draws, penalty, whole.epochs)
        self._check_choices()
        if self.exact:
            return whole._without_steps()
        resolve_coupling(self.how, penalty)
        learning_rates(self.optimizer, self.scheduler, whole.epochs)
        return whole

    def _in_numbers(self) -> Settings:
        refine = REFINED if self.refine is True else self.refine
        return replace(
            self,
            strengths=count_or_strengths(self.strengths, crossed=bool(self.grid)),
            seeds=make_seeds(self.seeds),
            folds=as_whole("folds", self.folds, least=2) if is_whole(self.folds) else self.folds,
            epochs=as_whole("epochs", self.epochs, most=MOST_EPOCHS),
            refine=as_whole("refine", refine, least=0),
            chunk=_whole_if_given("chunk", self.chunk),
            max_memory=_whole_if_given("max_memory", self.max_memory),
            batch_size=_whole_if_given("batch_size", self.batch_size),
        )

    def _check_choices(self) -> None:
        if self.compile not in (True, False, "auto"):
            raise ShrinkageError(f"compile={self.compile!r}: choose True, False or 'auto'.")
        if self.solver not in ("steps", "exact"):
            raise ShrinkageError(f"solver={self.solver!r}: choose 'steps' or 'exact'.")
        if self.checkpoint is not None:
            as_path("checkpoint", self.checkpoint)
        distinct_labels(self.classes)
        check_loss(self.loss)
        check_selection(self.select)
        check_type(self.autocast)
        check_transformer(self.preprocess)
        if self.preprocess is not None and self.augmented is not None:
            raise ShrinkageError(
                "preprocess= and augmented= do not go together: what is learned from plain rows is "
                "not applied to drawn ones. Give both views scaled."
            )

    def _without_steps(self) -> Settings:
        """Refuse settings that only training by steps uses; return those of an exact solver."""
        unused = {
            "optimizer": self.optimizer is not ADAM,
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
        return replace(self, optimizer=GRADIENT_STEPS, epochs=1, seeds=(0,))


def _whole_if_given(name: str, value: int | None) -> int | None:
    return None if value is None else as_whole(name, value)
