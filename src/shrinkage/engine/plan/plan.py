"""Which runs: strengths x folds x seeds, and which rows each of them sees when."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shrinkage.result.points import knobs_at
from shrinkage.rows.folds import Folds
from shrinkage.rows.groups import ALL_ROWS, Group, generator


@dataclass(frozen=True, eq=False)
class Plan:
    """All members and the rows they train on, made once.

    Attributes:
        strengths: (K,) float64, increasing from 0 for every combination of knobs.
        folds: Which of the N training rows each fold holds out and trains on.
        seeds: The seeds.
        tests: Number of test rows; they follow the training rows in the data.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        refit: Whether the path is also fit on all training rows.
        knobs: What the strengths are crossed with: name and values, each (K,) float64.
    """

    strengths: Tensor
    folds: Folds
    seeds: tuple[int, ...]
    tests: int
    epochs: int
    batch_size: int
    refit: bool = True
    knobs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        return len(self.folds.trained)

    @property
    def n_rows(self) -> int:
        """Return the number of training rows, N."""
        return self.folds.rows

    def point(self, k: int) -> dict[str, float]:
        """Return strength and knobs of a member by name."""
        return knobs_at({"strength": self.strengths, **self.knobs}, k)

    def groups(self) -> list[Group]:
        """Return every (fold, seed), the refits last."""
        folds = [*range(self.n_folds), *([ALL_ROWS] if self.refit else [])]
        return [Group(fold, seed) for fold in folds for seed in self.seeds]

    def train_rows(self, group: Group) -> Tensor:
        if group.fold == ALL_ROWS:
            return torch.arange(self.n_rows)
        return self.folds.trained[group.fold]

    def held_rows(self, group: Group) -> Tensor:
        """Return the rows the group never trains on: its fold, or the test rows for a refit."""
        if group.fold == ALL_ROWS:
            return torch.arange(self.n_rows, self.n_rows + self.tests)
        return self.folds.held[group.fold]

    def steps(self, group: Group) -> int:
        """Return the number of steps an epoch."""
        return math.ceil(len(self.train_rows(group)) / self.batch_size)

    def padding(self, group: Group) -> int:
        """Return how many places of the last batch hold no row of their own."""
        return -len(self.train_rows(group)) % self.batch_size

    def batches(self, group: Group, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the row of each place in each batch of one epoch, and whether it is real.

        The last, short batch is padded with its own first row, so every batch has one shape; the
        padding weighs nothing, so an epoch still equals a DataLoader's with ``drop_last=False``.

        Shape:
            both: (steps, batch_size).
        """
        rows = self.train_rows(group)
        order = torch.randperm(len(rows), generator=generator("order", group, epoch))
        places = torch.full((self.steps(group) * self.batch_size,), -1)
        places[: len(rows)] = rows[order]
        batches = places.view(-1, self.batch_size)
        real = batches >= 0
        return torch.where(real, batches, batches[:, :1]), real
