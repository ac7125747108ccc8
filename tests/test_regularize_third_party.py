"""Optimizers and wrappers of other libraries: the same couplings, or a refusal that says why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from _optimizers import made, of_every_optimizer
from _training import STRENGTH, assert_same, batches, data_loss, forward_backward, make_net, train
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from shrinkage.constraints import MaxNorm
from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, ElasticNet
from shrinkage.regularizing.optimizers import NOT_LAST
from shrinkage.regularizing.regularize import regularize

library = pytest.importorskip("pytorch_optimizer")

SINGLE: dict[str, Callable[..., Optimizer]] = {
    "Lion": partial(library.Lion, lr=0.01),
    "AdaBelief": partial(library.AdaBelief, lr=0.01),
    "Adan": partial(library.Adan, lr=0.01),
    "LaProp": partial(library.LaProp, lr=0.01),
}
AVERAGING: dict[str, Callable[..., Any]] = {
    "Lookahead": lambda ws: library.Lookahead(Adam(ws, lr=0.01), k=2),
    "ScheduleFreeSGD": partial(library.ScheduleFreeSGD, lr=0.1),
    "ScheduleFreeWrapper": lambda ws: library.ScheduleFreeWrapper(SGD(ws, lr=0.1)),
    "Ranger": partial(library.Ranger, lr=0.01, k=2),
}


def on(kinds: dict[str, Callable[..., Any]]) -> Any:
    return pytest.mark.parametrize("make", kinds.values(), ids=kinds)


@on(SINGLE | AVERAGING)
@pytest.mark.parametrize("closure", [False, True])
def test_coupled_is_the_penalty_in_the_loss(make: Callable[..., Any], closure: bool) -> None:
    penalty = ElasticNet(STRENGTH)
    if hasattr(make(make_net().parameters()), "train"):
        make = partial(in_training, make)
    hooked = train(make, penalty=penalty, how="coupled", closure=closure)
    assert_same(hooked, train(make, in_loss=penalty, closure=closure))


def in_training(make: Callable[..., Any], parameters: Any) -> Any:
    optimizer = make(parameters)
    optimizer.train()
    return optimizer


@on({name: SINGLE[name] for name in ("Lion", "AdaBelief")})
def test_decoupled_l2_is_their_own_decoupled_decay(make: Callable[..., Optimizer]) -> None:
    own = partial(make, weight_decay=2 * STRENGTH, weight_decouple=True)
    hooked = train(make, penalty=L2(STRENGTH), how="decoupled", select=everything)
    assert_same(hooked, train(own), rtol=1e-6, atol=1e-6)


@on(SINGLE)
def test_proximal_is_the_prox_after_every_step(make: Callable[..., Optimizer]) -> None:
    hooked = train(make, penalty=L1(2.0))
    model = make_net()
    optimizer = make(model.parameters())
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.copy_(L1(2.0).prox(layer.weight, optimizer.param_groups[0]["lr"]))
    assert_same(hooked, model)
    assert (hooked[0].weight == 0).any()


@on(AVERAGING)
@pytest.mark.parametrize("how", ["decoupled", "proximal"])
def test_c10_whose_step_is_not_the_last_word_takes_the_coupled_only(
    make: Callable[..., Any], how: str
) -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match=rf"how='{how}' under \w+: it .*; use how='coupled'"):
        regularize(model, make(model.parameters()), L2(STRENGTH), how=how)


def kept(kind: type[Optimizer]) -> float:
    """Return how much of a move of the weights between two steps is left eleven steps later."""

    def trained(move: float) -> Tensor:
        torch.manual_seed(0)
        w = torch.randn(8, 8, dtype=torch.double, requires_grad=True)
        optimizer = made(kind, w)
        getattr(optimizer, "train", bool)()
        for step in range(24):
            w.grad = torch.randn_like(w)
            optimizer.step()
            if step == 12:
                w.data.add_(move)
        return w.detach()

    return float(((trained(0.01) - trained(0.0)) / 0.01).mean())


@pytest.mark.filterwarnings("ignore")  # of the optimizers themselves
def test_whose_step_undoes_what_acts_after_it_takes_no_prox_and_no_constraint() -> None:
    shares = of_every_optimizer(kept)
    assert len(shares) > 100
    undo = {kind.__name__ for kind, share in shares.items() if not share > 0.95}
    assert undo >= {"FTRL", "MADGRAD", "Ranger"}
    assert {name for name in undo if any(part in name for part in NOT_LAST)} == undo


@pytest.mark.parametrize("name", ["MADGRAD", "FTRL", "Nero"])
@pytest.mark.parametrize("penalty", [L1(0.1), MaxNorm(1.0)], ids=repr)
def test_c10_an_optimizer_that_writes_weights_of_its_own_is_refused(
    name: str, penalty: Any
) -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match=rf"under {name}: it "):
        regularize(model, getattr(library, name)(model.parameters()), penalty)


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam"])
def test_c10_a_rate_that_an_optimizer_estimates_is_not_lr(name: str) -> None:
    model = make_net()
    optimizer = getattr(library, name)(model.parameters())
    with pytest.raises(ShrinkageError, match=rf"{name} estimates its own; use how='coupled'"):
        regularize(model, optimizer, L1(0.1))
    with regularize(model, optimizer, MaxNorm(1.0)), regularize(model, optimizer, L2(0.1)):
        pass


def test_a_scheduler_is_taken_for_the_optimizer_inside() -> None:
    model = make_net()
    scheduler = torch.optim.lr_scheduler.StepLR(SGD(model.parameters(), lr=0.1), 1)
    for penalty in (L1(0.1), L2(0.1)):
        assert "on SGD inside StepLR" in repr(regularize(model, scheduler, penalty))


def sharpness_aware(how: str | None, penalty: Any, **options: Any) -> tuple[nn.Module, Any]:
    """Train with SAM around SGD; its closure computes the gradients at the perturbed weights."""
    model = make_net()
    optimizer = library.SAM(model.parameters(), SGD, lr=0.1, momentum=0.9, **options)
    handle = regularize(model, optimizer, penalty, how=how, select=everything) if how else None
    for batch in batches():

        def closure(batch: tuple[Tensor, Tensor] = batch) -> Tensor:
            optimizer.zero_grad()
            loss = data_loss(model, batch)
            loss.backward()
            return loss

        closure()
        optimizer.step(closure)
    model.optimizer = optimizer  # a handle acts as long as its optimizer lives
    return model, handle


def test_sharpness_aware_steps_perturb_the_data_loss_and_decay_in_their_inner_step() -> None:
    hooked, handle = sharpness_aware("coupled", L2(STRENGTH))
    own, _ = sharpness_aware(None, None, weight_decay=2 * STRENGTH)
    assert_same(hooked, own)
    assert repr(handle) == "L2(0.01), coupled, on SGD inside SAM"


def test_sharpness_aware_steps_take_a_prox_at_the_true_weights() -> None:
    hooked, _ = sharpness_aware("proximal", L1(0.2))
    assert (hooked[0].weight == 0).any()
    again, _ = sharpness_aware("proximal", L1(0.0))
    plain, _ = sharpness_aware(None, None)
    assert_same(again, plain, rtol=0, atol=0)


def test_a_wrapper_that_projects_gradients_gets_the_penalty_after_the_projection() -> None:
    model, expected = make_net(), make_net()
    for net, ours in ((model, True), (expected, False)):
        decay = 0.0 if ours else 2 * STRENGTH
        optimizer = library.OrthoGrad(SGD(net.parameters(), lr=0.1, weight_decay=decay))
        if ours:
            handle = regularize(net, optimizer, L2(STRENGTH), select=everything)
            assert repr(handle) == "L2(0.01), coupled, on SGD inside OrthoGrad"
        for batch in batches():
            forward_backward(net, optimizer, batch)
            optimizer.step()
    assert_same(model, expected)


def test_a_copied_wrapper_has_lost_its_penalty_and_the_handle_says_so() -> None:
    model = make_net()
    optimizer = library.Lion(model.parameters(), lr=0.01)
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.warns(ShrinkageWarning, match="copied optimizer"):
        _copy = copy.deepcopy(optimizer)
    assert handle.attached
    del optimizer
    assert not handle.attached
    assert "NOT ACTING" in repr(handle)
