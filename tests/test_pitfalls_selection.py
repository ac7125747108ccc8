"""Pitfalls of which tensors are penalized, each beside an implementation that falls into it."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from _training import moved
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import SGD, Adam, AdamW
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import explain_selection, selected_parameters
from shrinkage.penalties import L1, L2
from shrinkage.regularize import regularize


class Tokens(nn.Module):
    """A small language model with the parts that decay should leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.conv1 = nn.Conv1d(4, 4, 1)
        self.bn1 = nn.BatchNorm1d(4)
        self.attn = nn.MultiheadAttention(4, 2)
        self.ln_f = nn.LayerNorm(4)
        self.rms = nn.RMSNorm(4)
        self.A_log = nn.Parameter(torch.ones(4, 4))
        self.A_log._no_weight_decay = True  # type: ignore[attr-defined]
        self.temperature = nn.Parameter(torch.ones(()))
        self.bias_head = nn.Linear(4, 2)


PENALIZED = {"conv1.weight", "attn.in_proj_weight", "attn.out_proj.weight", "bias_head.weight"}


def test_a2_biases_scales_and_scalars_are_left_alone() -> None:
    model = Tokens()
    naive = {name for name, _ in model.named_parameters()}
    by_axes = {name for name, w in model.named_parameters() if w.dim() >= 2}
    assert {"conv1.bias", "bn1.weight", "temperature"} < naive - PENALIZED
    assert by_axes - PENALIZED == {"embed.weight", "A_log"}
    assert set(selected_parameters(model)) == PENALIZED


def test_a3_names_are_no_roles() -> None:
    """Lists of names miss norms of other names, and hit weights that contain them."""
    banned = ("bias", "LayerNorm.weight", "n.weight")
    naive = {n for n, _ in Tokens().named_parameters() if not any(word in n for word in banned)}
    assert {"bn1.weight", "ln_f.weight", "rms.weight"} < naive - PENALIZED
    assert "bias_head.weight" in PENALIZED - naive
    assert set(selected_parameters(Tokens())) == PENALIZED
    reasons = {row.name: row.reason for row in explain_selection(Tokens())}
    assert "RMSNorm" in reasons["rms.weight"]
    assert reasons["A_log"] == "marked _no_weight_decay"


def test_a5_the_penalty_is_there_in_every_batch() -> None:
    """A generator that is kept is empty from the second pass on."""
    model = nn.Linear(3, 2)
    kept = model.parameters()
    naive = [sum(w.square().sum() for w in kept) for _ in range(3)]
    assert naive[0] > 0
    assert naive[1:] == [0, 0]
    penalty = L2(1.0)
    values = [penalty(model).detach() for _ in range(3)]
    assert values == [model.weight.detach().square().sum()] * 3
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, penalty)
    for _ in range(3):
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        (0 * model(torch.ones(1, 3))).sum().backward()
        optimizer.step()
        assert_close(model.weight.detach(), 0.8 * before)


def test_a7_to_shrink_what_is_normalized_again_changes_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
    X = torch.randn(4, 3)
    before = model(X).detach()
    direction = dict(model.named_parameters())["0.parametrizations.weight.original1"]
    with torch.no_grad():
        direction.mul_(0.5)
    assert_close(model(X).detach(), before)
    (row,) = (row for row in explain_selection(model) if row.tensor is direction)
    assert not row.selected
    assert "add penalty.value of that one to the loss" in row.reason
    effective = L2(1.0).value(model[0].weight)
    with torch.no_grad():
        dict(model.named_parameters())["0.parametrizations.weight.original0"].mul_(0.5)
    assert_close(L2(1.0).value(model[0].weight), effective / 4)
    with pytest.raises(ShrinkageError, match="effective weight"):
        regularize(model[0], SGD(model.parameters(), lr=0.1), L2(1.0))


CHANGES: dict[str, Any] = {
    "unfrozen": lambda model: model[0].requires_grad_(True),
    "replaced": lambda model: setattr(model, "0", nn.Linear(2, 2, bias=False)),
    "parametrized no more": lambda model: parametrize.remove_parametrizations(model[1], "weight"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_a8_what_changes_on_the_way(change: str, how: str) -> None:
    """A list of tensors that is made once misses what is added, and keeps what is gone."""

    def trained(penalized: bool) -> tuple[nn.Module, list[Tensor]]:
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
        model[0].requires_grad_(False)
        parametrizations.orthogonal(model[1])
        optimizer = SGD(model.parameters(), lr=0.1)
        kept = [w for w in selected_parameters(model).values() if w.requires_grad]
        if penalized:
            regularize(model, optimizer, L2(0.5), how=how)
        CHANGES[change](model)
        known = {id(w) for w in optimizer.param_groups[0]["params"]}
        for w in model.parameters():
            if id(w) not in known:
                optimizer.add_param_group({"params": [w]})
        optimizer.zero_grad()
        (0 * model(torch.ones(1, 2))).sum().backward()
        optimizer.step()
        return model, kept

    (plain, kept), (shrunk, _) = trained(False), trained(True)
    changed = 1 if change == "parametrized no more" else 0
    assert all(w is not plain[changed].weight for w in kept)
    factor = 1 / 1.1 if how == "proximal" else 0.9
    for layer in (changed, 2):
        assert_close(shrunk[layer].weight.detach(), factor * plain[layer].weight.detach())


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_a9_rows_without_a_gradient_shrink_only_when_asked(how: str) -> None:
    """A rare word has a gradient in few steps, and would be decayed away in all of them."""

    def trained(select: Any) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2))
        before = model[0].weight.detach().clone()
        optimizer = Adam(model.parameters(), lr=0.1)
        regularize(model, optimizer, {select: L2(0.1)}, how=how)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.tensor([0, 1, 2])).sum().backward()
            optimizer.step()
        return before, model[0].weight.detach()

    before, after = trained("*weight")
    assert (after[3:].norm(dim=1) < before[3:].norm(dim=1)).all()
    assert not after[0].any()
    before, after = trained(nn.Linear)
    assert torch.equal(after[3:], before[3:])


def test_a10_weight_decay_and_a_penalty_add_up_and_it_is_said() -> None:
    """AdamW decays by 0.01 unless it is told not to."""

    def factor(weight_decay: float, penalty: L2) -> float:
        model = nn.Linear(2, 2)
        before = copy.deepcopy(model)
        optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=weight_decay)
        regularize(model, optimizer, penalty, how="decoupled")
        (0 * model(torch.ones(1, 2))).sum().backward()
        optimizer.step()
        assert moved(model, before)
        return float((model.weight / before.weight).detach().mean())

    said = r"weight_decay=0\.01, and L2\(0\.005\).*on top; set weight_decay=0"
    with pytest.warns(UserWarning, match=said):
        doubled = factor(0.01, L2(0.005))
    assert doubled == pytest.approx(1 - 0.1 * 0.02, abs=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = nn.Linear(2, 2)
        regularize(model, AdamW(model.parameters()), L1(0.005), how="coupled")
        assert factor(0.0, L2(0.005)) == pytest.approx(1 - 0.1 * 0.01, abs=1e-5)
