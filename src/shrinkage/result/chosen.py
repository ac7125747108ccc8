"""A choice from a path: whether it belongs to it, and what a saved run keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.result.points import knobs_at
from shrinkage.result.refit import Refit


class Chosen(Protocol):
    """What a choice says about a path; :class:`shrinkage.choose.Choice` is one."""

    @property
    def rule(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def strength(self) -> float: ...


def check_choice(strengths: Tensor, choice: Chosen) -> None:
    """Refuse a choice that was made from a path of other strengths."""
    known = strengths.tolist()
    if not 0 <= choice.index < len(known) or known[choice.index] != choice.strength:
        raise ShrinkageError(
            f"the choice (index {choice.index}, strength {choice.strength:g}) is not from this "
            "path; make it from the same result."
        )


def choice_facts(choice: Chosen, knobs: Mapping[str, Tensor], seed: int | None) -> dict[str, Any]:
    """Return what the manifest of a run says of a choice.

    Args:
        choice: The choice.
        knobs: Name and values of the knobs of the path, each (K,).
        seed: The seed whose refit weights are kept, or None where there are none.
    """
    own = {"knobs": knobs_at(knobs, choice.index)} if knobs else {}
    point = {"rule": choice.rule, "index": choice.index, "strength": choice.strength}
    return {**point, **own, "weights_seed": seed}


def first_whole_seed(refit: Refit | None, index: int) -> int | None:
    """Return the place of the first seed whose refit at one point did not diverge, if any."""
    if refit is None:
        return None
    return next(iter((refit.diverged[index] < 0).nonzero().flatten().tolist()), None)
