"""Pitfalls of shape and number, each beside an implementation that falls into it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from _pitfalls import EVERY, Attach, Operation, every_penalty, normal, ours, pitfall, sum_of_squares
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD
from torch.testing import assert_close

from shrinkage.coupling import proximal
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything, explain_selection
from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    NuclearNorm,
    Penalty,
    SparseGroupLasso,
)
from shrinkage.regularizing.regularize import regularize

Total = Callable[[nn.Module], Tensor]


def of_all(model: nn.Module) -> Tensor:
    """Keep to the formula, in float64."""
    return torch.stack([p.double().square().sum() for p in model.parameters()]).sum()


def without_inner_sums(model: nn.Module) -> Tensor:
    """The tutorial's line."""
    return sum(p**2 for p in model.parameters()).sum()  # type: ignore[union-attr]


@pitfall(ours=partial(L2(1.0), select=everything), naive=without_inner_sums)
def test_a1_a_sum_over_tensors_is_a_sum_over_their_entries(total: Total) -> None:
    """A bias is broadcast into a square weight, without a word."""
    torch.manual_seed(0)
    for model in (nn.Linear(3, 3), nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 2))):
        assert_close(total(model).double(), of_all(model), rtol=1e-6, atol=0)


def test_a1_the_line_of_the_tutorial_raises_on_the_net_of_the_tutorial() -> None:
    tutorial = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    with pytest.raises(RuntimeError, match="must match the size"):
        without_inner_sums(tutorial)


TIED = "head.*"
"""An embedding, by default, is left alone, so also where a layer is tied to it."""


def over_modules(model: nn.Module) -> Tensor:
    return sum(w.square().sum() for m in model.children() for w in m.parameters())


def over_the_state(model: nn.Module) -> Tensor:
    return sum(w.square().sum() for w in model.state_dict().values())


def of_a_handle(model: nn.Module) -> Tensor:
    optimizer = SGD(model.parameters(), lr=0.1)
    return regularize(model, optimizer, L2(1.0), select=TIED).value()


def of_a_penalty(model: nn.Module) -> Tensor:
    return L2(1.0)(model, TIED)


@pitfall(
    ours={"penalty": of_a_penalty, "handle": of_a_handle},
    naive={"modules": over_modules, "state": over_the_state},
)
def test_a4_a_tied_tensor_counts_once(total: Total) -> None:
    model = tied()
    assert_close(total(model).detach(), model["head"].weight.detach().square().sum())


def test_a4_a_tied_tensor_is_listed_with_both_names() -> None:
    model = tied()
    with regularize(model, SGD(model.parameters(), lr=0.1), L2(1.0), select=TIED) as handle:
        (row,) = handle.summary().rows
    assert (row["name"], row["shared"]) == ("embedding.weight", ["head.weight"])


def tied() -> nn.ModuleDict:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    return model


def by_lambdas(model: nn.Module, strengths: dict[str, float]) -> Tensor:
    """A lambda in a loop sees the last strength and the last tensor only."""
    terms: list[Callable[[], Tensor]] = []
    for name, strength in strengths.items():
        terms.append(lambda: strength * model.get_parameter(name).square().sum())  # noqa: B023
    return sum(term() for term in terms)


def by_rules(model: nn.Module, strengths: dict[str, float]) -> Tensor:
    rules = {name: L2(strength) for name, strength in strengths.items()}
    optimizer = SGD(model.parameters(), lr=0.1)
    return regularize(model, optimizer, rules).value()


