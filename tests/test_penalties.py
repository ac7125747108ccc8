"""Every penalty obeys the laws; hand values, limits and refusals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import everything
from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    NuclearNorm,
    Orthogonal,
    Penalty,
    SparseGroupLasso,
    SpectralNorm,
    catalogue,
)
from shrinkage.testing import check_penalty

SHAPES = [(), (5,), (4, 3), (2, 5), (3, 3), (3, 1), (3, 2, 2), (4, 2, 3, 3)]
AXES = {GroupLasso: 1, SparseGroupLasso: 1, NuclearNorm: 2, SpectralNorm: 2, Orthogonal: 2}


def deepest(example: dict[str, Any]) -> int:
    dim: int | tuple[int, ...] = example.get("dim", 0)
    return max(dim) if isinstance(dim, tuple) else dim


CASES = [
    pytest.param(kind(**example), shape, id=f"{name}-{example}-{shape}")
    for name, kind in catalogue().items()
    for example in kind.examples
    for shape in SHAPES
    if AXES.get(kind, 0) + deepest(example) <= len(shape)
]
W = torch.tensor([[3.0, -4.0], [0.0, 0.0], [0.6, 0.8]])


def same(one: Penalty, other: Penalty) -> None:
    """Both penalties do the same to one tensor."""
    assert_close(one.value(W), other.value(W))
    assert_close(one.gradient(W), other.gradient(W))
    assert_close(one.prox(W, 0.7), other.prox(W, 0.7))
    assert_close(one.strength_max(W), other.strength_max(W))


@pytest.mark.parametrize(("penalty", "shape"), CASES)
def test_penalty_obeys_the_laws(penalty: Penalty, shape: tuple[int, ...]) -> None:
    check_penalty(penalty, shape=shape)


def test_the_laws_hold_for_other_tensors_too() -> None:
    for seed in range(1, 4):
        check_penalty(GroupLasso(0.7, dim=1), seed=seed, shape=(3, 4))


def test_catalogue_names_every_penalty() -> None:
    assert catalogue() == {
        "l2": L2,
        "l1": L1,
        "elastic_net": ElasticNet,
        "group_lasso": GroupLasso,
        "mcp": MCP,
        "nuclear_norm": NuclearNorm,
        "orthogonal": Orthogonal,
        "scad": SCAD,
        "sparse_group_lasso": SparseGroupLasso,
        "spectral_norm": SpectralNorm,
    }


ROOT2 = 2**0.5


@pytest.mark.parametrize(
    ("penalty", "value", "gradient", "prox", "strength_max"),
    [
        (L2(0.5), 13.0, [[3.0, -4.0], [0, 0], [0.6, 0.8]], [[1.5, -2.0], [0, 0], [0.3, 0.4]], None),
        (L1(0.5), 4.2, [[0.5, -0.5], [0, 0], [0.5, 0.5]], [[2.5, -3.5], [0, 0], [0.1, 0.3]], 4.0),
        (
            ElasticNet(0.5, l1_ratio=0.25),
            0.5 * (0.25 * 8.4 + 0.375 * 26),
            [[1.25, -1.625], [0, 0], [0.35, 0.425]],
            [[2.875 / 1.375, -3.875 / 1.375], [0, 0], [0.475 / 1.375, 0.675 / 1.375]],
            16.0,
        ),
        (
            GroupLasso(0.5),
            3 * ROOT2,
            [[0.3 * ROOT2, -0.4 * ROOT2], [0, 0], [0.3 * ROOT2, 0.4 * ROOT2]],
            [
                [3 * (1 - 0.1 * ROOT2), -4 * (1 - 0.1 * ROOT2)],
                [0, 0],
                [0.6 * (1 - 0.5 * ROOT2), 0.8 * (1 - 0.5 * ROOT2)],
            ],
            5 / ROOT2,
        ),
    ],
    ids=repr,
)
def test_values_by_hand(
    penalty: Penalty, value: float, gradient: Any, prox: Any, strength_max: float | None
) -> None:
    assert_close(penalty.value(W), torch.tensor(value))
    assert_close(penalty.gradient(W), torch.tensor(gradient))
    assert_close(penalty.prox(W, 1.0), torch.tensor(prox))
    expected = torch.inf if strength_max is None else strength_max
    assert_close(penalty.strength_max(W), torch.tensor(expected))


def test_b6_the_group_lasso_is_no_sum_of_squares() -> None:
    assert GroupLasso(1.0).value(2 * W) == 2 * GroupLasso(1.0).value(W)


def test_mixtures_become_their_parts_at_the_ends() -> None:
    same(ElasticNet(0.3, l1_ratio=1.0), L1(0.3))
    same(ElasticNet(0.3, l1_ratio=0.0), L2(0.15))
    column = W.reshape(-1, 1)
    assert_close(GroupLasso(0.3).value(column), L1(0.3).value(column))
    assert_close(GroupLasso(0.3).gradient(column), L1(0.3).gradient(column))
    assert_close(GroupLasso(0.3).prox(column, 0.7), L1(0.3).prox(column, 0.7))
    same(GroupLasso(0.3, dim=-1), GroupLasso(0.3, dim=1))
    assert_close(GroupLasso(0.3, dim=1).value(W), GroupLasso(0.3).value(W.T))
    for dim in (0, 1):
        same(SparseGroupLasso(0.3, l1_ratio=1.0, dim=dim), L1(0.3))
        same(SparseGroupLasso(0.3, l1_ratio=0.0, dim=dim), GroupLasso(0.3, dim=dim))
    for far in (MCP(0.3, gamma=1e9), SCAD(0.3, gamma=1e9)):
        same(far, L1(0.3))


@pytest.mark.parametrize(
    ("dim", "axes"), [(0, (1, 2, 3)), (1, (0, 2, 3)), ((0, 1), (2, 3)), ((-3, 0), (2, 3))]
)
def test_groups_of_a_convolution_by_role(dim: Any, axes: tuple[int, ...]) -> None:
    """Filters, input channels, kernels."""
    torch.manual_seed(0)
    w = nn.Conv2d(3, 5, 2).weight.detach()
    norms = w.square().sum(axes).sqrt()
    size = w.numel() // norms.numel()
    assert_close(GroupLasso(0.3, dim=dim).value(w), 0.3 * size**0.5 * norms.sum())
    both = 0.3 * (0.5 * w.abs().sum() + 0.5 * size**0.5 * norms.sum())
    assert_close(SparseGroupLasso(0.3, dim=dim).value(w), both)
    left = GroupLasso(1.0, dim=dim).prox(w, float(norms.median()) / size**0.5)
    dropped = left.square().sum(axes) == 0
    assert torch.equal(dropped, norms <= norms.median())


def test_a_transposed_convolution_has_its_filters_along_the_second_axis() -> None:
    torch.manual_seed(0)
    layer, x = nn.ConvTranspose2d(3, 5, 2, bias=False), torch.ones(1, 3, 4, 4)
    with torch.no_grad():
        layer.weight[:, 2] = 0
    assert not layer(x)[:, 2].any()
    norms = layer.weight.detach().square().sum((0, 2, 3)).sqrt()
    assert_close(GroupLasso(1.0, dim=1)(layer).detach(), 12**0.5 * norms.sum())


@pytest.mark.parametrize("kind", [GroupLasso, SparseGroupLasso])
@pytest.mark.parametrize("dim", [1.0, "0", True, (), [0, 1], (0, None)])
def test_what_is_no_axis_is_refused(kind: Callable[..., Penalty], dim: Any) -> None:
    with pytest.raises(
        ShrinkageError, match="is neither an axis nor a tuple of axes; give one such as 0, 1"
    ):
        kind(0.1, dim=dim)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("shape", [(6,), (1, 40), (7, 9), (3, 4, 5)])
def test_strength_max_of_the_sparse_group_lasso_is_a_root(
    l1_ratio: float, shape: tuple[int, ...]
) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    gradient[0] = gradient[0].round()  # ties and zeros
    penalty = SparseGroupLasso(1.0, l1_ratio=l1_ratio)
    top = float(penalty.strength_max(gradient))
    assert not penalty.at(top * (1 + 1e-9)).prox(gradient, 1.0).any()
    assert penalty.at(top * (1 - 1e-9)).prox(gradient, 1.0).any()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 2)])
@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_b9_an_empty_tensor_has_no_penalty(kind: type[Penalty], shape: tuple[int, ...]) -> None:
    w, penalty = torch.zeros(shape), kind(0.3)
    assert penalty.value(w) == 0
    assert penalty.strength_max(w) == 0
    assert penalty.gradient(w).shape == penalty.prox(w, 1.0).shape == shape


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_a_member_that_diverged_stays_so_and_disturbs_no_other(kind: type[Penalty]) -> None:
    penalty, members = kind(0.3), torch.stack([W, W / 0 - W])
    for step in (0.5, 50.0):
        proxes = torch.func.vmap(lambda w, step=step: penalty.prox(w, step))(members)
        assert_close(proxes[0], penalty.prox(W, step))
        assert proxes[1].isnan().any()
    values = torch.func.vmap(penalty.value)(members)
    assert_close(values[0], penalty.value(W))
    assert values[1].isnan()
    assert_close(torch.func.vmap(penalty.gradient)(members)[0], penalty.gradient(W))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_half_precision_is_close_to_double(kind: type[Penalty], dtype: torch.dtype) -> None:
    w, penalty = W.to(dtype), kind(0.3)
    eps = torch.finfo(dtype).eps
    for step in (0.5, torch.tensor(0.5)):
        prox, exact = penalty.prox(w, step), penalty.prox(w.double(), step)
        assert_close(prox.double(), exact, rtol=4 * eps, atol=4 * eps)
    exact = penalty.gradient(w.double())
    assert_close(penalty.gradient(w).double(), exact, rtol=4 * eps, atol=4 * eps)


def test_exact_zeros_are_exact() -> None:
    for penalty in (
        L1(1.0),
        ElasticNet(1.0),
        GroupLasso(1.0),
        SparseGroupLasso(1.0),
        MCP(1.0),
        SCAD(1.0),
    ):
        shrunk = penalty.prox(W, 1.0)
        assert int((shrunk == 0).sum()) >= 2, penalty
        assert shrunk[0].all(), penalty


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_block_threshold_of_tiny_groups(dtype: torch.dtype) -> None:
    tiny = torch.full((1, 2), 1e-5 if dtype == torch.float16 else 1e-30, dtype=dtype)
    assert torch.equal(GroupLasso(0.0).prox(tiny, 1.0), tiny)
    assert not GroupLasso(1e-4).prox(tiny, 1.0).any()


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        (-0.1, "strength=-0.1 must be finite and >= 0"),
        (float("nan"), "must be finite"),
        (float("inf"), "must be finite"),
        ("1e-3", "strength='1e-3' is not a number"),
        (None, "strength=None is not a number"),
        (True, "strength=True is not a number"),
        (1j, "is not a number"),
        ([0.1], "is not a number"),
        (torch.tensor([0.1, 0.2]), r"strength is a tensor of shape \(2,\)"),
        (torch.tensor(-0.1), r"strength=tensor\(-0.1000\) must be finite and >= 0"),
        (torch.tensor(torch.nan), "must be finite"),
        (torch.tensor(torch.inf, dtype=torch.float64), "must be finite"),
        (torch.tensor(True), "is not a number"),
        (torch.tensor(1j), "is not a number"),
    ],
)
@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_fault_21_bad_strengths_are_refused(
    kind: type[Penalty], strength: Any, message: str
) -> None:
    for make in (kind, kind(0.1).at):
        with pytest.raises(ShrinkageError, match=f"^{kind.__name__}: .*{message}"):
            make(strength)


@pytest.mark.parametrize("kind", [ElasticNet, SparseGroupLasso])
@pytest.mark.parametrize("l1_ratio", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_bad_l1_ratio_is_refused(kind: Callable[..., Penalty], l1_ratio: Any) -> None:
    with pytest.raises(ShrinkageError, match=r"l1_ratio=.* must be a number in \[0, 1\]"):
        kind(0.1, l1_ratio=l1_ratio)


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (GroupLasso(0.1, dim=1), "GroupLasso: dim=1 is not an axis.*choose another dim"),
        (
            SparseGroupLasso(0.1, dim=1),
            "SparseGroupLasso: dim=1 is not an axis.*choose another dim",
        ),
        (NuclearNorm(0.1), "NuclearNorm: .* is not a matrix; leave it out with select="),
        (SpectralNorm(0.1), "SpectralNorm: .* is not a matrix; leave it out with select="),
        (Orthogonal(0.1), "Orthogonal: .* is not a matrix; leave it out with select="),
    ],
)
def test_axes_must_exist(penalty: Penalty, message: str, shape: tuple[int, ...]) -> None:
    operations: list[Callable[[Tensor], Tensor]] = [
        penalty.value,
        penalty.gradient,
        partial(penalty.prox, step=1.0),
        penalty.strength_max,
    ]
    for operation in operations:
        with pytest.raises(ShrinkageError, match=f"^{message}"):
            operation(torch.zeros(shape))


def test_its_text_shows_the_twins_and_its_repr_can_be_pasted() -> None:
    assert str(L2(1e-3)) == "L2(0.001)  # = torch weight_decay=0.002, Keras L2(0.001)"
    assert str(L2(torch.tensor(0.5))).startswith("L2(0.5)  # = torch weight_decay=1")
    assert str(ElasticNet(0.25)) == "ElasticNet(0.25, l1_ratio=0.5)"
    assert repr([L2(1e-3), L1(0.1) + L2(1.0)]) == "[L2(0.001), L1(0.1) + L2(1)]"


def test_a1_penalty_of_a_model_is_the_sum_over_its_weights() -> None:
    for sizes in ((4, 3, 2), (3, 3, 3)):
        a, b, c = sizes
        net = nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c))
        weights = [net[0].weight, net[2].weight]
        expected = sum(0.1 * w.double().square().sum() for w in weights)
        assert_close(L2(0.1)(net).double(), expected, rtol=1e-6, atol=0)
        expected = sum(0.1 * p.double().square().sum() for p in net.parameters())
        assert_close(L2(0.1)(net, everything).double(), expected, rtol=1e-6, atol=0)
    net.requires_grad_(False)
    assert L2(0.1)(net) == 0
    net[0].requires_grad_(True)
    L2(0.1)(net).backward()
    assert_close(net[0].weight.grad, 0.2 * net[0].weight.detach())


def test_a_new_strength_compiles_nothing_new() -> None:
    from torch._dynamo.testing import CompileCounter

    def operations(w: Tensor, strength: Tensor, step: Tensor) -> list[Tensor]:
        results = []
        for kind in catalogue().values():
            penalty = kind(0.0).at(strength)
            results += [penalty.value(w), penalty.gradient(w), penalty.prox(w, step)]
        return results

    counter = CompileCounter()
    compiled = torch.compile(operations, fullgraph=True, backend=counter)
    for strength in (0.0, 0.1, 2.0):
        numbers = torch.tensor(strength), torch.tensor(strength / 2)
        assert_close(compiled(W, *numbers), operations(W, *numbers))
    assert counter.frame_count == 1


FAST = {"0.weight": torch.full((2, 2), 3.0), "0.bias": torch.ones(2), "1.weight": torch.ones(2, 2)}


def test_tensors_that_stand_in_for_parameters_are_penalized_by_their_roles() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].requires_grad_(False)
    assert L2(1.0)(net, tensors=FAST) == 36.0
    gradient = torch.func.grad(lambda fast: L2(1.0)(net, tensors=fast))(FAST)
    assert_close(gradient["0.weight"], 2 * FAST["0.weight"])
    assert not gradient["0.bias"].any()
    assert L2(1.0)(net.requires_grad_(False), tensors=FAST) == 0
    with pytest.raises(
        ShrinkageError, match=r"tensors= holds w, and the penalty acts on 0\.weight"
    ):
        L2(1.0)(net.requires_grad_(True), tensors={"w": FAST["0.weight"]})


@pytest.mark.parametrize(
    "transform",
    [
        lambda total: torch.func.grad(total)(FAST),
        lambda total: torch.func.jacrev(total)(FAST),
        lambda total: torch.func.vjp(total, FAST),
        lambda total: torch.func.vmap(torch.func.grad(total))(
            {k: w[None] for k, w in FAST.items()}
        ),
    ],
    ids=["grad", "jacrev", "vjp", "vmap(grad)"],
)
def test_a_penalty_that_is_constant_where_it_should_not_be_says_so(transform: Any) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.warns(ShrinkageWarning, match=r"constant penalty: L2\(1\) of the model's own"):
        transform(lambda fast: fast["0.weight"].sum() + L2(1.0)(net))
    transform(lambda fast: L2(1.0)(net, tensors=fast))

    class Penalized(nn.Module):
        def forward(self) -> Tensor:
            return L2(1.0)(self)

    inside = Penalized()
    inside.layer = nn.Linear(2, 2)
    names = {"layer.weight": "0.weight", "layer.bias": "0.bias"}
    transform(
        lambda fast: torch.func.functional_call(
            inside, {name: fast[stands] for name, stands in names.items()}, ()
        )
    )


def test_a_penalty_of_a_model_is_part_of_one_graph() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    loss = torch.compile(lambda x: net(x).sum() + L2(0.1)(net), backend="eager", fullgraph=True)
    assert_close(loss(torch.ones(1, 2)), net(torch.ones(1, 2)).sum() + L2(0.1)(net))
    torch._dynamo.reset()
