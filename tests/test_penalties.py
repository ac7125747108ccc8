"""Every penalty obeys the laws; hand values, limits and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty, catalogue
from shrinkage.testing import check_penalty

SHAPES = [(), (5,), (4, 3), (3, 1), (3, 2, 2)]
CASES = [
    pytest.param(kind(**example), shape, id=f"{name}-{example}-{shape}")
    for name, kind in catalogue().items()
    for example in kind.examples
    for shape in SHAPES
    if kind is not GroupLasso or example.get("dim", 0) < len(shape)
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


def test_limits() -> None:
    same(ElasticNet(0.3, l1_ratio=1.0), L1(0.3))
    same(ElasticNet(0.3, l1_ratio=0.0), L2(0.15))
    column = W.reshape(-1, 1)
    assert_close(GroupLasso(0.3).value(column), L1(0.3).value(column))
    assert_close(GroupLasso(0.3).gradient(column), L1(0.3).gradient(column))
    assert_close(GroupLasso(0.3).prox(column, 0.7), L1(0.3).prox(column, 0.7))
    same(GroupLasso(0.3, dim=-1), GroupLasso(0.3, dim=1))
    assert_close(GroupLasso(0.3, dim=1).value(W), GroupLasso(0.3).value(W.T))


def test_exact_zeros_are_exact() -> None:
    for penalty in (L1(1.0), ElasticNet(1.0), GroupLasso(1.0)):
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
    ],
)
@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_fault_21_bad_strengths_are_refused(
    kind: type[Penalty], strength: Any, message: str
) -> None:
    for make in (kind, kind(0.1).at):
        with pytest.raises(ShrinkageError, match=f"^{kind.__name__}: .*{message}"):
            make(strength)


@pytest.mark.parametrize("l1_ratio", [-0.1, 1.1, float("nan")])
def test_bad_l1_ratio_is_refused(l1_ratio: float) -> None:
    with pytest.raises(ShrinkageError, match=r"l1_ratio=.* must lie in \[0, 1\]"):
        ElasticNet(0.1, l1_ratio=l1_ratio)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_group_axis_must_exist(shape: tuple[int, ...]) -> None:
    operations: list[Callable[[Tensor], Tensor]] = [
        GroupLasso(0.1, dim=1).value,
        GroupLasso(0.1, dim=1).gradient,
        GroupLasso(0.1, dim=1).strength_max,
    ]
    for operation in operations:
        with pytest.raises(ShrinkageError, match=r"dim=1 is no axis.*choose another dim"):
            operation(torch.zeros(shape))


def test_repr_shows_the_twins() -> None:
    assert repr(L2(1e-3)) == "L2(0.001)  # = torch weight_decay=0.002, Keras L2(0.001)"
    assert repr(L2(torch.tensor(0.5))).startswith("L2(0.5)  # = torch weight_decay=1")
    assert repr(ElasticNet(0.25)) == "ElasticNet(0.25, l1_ratio=0.5)"


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
    from torch._dynamo.testing import CompileCounterWithBackend

    def operations(w: Tensor, strength: Tensor, step: Tensor) -> list[Tensor]:
        results = []
        for kind in catalogue().values():
            penalty = kind(0.0).at(strength)
            results += [penalty.value(w), penalty.gradient(w), penalty.prox(w, step)]
        return results

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(operations, fullgraph=True, backend=counter)
    for strength in (0.0, 0.1, 2.0):
        numbers = torch.tensor(strength), torch.tensor(strength / 2)
        assert_close(compiled(W, *numbers), operations(W, *numbers))
    assert counter.frame_count == 1
