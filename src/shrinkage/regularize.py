"""A penalty on any torch optimizer, through its step hooks."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from shrinkage import _attachable
from shrinkage._cautions import cautions, warn
from shrinkage._rules import Acting, Rule, Rules, assign, describe, read_rules
from shrinkage._sharded import whole
from shrinkage._step_hooks import step_hooks, step_hooks_of
from shrinkage._summary import Summary, summarize
from shrinkage._targets import Schedule, Targets
from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import Selection, weights
from shrinkage.penalties import Penalty


def regularize(
    model: nn.Module,
    optimizer: Optimizer,
    penalty: Acting | Rules,
    *,
    select: Selection = weights,
    how: str | None = None,
    schedule: Schedule | None = None,
) -> Regularization:
    """Let ``penalty`` act on ``model`` in every step of ``optimizer``.

    It acts inside ``optimizer.step()``: when the gradients are ready, averaged and clipped, also
    those that a closure computes. Only tensors that the step updates are touched: trainable ones
    with a gradient. A tied tensor counts once, an embedding's padding row like any other; zeros
    stay zero there. A tensor whose shards lie on several processes is penalized as a whole; what
    needs the whole gathers it, so all processes have to call ``value`` and ``summary`` together.
    Every step looks whether the model or the optimizer has other parameters than
    before: what was added to both is penalized from then on, what was replaced no longer, and a
    warning names what is in the model only.

    Args:
        model: The model.
        optimizer: Any ``torch.optim.Optimizer`` that holds the model's parameters, or a wrapper of
            one that has it in ``optimizer`` or ``base_optimizer``.
        penalty: The penalty, for example ``L2(1e-4)``; or a constraint, such as ``MaxNorm(3.0)``;
            or ordered rules, a dict from selections to these or to None, which leaves alone. The
            first rule that matches a tensor wins:
            ``{"features.*": L2(1e-4), nn.LSTM: L1(1e-5), "head.*": None}``.
        select: Which tensors: see :func:`shrinkage.parameters.explain_selection`.
        how: ``"coupled"`` adds the penalty's gradient to ``.grad``, as the penalty in the loss
            would. ``"decoupled"`` subtracts ``lr`` times that gradient from the weights, as AdamW
            does. ``"proximal"`` applies the prox with step ``lr`` after the step, which gives
            exact zeros; an adaptive optimizer does not rescale the threshold. Default: coupled
            for smooth penalties, proximal for penalties with kinks. A constraint is projected on
            after all of these; the optimizer's averages stay as they are.
        schedule: A callable from the number of the step, 0 for the first, to a factor for the
            strengths; see :mod:`shrinkage.schedules`. A step that a gradient scaler skips counts
            under fused optimizers only, whose ``step`` is called all the same.

    Returns:
        A handle with ``summary()``, ``value()``, ``state_dict()`` and ``remove()``. In a ``with``
        statement it removes itself at the end.

    Raises:
        ShrinkageError: The penalty would not act as asked; the message says what to do instead.

    Warns:
        ShrinkageWarning: What is seldom meant, once, with numbers: ``double decay``, ``rounded
            away``, ``overshoot``, ``small threshold``, ``scale-invariant``.

    Example:
        >>> from shrinkage.penalties import L1
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> regularize(net, optimizer, L1(0.1)).how
        'proximal'
    """
    handle = attach(model, optimizer, penalty, select=select, how=how, schedule=schedule)
    warn(handle.cautions())
    return handle


def attach(
    model: nn.Module,
    optimizer: Optimizer,
    penalty: Acting | Rules,
    *,
    select: Selection = weights,
    how: str | None = None,
    schedule: Schedule | None = None,
) -> Regularization:
    """Do as :func:`regularize`, without its warnings: for who puts on many penalties."""
    rules = read_rules(penalty, select, how)
    inner = _attachable.unwrap(optimizer)
    for rule in rules:
        for owner in (optimizer, inner):
            _attachable.check_optimizer(owner, rule.how)
    kinds = dict.fromkeys(type(owner).__name__ for owner in (inner, optimizer))
    return Regularization(Targets(model, rules, schedule, inner), inner, " inside ".join(kinds))


class Regularization:
    """A penalty at work in an optimizer; made by :func:`shrinkage.regularize`.

    ``copy.deepcopy`` and ``pickle`` drop the hooks of an optimizer, so a copy trains without the
    penalty: call :func:`shrinkage.regularize` on the copy.

    Attributes:
        rules: The rules, each with its ``select``, ``penalty`` and ``how``; one if a penalty was
            given.
    """

    def __init__(self, targets: Targets, optimizer: Optimizer, where: str) -> None:
        self._targets, self._where = targets, where
        self._removed = False
        if self._conflict(optimizer):
            gc.collect()  # an optimizer that was replaced may linger
        if conflict := self._conflict(optimizer):
            raise ShrinkageError(conflict)
        self._hooks = step_hooks_of(optimizer)
        self._hooks.targets.append(targets)

    def __enter__(self) -> Regularization:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        """Return the rules and the optimizer."""
        what = describe(self.rules)
        if self._removed:
            return f"{what}, removed"
        if not self.attached:
            return f"{what}, NOT ACTING: its optimizer is gone, and a copy has no penalty"
        return f"{what}, on {self._where}"

    @property
    def rules(self) -> list[Rule]:
        return self._targets.rules

    @property
    def penalty(self) -> Acting | None:
        """The only penalty; assign ``penalty.at(strength)`` to change the strength on the way."""
        return self._only_rule().penalty

    @penalty.setter
    def penalty(self, penalty: Acting) -> None:
        self._only_rule().penalty = penalty

    @property
    def how(self) -> str:
        """The only coupling."""
        return self._only_rule().how

    @property
    def attached(self) -> bool:
        """Whether the penalty still acts, not removed and its optimizer alive."""
        return not self._removed and self._hooks.attached

    def remove(self) -> None:
        """Take the penalty off the optimizer; the weights stay as they are."""
        self._removed = True
        self._hooks.remove(self._targets)

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the total penalty of the trainable selected tensors now, a detached 0-d tensor."""
        if not (self._removed or self.attached):
            warnings.warn(f"nothing minimizes this value: {self!r}", ShrinkageWarning, stacklevel=2)
        penalties = {rule: self._targets.now(rule) for rule in self.rules}
        values = [
            penalty.for_tensor(row.name, row.tensor).value(whole(row.tensor))
            for row, rule in self._targets.selected.values()
            if row.tensor.requires_grad and isinstance(penalty := penalties[rule], Penalty)
        ]
        return torch.stack(values).sum() if values else torch.zeros(())

    def cautions(self) -> list[str]:
        """Return what is seldom meant, with the numbers of this step, as warned of at the start."""
        optimizer = self._hooks.optimizer() if self.attached else None
        return list(cautions(self._targets, optimizer)) if optimizer else []

    def summary(self) -> Summary:
        """Return every parameter of the model: is it penalized, why, and how much; print it."""
        optimizer = self._hooks.optimizer() if self.attached else None
        groups = optimizer.param_groups if optimizer else []
        held = {id(w) for group in groups for w in group["params"]}
        assigned = assign(self._targets.model, self.rules)
        now, said = self._targets.now, self.cautions()
        return summarize(self.rules, now, assigned, held, title=repr(self), cautions=said)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the step and the strengths, as numbers and strings.

        Save it beside those of the model and the optimizer, in any format. A training that loads
        all three goes on bit for bit as if it had not stopped.
        """
        return {
            "step": self._targets.step,
            "penalties": [rule.name for rule, _ in self._penalties()],
            "strengths": [float(penalty.strength) for _, penalty in self._penalties()],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another handle stopped; strengths that are tensors are changed in place.

        Raises:
            ShrinkageError: The state is of other penalties.
        """
        here = self.state_dict()
        if state.keys() != here.keys() or list(state["penalties"]) != here["penalties"]:
            raise ShrinkageError(
                f"this state is of {state.get('penalties', state)}, the handle has "
                f"{here['penalties']}; call regularize with the same penalties first."
            )
        for (rule, penalty), strength in zip(self._penalties(), state["strengths"], strict=True):
            if isinstance(penalty.strength, Tensor):
                penalty.strength.fill_(strength)
            else:
                rule.penalty = penalty.at(float(strength))
        self._targets.step = int(state["step"])

    def _penalties(self) -> list[tuple[Rule, Penalty]]:
        return [(rule, rule.penalty) for rule in self.rules if isinstance(rule.penalty, Penalty)]

    def _only_rule(self) -> Rule:
        if len(self.rules) > 1:
            raise ShrinkageError(
                f"this handle has {len(self.rules)} rules; say which: handle.rules[0].penalty."
            )
        return self.rules[0]

    def _conflict(self, optimizer: Optimizer) -> str:
        """Say what else acts on the same tensors, if both cannot."""
        others = [(hooks, other) for hooks in step_hooks() for other in hooks.targets]
        conflicts = (
            _attachable.conflict(
                self._targets.selected, other.selected, hooks.optimizer() is optimizer
            )
            for hooks, other in others
        )
        return next(filter(None, conflicts), "")
