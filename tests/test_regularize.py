"""A penalty on an optimizer equals the penalty in the loss; numbers are pitfalls and faults."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import Selection, everything, selected_parameters, weights
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.regularize import regularize

STRENGTH = 0.01
PENALTIES = [L2(0.01), L1(0.01), ElasticNet(0.01), GroupLasso(0.01)]
OPTIMIZERS: list[Callable[..., Optimizer]] = [
    partial(SGD, lr=0.1),
    partial(SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    partial(SGD, lr=0.1, momentum=0.9, fused=True),
    partial(Adam, lr=0.01, foreach=False),
    partial(Adam, lr=0.01, foreach=True),
    partial(Adam, lr=0.01, fused=True),
    partial(Adam, lr=torch.tensor(0.01)),
    partial(RMSprop, lr=0.01, foreach=False),
    partial(RMSprop, lr=0.01, foreach=True),
]


def make_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def batches(steps: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        X = torch.randn(16, 4, generator=generator, dtype=torch.float64)
        yield X, torch.randint(0, 3, (16,), generator=generator)


def data_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    X, y = batch
    return nn.functional.cross_entropy(model(X), y)


def train(
    make_optimizer: Callable[..., Optimizer],
    *,
    in_loss: Callable[[nn.Module], Tensor] | None = None,
    penalty: Penalty | None = None,
    how: str | None = None,
    select: Selection = weights,
    closure: bool = False,
    steps: int = 8,
) -> nn.Module:
    """Train the same net on the same batches, with a penalty in the loss or on the optimizer."""
    model = make_net()
    optimizer = make_optimizer(model.parameters())
    if penalty is not None:
        regularize(model, optimizer, penalty, select=select, how=how)

    def compute(batch: tuple[Tensor, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = data_loss(model, batch)
        if in_loss is not None:
            loss = loss + in_loss(model)
        loss.backward()
        return loss

    for batch in batches(steps):
        if closure:
            optimizer.step(partial(compute, batch))
        else:
            compute(batch)
            optimizer.step()
    return model


def assert_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    assert_close(one.state_dict(), other.state_dict(), **tolerance)


def moved(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return any(not torch.equal(a, b) for a, b in pairs)


# --- equalities -----------------------------------------------------------------------------


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("closure", [False, True])
def test_coupled_is_the_penalty_in_the_loss(
    make_optimizer: Callable[..., Optimizer], penalty: Penalty, closure: bool
) -> None:
    hooked = train(make_optimizer, penalty=penalty, how="coupled", closure=closure)
    assert_same(hooked, train(make_optimizer, in_loss=penalty, closure=closure))
    assert moved(hooked, train(make_optimizer))


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS, ids=str)
def test_coupled_l2_is_twice_the_weight_decay(make_optimizer: Callable[..., Optimizer]) -> None:
    decay = partial(make_optimizer, weight_decay=2 * STRENGTH)
    hooked = train(make_optimizer, penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(decay))


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("closure", [False, True])
def test_decoupled_l2_is_adamw(foreach: bool, closure: bool) -> None:
    adam, adamw = (partial(make, lr=0.01, foreach=foreach) for make in (Adam, AdamW))
    hooked = train(adam, penalty=L2(STRENGTH), how="decoupled", select=everything, closure=closure)
    assert_same(hooked, train(partial(adamw, weight_decay=2 * STRENGTH)))


def test_everything_is_the_tutorials_corrected_formula() -> None:
    def formula(model: nn.Module) -> Tensor:
        return STRENGTH * sum((p**2).sum() for p in model.parameters())

    model = make_net().float()
    assert_close(L2(STRENGTH)(model, everything), formula(model))
    hooked = train(partial(Adam, lr=0.01), penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(partial(Adam, lr=0.01), in_loss=formula))


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
@pytest.mark.parametrize("named", [False, True])
def test_c1_lbfgs_reads_the_penalty_in_the_loss(line_search: str | None, named: bool) -> None:
    def trained(hooked: bool) -> tuple[nn.Module, list[Tensor]]:
        net = make_net()
        (batch,) = batches(1)
        optimizer = LBFGS(net.parameters(), lr=0.5, line_search_fn=line_search)
        if hooked:
            regularize(net, optimizer, L2(STRENGTH))

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = data_loss(net, batch)
            if not hooked:
                loss = loss + L2(STRENGTH)(net)
            loss.backward()
            return loss.detach()

        steps = (
            optimizer.step(closure=closure) if named else optimizer.step(closure) for _ in "abc"
        )
        return net, list(steps)

    (one, losses), (other, expected) = trained(hooked=True), trained(hooked=False)
    assert_same(one, other)
    assert_close(losses, expected)


@pytest.mark.parametrize("how", ["decoupled", "proximal"])
def test_c1_lbfgs_refuses_other_couplings(how: str) -> None:
    net = make_net()
    with pytest.raises(ShrinkageError, match=r"LBFGS.*line search.*use how='coupled'"):
        regularize(net, LBFGS(net.parameters()), L2(STRENGTH), how=how)


def test_closure_keeps_its_loss_and_may_be_named() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.1)
    regularize(net, optimizer, L2(100.0))
    (batch,) = batches(1)
    loss = data_loss(net, batch)
    assert optimizer.step(closure=lambda: loss) is loss


def test_b4_proximal_sgd_reaches_the_lasso_and_its_support() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(80, 20, generator=generator, dtype=torch.float64)
    truth = torch.where(torch.arange(20) < 5, 2.0, 0.0).double()
    y = X @ truth + torch.randn(80, generator=generator, dtype=torch.float64)
    alpha = 0.1
    lasso = linear_model.Lasso(alpha, fit_intercept=False, tol=1e-12).fit(X.numpy(), y.numpy())
    model = nn.Linear(20, 1, bias=False).double()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L1(2 * alpha))
    assert handle.how == "proximal"
    for _ in range(1000):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X).squeeze(1), y).backward()
        optimizer.step()
    found = model.weight.detach().squeeze(0)
    assert_close(found, torch.from_numpy(lasso.coef_), rtol=0, atol=1e-9)
    assert torch.equal(found == 0, torch.from_numpy(lasso.coef_ == 0))
    assert 0 < int((found == 0).sum()) < 20


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("closure", [False, True])
def test_b5_strength_zero_is_bitwise_no_penalty(penalty: Penalty, how: str, closure: bool) -> None:
    for make in (partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)):
        zero = train(make, penalty=penalty.at(0.0), how=how, closure=closure)
        assert not moved(zero, train(make, closure=closure))


def test_c10_each_parameter_uses_the_rate_of_its_own_group_at_that_step() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    start = [copy.deepcopy(layer.weight.data) for layer in model]
    groups = [
        {"params": model[0].parameters(), "lr": 0.1},
        {"params": model[1].parameters(), "lr": torch.tensor(0.5)},
    ]
    optimizer = SGD(groups)
    for how in ("decoupled", "proximal"):
        with regularize(model, optimizer, L1(0.01), how=how):
            for weight, w in zip((model[0].weight, model[1].weight), start, strict=True):
                weight.data = w.clone()
            model(torch.zeros(1, 2)).sum().mul(0).backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.2
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.1
            assert_close(model[0].weight, L1(0.01).prox(start[0], 0.3))
            assert_close(model[1].weight, L1(0.01).prox(start[1], 1.0))


def test_scheduler_at_rate_zero_leaves_the_weights_alone() -> None:
    for how in ("decoupled", "proximal"):
        model = train(partial(SGD, lr=0.0), penalty=L1(1.0), how=how)
        assert not moved(model, make_net())


def test_maximize_lowers_the_penalty_too() -> None:
    up = partial(SGD, lr=0.1, maximize=True)
    hooked = train(up, penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(partial(up, weight_decay=2 * STRENGTH)))


# --- which tensors --------------------------------------------------------------------------


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
    handle = regularize(model, optimizer, L2(STRENGTH))
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


# --- when it acts ---------------------------------------------------------------------------


def test_c4_the_penalty_is_added_after_clipping() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    before = model.weight.detach().clone()
    (100 * model(torch.ones(1, 2))).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    clipped = model.weight.grad.clone()
    optimizer.step()
    assert_close(model.weight.detach(), before - 0.1 * (clipped + 2 * STRENGTH * before))


def test_c5_accumulated_micro_batches_get_the_penalty_once() -> None:
    def trained(parts: int) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        regularize(model, optimizer, L2(STRENGTH))
        (batch,) = batches(1)
        for X, y in zip(*(rows.chunk(parts) for rows in batch), strict=True):
            (data_loss(model, (X, y)) / parts).backward()
        optimizer.step()
        return model

    assert_same(trained(4), trained(1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("unscale", [False, True])
def test_c2_c3_scaled_gradients_and_skipped_steps(fused: bool, how: str, unscale: bool) -> None:
    def trained(scaled: bool) -> nn.Module:
        model = make_net().float()
        optimizer = Adam(model.parameters(), lr=0.01, fused=fused)
        regularize(model, optimizer, L1(STRENGTH), how=how)
        scaler = torch.amp.GradScaler("cpu", init_scale=4096.0, enabled=scaled)
        for step, (X, y) in enumerate(batches(6)):
            if not scaled and step == 3:
                continue
            optimizer.zero_grad()
            scaler.scale(data_loss(model, (X.float(), y))).backward()
            if step == 3:
                model[0].weight.grad[0, 0] = torch.inf
            if unscale:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert not scaled or scaler.get_scale() == 2048.0
        return model

    assert_same(trained(scaled=True), trained(scaled=False), rtol=1e-6, atol=1e-7)


def test_gradients_written_by_hand_get_the_penalty_at_every_step() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    before = model.weight.detach().clone()
    model.weight.grad = torch.zeros(2, 2)
    for _ in range(3):
        model.weight.grad.data.zero_()
        optimizer.step()
    assert_close(model.weight.detach(), before * (1 - 0.2 * STRENGTH) ** 3)


class Twice(SGD):
    """Evaluates its closure twice in a step, as sharpness-aware minimization does."""

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            closure()
        return super().step(closure)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_c14_a_closure_evaluated_twice_is_one_application(how: str) -> None:
    SGD([torch.zeros(1)], lr=0.1)  # from the first one on, torch runs hooks in SGD.step too
    twice = train(partial(Twice, lr=0.1), penalty=L2(STRENGTH), how=how, closure=True)
    assert_same(twice, train(partial(SGD, lr=0.1), penalty=L2(STRENGTH), how=how))


class OwnSGD(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class OwnLBFGS(LBFGS):
    def step(self, closure: Any) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("closure", [False, True])
def test_c14_a_step_inside_a_step_is_one_application(how: str, closure: bool) -> None:
    def trained(kind: type[Optimizer]) -> tuple[nn.Module, list[Any]]:
        model = make_net()
        optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]
        regularize(model, optimizer, L2(0.1), how=how)
        regularize(model, optimizer, L1(0.01), how="coupled")
        losses = []
        for batch in batches():
            compute = partial(_closure, model, optimizer, batch)
            if closure:
                losses.append(optimizer.step(compute))
            else:
                compute()
                optimizer.step()
        return model, losses

    kinds = (LBFGS, OwnLBFGS) if closure and how == "coupled" else (SGD, OwnSGD)
    (plain, losses), (own, own_losses) = map(trained, kinds)
    assert not moved(plain, own)
    assert losses == own_losses


def test_strength_can_change_on_the_way() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(torch.tensor(0.1)))
    before = model.weight.detach().clone()
    model(torch.zeros(1, 2)).sum().backward()
    handle.penalty = handle.penalty.at(0.3)
    optimizer.step()
    assert_close(model.weight.detach(), before * (1 - 0.1 * 2 * 0.3))


# --- failures -------------------------------------------------------------------------------


class Breaks(SGD):
    """Raises in its step as long as ``broken``."""

    broken = True

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                closure()
        if self.broken:
            raise RuntimeError("broken step")
        return super().step()


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("second", [False, True])
def test_fault_37_an_error_in_the_step_leaves_nothing_half_applied(how: str, second: bool) -> None:
    model, expected = make_net(), make_net()
    (batch,) = batches(1)
    for net, broken in ((model, True), (expected, False)):
        optimizer = Breaks(net.parameters(), lr=0.1)
        regularize(net, optimizer, L1(STRENGTH), how=how)
        if second:
            regularize(net, optimizer, L2(STRENGTH))
        data_loss(net, batch).backward()
        if broken:
            start = copy.deepcopy(net)
            with pytest.raises(RuntimeError, match="broken step"):
                optimizer.step()
            assert not moved(net, start)
        optimizer.broken = False
        optimizer.step()
    assert not moved(model, expected)


@pytest.mark.parametrize("how", ["coupled", "decoupled"])
def test_fault_37_a_step_after_an_error_starts_anew(how: str) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = Breaks(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH), how=how)
    model(torch.zeros(1, 2)).sum().backward()
    with pytest.raises(RuntimeError, match="broken step"):
        optimizer.step()
    optimizer.broken = False
    model.weight.data = torch.ones(2, 2)
    optimizer.zero_grad(set_to_none=False)
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    assert_close(model.weight.detach(), torch.full((2, 2), 1 - 0.2 * STRENGTH))


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_fault_37_an_error_in_the_closure_leaves_nothing_half_applied(how: str) -> None:
    model, expected = make_net(), make_net()
    (batch,) = batches(1)

    def closure(net: nn.Module, optimizer: Optimizer, broken: bool) -> Tensor:
        optimizer.zero_grad()
        loss = data_loss(net, batch)
        loss.backward()
        if broken:
            raise RuntimeError("broken closure")
        return loss

    for net, broken in ((model, True), (expected, False)):
        optimizer = SGD(net.parameters(), lr=0.1)
        handle = regularize(net, optimizer, L1(STRENGTH), how=how)
        if broken:
            start = copy.deepcopy(net)
            with pytest.raises(RuntimeError, match="broken closure"):
                optimizer.step(partial(closure, net, optimizer, True))
            assert not moved(net, start)
            assert handle.attached
        optimizer.step(partial(closure, net, optimizer, False))
    assert not moved(model, expected)


def test_remove_really_removes() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    with regularize(model, optimizer, L2(1.0)) as handle:
        assert handle.attached
    assert not handle.attached
    handle.remove()
    before = model.weight.detach().clone()
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step(lambda: None)
    optimizer.step()
    assert torch.equal(model.weight, before)
    assert "removed" in str(handle.summary())
    assert_close(handle.value(), L2(1.0).value(before))
    regularize(model, optimizer, L2(1.0))


def test_model_and_optimizer_state_are_unchanged_by_the_hook() -> None:
    model = make_net()
    optimizer = Adam(model.parameters())
    keys = list(model.state_dict()), list(optimizer.state_dict())
    handle = regularize(model, optimizer, L2(STRENGTH))
    assert (list(model.state_dict()), list(optimizer.state_dict())) == keys
    optimizer.load_state_dict(optimizer.state_dict())
    assert handle.attached
    pickle.dumps((model, optimizer))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_fault_29_a_copied_optimizer_has_no_penalty_and_the_handle_says_so(clone: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    optimizer = clone(optimizer)
    gc.collect()
    assert not handle.attached
    assert "NOT ACTING" in str(handle.summary())
    assert not any(row["penalized"] for row in handle.summary().rows)
    with pytest.warns(UserWarning, match="NOT ACTING"):
        handle.value()


# --- refusals -------------------------------------------------------------------------------


def test_missing_parameters_are_named() -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match=r"does not hold 2\.weight; .*select="):
        regularize(model, SGD(model[0].parameters(), lr=0.1), L2(STRENGTH))


def test_fault_30_attached_twice() -> None:
    model = make_net()
    optimizer, second = (SGD(model.parameters(), lr=0.1) for _ in range(2))
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(ShrinkageError, match=r"0\.weight, 2\.weight already carry L2.*remove"):
        regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(ShrinkageError, match="another optimizer"):
        regularize(model, second, L1(STRENGTH))
    regularize(model, optimizer, L1(STRENGTH), how="coupled")
    regularize(model, optimizer, GroupLasso(STRENGTH))
    with pytest.raises(ShrinkageError, match=r"not the prox of the sum.*ElasticNet"):
        regularize(model, optimizer, ElasticNet(STRENGTH))
    handle.remove()
    regularize(model, optimizer, L2(STRENGTH))


def test_an_optimizer_that_was_replaced_is_no_conflict() -> None:
    model = make_net()
    for _ in range(3):
        optimizer = SGD(model.parameters(), lr=0.1)
        optimizer.scheduler = (optimizer,)  # a cycle, as some schedulers make: not freed at once
        regularize(model, optimizer, L2(STRENGTH))


def test_two_coupled_penalties_add_up() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.01))
    regularize(model, optimizer, L1(0.02), how="coupled")
    for batch in batches():
        optimizer.step(partial(_closure, model, optimizer, batch))
    expected = train(partial(SGD, lr=0.1), in_loss=lambda net: L2(0.01)(net) + L1(0.02)(net))
    assert_same(model, expected)


def _closure(model: nn.Module, optimizer: Optimizer, batch: tuple[Tensor, Tensor]) -> Tensor:
    optimizer.zero_grad()
    loss = data_loss(model, batch)
    loss.backward()
    return loss.detach()


def test_a10_weight_decay_beside_l2_warns_with_both_numbers() -> None:
    model = make_net()
    with pytest.warns(
        UserWarning, match=r"weight_decay=0\.01, and L2\(0\.003\).*weight_decay=0\.006"
    ):
        regularize(model, AdamW(model.parameters()), L2(0.003))
    model = make_net()
    regularize(model, AdamW(model.parameters()), L1(0.003))


class Wrapper:
    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


class EmptySubclass(SGD):
    """As Accelerate's: an Optimizer by type, never initialized."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


