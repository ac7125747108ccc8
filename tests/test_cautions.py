"""Warnings with numbers: each where it is true, and only there."""

from __future__ import annotations

import re
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from _optimizers import made, of_every_optimizer
from _training import make_net
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

import shrinkage
from shrinkage import ShrinkageWarning
from shrinkage.parameters import weights
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, NuclearNorm
from shrinkage.regularizing.normalized import scale_invariant
from shrinkage.regularizing.optimizers import is_adaptive
from shrinkage.regularizing.regularize import attach, regularize
from shrinkage.schedules import linear

sgd = partial(SGD, lr=0.1)


def labels(penalty: Any, model: nn.Module, make: Any = sgd, **options: Any) -> list[str]:
    """Return what a penalty is warned of; the numbers of the messages are tested apart."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regularize(model, make(model.parameters()), penalty, **options)
    assert all(one.category is ShrinkageWarning for one in caught)
    return [str(one.message).partition(":")[0] for one in caught]


@pytest.mark.parametrize(
    ("penalty", "twice"),
    [
        (L2(0.1), True),
        (L1(0.1) + L2(0.1), True),
        (ElasticNet(0.1), True),
        (ElasticNet(0.1, l1_ratio=1.0), False),
        (L1(0.1), False),
        (L2(0.0), False),
    ],
    ids=repr,
)
def test_a10_decay_is_double_wherever_an_l2_is_inside(penalty: Any, twice: bool) -> None:
    expected = ["double decay"] if twice else []
    assert labels(penalty, make_net(), partial(AdamW, lr=0.1), how="coupled") == expected
    assert labels(penalty, make_net(), sgd, how="coupled") == []


@pytest.mark.parametrize(
    ("penalty", "dtype", "how", "lost"),
    [
        (L2(1e-3), torch.bfloat16, "decoupled", True),
        (L2(1e-3), torch.bfloat16, "proximal", True),
        (L2(5e-4) + L2(5e-4), torch.bfloat16, "decoupled", True),
        (L2(1e-3) + L1(1e-3), torch.bfloat16, "decoupled", False),
        (L2(1e-3), torch.bfloat16, "coupled", False),
        (L2(1e-3), torch.float32, "decoupled", False),
        (L2(1e-9), torch.float32, "decoupled", True),
        (L2(0.1), torch.bfloat16, "decoupled", False),
    ],
)
def test_b2_rounded_away_is_what_changes_no_weight(
    penalty: Any, dtype: torch.dtype, how: str, lost: bool
) -> None:
    model = nn.Linear(50, 50, bias=False).to(dtype)
    assert labels(penalty, model, how=how) == (["rounded away"] if lost else [])
    optimizer = sgd(model.parameters())
    with torch.no_grad():
        model.weight.copy_(torch.rand(50, 50) + 0.5)
    before = model.weight.detach().clone()
    attach(model, optimizer, penalty, how=how)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    if lost:
        assert torch.equal(model.weight, before)


@pytest.mark.parametrize(("strength", "turned"), [(4.9, False), (5.1, True), (10.1, True)])
def test_overshoot_is_where_signs_turn(strength: float, turned: bool) -> None:
    model = nn.Linear(3, 3, bias=False)
    before = model.weight.detach().clone()
    optimizer = sgd(model.parameters())
    penalty = L2(strength)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regularize(model, optimizer, penalty, how="decoupled")
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert bool((model.weight * before < 0).any()) == turned == bool(caught)
    if caught:
        message = str(caught[0].message)
        assert message.startswith(f"overshoot: L2({strength:g}) takes ")
        assert f"= {0.2 * strength:.3g} of a weight" in message
        grows = bool((model.weight.abs() > before.abs()).any())
        assert ("lets it grow" in message) == grows == (strength > 10)
    assert labels(penalty, nn.Linear(3, 3), how="proximal") == []


@pytest.mark.parametrize("penalty", [L1, GroupLasso, ElasticNet])
def test_a_threshold_below_the_noise_of_an_adaptive_optimizer(penalty: Any) -> None:
    adam = partial(Adam, lr=0.1)
    assert labels(penalty(1e-3), make_net(), adam) == ["small threshold"]
    assert labels(penalty(1e-3), make_net(), adam, how="coupled") == []
    assert labels(penalty(1e-3), make_net()) == []
    assert labels(penalty(0.1), make_net(), adam) == []
    assert labels(NuclearNorm(1e-3), make_net(), adam) == []


BETWEEN = {
    "AdaBound": "turns from Adam into SGD",
    "DualAdam": "moves farther than the gradients grow",
    "PAdam": "divides by the root of their size",
    "ScalableShampoo": "starts with steps as long as those of SGD",
}
"""What a rule by settings and names takes for adaptive, and is so only in part."""


def ones() -> Tensor:
    return torch.ones(8, 8, dtype=torch.double, requires_grad=True)


def way(kind: type[Optimizer], scale: float) -> float:
    """Return how far the twelfth step goes; the first five of RAdam are plain."""
    torch.manual_seed(0)
    w = ones()
    optimizer = made(kind, w)
    for _ in range(12):
        before = w.detach().clone()
        w.grad = scale * torch.randn_like(w)
        optimizer.step()
    return float((w.detach() - before).norm())


def taken(kind: type[Optimizer]) -> tuple[bool, bool] | None:
    """Return whether an optimizer is taken for adaptive, and whether it is; None if it rests."""
    near, far = way(kind, 1.0), way(kind, 100.0)
    return (is_adaptive(made(kind, ones())), far < 10 * near) if near else None


@pytest.mark.filterwarnings("ignore")  # of the optimizers themselves
def test_optimizers_are_taken_for_what_they_are() -> None:
    """One that normalizes goes as far with gradients a hundred times as large."""
    moving = {kind: seen for kind, seen in of_every_optimizer(taken).items() if seen}
    wrong = {kind.__name__ for kind, (said, true) in moving.items() if said != true}
    assert wrong == BETWEEN.keys()
    assert len(moving) > 100


def test_the_threshold_of_the_warning_is_where_noise_leaves_no_zero() -> None:
    """Weights that see noise only, under Adam: none is zero below, most are well above."""

    def zeros(strength: float) -> float:
        torch.manual_seed(0)
        w = nn.ParameterList([torch.randn(500) * 0.05])
        optimizer = Adam(w.parameters(), lr=1e-2)
        attach(w, optimizer, L1(strength), select="*")
        for _ in range(600):
            w[0].grad = torch.randn(500)
            optimizer.step()
        return float((w[0] == 0).float().mean())

    assert zeros(0.009) < 0.01
    assert zeros(1.0) > 0.9


class Convolutional(nn.Module):
    """A layer before each kind of normalization, a layer before none, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = [0]
        self.batch, self.batch_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-12)
        self.instance, self.instance_norm = nn.Conv2d(4, 4, 1), nn.InstanceNorm2d(4, eps=1e-12)
        self.biased, self.group_norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4, eps=1e-12)
        self.group = nn.Conv2d(4, 4, 1, bias=False)
        self.around, self.around_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, eps=1e-12)
        self.head = nn.Linear(4, 6, bias=False)
        self.layer_norm = nn.LayerNorm(6, eps=1e-12)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        self.counted.append(1)
        x = self.batch_norm(self.batch(x))
        x = torch.relu(self.instance_norm(self.instance(x)))
        x = torch.tanh(self.group_norm(self.biased(x)))
        x = self.group_norm(self.group(x))
        around = self.around(x)
        x = self.around_norm(around) + around
        return self.last(self.layer_norm(self.head(x.mean((2, 3)))))


