"""Pitfalls of shape and number, each beside an implementation that falls into it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
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
    catalogue,
)
from shrinkage.regularize import regularize

EVERY = [kind(**example) for kind in catalogue().values() for example in kind.examples]
every_penalty = pytest.mark.parametrize("penalty", EVERY, ids=repr)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a1_a_sum_over_tensors_is_a_sum_over_their_entries() -> None:
    """Without ``.sum()`` the tutorial's line raises, or broadcasts the bias into the weight."""

    def naive(model: nn.Module) -> Tensor:
        return sum(p**2 for p in model.parameters()).sum()  # type: ignore[union-attr]

    def exact(model: nn.Module) -> Tensor:
        return torch.stack([p.double().square().sum() for p in model.parameters()]).sum()

    torch.manual_seed(0)
    tutorial = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    square = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="must match the size"):
        naive(tutorial)
    assert abs(naive(square) - exact(square)) > 0.1
    for model in (tutorial, square):
        assert_close(L2(1.0)(model, everything).double(), exact(model), rtol=1e-6, atol=0)


def test_a4_a_tied_tensor_counts_once() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    once = model["head"].weight.detach().square().sum()
    naive = sum(w.square().sum() for m in model.children() for w in m.parameters())
    by_state = sum(w.square().sum() for w in model.state_dict().values())
    assert_close(naive, 2 * once)
    assert_close(by_state, 2 * once)
    assert_close(L2(1.0)(model), once)
    optimizer = SGD(model.parameters(), lr=0.1)
    with regularize(model, optimizer, L2(1.0)) as handle:
        (row,) = handle.summary().rows
        assert (row["name"], row["shared"]) == ("embedding.weight", ["head.weight"])
        assert_close(handle.value(), once)