@pitfall(ours=by_rules, naive=by_lambdas)
def test_a6_every_tensor_keeps_its_own_strength(total: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    strengths = {"0.weight": 0.1, "1.weight": 2.0}
    exact = sum(s * model.get_parameter(n).detach().square().sum() for n, s in strengths.items())
    assert_close(total(model, strengths).detach(), exact)


@pitfall(ours={repr(p): p.value for p in EVERY}, naive=sum_of_squares)
def test_b1_half_precision_is_summed_in_float32(value: Operation) -> None:
    ones = torch.ones(70_000, 1, 1, dtype=torch.float16)
    assert_close(value(ones).double(), value(ones.double()), rtol=1e-3, atol=0)


def to_unit_norm(w: Tensor) -> Tensor:
    """The gradient of a norm, in the type of the weights."""
    return w / torch.linalg.vector_norm(w)


@pitfall(
    ours={f"{p!r}-gradient": p.gradient for p in EVERY}
    | {f"{p!r}-prox": partial(p.prox, step=0.3) for p in EVERY},
    naive=to_unit_norm,
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_b1_half_precision_is_rounded_once(operation: Operation, dtype: torch.dtype) -> None:
    """Norms above the largest float16, and every formula as in float32."""
    w = (300 * normal(3, 70_000, 1)).to(dtype)
    assert torch.equal(operation(w), operation(w.float()).to(dtype))


def decay_after(model: nn.Module, optimizer: SGD) -> None:
    """Decoupled L2 of strength 0.001 as a step post-hook of one line."""

    def hook(*_: object) -> None:
        model.weight.data.mul_(1 - 0.1 * 2e-3)

    optimizer.register_step_post_hook(hook)


@pitfall(ours=ours(L2(1e-3), "decoupled"), naive=decay_after)
def test_b2_a_decay_that_is_rounded_away_is_said_to_be(attach: Attach) -> None:
    model = nn.Linear(3, 2).bfloat16()
    before = model.weight.detach().clone()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"takes 0.0002 .*bfloat16 .*below 0.002 .*no effect"):
        attach(model, optimizer)
    (0 * model(torch.ones(1, 3).bfloat16())).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight.detach(), before)


def test_b2_a_decay_with_an_effect_is_not_said_to_have_none() -> None:
    w = normal(1000).bfloat16()
    for share, changed in {1e-5: 0, 1e-4: 0, 1e-3: 0, 4e-3: 1000}.items():
        assert int((w * (1 - share) != w).sum()) == changed
    model = nn.Linear(3, 2).bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with regularize(model, SGD(model.parameters(), lr=0.1), L2(0.02), how="decoupled"):
            pass
        regularize(model.float(), SGD(model.parameters(), lr=0.1), L2(1e-3), how="decoupled")


def root_of_squares(w: Tensor) -> Tensor:
    return w.square().sum(1).sqrt().sum()


@pitfall(
    ours={f"{p!r}-gradient": p.gradient for p in EVERY}
    | {f"{p!r}-value": torch.func.grad(p.value) for p in EVERY},
    naive=torch.func.grad(root_of_squares),
)
def test_b3_the_gradient_at_zero_is_finite(gradient: Operation) -> None:
    """At a zero tensor, a zero group, and of a tensor without entries."""
    one_zero_group = torch.ones(3, 2, 2)
    one_zero_group[0] = 0
    for w in (torch.zeros(0, 3, 1), one_zero_group, torch.zeros(3, 2, 2)):
        assert gradient(w).isfinite().all()


@every_penalty
def test_b3_the_gradient_at_zero_is_zero(penalty: Penalty) -> None:
    for shape in [(3, 2, 2), (0, 3, 1)]:
        assert not penalty.gradient(torch.zeros(shape)).any()


@pitfall(ours=ours(L1(0.2)), naive={"subgradient": ours(L1(0.2), "coupled")})
def test_b4_only_the_prox_gives_exact_zeros(attach: Attach) -> None:
    X, truth = normal(60, 20).double(), torch.where(torch.arange(20) < 4, 1.0, 0.0).double()
    y = X @ truth + 0.1 * normal(60).double()
    model = nn.Linear(20, 1, bias=False).double()
    optimizer = SGD(model.parameters(), lr=0.05)
    attach(model, optimizer)
    for _ in range(1500):
        optimizer.zero_grad()
        mse_loss(model(X)[:, 0], y).backward()
        optimizer.step()
    assert (model.weight.detach()[0] != 0).tolist() == (truth != 0).tolist()


