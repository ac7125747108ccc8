"""A step that changes something and calls the step of a base class is one step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _training import STRENGTH, assert_same, batches, data_loss, forward_backward, make_net
from torch import Tensor, nn
from torch.optim import LBFGS, SGD
from torch.testing import assert_close

from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import regularize

LR = 0.1
LIMIT = 0.02


@pytest.fixture(autouse=True)
def _hooks_in_every_step() -> None:
    """From the first instance of a class on, torch runs hooks in its ``step``."""
    Breaks([torch.zeros(1)], lr=LR)
    SGD([torch.zeros(1)], lr=LR)
    LBFGS([torch.zeros(1)])


def clip(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for w in group["params"]:
            if w.grad is not None:
                w.grad.clamp_(-LIMIT, LIMIT)


class Clips(SGD):
    def step(self, closure: Any = None) -> Any:
        clip(self)
        return super().step(closure)


class Replaces(SGD):
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for w in group["params"]:
                w.grad = w.grad.clamp(-LIMIT, LIMIT)
        return super().step(closure)


class ClipsAtDepth(Clips):
    def step(self, closure: Any = None) -> Any:
        clip(self)
        return super().step(closure)


class ClipsInClosure(SGD):
    def step(self, closure: Any = None) -> Any:
        def clipped() -> Any:
            loss = closure()
            clip(self)
            return loss

        return super().step(clipped)


class ClipsAfterClosure(SGD):
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        clip(self)
        super().step()
        return loss


class ClipsInLBFGS(LBFGS):
    def step(self, closure: Any) -> Any:
        def clipped() -> Any:
            loss = closure()
            clip(self)
            return loss

        return super().step(clipped)


class Breaks(SGD):
    broken = False

    def step(self, closure: Any = None) -> Any:
        if self.broken:
            raise RuntimeError("broken step")
        return super().step(closure)


class BreaksInside(Breaks):
    def step(self, closure: Any = None) -> Any:
        clip(self)
        return super().step(closure)


def clipped_by_hand(how: str) -> nn.Module:
    """Train as one step of ``Clips`` should: the penalty enters before it, and once."""
    net = make_net()
    for batch in batches():
        gradients = torch.autograd.grad(data_loss(net, batch), list(net.parameters()))
        with torch.no_grad():
            for w, gradient in zip(net.parameters(), gradients, strict=True):
                pull = 2 * STRENGTH * w if w.dim() == 2 else torch.zeros_like(w)
                coupled = gradient + (pull if how == "coupled" else 0)
                w -= LR * coupled.clamp(-LIMIT, LIMIT) + (LR * pull if how == "decoupled" else 0)
                if how == "proximal" and w.dim() == 2:
                    w /= 1 + 2 * LR * STRENGTH
    return net


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize(
    ("kind", "closure"),
    [
        (Clips, False),
        (Replaces, False),
        (ClipsAtDepth, False),
        (ClipsInClosure, True),
        (ClipsAfterClosure, True),
    ],
)
def test_gradients_that_a_step_edits_get_the_penalty_once(
    kind: type[SGD], closure: bool, how: str
) -> None:
    model = make_net()
    optimizer = kind(model.parameters(), lr=LR)
    handle = regularize(model, optimizer, L2(STRENGTH), how=how)
    for batch in batches():
        if closure:
            optimizer.step(lambda batch=batch: forward_backward(model, optimizer, batch))
        else:
            forward_backward(model, optimizer, batch)
            optimizer.step()
    assert_same(model, clipped_by_hand(how))
    assert handle.state_dict()["step"] == len(list(batches()))


def test_lbfgs_that_edits_gradients_gets_the_penalty_once() -> None:
    (batch,) = batches(1)

    def first_step(in_loss: bool) -> tuple[nn.Module, Tensor]:
        model = make_net()
        optimizer = ClipsInLBFGS(model.parameters(), lr=LR, max_iter=1)
        if not in_loss:
            regularize(model, optimizer, L2(STRENGTH), how="coupled")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = data_loss(model, batch)
            loss = loss + L2(STRENGTH)(model) if in_loss else loss
            loss.backward()
            return loss.detach()

        return model, optimizer.step(closure)

    (ours, loss), (expected, expected_loss) = first_step(False), first_step(True)
    assert_same(ours, expected)
    assert_close(loss, expected_loss)


@pytest.mark.parametrize("new_gradients", [False, True])
@pytest.mark.parametrize("inside_except", [False, True])
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_a_step_tried_again_is_no_step_inside_a_step(
    how: str, inside_except: bool, new_gradients: bool
) -> None:
    """The first one has not ended by its hooks; its traceback lives on inside ``except``."""
    (batch,) = batches(1)

    def tried(broken: bool) -> nn.Module:
        model = make_net()
        optimizer = BreaksInside(model.parameters(), lr=LR)
        regularize(model, optimizer, L2(STRENGTH), how=how)
        forward_backward(model, optimizer, batch)
        optimizer.broken = broken
        try:
            optimizer.step()
        except RuntimeError:
            optimizer.broken = False
            if new_gradients:
                forward_backward(model, optimizer, batch)
            if inside_except:
                optimizer.step()
        if broken and not inside_except:
            optimizer.step()
        return model

    assert_same(tried(broken=True), tried(broken=False))


def test_zeros_stay_when_a_step_writes_weights_after_that_of_its_base_class() -> None:
    class Noisy(SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = super().step(closure)
            for w in self.param_groups[0]["params"]:
                w.add_(1e-6)
            return loss

    model = nn.Linear(3, 2)
    optimizer = Noisy(model.parameters(), lr=LR)
    regularize(model, optimizer, L1(100.0), how="proximal")
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not model.weight.any()


def test_a_closure_of_the_step_itself_gets_the_penalty() -> None:
    (batch,) = batches(1)

    class Own(SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(lambda: forward_backward(model, self, batch))

    models = []
    for kind in (Own, SGD):
        model = make_net()
        optimizer = kind(model.parameters(), lr=LR)
        regularize(model, optimizer, L2(STRENGTH), how="coupled")
        forward_backward(model, optimizer, batch)
        optimizer.step()
        models.append(model)
    assert_same(*models)
