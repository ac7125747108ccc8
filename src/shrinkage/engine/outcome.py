"""What training leaves behind, by strength and group."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from shrinkage.engine.plan import Group, Plan


@dataclass(eq=False)
class Outcome:
    """Curves, norms and outputs of every member; NaN until a member is done.

    Attributes:
        train_loss: (K, G, E) running mean loss of each epoch.
        held_loss: (K, G, E) loss on the held-out rows after each epoch.
        fit_loss: (K, G) loss on the member's own training rows at the end.
        norms: (K, G, P) norm of each penalized tensor.
        sparsity: (K, G, P) fraction of exact zeros in it.
        diverged: (K, G) step whose loss was not finite, or -1.
        outputs: Per group (K, held rows, ...) outputs on the held-out rows.
        weights: Per refit group the stacked model (K, ...) by name.
    """

    train_loss: Tensor
    held_loss: Tensor
    fit_loss: Tensor
    norms: Tensor
    sparsity: Tensor
    diverged: Tensor
    outputs: dict[Group, Tensor] = field(default_factory=dict)
    weights: dict[Group, dict[str, Tensor]] = field(default_factory=dict)


def empty_outcome(plan: Plan, penalized: int) -> Outcome:
    """Return an outcome with room for every member of ``plan``."""
    k, g = len(plan.strengths), len(plan.groups())
    return Outcome(
        train_loss=torch.full((k, g, plan.epochs), torch.nan),
        held_loss=torch.full((k, g, plan.epochs), torch.nan),
        fit_loss=torch.full((k, g), torch.nan),
        norms=torch.full((k, g, penalized), torch.nan),
        sparsity=torch.full((k, g, penalized), torch.nan),
        diverged=torch.full((k, g), -1),
    )


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: "check", "compile" or "train".
        members_done: Members that are finished.
        members_total: All members.
        epoch: Epochs the present chunk has done.
        epochs: Epochs of a chunk.
        steps_done: Member-steps done in the whole run, for an estimate of the time left.
        steps_total: All member-steps.
        note: A line to say once, or "".
    """

    stage: str
    members_done: int
    members_total: int
    epoch: int
    epochs: int
    steps_done: int
    steps_total: int
    note: str = ""