def by_division(w: Tensor, strength: float, step: float) -> Tensor:
    return w * (1 - strength * step / w.abs()).clamp_min(0)


@pitfall(
    ours={repr(p): lambda w, strength, step, p=p: p.at(strength).prox(w, step) for p in EVERY},
    naive=by_division,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_b5_strength_zero_is_the_identity_bitwise(prox: Operation, dtype: torch.dtype) -> None:
    w = torch.cat([normal(3, 2, 2), torch.zeros(1, 2, 2), 1e-30 * normal(2, 2, 2)]).to(dtype)
    w[0] = -0.0
    for strength, step in [(0.0, 1.0), (0.3, 0.0)]:
        moved = prox(w, strength, step)
        assert torch.equal(moved, w)
        assert torch.equal(moved.signbit(), w.signbit())


@every_penalty
def test_b5_strength_zero_has_no_gradient(penalty: Penalty) -> None:
    assert not penalty.at(0.0).gradient(torch.cat([normal(3, 2, 2), torch.zeros(1, 2, 2)])).any()


@pitfall(
    ours={
        repr(p): p.value
        for p in (GroupLasso(1.0), GroupLasso(1.0, dim=(0, 1)), SparseGroupLasso(1.0))
    },
    naive=sum_of_squares,
)
def test_b6_a_group_lasso_is_no_sum_of_squares(value: Operation) -> None:
    """Without the root it is L2, which is four times as large for twice the weights."""
    w = normal(4, 3)
    assert_close(value(2 * w), 2 * value(w))


def test_b6_a_group_lasso_is_a_sum_of_norms() -> None:
    w = normal(4, 3)
    assert_close(GroupLasso(1.0).value(w), 3**0.5 * w.norm(dim=1).sum())


def through_the_svd(w: Tensor) -> Tensor:
    """At zero, equal and few singular values, the derivatives of U and V are NaN."""
    u, s, vh = torch.linalg.svd(w, full_matrices=False)
    return ((u * s) @ vh).square().sum().sqrt()


@pitfall(ours=NuclearNorm(1.0).value, naive=through_the_svd)
@pytest.mark.parametrize(
    "w", [torch.zeros(3, 2), torch.eye(3), torch.outer(torch.arange(1.0, 4), torch.ones(2))]
)
def test_b7_no_derivative_passes_through_the_svd(value: Operation, w: Tensor) -> None:
    assert torch.func.grad(value)(w).isfinite().all()


def of_each_kernel(conv: nn.Conv2d) -> Tensor:
    """torch's own nuclear norm takes each kernel of a convolution for a matrix of its own."""
    return torch.linalg.matrix_norm(conv.weight, "nuc").sum()


@pitfall(ours=NuclearNorm(1.0), naive=of_each_kernel)
def test_b7_a_convolution_is_a_matrix_of_filters(total: Total) -> None:
    conv = nn.Conv2d(2, 4, 3)
    expected = torch.linalg.matrix_norm(conv.weight.reshape(4, 2 * 3 * 3), "nuc")
    assert_close(total(conv), expected)


class Odd(nn.Module):
    """Parameters that no penalty can act on, beside one that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.counts = nn.Parameter(torch.ones(2, 2, dtype=torch.int64), requires_grad=False)
        self.flags = nn.Parameter(torch.ones(2, 2, dtype=torch.bool), requires_grad=False)
        self.empty = nn.Parameter(torch.zeros(0, 2))


@pitfall(ours=partial(L2(1.0), select=everything), naive=over_the_state)
def test_b9_integer_bool_and_empty_tensors_are_left_out(total: Total) -> None:
    model = Odd()
    assert_close(total(model), over_the_state(model.layer))


@every_penalty
def test_b9_integer_bool_and_empty_tensors_are_listed_and_refused(penalty: Penalty) -> None:
    model = Odd()
    reasons = {row.name: row.reason for row in explain_selection(model, everything)}
    assert "torch.int64" in reasons["counts"]
    assert "torch.bool" in reasons["flags"]
    assert reasons["empty"] == "empty"
    for w in (model.counts, model.flags):
        with pytest.raises(ShrinkageError, match="real floating-point tensors"):
            penalty.value(w)
    empty = torch.zeros(0, 2, 2)
    assert penalty.value(empty) == 0
    assert penalty.gradient(empty).shape == penalty.prox(empty, 1.0).shape == empty.shape


def test_b9_a_tensor_without_storage_has_shapes_only() -> None:
    """On the meta device a model of any size can be looked at."""
    with torch.device("meta"):
        model = nn.Linear(1000, 1000)
    assert L2(1.0)(model).shape == ()
    assert GroupLasso(1.0).prox(model.weight, 0.1).shape == (1000, 1000)


def factor_of_decay(w: Tensor) -> Tensor:
    return w * (1 - 0.1 * 60.0)


@pitfall(
    ours={
        repr(p): partial(proximal, p, lr=0.1)
        for p in (L2(30.0), L1(30.0), ElasticNet(30.0), GroupLasso(30.0))
    },
    naive=factor_of_decay,
)
def test_b10_a_huge_step_never_turns_a_sign(shrunk: Operation) -> None:
    w = normal(6, 4)
    assert (shrunk(w) * w >= 0).all()


def mcp_of_the_books(w: Tensor, step: float) -> Tensor:
    """It divides by ``1 - step / gamma``, which is negative for long steps."""
    soft = w.sign() * (w.abs() - step * 0.5).clamp_min(0)
    return torch.where(w.abs() <= 1.5, soft / (1 - step / 3.0), w)


def scad_of_the_books(w: Tensor, step: float) -> Tensor:
    soft = w.sign() * (w.abs() - step * 0.5).clamp_min(0)
    fading = (w - w.sign() * step * 1.5 / 2.0) / (1 - step / 2.0)
    near = torch.where(w.abs() <= 0.5 * (1 + step), soft, fading)
    return torch.where(w.abs() <= 1.5, near, w)


PROXES: dict[type[Penalty], Operation] = {MCP: mcp_of_the_books, SCAD: scad_of_the_books}


@pitfall(ours=lambda kind: kind(0.5, gamma=3.0).prox, naive=PROXES.__getitem__)
@pytest.mark.parametrize("kind", PROXES)
def test_b10_the_prox_of_mcp_and_scad_has_no_forbidden_steps(
    prox_of: Callable[[type[Penalty]], Operation], kind: type[MCP | SCAD]
) -> None:
    check_prox(prox_of(kind), kind(0.5, gamma=3.0), [0.5, 2.0, 3.0, 4.0, 50.0])


@pytest.mark.parametrize("kind", PROXES)
def test_b10_the_books_are_right_for_short_steps(kind: type[MCP | SCAD]) -> None:
    check_prox(PROXES[kind], kind(0.5, gamma=3.0), [0.5, 1.0])


def check_prox(prox: Operation, penalty: Penalty, steps: list[float]) -> None:
    w = torch.linspace(-3, 3, 61, dtype=torch.float64)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)

    def objective(u: Tensor, step: float) -> Tensor:
        values = torch.func.vmap(penalty.value)(u.reshape(-1)).reshape(u.shape)
        return (u - w[:, None]).square() / 2 + step * values

    for step in steps:
        best = objective(grid.expand(len(w), -1), step).min(1).values
        found = prox(w, step)
        assert (objective(found[:, None], step)[:, 0] <= best + 1e-9).all()
        assert (found * w >= 0).all()