@pytest.mark.parametrize("wrapper", [Wrapper, EmptySubclass])
def test_wrapped_optimizer_is_named(wrapper: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"no step hooks; pass the optimizer inside it"):
        regularize(model, wrapper(optimizer), L2(STRENGTH))
    with pytest.raises(ShrinkageError, match="pass a torch optimizer"):
        regularize(model, object(), L2(STRENGTH))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_d6_sparse_gradients_are_refused_before_anything_moves(how: str) -> None:
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "embed": nn.Embedding(4, 2, sparse=True)})
    optimizer = SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model)
    regularize(model, optimizer, L2(STRENGTH), select="*weight", how=how)
    model["head"](model["embed"](torch.tensor([0]))).sum().backward()
    gradient = model["head"].weight.grad.clone()
    with pytest.raises(ShrinkageError, match=r"embed\.weight has a sparse gradient.*sparse=False"):
        optimizer.step()
    assert torch.equal(model["head"].weight.grad, gradient)
    assert not moved(model, before)


def test_fault_28_lazy_modules_are_refused_until_they_are_ready() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2))
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"1\.weight is not initialized yet; run one batch"):
        regularize(model, optimizer, L2(STRENGTH))
    model(torch.zeros(1, 2))
    regularize(model, optimizer, L2(STRENGTH))


