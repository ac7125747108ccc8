"""Strengths that change on the way, are saved, and go on bit for bit."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from _training import assert_same, batches, data_loss, forward_backward, make_net, moved, train
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.testing import assert_close

from shrinkage.constraints import MaxNorm
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, MCP
from shrinkage.regularizing.regularize import Regularization, regularize
from shrinkage.schedules import cosine, follow_lr, linear

OPTIMIZERS: list[Callable[..., Optimizer]] = [
    partial(SGD, lr=0.1, momentum=0.9),
    partial(Adam, lr=0.01),
    partial(Adam, lr=0.01, fused=True),
]
COUPLINGS = ["coupled", "decoupled", "proximal"]


def test_a_strength_assigned_to_the_handle_acts_from_the_next_step_on() -> None:
    net, known = make_net(), make_net()
    optimizer, plain = SGD(net.parameters(), lr=0.1), SGD(known.parameters(), lr=0.1)
    handle = regularize(net, optimizer, L2(0.1))
    for number, batch in enumerate(batches(3)):
        handle.strength = torch.tensor(0.3) if number == 2 else 0.1 * number
        forward_backward(net, optimizer, batch)
        optimizer.step()
        plain.zero_grad()
        (data_loss(known, batch) + L2((0.0, 0.1, 0.3)[number])(known)).backward()
        plain.step()
    assert_same(net, known)
    assert handle.strength == torch.tensor(0.3)
    with pytest.raises(ShrinkageError, match="strength=-1 must be finite and >= 0"):
        handle.strength = -1


def test_a_strength_assigned_to_a_rule_acts_too() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.1)
    handle = regularize(net, optimizer, {"0.*": L2(0.1), "2.weight": L1(0.2), "*": None})
    handle.rules[1].strength = 0.5
    assert [rule.strength for rule in handle.rules[:2]] == [0.1, 0.5]
    assert handle.state_dict()["strengths"] == [0.1, 0.5]
    with pytest.raises(ShrinkageError, match=r"'\*': None has no strength"):
        handle.rules[2].strength = 0.1


@pytest.mark.parametrize("step", ["three", -1, 1.5])
def test_a_state_of_no_step_is_refused(step: Any) -> None:
    _optimizer, handle = attached(L2(0.1))
    with pytest.raises(ShrinkageError, match=r"step=.* give a whole number of at least 0"):
        handle.load_state_dict({**handle.state_dict(), "step": step, "strengths": [0.3]})
    assert handle.strength == 0.1


def test_a_constraint_has_no_strength() -> None:
    net = make_net()
    handle = regularize(net, SGD(net.parameters(), lr=0.1), MaxNorm(2.0))
    with pytest.raises(ShrinkageError, match="has no strength"):
        handle.strength = 0.1


@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_schedule_is_the_strength_set_by_hand_at_every_step(how: str, kind: Any) -> None:
    nets = [make_net(), make_net()]
    for net, scheduled in zip(nets, (True, False), strict=True):
        optimizer = Adam(net.parameters(), lr=0.01)
        schedule = linear(0.0, 2.0, steps=5) if scheduled else None
        rules = {"0.*": L2(kind(0.3)), "2.*": L1(kind(0.1))}
        handle = regularize(net, optimizer, rules, how=how, schedule=schedule)
        for step, batch in enumerate(batches()):
            if not scheduled:
                for rule, (_, strength) in zip(handle.rules, rules.items(), strict=True):
                    rule.penalty = strength.at(strength.strength * min(step / 5, 1.0) * 2)
            forward_backward(net, optimizer, batch)
            optimizer.step()
    assert_same(*nets, rtol=1e-6, atol=1e-7)


def test_any_callable_is_a_schedule_and_the_handle_shows_the_strength_of_the_step() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(0.1), schedule=lambda step: 0.5**step)
    strengths = []
    for _ in range(3):
        (row,) = handle.summary().rows
        strengths.append(row["strength"])
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        assert_close(handle.value(), L2(row["strength"]).value(before))
        model(torch.zeros(1, 2)).sum().backward()
        optimizer.step()
        assert_close(model.weight.detach(), before * (1 - 0.1 * 2 * row["strength"]))
    assert strengths == [0.1, 0.05, 0.025]
    assert handle.penalty.strength == 0.1


def test_following_the_learning_rate() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.1)
    regularize(model, optimizer, L2(0.5), schedule=follow_lr(optimizer, lr=0.1))
    for lr in (0.1, 0.01):
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        model(torch.zeros(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()
        assert_close(model.weight.detach(), before * (1 - lr * 2 * 0.5 * lr / 0.1))


@pytest.mark.parametrize(
    "factor", [-1.0, float("nan"), "1", None, torch.ones(2), torch.tensor(-1.0)]
)
def test_a_schedule_that_gives_no_factor_is_refused_before_the_first_step(factor: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"schedule gave .* at step 0; give a callable"):
        regularize(model, optimizer, L2(0.1), schedule=lambda step: factor)
    regularize(model, optimizer, L2(0.1))


def test_a_strength_that_the_user_has_made_negative_is_refused_and_nothing_moves() -> None:
    model, strength = make_net(), torch.tensor(0.1)
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(strength))
    forward_backward(model, optimizer, next(batches(1)))
    before = copy.deepcopy(model)
    strength.neg_()
    with pytest.raises(ShrinkageError, match=r"L2: strength=tensor\(-0\.1000\) must be finite"):
        optimizer.step()
    with pytest.raises(ShrinkageError, match=r"this state: strength=nan must be finite"):
        handle.load_state_dict({**handle.state_dict(), "strengths": [float("nan")]})
    assert strength == -torch.tensor(0.1)
    assert not moved(model, before)


@pytest.mark.parametrize("schedule", [None, linear(0, 1, steps=1)])
@pytest.mark.parametrize("place", ["term", "sum"])
def test_a_strength_inside_a_sum_that_becomes_none_is_refused_and_nothing_moves(
    schedule: Any, place: str
) -> None:
    model, strength = make_net(), torch.tensor(0.1)
    penalty = L1(strength) + L2(0.1) if place == "term" else (L1(0.1) + L2(0.1)).at(strength)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, penalty, schedule=schedule)
    forward_backward(model, optimizer, next(batches(1)))
    optimizer.step()
    before = copy.deepcopy(model)
    strength.fill_(torch.nan)
    with pytest.raises(ShrinkageError, match=r"L1 \+ L2: strength=tensor\(nan\) must be finite"):
        optimizer.step()
    assert not moved(model, before)


def test_a_number_is_no_schedule() -> None:
    with pytest.raises(ShrinkageError, match=r"schedule=0\.5 is not a schedule; give a callable"):
        attached(L2(0.1), schedule=0.5)


def test_a_schedule_that_fails_later_names_its_step_and_nothing_moves() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.1), schedule=lambda step: 1.0 - step)
    forward_backward(model, optimizer, next(batches(1)))
    optimizer.step()
    optimizer.step()
    before = copy.deepcopy(model)
    with pytest.raises(ShrinkageError, match=r"schedule gave -1\.0 at step 2"):
        optimizer.step()
    assert not moved(model, before)


class Saved:
    """A training that writes a checkpoint, as bytes, and one that goes on from it."""

    def __init__(self, make: Callable[..., Optimizer], how: str, strength: Any) -> None:
        self.model = make_net()
        self.optimizer = make(self.model.parameters())
        rules = {"0.*": L2(strength(0.02)), "2.weight": L1(strength(0.01))}
        self.handle = regularize(
            self.model, self.optimizer, rules, how=how, schedule=cosine(1.0, 0.1, steps=6)
        )

    def run(self, some: list[Any]) -> None:
        for batch in some:
            forward_backward(self.model, self.optimizer, batch)
            self.optimizer.step()

    def save(self) -> bytes:
        parts = {name: getattr(self, name).state_dict() for name in self.parts}
        torch.save(parts, buffer := io.BytesIO())
        return buffer.getvalue()

    def load(self, data: bytes) -> None:
        parts = torch.load(io.BytesIO(data), weights_only=True)
        for name in self.parts:
            getattr(self, name).load_state_dict(parts[name])

    parts = ("model", "optimizer", "handle")


@pytest.mark.parametrize("strength", [float, torch.tensor])
def test_c13_strengths_inside_a_sum_go_on_too(strength: Any) -> None:
    models, handles = [make_net(), make_net()], []
    for model in models:
        optimizer = SGD(model.parameters(), lr=0.1)
        rules = {"0.*": (L1(strength(0.1)) + L2(0.2)).at(2.0), "2.*": L2(0.3)}
        handles.append((optimizer, regularize(model, optimizer, rules)))
    (_, first), (_, second) = handles
    if strength is float:
        first.rules[0].penalty = L1(0.01) + L2(0.02)
    else:
        first.rules[0].penalty.terms[0].strength.fill_(0.01)
    first.rules[1].penalty = L2(0.03)
    own = second.rules[0].penalty.strengths()[1]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    assert (second.rules[0].penalty.strengths()[1] is own) == isinstance(own, torch.Tensor)
    for model, (optimizer, _) in zip(models, handles, strict=True):
        forward_backward(model, optimizer, next(batches(1)))
        optimizer.step()
    assert not moved(*models)


def test_a_state_of_other_terms_is_refused() -> None:
    _optimizer, handle = attached(L1(0.1) + L2(0.2))
    _optimizer, other = attached(L1(0.1) + L2(0.2) + L2(0.3))
    message = r"is of L1 \+ L2 \+ L2 on weights .4 strengths.*has L1 \+ L2 on weights .3.;"
    with pytest.raises(ShrinkageError, match=message):
        handle.load_state_dict(other.state_dict())


@pytest.mark.filterwarnings("ignore:small threshold")
@pytest.mark.parametrize("make", OPTIMIZERS, ids=["SGD", "Adam", "fused"])
@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("strength", [float, partial(torch.tensor, dtype=torch.float32)])
def test_c13_a_resumed_training_is_bitwise_the_uninterrupted_one(
    make: Callable[..., Optimizer], how: str, strength: Any
) -> None:
    whole, first, second = (Saved(make, how, strength) for _ in range(3))
    work = list(batches(8))
    whole.run(work[:2])
    whole.handle.rules[1].penalty = whole.handle.rules[1].penalty.at(strength(0.03))
    whole.run(work[2:])
    first.run(work[:2])
    first.handle.rules[1].penalty = first.handle.rules[1].penalty.at(strength(0.03))
    first.run(work[2:4])
    second.run(work[:1])
    second.load(first.save())
    second.run(work[4:])
    assert not moved(second.model, whole.model)
    assert second.handle.state_dict() == whole.handle.state_dict()
    restarted = Saved(make, how, strength)
    restarted.handle.load_state_dict({**first.handle.state_dict(), "step": 0})
    restarted.model.load_state_dict(first.model.state_dict())
    restarted.run(work[4:])
    assert moved(restarted.model, whole.model)


def attached(penalty: Any, **options: Any) -> tuple[Optimizer, Regularization]:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    return optimizer, regularize(model, optimizer, penalty, **options)


def test_the_state_is_plain_and_survives_json() -> None:
    _optimizer, handle = attached({"0.*": None, "2.*": MCP(0.25, gamma=4.0)})
    state = handle.state_dict()
    assert state == {"step": 0, "penalties": ["MCP on '2.*'"], "strengths": [0.25]}
    handle.load_state_dict({**json.loads(json.dumps(state)), "strengths": [0.5], "step": 3})
    assert (handle.rules[1].penalty.strength, handle.rules[1].penalty.gamma) == (0.5, 4.0)
    assert handle.state_dict()["step"] == 3


def test_a_tensor_strength_is_loaded_into_the_users_tensor() -> None:
    strength = torch.tensor(0.1)
    _optimizer, handle = attached(L2(strength))
    handle.load_state_dict({**handle.state_dict(), "strengths": [0.25]})
    assert strength == 0.25
    assert handle.penalty.strength is strength


def test_a_state_of_other_penalties_is_refused() -> None:
    _optimizer, handle = attached(L2(0.1))
    state = {"step": 5, "strengths": [0.3], "penalties": ["L1 on weights"]}
    with pytest.raises(ShrinkageError, match=r"of L1 on weights .1 str.*has L2 on weights .1.;"):
        handle.load_state_dict(state)
    assert handle.state_dict() == {"step": 0, "penalties": ["L2 on weights"], "strengths": [0.1]}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("strength", [float, torch.tensor])
def test_fault_35_no_new_strength_compiles_a_step_anew(how: str, strength: Any) -> None:
    from torch._dynamo.testing import CompileCounter

    torch.compiler.reset()  # else other tests use up what the compiler keeps of a function
    counter = CompileCounter()
    model = make_net()
    optimizer = Adam(model.parameters(), lr=torch.tensor(0.01))
    schedule = linear(1.0, 0.5, steps=20)
    handle = regularize(model, optimizer, L2(strength(0.1)), how=how, schedule=schedule)
    step = torch.compile(optimizer.step, backend=counter)
    counts = []
    for number, batch in enumerate(batches(8)):
        optimizer.zero_grad()
        data_loss(model, batch).backward()
        step()
        handle.penalty = handle.penalty.at(strength(0.1 / (number + 1)))
        counts.append(counter.frame_count)
    assert counts[1] > 0
    assert counts[-1] == counts[1]


def test_zero_steps_of_a_schedule_leave_no_trace() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L1(0.1), schedule=lambda step: 0.0)
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
    assert not moved(model, train(partial(SGD, lr=0.1)))
