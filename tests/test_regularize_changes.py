"""a8, fault 31: a model or an optimizer that changes on the way is noticed at the next step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from _training import batches, data_loss, make_net, moved
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import SGD, Optimizer
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import Regularization, regularize

SHRUNK = 1 - 0.1 * 2 * 0.1
"""What one step of SGD with rate 0.1 and L2(0.1) leaves of a weight without a gradient."""


def attached() -> tuple[nn.Sequential, Optimizer, Regularization]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(0.1))
    step(model, optimizer)
    return model, optimizer, handle


def step(model: nn.Module, optimizer: Optimizer) -> None:
    optimizer.zero_grad()  # also of tensors that the model has no more
    for w in model.parameters():
        w.grad = torch.zeros_like(w)
    optimizer.step()


def test_a_parameter_that_is_replaced_is_said_to_carry_nothing() -> None:
    model, optimizer, handle = attached()
    model[0].weight = nn.Parameter(torch.ones(2, 2))
    with pytest.warns(UserWarning, match=r"not hold 0\.weight: neither trained nor penalized"):
        step(model, optimizer)
    assert torch.equal(model[0].weight, torch.ones(2, 2))
    rows = {row["name"]: row for row in handle.summary().rows}
    assert not rows["0.weight"]["penalized"]
    assert rows["1.weight"]["penalized"]
    optimizer.add_param_group({"params": [model[0].weight]})
    step(model, optimizer)
    assert_close(model[0].weight.detach(), torch.full((2, 2), SHRUNK))


def test_a_module_that_is_replaced_with_its_group_is_penalized_and_the_old_one_is_not() -> None:
    model, optimizer, handle = attached()
    old, model[1] = model[1], nn.Linear(2, 2)
    optimizer.add_param_group({"params": model[1].parameters()})
    new, left = model[1].weight.detach().clone(), old.weight.detach().clone()
    old.weight.grad = torch.zeros(2, 2)
    step(model, optimizer)
    assert_close(model[1].weight.detach(), SHRUNK * new)
    assert torch.equal(old.weight, left)
    assert_close(handle.value(), L2(0.1)(model).detach())


def test_a_parameter_swapped_inside_a_group_is_noticed() -> None:
    model, optimizer, _ = attached()
    model[0].weight = nn.Parameter(torch.ones(2, 2))
    optimizer.param_groups[0]["params"][0] = model[0].weight
    step(model, optimizer)
    assert_close(model[0].weight.detach(), torch.full((2, 2), SHRUNK))


def test_loaded_optimizer_state_brings_its_rates() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L1(0.1))
    step(model, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 0.5
    optimizer.load_state_dict(state)
    before = model.weight.detach().clone()
    step(model, optimizer)
    assert_close(model.weight.detach(), L1(0.1).prox(before, 0.5))


def test_tensors_of_several_types_and_a_change_of_type() -> None:
    model, optimizer, _ = attached()
    for change in (model.float, model[1].double, model.double, model[0].float):
        change()
        before = copy.deepcopy(model)
        step(model, optimizer)
        assert_close(model[0].weight, SHRUNK * before[0].weight)
        assert_close(model[1].weight, SHRUNK * before[1].weight)


def test_freezing_and_unfreezing_count_at_once() -> None:
    model, optimizer, _ = attached()
    for frozen in (True, False, True):
        model[0].requires_grad_(not frozen)
        before = copy.deepcopy(model)
        step(model, optimizer)
        assert_close(model[0].weight, (1 if frozen else SHRUNK) * before[0].weight)
        assert_close(model[1].weight, SHRUNK * before[1].weight)


def test_lora_factors_come_and_go() -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.down, self.up = nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False)

    model, optimizer, handle = attached()
    base = model[0]
    model[0] = Adapted(base)
    optimizer.add_param_group({"params": [*model[0].down.parameters(), *model[0].up.parameters()]})
    before = copy.deepcopy(model)
    step(model, optimizer)
    assert_close(model[0].down.weight, SHRUNK * before[0].down.weight)
    assert not moved(model[0].base, before[0].base)
    model[0] = base.requires_grad_(True)
    before = copy.deepcopy(model)
    step(model, optimizer)
    assert_close(model[0].weight, SHRUNK * before[0].weight)
    assert [row["name"] for row in handle.summary().rows if row["penalized"]] == [
        "0.weight",
        "1.weight",
    ]


def test_a7_a_weight_that_is_parametrized_on_the_way_is_no_longer_penalized() -> None:
    model, optimizer, handle = attached()
    parametrizations.weight_norm(model[0])
    optimizer.add_param_group({"params": model[0].parametrizations.parameters()})
    before = copy.deepcopy(list(model[0].parameters()))
    step(model, optimizer)
    for w, old in zip(model[0].parameters(), before, strict=True):
        assert torch.equal(w, old)
    assert "effective weight 0.weight" in str(handle.summary())
    parametrize.remove_parametrizations(model[0], "weight")
    optimizer.add_param_group({"params": [model[0].weight]})
    old = model[0].weight.detach().clone()
    step(model, optimizer)
    assert_close(model[0].weight.detach(), SHRUNK * old)


def weight_norm_both(kind: Any) -> nn.Module:
    return nn.Sequential(*(kind(nn.Linear(2, 2)) for _ in range(2)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "kind",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_a7_where_every_weight_is_parametrized_the_error_says_why(kind: Any) -> None:
    model = weight_norm_both(kind)
    with pytest.raises(ShrinkageError, match=r"only a part of the effective weight 0\.weight.*add"):
        regularize(model, SGD(model.parameters(), lr=0.1), L2(0.1))
    with pytest.raises(ShrinkageError, match=r"only a part of the effective weight 0\.weight.*add"):
        regularize(model, SGD(model.parameters(), lr=0.1), {nn.Linear: L2(0.1)})
    with pytest.warns(ShrinkageWarning, match="parametrized: .* are parts of effective weights"):
        regularize(model, SGD(model.parameters(), lr=0.1), L2(0.1), select=everything)


def test_what_is_known_of_the_model_does_not_keep_training_from_being_the_same() -> None:
    nets = [make_net(), make_net()]
    for net, changing in zip(nets, (True, False), strict=True):
        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
        regularize(net, optimizer, L2(0.1))
        for batch in batches():
            if changing:
                net.add_module("spare", nn.Identity())
                del net.spare
            optimizer.zero_grad()
            data_loss(net, batch).backward()
            optimizer.step()
    assert not moved(*nets)