def test_a6_every_tensor_keeps_its_own_strength() -> None:
    """A lambda in a loop sees the last strength only."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    strengths = {"0.weight": 0.1, "1.weight": 2.0}
    tensors = dict(model.named_parameters())
    exact = sum(s * tensors[n].detach().square().sum() for n, s in strengths.items())
    terms: list[Callable[[], Tensor]] = []
    for name, strength in strengths.items():
        terms.append(lambda: strength * tensors[name].square().sum())  # noqa: B023
    assert not torch.isclose(sum(term() for term in terms), exact)
    rules = {name: L2(strength) for name, strength in strengths.items()}
    optimizer = SGD(model.parameters(), lr=0.1)
    with regularize(model, optimizer, rules) as handle:
        assert_close(handle.value(), exact)


@every_penalty
def test_b1_half_precision_is_summed_in_float32(penalty: Penalty) -> None:
    ones = torch.ones(70_000, 1, 1, dtype=torch.float16)
    assert (ones * ones).sum().isinf()
    value = penalty.value(ones)
    assert value.dtype == torch.float32
    assert_close(value.double(), penalty.value(ones.double()), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_penalty
def test_b1_half_precision_is_rounded_once(penalty: Penalty, dtype: torch.dtype) -> None:
    """Norms above the largest float16, and every formula as in float32."""
    w = (300 * normal(3, 70_000, 1)).to(dtype)
    if dtype == torch.float16:
        assert torch.linalg.vector_norm(w[0]).isinf()
    for operation in (penalty.gradient, partial(penalty.prox, step=0.3)):
        assert torch.equal(operation(w), operation(w.float()).to(dtype))


def test_b2_a_decay_that_is_rounded_away_is_said_to_be() -> None:
    w = normal(1000).bfloat16()
    for share, changed in {1e-5: 0, 1e-4: 0, 1e-3: 0, 4e-3: 1000}.items():
        assert int((w * (1 - share) != w).sum()) == changed
    model = nn.Linear(3, 2).bfloat16()
    no_effect = pytest.warns(
        UserWarning, match=r"takes 0.0002 .*bfloat16 .*below 0.002 .*no effect"
    )
    with no_effect, regularize(model, SGD(model.parameters(), lr=0.1), L2(1e-3), how="decoupled"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with regularize(model, SGD(model.parameters(), lr=0.1), L2(0.02), how="decoupled"):
            pass
        regularize(model.float(), SGD(model.parameters(), lr=0.1), L2(1e-3), how="decoupled")


@every_penalty
@pytest.mark.parametrize("shape", [(3, 2, 2), (0, 3, 1)])
def test_b3_the_gradient_at_zero_is_finite(penalty: Penalty, shape: tuple[int, ...]) -> None:
    zero = torch.zeros(shape, requires_grad=True)
    one_zero_group = torch.ones(shape).index_fill(0, torch.tensor([0])[: shape[0]], 0.0)
    for w in (zero, one_zero_group.requires_grad_()):
        naive = torch.autograd.grad(w.square().sum(1).sqrt().sum(), w)[0]
        assert naive.isnan().any() or not w.numel()
        assert torch.autograd.grad(penalty.value(w), w)[0].isfinite().all()
        assert penalty.gradient(w.detach()).isfinite().all()
    assert not penalty.gradient(zero.detach()).any()


def test_b4_only_the_prox_gives_exact_zeros() -> None:
    X, truth = normal(60, 20).double(), torch.where(torch.arange(20) < 4, 1.0, 0.0).double()
    y = X @ truth + 0.1 * normal(60).double()
    support = {}
    for how in ("coupled", "proximal"):
        model = nn.Linear(20, 1, bias=False).double()
        optimizer = SGD(model.parameters(), lr=0.05)
        regularize(model, optimizer, L1(0.2), how=how)
        for _ in range(1500):
            optimizer.zero_grad()
            mse_loss(model(X)[:, 0], y).backward()
            optimizer.step()
        support[how] = (model.weight.detach()[0] != 0).tolist()
    assert support["coupled"] == [True] * 20
    assert support["proximal"] == (truth != 0).tolist()


@every_penalty
def test_b5_strength_zero_is_the_identity_bitwise(penalty: Penalty) -> None:
    w = torch.cat([normal(3, 2, 2), torch.zeros(1, 2, 2), 1e-30 * normal(2, 2, 2)])
    naive = w * (1 - 0.0 / w.abs()).clamp_min(0)
    assert naive.isnan().any()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        narrow = w.to(dtype)
        assert torch.equal(penalty.at(0.0).prox(narrow, 1.0), narrow)
        assert torch.equal(penalty.prox(narrow, 0.0), narrow)
        assert not penalty.at(0.0).gradient(narrow).any()


def test_b6_a_group_lasso_is_no_sum_of_squares() -> None:
    """Without the root it is L2, which is four times as large for twice the weights."""
    w = normal(4, 3)
    naive = partial(torch.sum, dim=())
    assert_close(naive((2 * w).square()), 4 * naive(w.square()))
    for penalty in (GroupLasso(1.0), GroupLasso(1.0, dim=(0, 1)), SparseGroupLasso(1.0)):
        assert_close(penalty.value(2 * w), 2 * penalty.value(w))
    assert_close(GroupLasso(1.0).value(w), 3**0.5 * w.norm(dim=1).sum())


@pytest.mark.parametrize(
    "w", [torch.zeros(3, 2), torch.eye(3), torch.outer(torch.arange(1.0, 4), torch.ones(2))]
)
def test_b7_no_derivative_passes_through_the_svd(w: Tensor) -> None:
    """At zero, equal and few singular values, the derivatives of U and V are NaN."""

    def naive(w: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(w, full_matrices=False)
        return ((u * (s - 0.1).clamp_min(0)) @ vh).sum()

    assert torch.func.grad(naive)(w).isnan().any()
    penalty = NuclearNorm(1.0)
    derivative = torch.func.grad(penalty.value)(w)
    assert derivative.isfinite().all()
    assert_close(derivative, penalty.gradient(w))
    assert penalty.prox(w, 0.1).isfinite().all()


def test_b7_a_convolution_is_a_matrix_of_filters() -> None:
    """torch's own nuclear norm takes each kernel of a convolution for a matrix of its own."""
    conv = nn.Conv2d(2, 4, 3)
    w = conv.weight.detach()
    assert torch.linalg.matrix_norm(w, "nuc").shape == (4, 2)
    expected = torch.linalg.matrix_norm(w.reshape(4, 2 * 3 * 3), "nuc")
    assert_close(NuclearNorm(1.0)(conv).detach(), expected)


def complex_tensor(*shape: int) -> Tensor:
    return torch.view_as_complex(normal(*shape, 2).double())


@every_penalty
def test_b8_what_acts_on_absolute_values_shrinks_these_and_keeps_the_phase(
    penalty: Penalty,
) -> None:
    """Squares and signs of complex numbers are complex: the naive penalty is none."""
    torch.manual_seed(0)
    w = complex_tensor(4, 3)
    assert w.square().sum().imag != 0
    if not penalty.absolute:
        for operation in (penalty.value, penalty.gradient, partial(penalty.prox, step=1.0)):
            with pytest.raises(ShrinkageError, match=r"torch.complex128 .*real floating-point"):
                operation(w)
        return
    value = penalty.value(w)
    assert_close(value, penalty.value(w.abs()))
    free = w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty.value(free), free)
    assert_close(penalty.gradient(w), gradient)
    moved = penalty.prox(w, 0.1)
    kept = moved != 0
    assert kept.any()
    assert_close(moved[kept].angle(), w[kept].angle())
    assert (moved.abs() <= w.abs()).all()
    for _ in range(200):  # no other point is lower: the definition of the prox
        other = moved + 0.1 * complex_tensor_like(moved)
        assert objective(penalty, moved, w) <= objective(penalty, other, w) + 1e-12
    zero = torch.zeros_like(w)
    assert torch.equal(penalty.gradient(zero), zero)
    assert torch.equal(penalty.prox(zero, 0.1), zero)


