"""Warnings about what is allowed but seldom meant, given when a penalty is put on an optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrinkage.errors import some_of
from shrinkage.parameters import weights
from shrinkage.penalties import L1, L2, MCP, SCAD, GroupLasso, Penalty, SparseGroupLasso
from shrinkage.regularizing.normalized import scale_invariant
from shrinkage.regularizing.optimizers import is_adaptive
from shrinkage.regularizing.rules import Acting, Rule, assign
from shrinkage.regularizing.targets import Target, Targets
from shrinkage.tensors.roles import is_lazy

THRESHOLDS = (L1, GroupLasso, SparseGroupLasso, MCP, SCAD)
MUCH = 0.1
"""Share of a model's matrices that is not left unpenalized without a word."""
LEAST_THRESHOLD = 0.01
"""Smallest strength at which an adaptive optimizer's noise leaves any weight at zero: measured."""


def cautions(targets: Targets, optimizer: Optimizer) -> Iterator[str]:
    """Yield what is seldom meant about these penalties on this optimizer, with numbers.

    Each label comes once, however many rules it is true of.
    """
    said = set()
    for message in _of_rules(targets, optimizer):
        if (label := message.partition(":")[0]) not in said:
            said.add(label)
            yield message


def _of_rules(targets: Targets, optimizer: Optimizer) -> Iterator[str]:
    for rule in targets.rules:
        acting = targets.now(rule)
        held = [target for target in targets.targets if target.rule is rule]
        if isinstance(acting, Penalty) and held:
            yield from _double_decay(acting, held)
            if rule.how in ("decoupled", "proximal"):
                yield from _too_large_or_small(acting, rule, held)
            if rule.how == "proximal":
                yield from _small_threshold(acting, optimizer)
            yield from _scale_invariant(acting, held, targets)
            yield from _parametrized(held)
    if any(rule.select is weights and rule.how for rule in targets.rules):
        yield from _left_alone(targets)


def _double_decay(penalty: Penalty, held: list[Target]) -> Iterator[str]:
    decays = {float(target.group.get("weight_decay", 0)) for target in held} - {0.0}
    if decays and _total(penalty, L2):
        own = ", ".join(f"{decay:g}" for decay in sorted(decays))
        yield (
            f"double decay: the optimizer already has weight_decay={own}, and "
            f"{penalty!r} comes on top; set weight_decay=0 to have only the penalty."
        )


def _too_large_or_small(penalty: Penalty, rule: Rule, held: list[Target]) -> Iterator[str]:
    """Judge the share of a weight that L2 takes off in one step: overshoot, or rounded away."""
    alone = all(isinstance(part, L2) and part.toward is None for _, part in penalty.parts())
    for row, group, _ in held:
        share = 2 * _total(penalty, L2) * float(group["lr"])
        least = torch.finfo(row.tensor.dtype).eps / 4
        if rule.how == "decoupled" and share > 1:
            yield (
                f"overshoot: {penalty!r} takes 2 * lr * strength = {share:.3g} of a "
                "weight in a step, which turns its sign"
                + (" and lets it grow" if share > 2 else "")
                + "; "
                "lower the strength or the rate, or use how='proximal', which turns no sign."
            )
            return
        if alone and 0 < share < least:
            yield (
                f"rounded away: {penalty!r} takes {share:.2g} of a weight in a step, "
                f"and {row.tensor.dtype} rounds changes below {least:.2g} away: it has no effect. "
                "Keep the weights in a wider type, as autocast does."
            )
            return


def _small_threshold(penalty: Penalty, optimizer: Optimizer) -> Iterator[str]:
    strength = _total(penalty, THRESHOLDS)
    if 0 < strength < LEAST_THRESHOLD and is_adaptive(optimizer):
        yield (
            f"small threshold: {type(optimizer).__name__} divides the gradient by its size, so its "
            "noise moves a weight by about lr in a step, and the prox takes "
            f"lr * {strength:g} off: expect no exact zeros below a strength of about "
            f"{LEAST_THRESHOLD:g} (0.1 to 1 is usual there)."
        )


def _scale_invariant(penalty: Penalty, held: list[Target], targets: Targets) -> Iterator[str]:
    if not all(isinstance(part, L2) and part.toward is None for _, part in penalty.parts()):
        return
    layers = scale_invariant(targets.model)
    ours = {id(layer.weight): name for name, layer in layers.items()}
    found = [row for row, _, _ in held if id(row.tensor) in ours and not row.shared]
    if found:
        names = some_of((row.name for row in found), most=3)
        part = _numbers(found) / _numbers(target.row for target in held)
        yield (
            f"scale-invariant: {names} ({len(found)} of {len(held)} tensors, {part:.0%} of the "
            "numbers) feed a normalization, which undoes any factor on them: there L2 sets the "
            "effective learning rate, about lr / |w|², not the function. Leave them alone by a "
            "rule with None if you do not intend that."
        )


def _parametrized(held: list[Target]) -> Iterator[str]:
    found = [row.name for row, _, _ in held if row.parametrized]
    if found:
        yield (
            f"parametrized: {some_of(found)} ({len(found)} of {len(held)} tensors) are parts of "
            "effective weights that every forward pass computes anew, and a penalty on parts is "
            "another than on what the model uses; for that one, leave the parts out and add "
            "penalty.value of the effective weight to the loss."
        )


def _left_alone(targets: Targets) -> Iterator[str]:
    matrices = [
        (row, rule)
        for row, rule in assign(targets.model, targets.rules)
        if row.tensor.requires_grad and not is_lazy(row.tensor) and row.tensor.dim() >= 2
        if row.role not in ("embedding", "marked")
    ]
    alone = [row for row, rule in matrices if rule is None and row.role in ("other", "part")]
    share = _numbers(alone) / max(_numbers(row for row, _ in matrices), 1)
    if share > MUCH:
        named = some_of((f"{row.name} ({row.reason.partition(':')[0]})" for row in alone), most=3)
        yield (
            f"left alone: {share:.0%} of the numbers in tensors of two and more axes, embeddings "
            f"aside: {named}. The summary says why; select by name those that are weights, or "
            "leave them alone by a rule with None."
        )


def _numbers(rows: Iterable[Any]) -> int:
    return sum(row.tensor.numel() for row in rows)


def _total(acting: Acting, kinds: type[Penalty] | tuple[type[Penalty], ...]) -> float:
    """Return the strength of all parts of some kinds; 0 where there are no numbers to read."""
    parts = acting.parts() if isinstance(acting, Penalty) else []
    products = (factor * part.strength for factor, part in parts if isinstance(part, kinds))
    return sum(0.0 if isinstance(s, Tensor) and s.is_meta else float(s) for s in products)
