"""Every penalty in every coupling on every kind of optimizer and selection: one table of laws."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop
from torch.testing import assert_close

from shrinkage.parameters import Selection, everything, selected_parameters, weights
from shrinkage.penalties import L1, L2, Penalty, catalogue
from shrinkage.regularizing.regularize import regularize

PENALTIES: dict[str, Penalty] = {
    **{f"{name}": kind(**kind.examples[0]).at(0.02) for name, kind in catalogue().items()},
    "sum": L1(0.02) + L2(0.01),
    "l2_to_a_reference": L2(0.02, toward={f"{i}.weight": torch.ones(4, 4) for i in range(4)}),
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    f"{kind.__name__}-{path}": partial(kind, lr=0.05, **options, **{path: True})
    for kind, options in (
        (SGD, {"momentum": 0.9}),
        (Adam, {"amsgrad": True}),
        (AdamW, {"weight_decay": 0.0}),
        (Adagrad, {}),
        (RMSprop, {}),
        (NAdam, {}),
    )
    for path in ("foreach", "fused", "forloop")
    if not (path == "fused" and kind in (RMSprop, NAdam))
}
for name, make in OPTIMIZERS.items():
    if name.endswith("forloop"):
        del make.keywords["forloop"]
        make.keywords["foreach"] = False
SELECTIONS: dict[str, Selection] = {
    "weights": weights,
    "glob": "[02].weight",
    "regex": re.compile(r"^0\.weight$"),
    "type": nn.Linear,
    "function": lambda name, w: w.dim() == 2,
}


class Net(nn.Module):
    """Square layers, so that every penalty takes them: one tied, one frozen, one unused."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(4, 4) for _ in range(4)]
        layers[1].weight = layers[0].weight
        layers[2].requires_grad_(False)
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)

    def forward(self, x: Tensor) -> Tensor:
        first, tied, frozen, _unused = self.children()
        return tied(torch.tanh(frozen(torch.tanh(first(x)))))


def make_net() -> Net:
    torch.manual_seed(4)
    return Net().double()


def gradients(net: Net) -> Iterator[None]:
    """Compute the gradients of the data loss, batch after batch."""
    random = torch.Generator().manual_seed(5)
    for _ in range(4):
        net.zero_grad()
        x = torch.randn(8, 4, generator=random, dtype=torch.float64)
        (net(x) - x.flip(1)).square().mean().backward()
        yield


def hooked(make: Callable[..., Optimizer], penalty: Penalty, how: str, select: Selection) -> Net:
    net = make_net()
    optimizer = make(net.parameters())
    handle = regularize(net, optimizer, penalty, how=how, select=select)
    for _ in gradients(net):
        optimizer.step()
    handle.remove()
    return net


def by_hand(make: Callable[..., Optimizer], penalty: Penalty, how: str, select: Selection) -> Net:
    """Do the same with autograd and the penalty's own operations, a tensor at a time."""
    net = make_net()
    optimizer = make(net.parameters())
    chosen = [
        (w, penalty.for_tensor(name, w))
        for name, w in selected_parameters(net, select).items()
        if w.requires_grad and not name.startswith("3")
    ]
    for _ in gradients(net):
        if how == "coupled":
            sum(own.value(w) for w, own in chosen).backward()  # type: ignore[union-attr]
        shrunk = [0.05 * own.gradient(w.detach()) for w, own in chosen]
        optimizer.step()
        with torch.no_grad():
            for (w, own), part in zip(chosen, shrunk, strict=True):
                if how == "decoupled":
                    w -= part
                if how == "proximal":
                    w.copy_(own.prox(w, 0.05))
    return net


def table(**axes: dict[str, Any]) -> Any:
    def decorate(test: Any) -> Any:
        for name, values in axes.items():
            test = pytest.mark.parametrize(name, values.values(), ids=values.keys())(test)
        return test

    return decorate


def check(make: Any, penalty: Penalty, how: str, select: Selection) -> None:
    if how == "proximal" and type(penalty).__name__ == "Orthogonal":
        pytest.skip("has no prox")
    ours, theirs = hooked(make, penalty, how, select), by_hand(make, penalty, how, select)
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-11)
    start = make_net()
    for unmoved in ("2.weight", "3.weight", "3.bias"):  # frozen, and without a gradient
        assert torch.equal(ours.get_parameter(unmoved), start.get_parameter(unmoved))


@table(make=OPTIMIZERS, penalty=PENALTIES)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_every_penalty_and_coupling_on_every_optimizer(
    make: Callable[..., Optimizer], penalty: Penalty, how: str
) -> None:
    check(make, penalty, how, weights)


@table(select=SELECTIONS, penalty=PENALTIES)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_every_penalty_and_coupling_on_every_selection(
    select: Selection, penalty: Penalty, how: str
) -> None:
    check(OPTIMIZERS["SGD-foreach"], penalty, how, select)


@table(make=OPTIMIZERS)
@pytest.mark.parametrize("decoupled", [False, True])
def test_l2_is_twice_the_weight_decay_in_both_senses(
    make: Callable[..., Optimizer], decoupled: bool
) -> None:
    kind = make.func  # type: ignore[attr-defined]
    if kind is AdamW:
        pytest.skip("Adam with decoupled decay")
    if decoupled and kind not in (Adam, NAdam):
        pytest.skip("torch has no decoupled decay for it")
    sense = {"decoupled_weight_decay": decoupled} if kind in (Adam, NAdam) else {}
    how = "decoupled" if decoupled else "coupled"
    ours = hooked(make, L2(0.02), how, everything)
    theirs = make_net()
    optimizer = make(theirs.parameters(), weight_decay=0.04, **sense)
    for _ in gradients(theirs):
        optimizer.step()
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-11)


@table(make=OPTIMIZERS)
def test_removed_penalties_leave_an_optimizer_as_it_was(make: Callable[..., Optimizer]) -> None:
    nets = [make_net(), make_net()]
    for net, had_penalty in zip(nets, (True, False), strict=True):
        optimizer = make(net.parameters())
        if had_penalty:
            groups = [dict(group) for group in optimizer.param_groups]
            with regularize(net, optimizer, {"0.*": L1(0.5), "1.*": L2(0.5)}):
                assert optimizer.param_groups == groups
            assert not optimizer._optimizer_step_pre_hooks
            assert not optimizer._optimizer_step_post_hooks
        for _ in gradients(net):
            optimizer.step()
    assert_close(nets[0].state_dict(), nets[1].state_dict(), rtol=0, atol=0)


FEW_OPTIMIZERS = {name: OPTIMIZERS[name] for name in ("SGD-foreach", "Adam-fused", "AdamW-forloop")}


@table(make=FEW_OPTIMIZERS, penalty=PENALTIES)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_fault_21_strength_0_is_to_the_bit_no_penalty(
    make: Callable[..., Optimizer], penalty: Penalty, how: str
) -> None:
    if how == "proximal" and type(penalty).__name__ == "Orthogonal":
        pytest.skip("has no prox")
    nets = [make_net().float(), make_net().float()]
    for net, nothing in zip(nets, (penalty.at(0.0), None), strict=True):
        optimizer = make(net.parameters())
        if nothing is not None:
            regularize(net, optimizer, nothing, how=how)
        random = torch.Generator().manual_seed(5)
        for _ in range(4):
            net.zero_grad()
            net(torch.randn(8, 4, generator=random)).square().mean().backward()
            optimizer.step()
    assert_close(nets[0].state_dict(), nets[1].state_dict(), rtol=0, atol=0)