def complex_tensor_like(w: Tensor) -> Tensor:
    return torch.view_as_complex(torch.randn(*w.shape, 2, dtype=torch.float64))


def objective(penalty: Penalty, u: Tensor, w: Tensor) -> Tensor:
    return (u - w).abs().square().sum() / 2 + 0.1 * penalty.value(u)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("penalty", [L2(0.3), L1(0.3), ElasticNet(0.3), GroupLasso(0.1)], ids=repr)
def test_fault_28_a_complex_weight_in_a_step_is_its_two_real_parts(
    how: str, penalty: Penalty
) -> None:
    model = nn.Linear(3, 4, bias=False, dtype=torch.complex128)
    before = model.weight.detach().clone()
    optimizer = SGD(model.parameters(), lr=0.2)
    handle = regularize(model, optimizer, penalty, how=how)
    assert_close(handle.value(), penalty(model).detach())
    assert handle.summary().rows[0]["value"] == handle.value().item()
    model.weight.grad = complex_tensor(4, 3)
    gradient = model.weight.grad.clone()
    optimizer.step()
    free = before.clone().requires_grad_()
    (own,) = torch.autograd.grad(penalty.value(free), free)
    expected = before - 0.2 * gradient - 0.2 * own
    if how == "proximal":
        expected = penalty.prox(before - 0.2 * gradient, 0.2)
    assert_close(model.weight.detach(), expected)


def test_b8_complex_weights_are_refused_by_name_where_there_is_no_formula() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    for penalty in (NuclearNorm(0.1), L2(0.1) + NuclearNorm(0.1)):
        with pytest.raises(ShrinkageError, match=r"weight: .*complex64 has no weights to shrink"):
            regularize(model, SGD(model.parameters(), lr=0.1), penalty, how="coupled")


class Odd(nn.Module):
    """Parameters that no penalty can act on, beside one that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.counts = nn.Parameter(torch.ones(2, 2, dtype=torch.int64), requires_grad=False)
        self.flags = nn.Parameter(torch.ones(2, 2, dtype=torch.bool), requires_grad=False)
        self.empty = nn.Parameter(torch.zeros(0, 2))


@every_penalty
def test_b9_integer_bool_and_empty_tensors_are_left_out_and_listed(penalty: Penalty) -> None:
    model = Odd()
    naive = sum(w.square().sum() for w in model.state_dict().values() if w.dtype != torch.bool)
    assert naive > L2(1.0)(model, everything) + 3
    assert L2(1.0)(model, everything).isfinite()
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


@pytest.mark.parametrize(
    "penalty", [L2(30.0), L1(30.0), ElasticNet(30.0), GroupLasso(30.0)], ids=repr
)
def test_b10_a_huge_step_never_turns_a_sign(penalty: Penalty) -> None:
    w = normal(6, 4)
    naive = w * (1 - 0.1 * 60.0)
    assert (naive * w < 0).all()
    assert (proximal(penalty, w, 0.1) * w >= 0).all()


@pytest.mark.parametrize("penalty", [MCP(0.5, gamma=3.0), SCAD(0.5, gamma=3.0)], ids=repr)
@pytest.mark.parametrize("step", [0.5, 2.0, 3.0, 4.0, 50.0])
def test_b10_the_prox_of_mcp_and_scad_has_no_forbidden_steps(
    penalty: MCP | SCAD, step: float
) -> None:
    """The formula of the books divides by ``1 - step / gamma``, negative for long steps."""
    w = torch.linspace(-3, 3, 61, dtype=torch.float64)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)

    def objective(u: Tensor) -> Tensor:
        values = torch.func.vmap(penalty.value)(u.reshape(-1)).reshape(u.shape)
        return (u - w[:, None]).square() / 2 + step * values

    best = objective(grid.expand(len(w), -1)).min(1).values
    bend = step / (3.0 - isinstance(penalty, SCAD))
    if bend >= 1 and isinstance(penalty, MCP):
        soft = w.sign() * (w.abs() - step * 0.5).clamp_min(0)
        naive = torch.where(w.abs() <= 1.5, soft / (1 - bend), w)
        assert not (objective(naive[:, None])[:, 0] <= best + 1e-9).all()
    found = penalty.prox(w, step)
    assert (objective(found[:, None])[:, 0] <= best + 1e-9).all()
    assert (found * w >= 0).all()