def test_scale_invariant_is_what_a_factor_does_not_change() -> None:
    torch.manual_seed(0)
    model = Convolutional().double()
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    found = set(scale_invariant(model))
    assert model.counted == [0]
    assert not hasattr(model, "seen")
    reference = model(x)
    unchanged = set()
    for name, module in model.named_children():
        if isinstance(module, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                module.weight *= 3
                if torch.allclose(model(x), reference, rtol=1e-6, atol=1e-8):
                    unchanged.add(name)
                module.weight /= 3
    assert found == unchanged == {"batch", "instance", "group", "head"}


def test_an_untraceable_model_is_read_by_the_order_of_its_parts_and_left_alone() -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) if x.sum() > 0 else x * torch.rand(1)

    model = Untraceable()
    state = torch.get_rng_state()
    assert list(scale_invariant(model)) == ["body.0"]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
def test_a_compiled_model_is_read_as_the_one_inside() -> None:
    model = torch.compile(Convolutional())
    assert set(scale_invariant(model)) == {"batch", "instance", "group", "head"}


def test_scale_invariant_weights_are_named_with_their_share() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.warns(ShrinkageWarning, match=r"0\.weight \(1 of 2 tensors, 50% of the numbers\)"):
        regularize(model, sgd(model.parameters()), L2(0.1))
    assert labels(L1(0.1), nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))) == []
    toward = L2(0.1, toward=model.state_dict())
    assert labels(toward, nn.Sequential(*model)) == []
    rules = {"0.*": None, nn.Linear: L2(0.1)}
    fresh = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert labels(rules, fresh) == []


