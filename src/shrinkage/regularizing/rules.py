"""Ordered rules: which penalty or constraint acts on which tensor; the first match wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn

from shrinkage.constraints import Constraint
from shrinkage.coupling import resolve_coupling
from shrinkage.errors import ShrinkageError, shown
from shrinkage.parameters import Row, Selection, check_module, explain_selection, label, weights
from shrinkage.penalties import Penalty
from shrinkage.penalties.base import check_strength, kind_of
from shrinkage.tensors.sharded import reshard

Acting: TypeAlias = Penalty | Constraint
Rules: TypeAlias = Mapping[Selection, Acting | None]


class Rule:
    """What acts on the tensors of one selection, and how.

    Attributes:
        select: The selection.
        penalty: The penalty or constraint, None to leave the tensors alone; assign a copy with
            other numbers to change it while training.
        how: The coupling; ``"projected"`` for a constraint.
        live: The strengths that are tensors, which may change without a word.
    """

    def __init__(self, select: Selection, penalty: Acting | None, how: str | None) -> None:
        self.select = select
        self._set(penalty)
        self.how = ""
        if isinstance(penalty, Penalty):
            self.how = resolve_coupling(how, penalty)
        elif isinstance(penalty, Constraint):
            self.how = "projected"
        elif penalty is not None:
            raise ShrinkageError(
                f"penalty={shown(penalty)} is not a penalty; give "
                "one such as L2(1e-4), a constraint such as MaxNorm(3.0), a sum such as L1(1e-4) + "
                "L2(1e-3), or rules such as {'features.*': L2(1e-4), 'head.*': None}."
            )

    @property
    def penalty(self) -> Acting | None:
        return self._penalty

    @penalty.setter
    def penalty(self, penalty: Acting | None) -> None:
        if type(penalty) is not type(self._penalty):
            raise ShrinkageError(
                f"{penalty!r} cannot replace {self._penalty!r} while training; only a copy with "
                "other numbers can, such as penalty.at(strength). For another penalty, remove() "
                "this handle and call regularize again."
            )
        self._set(penalty)

    def _set(self, penalty: Acting | None) -> None:
        strengths = penalty.strengths() if isinstance(penalty, Penalty) else []
        self._penalty = penalty
        self.live = [strength for strength in strengths if isinstance(strength, Tensor)]

    def check(self) -> None:
        """Refuse live strengths that have become none."""
        for strength in self.live:
            check_strength(strength, kind_of(self._penalty))

    @property
    def strength(self) -> float | Tensor:
        """The strength of the penalty; assign a number or a 0-d tensor to change it."""
        return self._own_penalty().strength

    @strength.setter
    def strength(self, strength: float | Tensor) -> None:
        self.penalty = self._own_penalty().at(strength)

    def _own_penalty(self) -> Penalty:
        if not isinstance(self._penalty, Penalty):
            raise ShrinkageError(f"{self!r} has no strength; only penalties have one.")
        return self._penalty

    @property
    def name(self) -> str:
        """The kind of the penalty and its selection, without numbers."""
        return f"{kind_of(self.penalty)} on {label(self.select)}"

    def __str__(self) -> str:
        """Return the penalty and its coupling."""
        penalty = repr(self.penalty)
        return f"{penalty}, {self.how}" if self.how else penalty

    def __repr__(self) -> str:
        """Return the rule as it was given."""
        return f"{label(self.select)}: {self}"


class Assigned(NamedTuple):
    """One tensor of a model, and the first rule that matches it, if any."""

    row: Row
    rule: Rule | None


def read_rules(penalty: Acting | Rules, select: Selection, how: str | None) -> list[Rule]:
    """Return the rules that the arguments of ``regularize`` mean, in their order."""
    if not isinstance(penalty, Mapping):
        if isinstance(penalty, Constraint) and how is not None:
            raise ShrinkageError(
                f"how={how!r} beside {penalty!r}; a constraint is always projected, so leave how= "
                "out."
            )
        return [Rule(select, penalty, how)]
    if select is not weights:
        raise ShrinkageError(
            f"select={label(select)} beside rules; rules already select tensors, so leave select= "
            "out."
        )
    rules = [Rule(key, acting, how) for key, acting in penalty.items()]
    if not any(rule.how for rule in rules):
        raise ShrinkageError(
            "these rules leave every tensor alone; give at least one of them a penalty."
        )
    return rules


def for_tensor(acting: Acting | None, row: Row) -> Acting | None:
    """Return what acts on one tensor: a penalty with the tensor's own reference."""
    return acting.for_tensor(row.name, row.tensor) if isinstance(acting, Penalty) else acting


def describe(rules: list[Rule]) -> str:
    """Return the only rule, or how many there are."""
    return str(rules[0]) if len(rules) == 1 else f"{len(rules)} rules"


class Selected(NamedTuple):
    """One tensor of a model that a rule acts on."""

    row: Row
    rule: Rule


def assign(model: nn.Module, rules: list[Rule]) -> list[Assigned]:
    """Give every tensor of ``model`` to the first rule that matches it.

    Raises:
        ShrinkageError: A rule matches nothing, or nothing that earlier rules left.
    """
    check_module(model)
    reshard(model)
    tables = [explain_selection(model, rule.select) for rule in rules]
    assigned = [_first_match(rows, rules) for rows in zip(*tables, strict=True)]
    for rule in rules:
        if all(pair.rule is not rule for pair in assigned):
            raise ShrinkageError(
                f"the rule {rule!r} never acts, because earlier rules take all tensors that it "
                "matches. Put it before them: the first rule that matches a tensor wins."
            )
    return assigned


def _first_match(rows: tuple[Row, ...], rules: list[Rule]) -> Assigned:
    for row, rule in zip(rows, rules, strict=True):
        if (row.selected or row.waiting) and rule.how:
            return Assigned(row, rule)
        if row.selected or row.waiting:
            alone = f"left alone: {row.reason}"
            return Assigned(replace(row, selected=False, waiting=False, reason=alone), rule)
    if len(rules) == 1:
        return Assigned(rows[0], None)
    parametrized = (row.reason for row in rows if row.parametrized)
    return Assigned(replace(rows[0], reason=next(parametrized, "no rule matches")), None)
