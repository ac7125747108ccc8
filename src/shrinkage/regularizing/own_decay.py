"""An L2 as the ``weight_decay`` of a fused optimizer, which is part of its one pass over memory.

The two do the same, but ``weight_decay`` belongs to a whole parameter group. So for the duration of
a step a group lends the tensors of the penalty to a second group. If a step fails, the groups stay
split until the next step, until the optimizer's state is read or loaded, or until the penalty goes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.utils.hooks import RemovableHandle

from shrinkage.penalties import L2
from shrinkage.regularizing.batch import Batch, Batches

FUSED = (SGD, Adagrad, Adam, AdamW)
MANY = 2**20
"""With fewer weights, a pass of their own takes less time than a second group in Python."""


class OwnDecay:
    """Splits the parameter groups of one optimizer for a step, and puts them together again.

    Attributes:
        able: Whether the optimizer can do so, and holds enough weights for it to pay.
        hooks: On its state, beside those on its steps.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        ws = (w for group in optimizer.param_groups for w in group["params"])
        weights = sum(0 if is_lazy(w) else w.numel() for w in ws)
        fused = type(optimizer) in FUSED and bool(optimizer.defaults.get("fused"))
        self.able = fused and weights >= MANY
        self._lent: list[tuple[dict[str, Any], list[Tensor], dict[str, Any]]] = []
        self.hooks: tuple[RemovableHandle, ...] = ()
        if self.able:
            self.hooks = (
                optimizer.register_state_dict_pre_hook(self.restore),
                optimizer.register_load_state_dict_pre_hook(self.restore),
            )

    def split(self, optimizer: Optimizer, batches: Batches) -> Batches:
        """Let the optimizer do what it can of these; return the others."""
        left = batches._replace(coupled=[], decoupled=[])
        for how in ("coupled", "decoupled"):
            for batch in getattr(batches, how):
                if _can(batch, how):
                    self._lend(optimizer, batch, how)
                else:
                    getattr(left, how).append(batch)
        return left

    def _lend(self, optimizer: Optimizer, batch: Batch, how: str) -> None:
        group, chosen = batch.group, set(map(id, batch.tensors))
        decay = group["weight_decay"] + 2 * batch.acting.strength
        part = {**group, "params": batch.tensors, "weight_decay": decay}
        if "decoupled_weight_decay" in group:
            part["decoupled_weight_decay"] = how == "decoupled"
        self._lent.append((group, group["params"], part))
        group["params"] = [w for w in group["params"] if id(w) not in chosen]
        optimizer.param_groups.append(part)

    def restore(self, optimizer: Optimizer, *_: object) -> None:
        """Put the groups together again."""
        while self._lent:  # the last first: a group may have lent twice
            group, params, part = self._lent.pop()
            group["params"] = params
            optimizer.param_groups[:] = [one for one in optimizer.param_groups if one is not part]


def _can(batch: Batch, how: str) -> bool:
    """Say whether the group's own decay can do what the penalty would do to these tensors."""
    penalty, group = batch.acting, batch.group
    if type(penalty) is not L2 or penalty.toward is not None:
        return False
    number = not isinstance(penalty.strength, Tensor)
    own = "decoupled" if group.get("decoupled_weight_decay") else "coupled"
    free = "decoupled_weight_decay" in group and not group["weight_decay"]
    return bool(group["fused"]) and number and (how == own or free)
