"""Many tensors at once are the couplings of each, in few operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from shrinkage.coupling import coupled, decoupled, proximal
from shrinkage.penalties import L1, L2, ElasticNet, Penalty, catalogue
from shrinkage.regularizing import batch
from shrinkage.regularizing.batch import Batch
from shrinkage.regularizing.regularize import regularize

COUPLINGS = ["coupled", "decoupled", "proximal"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
PENALTIES = [
    pytest.param(kind(**example), id=f"{name}-{number}")
    for name, kind in catalogue().items()
    for number, example in enumerate(kind.examples)
]
LR = 0.25


def tensors(dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ws = [torch.randn(6, 5, 2, generator=generator).to(dtype) for _ in range(3)]
    ws[0][0, :3] = 0.0
    ws[1][2] *= 1e-3
    ws[2][:] *= 10
    return ws


def together(
    penalty: Penalty, how: str, ws: list[Tensor], gradients: list[Tensor], lr: Any
) -> list[Tensor]:
    """Apply a coupling to copies of many tensors at once; return what it changed."""
    ws, gradients = [w.clone() for w in ws], [g.clone() for g in gradients]
    batch = Batch(penalty, {}, ws)
    if how == "coupled":
        batch.add_gradients_(gradients)
        return gradients
    if how == "decoupled":
        batch.subtract_(batch.decrements(lr))
    else:
        batch.prox_(lr)
    return ws


def one_by_one(
    penalty: Penalty, how: str, ws: list[Tensor], gradients: list[Tensor], lr: Any
) -> list[Tensor]:
    """Apply the definition to each tensor."""
    if how == "coupled":
        return [coupled(penalty, w, g) for w, g in zip(ws, gradients, strict=True)]
    if how == "decoupled":
        return [w - decoupled(penalty, w, lr) for w in ws]
    return [proximal(penalty, w, lr) for w in ws]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [float, partial(torch.tensor, dtype=torch.float64)])
def test_many_tensors_at_once_are_the_coupling_of_each_to_one_rounding(
    penalty: Penalty, how: str, dtype: torch.dtype, number: Callable[..., Any]
) -> None:
    if how == "proximal" and type(penalty).__name__ == "Orthogonal":
        pytest.skip("has no prox")
    penalty = penalty.at(number(penalty.strength))
    ws, gradients = tensors(dtype), tensors(dtype, seed=1)
    found = together(penalty, how, ws, gradients, number(LR))
    wanted = one_by_one(penalty, how, ws, gradients, number(LR))
    eps = torch.finfo(dtype).eps
    for w, gradient, ours, theirs in zip(ws, gradients, found, wanted, strict=True):
        assert ours.dtype == dtype
        part = (theirs.double() - (gradient if how == "coupled" else w).double()).abs()
        scale = torch.maximum(torch.maximum(w.abs(), gradient.abs()).double(), part)
        assert ((ours.double() - theirs.double()).abs() <= 2 * eps * scale).all()
        if how == "proximal" and dtype in (torch.float64, torch.float32):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("penalty", [L2(0.3), L1(0.3), ElasticNet(0.3)])
def test_a_tensor_in_a_place_one_waits_for_gives_the_same(penalty: Penalty) -> None:
    """The forms for thresholds that stay tensors, as on a GPU; here by hand."""
    ws, ours = tensors(torch.float32), tensors(torch.float32)
    batch._soft_threshold_(ours, torch.tensor(0.3))
    for w, found in zip(ws, ours, strict=True):
        assert torch.equal(found, L1(0.3).prox(w, 1.0))


def test_nothing_changes_where_the_step_is_skipped() -> None:
    for penalty in (L2(0.3), L1(0.3), ElasticNet(0.3), catalogue()["nuclear_norm"](0.3)):
        for skipped in (True, False):
            ws, ours = tensors(torch.float32), tensors(torch.float32)
            Batch(penalty, {}, ours).prox_(LR, torch.tensor(skipped))
            for w, found in zip(ws, ours, strict=True):
                assert torch.equal(found, w if skipped else penalty.prox(w, LR))


class Operations(TorchDispatchMode):
    """The names of the operations dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def operations(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    for w in model.parameters():
        w.grad = torch.zeros_like(w)
    optimizer.step()
    with Operations() as seen:
        optimizer.step()
    return seen.names


@pytest.mark.parametrize("make", [L2, L1], ids=["L2", "L1"])
@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("device", ["number", "cpu", "meta"])
@pytest.mark.parametrize("layers", [1, 12])
def test_a_step_takes_at_most_five_operations_more(
    make: Any, how: str, device: str, layers: int
) -> None:
    # Tensors without data dispatch as those of a GPU do, in groups. A strength that is there too
    # costs one operation more, to multiply it with the rate.
    strength = 0.1 if device == "number" else torch.tensor(0.1, device=device)
    model = nn.Sequential(*(nn.Linear(4, 4, device="meta") for _ in range(layers)))
    optimizer = SGD(model.parameters(), lr=0.1, foreach=True)
    bare = operations(model, optimizer)
    handle = regularize(model, optimizer, make(0.1), how=how)
    handle.penalty = make(strength)
    more = len(operations(model, optimizer)) - len(bare)
    assert 1 <= more <= (6 if device == "meta" else 5)


def test_types_and_groups_each_take_their_own_and_nothing_is_mixed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double(), nn.Linear(4, 4))
    groups = [{"params": model[:2].parameters()}, {"params": model[2].parameters(), "lr": 0.5}]
    optimizer = Adam(groups, lr=0.1)
    handle = regularize(model, optimizer, L1(0.1))
    operations(model, optimizer)
    before = [w.detach().clone() for w in model.parameters()]
    for w in model.parameters():
        w.grad = torch.zeros_like(w)
    assert len(handle._targets.of_step(optimizer).proximal) == 3
    optimizer.state.clear()
    optimizer.step()
    for w, old, lr in zip(model.parameters(), before, (0.1, 0.1, 0.1, 0.1, 0.5, 0.5), strict=True):
        assert_close(w.detach(), L1(0.1).prox(old, lr) if w.dim() == 2 else old)
