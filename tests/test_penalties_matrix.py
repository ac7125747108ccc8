"""Nuclear norm, spectral norm, orthogonality: low rank, equal singular values, convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.penalties import NuclearNorm, Orthogonal, Penalty, SpectralNorm

PENALTIES = [NuclearNorm(0.3), SpectralNorm(0.3), Orthogonal(0.3)]
SHAPES = [(4, 4), (6, 3), (3, 6), (5, 1), (1, 5)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(rows: int, columns: int, s: list[float]) -> Tensor:
    """A matrix with these singular values, and zeros."""
    u, vh = torch.linalg.qr(normal(rows, len(s))).Q, torch.linalg.qr(normal(columns, len(s))).Q.T
    return (u * torch.tensor(s, dtype=u.dtype)) @ vh


SPECIAL = {
    "zero": torch.zeros(4, 3, dtype=torch.float64),
    "low rank": matrix(5, 4, [3.0, 1.0]),
    "rank one": matrix(3, 6, [2.0]),
    "orthonormal": matrix(5, 3, [1.0, 1.0, 1.0]),
    "identity": torch.eye(3, dtype=torch.float64),
    "equal and zero": matrix(5, 5, [2.0, 2.0, 0.5]),
}


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("w", SPECIAL.values(), ids=SPECIAL)
def test_b7_autograd_is_the_gradient_at_equal_and_zero_singular_values(
    penalty: Penalty, w: Tensor
) -> None:
    derivative = torch.func.grad(penalty.value)
    assert_close(derivative(w), penalty.gradient(w))
    members = torch.stack([w, w, 2 * w])
    assert_close(torch.func.vmap(derivative)(members), torch.func.vmap(penalty.gradient)(members))
    if penalty.convex:
        for seed in range(20):
            other = w + 0.1 * normal(*w.shape, seed=seed)
            bound = (penalty.gradient(w) * (other - w)).sum()
            assert penalty.value(other) - penalty.value(w) >= bound - 1e-12


@pytest.mark.parametrize("w", SPECIAL.values(), ids=SPECIAL)
def test_the_subgradient_has_the_smallest_norm(w: Tensor) -> None:
    """On the ray of the gradient from zero, a shorter one is no subgradient."""
    for penalty in (NuclearNorm(1.0), SpectralNorm(1.0)):
        gradient = penalty.gradient(w)
        assert_close((gradient * w).sum(), penalty.value(w))
        s = torch.linalg.svdvals(w)
        rank = float((s > 1e-9).sum())
        equal = float(((s > s[0] - 1e-9) & (s > 1e-9)).sum())
        wanted = rank if isinstance(penalty, NuclearNorm) else 1 / max(equal, 1) * (rank > 0)
        assert_close(gradient.square().sum(), torch.tensor(wanted, dtype=w.dtype))


def test_values_agree_with_torch() -> None:
    for shape in SHAPES:
        w = normal(*shape)
        nuclear = torch.linalg.matrix_norm(w, "nuc")
        spectral = torch.linalg.matrix_norm(w, 2)
        assert_close(NuclearNorm(2.0).value(w), 2 * nuclear)
        assert_close(SpectralNorm(2.0).value(w), 2 * spectral)
        assert_close(NuclearNorm(2.0).strength_max(w), spectral)
        assert_close(SpectralNorm(2.0).strength_max(w), nuclear)
        small = w.T @ w if shape[0] > shape[1] else w @ w.T
        distance = (small - torch.eye(len(small))).square().sum()
        assert_close(Orthogonal(2.0).value(w), 2 * distance)


def test_prox_of_singular_values_by_hand() -> None:
    w = matrix(5, 4, [3.0, 2.5, 1.0])
    assert_close(NuclearNorm(1.0).prox(w, 1.2), matrix(5, 4, [1.8, 1.3, 0.0]))
    assert_close(SpectralNorm(1.0).prox(w, 1.5), matrix(5, 4, [2.0, 2.0, 1.0]))
    assert torch.linalg.matrix_rank(NuclearNorm(1.0).prox(w.float(), 1.2)) == 2
    assert not NuclearNorm(1.0).prox(w, 3.1).any()
    assert not SpectralNorm(1.0).prox(w, 6.6).any()


@pytest.mark.parametrize("pull", [0.0, 1e-12, 0.01, 0.2, 0.25, 0.25 + 1e-15, 0.3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_prox_of_orthogonality_solves_the_cubic(pull: float, dtype: torch.dtype) -> None:
    """Against a grid of singular values, for steps that make the objective convex or not."""
    for s in (0.0, 1e-6, 0.3, 1.0, 1.7, 40.0):
        t = Orthogonal(1.0).prox(torch.tensor([[s]], dtype=dtype), pull).abs().double()
        grid = torch.linspace(0, 1.1 * max(s, 1.1), 20001, dtype=torch.float64)

        def objective(t: Tensor, s: float = s) -> Tensor:
            return (t - s).square() / 2 + pull * (t.square() - 1).square()

        best = objective(grid).min()
        assert objective(t).item() <= best.item() + 100 * torch.finfo(dtype).eps * (1 + pull + s)


def test_prox_of_orthogonality_pulls_to_orthonormal_rows_or_columns() -> None:
    for shape in SHAPES:
        u = Orthogonal(1.0).prox(normal(*shape), 1e9)
        small = u.T @ u if shape[0] > shape[1] else u @ u.T
        assert_close(small, torch.eye(len(small), dtype=u.dtype))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_convolution_is_the_matrix_of_its_filters(penalty: Penalty) -> None:
    w = normal(4, 2, 3, 3)
    flat = w.reshape(4, 18)
    assert_close(penalty.value(w), penalty.value(flat))
    assert_close(penalty.gradient(w), penalty.gradient(flat).reshape(w.shape))
    assert_close(penalty.prox(w, 0.7), penalty.prox(flat, 0.7).reshape(w.shape))
    assert_close(penalty.strength_max(w), penalty.strength_max(flat))
    transposed = penalty.prox(flat.T.contiguous(), 0.7).T
    assert_close(transposed, penalty.prox(flat, 0.7))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_convolution_of_torch_has_its_filters_in_the_rows(penalty: Penalty) -> None:
    torch.manual_seed(0)
    conv, transposed = nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(2, 4, 3)
    assert_close(penalty(conv), penalty.value(conv.weight.reshape(4, 2 * 3 * 3)))
    assert_close(penalty(transposed), penalty.value(transposed.weight.reshape(2, 4 * 3 * 3)))
