"""Pitfalls of which tensors are penalized, each beside an implementation that falls into it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from _pitfalls import COUPLINGS, Attach, ours, pitfall
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import explain_selection, selected_parameters
from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import regularize


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


Names = Callable[[nn.Module], set[str]]


def by_us(model: nn.Module) -> set[str]:
    return set(selected_parameters(model))


def all_of_them(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def by_axes(model: nn.Module) -> set[str]:
    return {name for name, w in model.named_parameters() if w.dim() >= 2}


def by_names(model: nn.Module) -> set[str]:
    """Lists of names miss norms of other names, and hit weights that contain them."""
    banned = ("bias", "LayerNorm.weight", "n.weight")
    return {name for name in all_of_them(model) if not any(word in name for word in banned)}


@pitfall(ours=by_us, naive={"all": all_of_them, "by-axes": by_axes})
def test_a2_biases_scales_and_scalars_are_left_alone(names: Names) -> None:
    assert names(Tokens()) == PENALIZED


@pitfall(ours=by_us, naive=by_names)
def test_a3_names_are_no_roles(names: Names) -> None:
    assert names(Tokens()) == PENALIZED


def test_a3_what_names_get_wrong_and_what_we_say_of_it() -> None:
    found = by_names(Tokens())
    assert {"bn1.weight", "ln_f.weight", "rms.weight"} < found - PENALIZED
    assert "bias_head.weight" in PENALIZED - found
    reasons = {row.name: row.reason for row in explain_selection(Tokens())}
    assert "RMSNorm" in reasons["rms.weight"]
    assert reasons["A_log"] == "marked _no_weight_decay"


def shrink_what_a_generator_yields(model: nn.Module, optimizer: Optimizer) -> None:
    """Decoupled L2 on ``parameters()``, kept from the start."""
    kept = model.parameters()

    def hook(*_: object) -> None:
        for w in kept:
            w.data.mul_(0.8)

    optimizer.register_step_post_hook(hook)


@pitfall(ours=ours(L2(1.0)), naive=shrink_what_a_generator_yields)
def test_a5_the_penalty_is_there_in_every_batch(attach: Attach) -> None:
    """A generator that is kept is empty from the second pass on."""
    model = nn.Linear(3, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer)
    for _ in range(3):
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        (0 * model(torch.ones(1, 3))).sum().backward()
        optimizer.step()
        assert_close(model.weight.detach(), 0.8 * before)


def of_the_direction(model: nn.Module) -> Tensor:
    return model.parametrizations.weight.original1.square().sum()


def of_the_effective_weight(model: nn.Module) -> Tensor:
    """As our refusal says."""
    return L2(1.0).value(model.weight)


@pitfall(ours=of_the_effective_weight, naive=of_the_direction)
def test_a7_to_shrink_what_is_normalized_again_changes_nothing(
    penalty: Callable[[nn.Module], Tensor],
) -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 2))
    before = model.weight.detach().norm()
    penalty(model).backward()
    SGD(model.parameters(), lr=0.01).step()
    assert model.weight.detach().norm() < 0.99 * before


def test_a7_parts_of_an_effective_weight_are_refused_or_left_out() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
    direction = dict(model.named_parameters())["0.parametrizations.weight.original1"]
    (row,) = (row for row in explain_selection(model) if row.tensor is direction)
    assert not row.selected
    assert "add penalty.value of that one to the loss" in row.reason
    with pytest.raises(ShrinkageError, match="effective weight"):
        regularize(model[0], SGD(model.parameters(), lr=0.1), L2(1.0))


CHANGES: dict[str, Any] = {
    "unfrozen": lambda model: model[0].requires_grad_(True),
    "replaced": lambda model: setattr(model, "0", nn.Linear(2, 2, bias=False)),
    "parametrized no more": lambda model: parametrize.remove_parametrizations(model[1], "weight"),
}


SHRINKS = {"coupled": 0.9, "decoupled": 0.9, "proximal": 1 / 1.1}


def shrink_a_list(model: nn.Module, optimizer: Optimizer, how: str) -> None:
    """L2 on the tensors that are there at the start."""
    kept = [w for w in selected_parameters(model).values() if w.requires_grad]

    def hook(*_: object) -> None:
        for w in kept:
            w.data.mul_(SHRINKS[how])

    optimizer.register_step_post_hook(hook)


def shrink(model: nn.Module, optimizer: Optimizer, how: str) -> None:
    regularize(model, optimizer, L2(0.5), how=how)


@pitfall(ours=shrink, naive=shrink_a_list)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", SHRINKS)
@pytest.mark.filterwarnings("ignore:left alone")
def test_a8_what_changes_on_the_way(attach: Callable[..., None], change: str, how: str) -> None:
    """A list of tensors that is made once misses what is added, and keeps what is gone."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
    model[0].requires_grad_(False)
    parametrizations.orthogonal(model[1])
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer, how)
    CHANGES[change](model)
    known = {id(w) for w in optimizer.param_groups[0]["params"]}
    for w in model.parameters():
        if id(w) not in known:
            optimizer.add_param_group({"params": [w]})
    before = copy.deepcopy(model)
    optimizer.zero_grad()
    (0 * model(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    changed = 1 if change == "parametrized no more" else 0
    for layer in (2, changed):
        assert_close(model[layer].weight.detach(), SHRINKS[how] * before[layer].weight.detach())


def decay_after(model: nn.Module, optimizer: Optimizer, names: Names = by_us) -> None:
    """Decoupled L2 as a step post-hook of one line."""

    def hook(*_: object) -> None:
        for name in names(model):
            model.get_parameter(name).data.mul_(1 - 0.1 * 0.01)

    optimizer.register_step_post_hook(hook)


@pitfall(
    ours={how: ours(L2(0.1), how) for how in COUPLINGS},
    naive={"by-axes": partial(decay_after, names=by_axes)},
)
def test_a9_rows_without_a_gradient_shrink_only_when_asked(attach: Attach) -> None:
    """A rare word has a gradient in few steps, and would be decayed away in all of them."""
    before, after = embedding_trained(attach)
    assert torch.equal(after[3:], before[3:])


@pytest.mark.parametrize("how", COUPLINGS)
def test_a9_asked_for_an_embedding_shrinks_as_a_whole_and_its_padding_stays_zero(how: str) -> None:
    before, after = embedding_trained(ours({"*weight": L2(0.1)}, how))
    assert (after[3:].norm(dim=1) < before[3:].norm(dim=1)).all()
    assert not after[0].any()


def embedding_trained(attach: Attach) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2))
    before = model[0].weight.detach().clone()
    optimizer = Adam(model.parameters(), lr=0.1)
    attach(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor([0, 1, 2])).sum().backward()
        optimizer.step()
    return before, model[0].weight.detach()


@pitfall(ours=ours(L2(0.005), "decoupled"), naive=decay_after)
def test_a10_a_weight_decay_beside_a_penalty_is_told(attach: Attach) -> None:
    """AdamW decays by 0.01 unless it is told not to."""
    model = nn.Linear(2, 2)
    said = r"weight_decay=0\.01, and L2\(0\.005\).*on top; set weight_decay=0"
    with pytest.warns(UserWarning, match=said):
        attach(model, AdamW(model.parameters(), lr=0.1))


@pytest.mark.filterwarnings("ignore:double decay")
@pytest.mark.parametrize(("weight_decay", "share"), [(0.0, 0.01), (0.01, 0.02)])
def test_a10_a_weight_decay_and_a_penalty_add_up(weight_decay: float, share: float) -> None:
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model)
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=weight_decay)
    regularize(model, optimizer, L2(0.005), how="decoupled")
    (0 * model(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert_close(model.weight, (1 - 0.1 * share) * before.weight, rtol=1e-5, atol=0)


def test_a10_nothing_is_told_of_a_weight_decay_beside_another_penalty() -> None:
    model = nn.Linear(2, 2)
    regularize(model, AdamW(model.parameters()), L1(0.005), how="coupled")
