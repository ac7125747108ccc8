"""One training, in one process or shared by two, and a table of such trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, Optimizer

from shrinkage.constraints import MaxNorm, NonNegative, UnitNorm
from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    NuclearNorm,
    Orthogonal,
    Penalty,
    SparseGroupLasso,
    SpectralNorm,
)
from shrinkage.regularizing.regularize import regularize
from shrinkage.schedules import linear

MOMENTUM = partial(SGD, lr=0.05, momentum=0.9)
ADAM = partial(Adam, lr=0.02)


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        place: How the processes share the model; a key of ``PLACES``.
        acting: The penalty or constraint.
        how: The coupling; ``"loss"`` to add the penalty to the loss instead, ``"shards"`` for a
            prox of one line on what this process holds.
        toward: What the penalty pulls to: the initial weights, as ``"whole"`` tensors or as
            the ``"shards"`` that the shared model's ``state_dict`` holds.
        scaled: Whether a gradient scaler is used, with one step that it skips.
        clipped: Whether gradients are clipped.
        schedule: That of the strength.
    """

    place: str
    acting: Any
    how: str | None = None
    optimizer: partial[Optimizer] = MOMENTUM
    toward: str = ""
    closure: bool = False
    scaled: bool = False
    clipped: bool = False
    schedule: Any = None


def make_net() -> nn.Sequential:
    """Two processes hold 3 and 2 rows of the first weight, 2 and 1, 1 and none of the last."""
    torch.manual_seed(1)
    layers = nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)
    return nn.Sequential(*layers).double()


def alone(net: nn.Module) -> nn.Module:
    return net