def test_d2_sharded_parameters_are_refused() -> None:
    from torch.distributed.fsdp._flat_param import FlatParameter

    model = nn.Linear(2, 2)
    model.weight = FlatParameter(torch.zeros(4))
    with pytest.raises(ShrinkageError, match=r"weight is sharded.*DDP"):
        regularize(model, SGD(model.parameters(), lr=0.1), L2(STRENGTH))


def test_d2_distributed_tensors_are_refused() -> None:
    import torch.distributed as dist
    from torch.distributed.tensor import distribute_tensor, init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Linear(2, 2)
        mesh = init_device_mesh("cpu", (1,))
        model.weight = nn.Parameter(distribute_tensor(model.weight.data, mesh))
        with pytest.raises(ShrinkageError, match=r"weight is sharded.*DTensor"):
            regularize(model, SGD(model.parameters(), lr=0.1), L2(STRENGTH))
    finally:
        dist.destroy_process_group()


def test_a_shape_the_penalty_does_not_take_is_refused_by_name() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match=r"^bias: GroupLasso: dim=1"):
        regularize(model, SGD(model.parameters()), GroupLasso(0.1, dim=1), select=everything)


@pytest.mark.parametrize("penalty", [0.1, L2], ids=["number", "class"])
def test_what_is_no_penalty_is_refused(penalty: Any) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match="is not a penalty"):
        regularize(model, SGD(model.parameters()), penalty)


def test_no_learning_rate_is_refused_where_it_is_needed() -> None:
    class NoRate(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match="NoRate has none; use how='coupled'"):
        regularize(model, NoRate(model.parameters()), L1(0.1))


# --- what it tells --------------------------------------------------------------------------


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
