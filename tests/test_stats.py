"""What is measured while a model trains: the formulas, once a step, and nobody waits."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from _training import batches, data_loss, forward_backward, make_net, moved
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from shrinkage.constraints import MaxNorm
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.regularizing.regularize import regularize

STRENGTH = 0.3


def by_hand(model: nn.Sequential, kind: str, dim: int) -> dict[str, float]:
    """Compute the numbers from the weights and the gradients of the data loss alone."""
    ws = [model[0].weight, model[2].weight]
    reference = {
        "l2": lambda w: STRENGTH * w.square().sum(),
        "l1": lambda w: STRENGTH * w.abs().sum(),
        "group": lambda w: STRENGTH * sum(len(g) ** 0.5 * g.norm() for g in w.movedim(dim, 0)),
    }[kind]
    free = [w.detach().clone().requires_grad_() for w in ws]
    value = sum(reference(w) for w in free)
    own = torch.autograd.grad(value, free)
    data = torch.cat([w.grad.flatten() for w in ws]).norm()
    groups = [g for w in ws for g in w.detach().movedim(dim, 0)]
    numbers = torch.cat([w.detach().flatten() for w in ws])
    return {
        "penalty": value.item(),
        "gradient_share": float(torch.cat([g.flatten() for g in own]).norm() / data),
        "sparsity": float((numbers == 0).double().mean()),
        "zero_groups": sum(not bool(g.any()) for g in groups) / len(groups),
    }


@pytest.mark.parametrize(
    ("kind", "penalty", "dim"),
    [("l2", L2(STRENGTH), 0), ("l1", L1(STRENGTH), 0), ("group", GroupLasso(STRENGTH, dim=1), 1)],
)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("closure", [False, True])
def test_the_numbers_are_those_of_the_formulas(
    kind: str, penalty: Any, dim: int, how: str, closure: bool
) -> None:
    model, expected = make_net(), []
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].weight[:, 1] = 0
        model[2].weight[0, 0] = 0
    if kind == "group":  # sqrt(0) has no derivative; the measured subgradient there is zero
        with torch.no_grad():
            model[0].weight[:, 1] = 1e-150
    optimizer = SGD(model.parameters(), lr=0.01)
    handle = regularize(model, optimizer, penalty, how=how, stats_every=2)
    for step, batch in enumerate(batches(5)):
        twin = copy.deepcopy(model)
        twin.zero_grad()
        loss = data_loss(twin, batch)
        loss.backward()
        if step % 2 == 0:
            row = {"step": step, "loss": loss.item(), **by_hand(twin, kind, dim)}
            expected.append(row)
        compute = partial(forward_backward, model, optimizer, batch)
        if closure:
            optimizer.step(compute)
        else:
            handle.observe(compute())
            optimizer.step()
    assert_close(handle.stats(), expected)
    assert expected[0]["sparsity"] > 0


def test_measuring_changes_no_bit_and_is_off_unless_asked() -> None:
    def trained(every: int | None) -> nn.Module:
        model = make_net()
        optimizer = Adam(model.parameters(), lr=0.1)
        handle = regularize(model, optimizer, L1(STRENGTH), stats_every=every)
        for batch in batches():
            handle.observe(forward_backward(model, optimizer, batch))
            optimizer.step()
        if every is None:
            with pytest.raises(ShrinkageError, match="stats_every=10"):
                handle.stats()
        return model

    assert not moved(trained(1), trained(None))


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        self.count += "local_scalar" in str(function)
        return function(*args, **(kwargs or {}))


def test_a_step_that_is_measured_waits_for_nothing_and_reading_is_later() -> None:
    model = make_net().float()
    optimizer = SGD(model.parameters(), lr=0.01)
    handle = regularize(model, optimizer, L1(STRENGTH), stats_every=1)
    for X, y in batches(3):
        loss = forward_backward(model, optimizer, (X.float(), y))
        handle.observe(loss)
        with Waits() as seen:
            optimizer.step()
        assert seen.count == 0
    with Waits() as seen:
        loss.item()
    assert seen.count == 1
    assert [row["step"] for row in handle.stats()] == [0, 1, 2]
    handle.stats()[0]["loss"] = 7.0
    assert handle.stats()[0]["loss"] != 7.0


def test_each_step_is_measured_once_before_the_penalty_enters() -> None:
    model = make_net()
    optimizer = LBFGS(model.parameters(), lr=0.1, max_iter=5)
    handle = regularize(model, optimizer, L2(STRENGTH), stats_every=1)
    first: list[float] = []

    def closure(batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = forward_backward(model, optimizer, batch)
        first.append(float(loss))
        return loss

    starts = []
    for batch in batches(3):
        starts.append(len(first))
        optimizer.step(partial(closure, batch))
    assert len(first) > 3
    assert [row["loss"] for row in handle.stats()] == [first[start] for start in starts]


def test_a_loss_that_nobody_gave_is_no_number_and_none_is_kept_for_later() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.01)
    handle = regularize(model, optimizer, L2(STRENGTH), stats_every=2)
    for step, batch in enumerate(batches(4)):
        loss = forward_backward(model, optimizer, batch)
        if step == 1:
            handle.observe(loss)
        optimizer.step()
    assert [math.isnan(row["loss"]) for row in handle.stats()] == [True, True]


def test_the_share_leaves_out_a_fused_optimizers_loss_scale() -> None:
    def share(scale: float) -> float:
        model = make_net().float()
        optimizer = Adam(model.parameters(), fused=True)
        handle = regularize(model, optimizer, L2(STRENGTH), stats_every=1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        (X, y), *_ = batches(1)
        scaler.scale(data_loss(model, (X.float(), y))).backward()
        scaler.step(optimizer)
        return handle.stats()[0]["gradient_share"]

    assert_close(share(1024.0), share(1.0), rtol=1e-5, atol=0)


def test_half_precision_is_summed_wide_and_constraints_are_not_measured() -> None:
    model = nn.Sequential(nn.Linear(600, 200, bias=False), nn.Linear(200, 2)).half()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    optimizer = SGD(model.parameters(), lr=0.0)
    rules = {"0.weight": L2(1.0), "1.weight": MaxNorm(1.0)}
    handle = regularize(model, optimizer, rules, stats_every=1)
    for w in model.parameters():
        w.grad = torch.ones_like(w)
    optimizer.step()
    (row,) = handle.stats()
    assert (row["penalty"], row["gradient_share"], row["sparsity"]) == (120_000, 2.0, 0.0)


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_steps_that_cannot_be_counted_are_refused_and_nothing_is_attached(every: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"stats_every=.* give a whole number"):
        regularize(model, optimizer, L2(STRENGTH), stats_every=every)
    regularize(model, optimizer, L2(STRENGTH))