def test_a_message_says_how_to_silence_it_and_that_works() -> None:
    model = make_net()
    with pytest.warns(ShrinkageWarning, match=r'Silence: warnings.filterwarnings\("ignore", "dou'):
        regularize(model, AdamW(model.parameters()), L2(0.1))
    model = make_net()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "double decay")
        regularize(model, AdamW(model.parameters()), L2(0.1))
    assert issubclass(shrinkage.ShrinkageWarning, UserWarning)


def test_what_becomes_true_on_the_way_is_among_the_cautions_then() -> None:
    model = make_net()
    optimizer = sgd(model.parameters())
    schedule = linear(0.0, 60.0, steps=1)
    handle = regularize(model, optimizer, L2(0.1), how="decoupled", schedule=schedule)
    assert handle.cautions() == []
    optimizer.step()
    (caution,) = handle.cautions()
    assert caution.startswith("overshoot: L2(6)")
    handle.remove()
    assert handle.cautions() == []


def test_a_strength_without_a_number_is_no_reason_to_warn_or_to_fail() -> None:
    model = nn.Linear(2, 2, device="meta")
    strength = torch.tensor(1e-3, device="meta")
    assert labels(L2(strength), model, how="decoupled") == []


@pytest.mark.parametrize("select", [shrinkage.everything, "*.original1", re.compile("original")])
def test_a7_a_part_of_an_effective_weight_is_told_when_it_is_asked_for(select: Any) -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    optimizer = sgd(model.parameters())
    said = r"^parametrized: .*original1.* \(\d of \d tensors\) are parts of effective weights"
    with pytest.warns(ShrinkageWarning, match=said):
        handle = regularize(model, optimizer, L2(0.1), select=select)
    whys = {row["name"]: row["why"] for row in handle.summary().rows}
    assert "; parametrized: only a part of" in whys["0.parametrizations.weight.original1"]
    handle.remove()
    assert labels(L2(0.1), model) == ["left alone"]
    assert labels(L2(0.1), model, select="1.weight") == []


class Bare(nn.Module):
    """A matrix of its own beside a layer, and what is no weight in nobody's eyes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(1, size))
        self.layer = nn.Linear(9, 10)
        self.words = nn.Embedding(100, 10)
        self.norm = nn.LayerNorm((2, 5))
        self.marked = nn.Parameter(torch.ones(100, 10))
        self.marked._no_weight_decay = True  # type: ignore[attr-defined]
        self.frozen = nn.Parameter(torch.ones(100, 10), requires_grad=False)


def test_what_is_left_alone_is_named_with_its_share() -> None:
    said = r"^left alone: 31% .* aside: kernel \(kernel of .*Bare\)\. The summary says why"
    assert labels(L2(0.1), Bare(10)) == []
    with pytest.warns(ShrinkageWarning, match=said):
        regularize(model := Bare(50), sgd(model.parameters()), L2(0.1))
    assert labels({"kernel": None, weights: L2(0.1)}, Bare(50)) == []
    assert labels(L2(0.1), Bare(50), select="layer.*") == []