def ddp(net: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(net)


def fsdp(net: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    fully_shard(net[0])
    return fully_shard(net)


def columns(net: nn.Module) -> nn.Module:
    """Shards along the second axis where there is one."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    return fully_shard(net, shard_placement_fn=lambda w: Shard(1) if w.shape[-1] == 4 else Shard(0))


def mixed(net: nn.Module) -> nn.Module:
    """The layer in the middle stays whole on every process."""
    from torch.distributed.fsdp import fully_shard

    return fully_shard(net, ignored_params=set(net[2].parameters()))


def tensor_parallel(net: nn.Module, mesh: Any = None) -> nn.Module:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = mesh or dist.device_mesh.init_device_mesh("cpu", (2,))
    first = ColwiseParallel(use_local_output=False)
    return parallelize_module(net, mesh, {"0": first, "2": RowwiseParallel()})


def both(net: nn.Module) -> nn.Module:
    """Shards of shards, along the same axis."""
    from torch.distributed.fsdp import fully_shard

    mesh = dist.device_mesh.init_device_mesh("cpu", (1, 2), mesh_dim_names=("rows", "columns"))
    return fully_shard(tensor_parallel(net, mesh["columns"]), mesh=mesh["rows"])


PLACES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ddp": ddp,
    "zero": ddp,
    "sum": alone,
    "fsdp": fsdp,
    "columns": columns,
    "mixed": mixed,
    "tensor_parallel": tensor_parallel,
    "both": both,
}
SAME_ROWS = {"tensor_parallel", "both"}

ACTING: dict[str, dict[str, Any]] = {
    "l2": {"acting": L2(0.3)},
    "l2-decoupled": {"acting": L2(0.3), "how": "decoupled", "optimizer": ADAM},
    "l2-toward-whole": {"acting": L2(0.3), "toward": "whole"},
    "l1": {"acting": L1(0.4)},
    "l1-toward-shards": {"acting": L1(0.4), "toward": "shards"},
    "l1-loss": {"acting": L1(0.4), "how": "loss"},
    "elastic_net": {"acting": ElasticNet(0.4), "optimizer": ADAM},
    "mcp": {"acting": MCP(0.3)},
    "scad-coupled": {"acting": SCAD(0.3), "how": "coupled"},
    "rows": {"acting": GroupLasso(0.3)},
    "columns": {"acting": GroupLasso(0.3, dim=1)},
    "columns-coupled": {"acting": GroupLasso(0.3, dim=1), "how": "coupled"},
    "columns-decoupled": {"acting": GroupLasso(0.3, dim=1), "how": "decoupled"},
    "columns-loss": {"acting": GroupLasso(0.3, dim=1), "how": "loss"},
    "sparse_group_lasso": {"acting": SparseGroupLasso(0.4, dim=1)},
    "sum": {"acting": L1(0.2) + GroupLasso(0.2, dim=1)},
    "nuclear_norm": {"acting": NuclearNorm(0.3)},
    "spectral_norm": {"acting": SpectralNorm(0.3)},
    "orthogonal": {"acting": Orthogonal(0.3)},
    "max_norm-rows": {"acting": MaxNorm(0.4)},
    "max_norm-columns": {"acting": MaxNorm(0.4, dim=1)},
    "unit_norm": {"acting": UnitNorm(dim=1)},
    "non_negative": {"acting": NonNegative()},
}
LOOPS: dict[str, dict[str, Any]] = {
    "closure": {"acting": L1(0.4), "how": "coupled", "closure": True},
    "clipped": {"acting": L2(0.3), "clipped": True},
    "scaled": {"acting": L1(0.4), "scaled": True},
    "scaled-fused": {"acting": L1(0.4), "scaled": True, "optimizer": partial(Adam, fused=True)},
    "scaled-fused-columns": {
        "acting": GroupLasso(0.3, dim=1),
        "scaled": True,
        "optimizer": partial(Adam, lr=0.02, fused=True),
    },
    "for-loop": {"acting": ElasticNet(0.4), "optimizer": partial(MOMENTUM, foreach=False)},
    "schedule": {"acting": L1(torch.tensor(0.4)), "schedule": linear(0, 1, steps=4)},
}
SOME = ("l2", "l1", "l1-toward-shards", "columns", "columns-coupled", "max_norm-columns")
CASES = {f"fsdp-{name}": Case("fsdp", **case) for name, case in (ACTING | LOOPS).items()}
CASES |= {f"{place}-{name}": Case(place, **ACTING[name]) for place in PLACES for name in SOME}
CASES |= {
    f"{place}-{name}": Case(place, **(ACTING | LOOPS)[name])
    for place, name in (
        ("ddp", "l1-loss"),
        ("sum", "l1-loss"),
        ("ddp", "closure"),
        ("ddp", "scaled-fused"),
        ("zero", "l2-decoupled"),
        ("columns", "nuclear_norm"),
        ("columns", "columns-loss"),
        ("columns", "l2-toward-whole"),
        ("mixed", "for-loop"),
        ("mixed", "schedule"),
    )
}
NAIVE = ("sum-l1-loss", "fsdp-columns-of-shards")
"""Trainings that end elsewhere in two processes than in one."""
CASES["fsdp-columns-of-shards"] = Case("fsdp", GroupLasso(0.3, dim=1), "shards")


def train(name: str, rank: int | None = None, factor: float = 1) -> dict[str, Any]:
    """Return the weights, the value and the summary after a training, whole.

    Args:
        name: The training, a key of ``CASES``.
        rank: The number of this process among two; None to train alone.
        factor: What multiplies a penalty in the loss.
    """
    from torch.distributed.tensor.debug import CommDebugMode

    case, net, shared = CASES[name], make_net(), rank is not None
    model = PLACES[case.place](net) if shared else net
    optimizer = make_optimizer(case, net, shared)
    acting = case.acting
    if case.toward:
        acting = replace(
            acting, toward=(make_net() if case.toward == "whole" else net).state_dict()
        )
    handle = None
    if case.how == "shards":
        optimizer.register_step_post_hook(partial(shrink_shards, net, acting))
    elif case.how != "loss":
        handle = regularize(net, optimizer, acting, how=case.how, schedule=case.schedule)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=case.scaled)
    own = slice(rank, None, 2) if shared and case.place not in SAME_ROWS else slice(None)
    generator = torch.Generator().manual_seed(2)

    def loss_and_gradients(X: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = mse_loss(model(X), y) / (2 if case.place == "sum" and shared else 1)
        total = loss + factor * acting(net) if case.how == "loss" else loss
        scaler.scale(total).backward()
        if shared:
            finish_gradients(case, net)
        if case.clipped:
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        return loss.detach()

    for step in range(5):
        X, y = torch.randn(2, 8, 4, generator=generator, dtype=torch.float64)
        if case.scaled and step == 2:
            X[0] = torch.inf  # a row of the first process only
        if case.closure:
            optimizer.step(partial(loss_and_gradients, X[own], y[own, :1]))
        else:
            loss_and_gradients(X[own], y[own, :1])
            with CommDebugMode() as messages:
                scaler.step(optimizer)
            scaler.update()
    with torch.no_grad():
        model(X)  # leaves whole copies in a module that is sharded
    return {
        "messages": 0 if case.closure else messages.get_total_counts(),  # of the last step
        "rows": handle.summary().rows if handle else [],
        "value": handle.value() if handle else torch.zeros(()),
        "weights": {name: whole(w) for name, w in net.state_dict().items()},
    }


def shrink_shards(net: nn.Module, penalty: Penalty, *_: object) -> None:
    for w in net.parameters():
        own = w.to_local() if hasattr(w, "to_local") else w
        if w.dim() == 2:
            own.data.copy_(penalty.prox(own.data, 0.05))


def make_optimizer(case: Case, net: nn.Module, shared: bool) -> Optimizer:
    if not (shared and case.place == "zero"):
        return case.optimizer(net.parameters())
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(net.parameters(), case.optimizer.func, **case.optimizer.keywords)


def finish_gradients(case: Case, net: nn.Module) -> None:
    """Do by hand what no wrapper does."""
    for name, w in net.named_parameters():
        if case.place == "sum":
            dist.all_reduce(w.grad)
        if case.place == "mixed" and name.startswith("2."):
            dist.all_reduce(w.grad)
            w.grad /= 2


def whole(w: Tensor) -> Tensor:
    return w.full_tensor() if hasattr(w, "full_tensor") else w.clone()
