"""What a penalty cannot be put on: each refusal says why and what to do instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Optimizer

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import Row
from shrinkage.penalties import L2, Penalty


def parameter_groups(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """Return the optimizer's parameter groups by the ``id`` of each parameter they hold."""
    return {id(w): group for group in optimizer.param_groups for w in group["params"]}


def check_optimizer(optimizer: Optimizer, how: str) -> None:
    """Refuse an optimizer without step hooks, and couplings it cannot follow."""
    name = type(optimizer).__name__
    if not isinstance(getattr(optimizer, "_optimizer_step_pre_hooks", None), dict):
        inner = hasattr(optimizer, "optimizer")
        raise ShrinkageError(
            f"{name} has no step hooks; "
            + ("pass the optimizer inside it: .optimizer." if inner else "pass a torch optimizer.")
        )
    if isinstance(optimizer, LBFGS) and how != "coupled":
        raise ShrinkageError(
            f"how={how!r} under LBFGS: its line search needs the penalty in the loss it minimizes; "
            "use how='coupled'."
        )
    if how != "coupled" and any("lr" not in group for group in optimizer.param_groups):
        raise ShrinkageError(
            f"how={how!r} needs a learning rate, {name} has none; use how='coupled'."
        )


def check_initialized(model: nn.Module) -> None:
    """Refuse a model with lazy modules that have seen no data: the selection is not final."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ShrinkageError(
                f"{name} is not initialized yet; run one batch through the model first, then "
                "regularize it."
            )


def check_tensor(row: Row, penalty: Penalty) -> None:
    """Refuse a sharded tensor, and one whose shape the penalty does not take."""
    kind = type(row.tensor)
    if "distributed" in kind.__module__ or getattr(row.tensor, "_is_flat_param", False):
        raise ShrinkageError(
            f"{row.name} is sharded ({kind.__name__}); a penalty on shards is not supported. Train "
            "with DDP, or add penalty(model) to the loss before the model is sharded."
        )
    try:
        penalty.value(row.tensor.detach())
    except ShrinkageError as error:
        raise ShrinkageError(f"{row.name}: {error}") from error


def check_gradient(row: Row) -> None:
    """Refuse a sparse gradient: which rows the penalty should act on is not settled."""
    gradient = row.tensor.grad
    if gradient is not None and gradient.is_sparse:
        raise ShrinkageError(
            f"{row.name} has a sparse gradient; build its embedding with sparse=False, or leave it "
            "out with select=."
        )


def check_held(rows: Iterable[Row], held: Iterable[int]) -> None:
    """Refuse trainable tensors that the optimizer does not hold: nothing would happen to them."""
    held = set(held)
    missing = [r.name for r in rows if r.tensor.requires_grad and id(r.tensor) not in held]
    if missing:
        raise ShrinkageError(
            f"the optimizer does not hold {', '.join(missing)}; build it from the parameters of "
            "the model as it is now, or leave these out with select=."
        )


def warn_of_weight_decay(optimizer: Optimizer, penalty: Penalty, rows: dict[int, Row]) -> None:
    """Warn when the optimizer's own ``weight_decay`` acts beside an L2 penalty."""
    decays: set[float | Tensor] = {
        group.get("weight_decay", 0)
        for group in optimizer.param_groups
        if any(id(w) in rows for w in group["params"])
    }
    if isinstance(penalty, L2) and any(decays):
        own = ", ".join(f"{float(decay):g}" for decay in sorted(decays, key=float) if decay)
        warnings.warn(
            f"the optimizer already has weight_decay={own}, and {penalty!r} comes on top; set "
            "weight_decay=0 to have only the penalty.",
            stacklevel=3,
        )
