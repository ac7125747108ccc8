"""A penalty on any torch optimizer, through its step hooks."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from shrinkage.errors import warn
from shrinkage.parameters import Selection, weights
from shrinkage.regularizing import refusals
from shrinkage.regularizing.handle import Regularization
from shrinkage.regularizing.rules import Acting, Rules, read_rules
from shrinkage.regularizing.stats import Stats
from shrinkage.regularizing.targets import Schedule, Targets

__all__ = ["Regularization", "regularize"]


def regularize(
    model: nn.Module,
    optimizer: Optimizer,
    penalty: Acting | Rules,
    *,
    select: Selection = weights,
    how: str | None = None,
    schedule: Schedule | None = None,
    stats_every: int | None = None,
) -> Regularization:
    """Let ``penalty`` act on ``model`` in every step of ``optimizer``.

    It acts inside ``optimizer.step()``, when the gradients are ready, averaged and clipped; those
    that a closure computes too. Only tensors that the step updates are touched: trainable ones
    with a gradient. A tied tensor counts once. The padding row of an embedding is treated like any
    other; its zeros stay zero. A tensor whose shards lie on several processes is penalized as a
    whole: operations that need all of it gather it, so all processes have to call ``value`` and
    ``summary`` together. Every step checks whether the parameters of the model or the optimizer
    have changed: a tensor added to both, or given its size in a lazy module, is penalized from then
    on, a replaced one no longer, and a warning names those that only the model has.

    Args:
        model: The model.
        optimizer: Any ``torch.optim.Optimizer`` that holds the model's parameters, or a wrapper of
            one that has it in ``optimizer`` or ``base_optimizer``.
        penalty: The penalty, for example ``L2(1e-4)``; or a constraint, such as ``MaxNorm(3.0)``;
            or ordered rules: a dict from selections to penalties, constraints, or None to leave
            tensors alone. The first rule that matches a tensor wins:
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
            only under fused optimizers, whose ``step`` it calls all the same.
        stats_every: Measure what the penalty does once in this many steps, for ``stats()``; by
            default never.

    Returns:
        A handle with ``summary()``, ``stats()``, ``value()``, ``state_dict()`` and ``remove()``. In
        a ``with`` statement it removes itself at the end.

    Raises:
        ShrinkageError: The penalty would not act as asked; the message says what to do instead.

    Warns:
        ShrinkageWarning: Something seldom meant, once, with numbers: ``double decay``, ``rounded
            away``, ``overshoot``, ``small threshold``, ``scale-invariant``, ``parametrized``,
            ``left alone``; or ``taken over``: these tensors had a handle on another optimizer that
            is still there, and it is removed.

    Example:
        >>> import torch
        >>> from shrinkage.penalties import L1
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> regularize(net, optimizer, L1(0.1)).how
        'proximal'
    """
    handle = attach(
        model,
        optimizer,
        penalty,
        select=select,
        how=how,
        schedule=schedule,
        stats_every=stats_every,
    )
    for caution in handle.cautions():
        label, _, text = caution.partition(": ")
        warn(label, text)
    return handle


def attach(
    model: nn.Module,
    optimizer: Optimizer,
    penalty: Acting | Rules,
    *,
    select: Selection = weights,
    how: str | None = None,
    schedule: Schedule | None = None,
    stats_every: int | None = None,
) -> Regularization:
    """Do as :func:`regularize` without its warnings, for callers that attach many penalties."""
    rules = read_rules(penalty, select, how)
    inner = refusals.unwrap(optimizer)
    for rule in rules:
        for owner in (optimizer, inner):
            refusals.check_optimizer(owner, rule.how)
    kinds = dict.fromkeys(type(owner).__name__ for owner in (inner, optimizer))
    stats = None if stats_every is None else Stats(stats_every)
    targets = Targets(model, rules, schedule, inner)
    return Regularization(targets, inner, " inside ".join(kinds), stats)
