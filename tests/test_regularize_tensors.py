"""Which tensors a penalty on an optimizer touches, and what its handle tells."""

from __future__ import annotations

import copy

import pytest
import torch
from _training import (
    STRENGTH,
    batches,
    data_loss,
    make_net,
    moved,
)
from torch import Tensor, nn
from torch.optim import SGD
from torch.testing import assert_close

from shrinkage.parameters import everything, selected_parameters
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.regularizing.regularize import regularize


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.embed(rows))


def test_a4_tied_weights_count_once() -> None:
    model = Tied()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH), select="head.*")
    assert_close(handle.value(), L2(STRENGTH).value(model.head.weight).detach())
    before = model.head.weight.detach().clone()
    model(torch.arange(5)).sum().mul(0).backward()
    optimizer.step()
    assert_close(model.head.weight.detach(), before * (1 - 0.1 * 2 * STRENGTH))
    (row,) = handle.summary().rows
    assert row["name"] == "embed.weight"
    assert row["shared"] == ["head.weight"]
    assert "also named head.weight" in str(handle.summary())


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("set_to_none", [True, False])
def test_c6_frozen_and_unused_tensors_stay(how: str, set_to_none: bool) -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("used", "frozen", "unused")})
    optimizer = SGD(model.parameters(), lr=0.1)
    model["frozen"].requires_grad_(False)
    before = copy.deepcopy(model)
    regularize(model, optimizer, L2(STRENGTH), how=how)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=set_to_none)
        model["frozen"](model["used"](torch.ones(1, 2))).sum().backward()
        optimizer.step()
    assert moved(model["used"], before["used"])
    assert not moved(model["frozen"], before["frozen"])
    assert not moved(model["unused"], before["unused"])


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_c6_a_tensor_frozen_with_its_last_gradient_gets_no_penalty(how: str) -> None:
    nets = [make_net(), make_net()]
    (batch,) = batches(1)
    for net, penalized in zip(nets, (True, False), strict=True):
        optimizer = SGD(net.parameters(), lr=0.1)
        if penalized:
            regularize(net, optimizer, L2(STRENGTH), how=how)
        data_loss(net, batch).backward()
        net.requires_grad_(False)
        optimizer.step()
    assert not moved(*nets)


def test_a8_a_tensor_unfrozen_later_is_penalized_from_then_on() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    handle = regularize(model, optimizer, L2(STRENGTH))
    assert handle.value() == 0
    assert "frozen" in str(handle.summary())
    model.requires_grad_(True)
    before = model.weight.detach().clone()
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    assert_close(model.weight.detach(), before * (1 - 0.1 * 2 * STRENGTH))


def test_a8_a_layer_added_with_its_group_is_penalized() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    model.append(nn.Linear(2, 2))
    optimizer.add_param_group({"params": model[1].parameters()})
    before = model[1].weight.detach().clone()
    model(torch.zeros(1, 2)).sum().mul(0).backward()
    optimizer.step()
    assert_close(model[1].weight.detach(), before * (1 - 0.1 * 2 * STRENGTH))
    assert [row["name"] for row in handle.summary().rows if row["penalized"]] == [
        "0.weight",
        "1.weight",
    ]


def test_a8_a_tensor_may_be_replaced_under_its_parameter() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    model.weight.data = torch.ones(2, 2)
    model.double()
    model(torch.zeros(1, 2).double()).sum().backward()
    optimizer.step()
    assert_close(model.weight.detach(), torch.full((2, 2), 1 - 0.2 * STRENGTH).double())


def test_a5_the_same_penalty_acts_at_every_step() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    before = model.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.zeros(1, 2)).sum().backward()
        optimizer.step()
    assert_close(model.weight.detach(), before * (1 - 0.2 * STRENGTH) ** 3)


def test_a6_two_selections_keep_their_strengths() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.1), select="0.weight")
    regularize(model, optimizer, L2(0.3), select="1.weight")
    before = copy.deepcopy(model)
    model(torch.zeros(1, 2)).sum().mul(0).backward()
    optimizer.step()
    assert_close(model[0].weight, before[0].weight * (1 - 0.1 * 2 * 0.1))
    assert_close(model[1].weight, before[1].weight * (1 - 0.1 * 2 * 0.3))


def test_half_precision_and_empty_tensors() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    model.register_parameter("empty", nn.Parameter(torch.empty(0, 3)))
    optimizer = SGD(model.parameters(), lr=0.5)
    handle = regularize(model, optimizer, L1(0.1), select=everything)
    model(torch.zeros(1, 3, dtype=torch.bfloat16)).sum().backward()
    before = model.weight.detach().clone()
    optimizer.step()
    assert_close(model.weight.detach(), L1(0.1).prox(before, 0.5))
    assert model.weight.dtype == torch.bfloat16
    assert handle.value().dtype == torch.float32


def test_summary_lists_every_parameter_with_its_reason() -> None:
    model = make_net()
    with torch.no_grad():
        model[0].weight[0] = 0
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    summary = handle.summary()
    assert [row["name"] for row in summary.rows] == list(dict(model.named_parameters()))
    first, bias, second, _ = summary.rows
    assert first["why"] == "weight of Linear"
    assert (first["zeros"], first["numel"], first["strength"]) == (4, 24, STRENGTH)
    assert (bias["penalized"], bias["value"]) == (False, 0.0)
    assert_close(first["value"] + second["value"], handle.value().item())
    lines = str(summary).splitlines()
    assert lines[0] == "L2(0.01), coupled, on SGD"
    assert lines[1].startswith("2 of 4 tensors, 42 of 51 numbers, total value ")
    assert lines[2] == "elsewhere: torch weight_decay=0.02, Keras L2(0.01)"
    assert " ".join(lines[4].split()) == "parameter penalty strength numbers zeros value why"
    column = lines[4].index("why")
    assert [line[column:] for line in lines[5:]] == [row["why"] for row in summary.rows]


def test_summary_is_a_rich_table_too() -> None:
    console = pytest.importorskip("rich.console").Console(width=120)
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, GroupLasso(0.25))
    with console.capture() as screen:
        console.print(handle.summary())
    for line in str(handle.summary()).splitlines():
        assert " ".join(line.split()) in " ".join(screen.get().split())


def test_value_is_detached_and_follows_the_weights() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L1(0.5))
    selected = selected_parameters(model)
    for _ in range(2):
        value = handle.value()
        assert value.shape == ()
        assert not value.requires_grad
        assert_close(value, sum(0.5 * w.detach().abs().sum() for w in selected.values()))
        with torch.no_grad():
            model[0].weight.mul_(2)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("penalty", [L2, L1, GroupLasso], ids=lambda kind: kind.__name__)
def test_every_tensor_is_pulled_to_its_own_reference(how: str, penalty: type[L2]) -> None:
    model = make_net()
    reference = {name: w + 0.1 for name, w in model.state_dict().items()}
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, penalty(0.3, toward=reference), how=how)
    assert_close(handle.value(), penalty(0.3, toward=reference)(model).detach())
    before = copy.deepcopy(model)
    for w in model.parameters():
        w.grad = torch.zeros_like(w)
    optimizer.step()
    for name in ("0.weight", "2.weight"):
        w, own = before.get_parameter(name).detach(), penalty(0.3, toward=reference[name])
        wanted = own.prox(w, 0.1) if how == "proximal" else w - 0.1 * own.gradient(w)
        assert_close(model.get_parameter(name).detach(), wanted)
    assert_close(
        sum(row["value"] for row in handle.summary().rows),
        penalty(0.3, toward=reference)(model).item(),
    )
