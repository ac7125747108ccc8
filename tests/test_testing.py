"""Each law can fail: a penalty made wrong on purpose is caught by the law meant for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    ElasticNet,
    GroupLasso,
    NuclearNorm,
    Orthogonal,
    Penalty,
)
from shrinkage.tensors.norms import accumulated
from shrinkage.tensors.threshold import soft_threshold
from shrinkage.testing import check_penalty
from shrinkage.testing.laws import Tensors
from shrinkage.testing.penalty_laws import LAWS


def make(base: type[Penalty], **wrong: Any) -> Penalty:
    """Return a penalty like ``base``, with some operations replaced by wrong ones."""
    kind: Callable[[float], Penalty] = type("Wrong", (base,), wrong)
    return kind(0.3)


def l2_norm(self: Penalty, w: Tensor) -> Tensor:
    """The norm instead of its square: another penalty."""
    return self.strength * torch.linalg.vector_norm(w)


def nan_at_zero(self: Penalty, w: Tensor) -> Tensor:
    return self.strength * w / w.abs()


def root_of_squares(self: Penalty, w: Tensor) -> Tensor:
    return self.strength * w.square().sum(1).sqrt().sum() * w.shape[1] ** 0.5


def as_if_no_group_were_tiny(self: Penalty, w: Tensor, step: Any) -> Tensor:
    norm = torch.linalg.vector_norm(w, dim=1, keepdim=True)
    scale = (norm - step * self.strength * w.shape[1] ** 0.5).clamp_min(0)
    return w * scale / torch.where(norm > 0, norm, 1)


def changes_its_input(self: Penalty, w: Tensor, step: Any) -> Tensor:
    return w.copy_(soft_threshold(w, step * self.strength))


def summed_in_half(self: Penalty, w: Tensor) -> Tensor:
    narrow = w.half() if w.dtype == torch.float32 else w
    return self.strength * narrow.square().sum().to(w.dtype)


class Thawed(L1):
    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def textbook_firm(self: Penalty, w: Tensor, step: Any) -> Tensor:
    """The prox of MCP as it is found in books: for steps below gamma only."""
    inside = soft_threshold(w, step * self.strength) / (1 - step / 3)
    return torch.where(w.abs() <= 3 * self.strength, inside, w)


def svd_rebuilt(self: Penalty, w: Tensor, step: Any) -> Tensor:
    """Right up to rounding."""
    u, s, vh = torch.linalg.svd(accumulated(w), full_matrices=False)
    return ((u * soft_threshold(s, step * self.strength)) @ vh).to(w.dtype)


def nuclear_by_eigenvalues(self: Penalty, w: Tensor) -> Tensor:
    wide = accumulated(w)
    return self.strength * torch.linalg.eigvalsh(wide.T @ wide).clamp_min(0).sqrt().sum()


class ClaimsToBeConvex(MCP):
    convex = True


WRONG: dict[str, list[Penalty]] = {
    "at returns a copy": [
        make(L1, at=lambda p, s: p),
        make(ElasticNet, at=lambda p, s: ElasticNet(s, l1_ratio=0.1)),
        Thawed(0.3),
    ],
    "type shape and input are kept": [
        make(L1, prox=changes_its_input),
        make(L2, prox=lambda p, w, t: w.double() / (1 + 2 * t * p.strength)),
        make(L2, gradient=lambda p, w: p.strength * 2 * w.double()),
    ],
    "vmap over strengths and weights is a loop": [
        make(L2, value=lambda p, w: torch.tensor(float(w.square().sum()))),
        make(L1, prox=lambda p, w, t: L1(float(p.strength)).prox(w, t)),
    ],
    "value is never negative and zero without strength": [
        make(L2, value=lambda p, w: p.strength * w.square().sum() + 1e-6),
        make(L2, value=lambda p, w: -p.strength * w.square().sum()),
        make(L2, value=lambda p, w: p.strength * w.square()),
    ],
    "value is proportional to the strength if linear": [make(MCP, linear=True)],
    "gradient is the derivative of value": [
        make(L2, gradient=lambda p, w: p.strength * w),
        make(L2, value=l2_norm),
        make(GroupLasso, value=lambda p, w: p.strength * w.square().sum()),
    ],
    "gradient at a kink is a subgradient": [
        make(L1, gradient=nan_at_zero),
        make(L1, gradient=lambda p, w: p.strength * torch.where(w >= 0, 1, -1).to(w.dtype)),
        make(L1, gradient=lambda p, w: p.strength * (w.sign() + (w == 0) * w.abs().sum())),
    ],
    "autograd of value is finite at zeros": [
        make(GroupLasso, value=root_of_squares),
        make(NuclearNorm, value=nuclear_by_eigenvalues),
    ],
    "prox is the minimizer": [
        make(L1, prox=lambda p, w, t: soft_threshold(w, 2 * t * p.strength)),
        make(L2, prox=lambda p, w, t: w / (1 + t * p.strength)),
        make(L1, prox=lambda p, w, t: w * (1 - t * p.strength / w.abs())),
        make(L1, prox=lambda p, w, t: w - t * p.gradient(w)),
        make(GroupLasso, prox=lambda p, w, t: GroupLasso(p.strength / 2).prox(w, t)),
        make(ElasticNet, prox=lambda p, w, t: L1(p.strength).prox(w, t / 2)),
        make(MCP, prox=textbook_firm),
        make(Orthogonal, prox=lambda p, w, t: w),
    ],
    "the least value is zero": [
        make(L2, value=lambda p, w: p.strength * (w.square().sum() + 1)),
        make(Orthogonal, value=lambda p, w: Orthogonal.value(p, w) + p.strength * 1e-3),
    ],
    "prox of step or strength zero changes nothing": [
        make(L1, prox=lambda p, w, t: L1.prox(p, w, t) * (1 - 1e-12)),
        make(GroupLasso, prox=as_if_no_group_were_tiny),
        make(NuclearNorm, prox=svd_rebuilt),
    ],
    "prox of a convex penalty is non expansive": [ClaimsToBeConvex(0.3)],
    "strength max is where zero becomes the minimizer": [
        make(L1, strength_max=lambda p, g: g.abs().sum()),
        make(L1, strength_max=lambda p, g: g.abs().max() / 2),
        make(L2, strength_max=lambda p, g: g.abs().max()),
        make(L2, strength_max=lambda p, g: g.sum() * 0 + torch.inf),
        make(ElasticNet, strength_max=lambda p, g: g.abs().max()),
    ],
    "half precision is summed in float32": [
        make(L2, value=summed_in_half),
        make(L2, value=lambda p, w: p.strength * w.double().square().sum()),
    ],
    "repr is the call that makes it": [
        make(L1, __repr__=lambda p: "penalty"),
        make(GroupLasso, __repr__=lambda p: f"Wrong({p.strength})"),
    ],
}
CASES = [
    pytest.param(law, penalty, id=f"{law}-{number}")
    for law, penalties in WRONG.items()
    for number, penalty in enumerate(penalties)
]


@pytest.mark.parametrize(("law", "penalty"), CASES)
def test_a_wrong_penalty_is_caught_by_the_law_meant_for_it(law: str, penalty: Penalty) -> None:
    (function,) = (f for f in LAWS if f.__name__.replace("_", " ") == law)
    with pytest.raises(Exception):  # noqa: B017, PT011
        function(penalty, Tensors((4, 3), 0))
    with pytest.raises(AssertionError) as caught:
        check_penalty(penalty)
    first_line = str(caught.value).splitlines()[0]
    if not isinstance(penalty, ClaimsToBeConvex):  # its gradient is no subgradient either
        assert first_line == f"law '{law}' does not hold for {penalty!r}"


def test_every_law_has_a_wrong_penalty() -> None:
    assert list(WRONG) == [law.__name__.replace("_", " ") for law in LAWS]


@pytest.mark.parametrize("seed", range(3))
def test_a_right_penalty_of_ones_own_passes(seed: int) -> None:
    check_penalty(make(MCP), seed=seed)
    check_penalty(MCP(torch.tensor(0.3, dtype=torch.float64), gamma=6.0), seed=seed, shape=(5,))


def test_a_penalty_whose_repr_fails_is_still_named() -> None:
    def broken(self: Penalty) -> str:
        raise RuntimeError("no text")

    with pytest.raises(AssertionError, match=r"^law 'repr is the call.*does not hold for Wrong\n"):
        check_penalty(make(L1, __repr__=broken))


def test_the_same_seed_draws_the_same_tensors() -> None:
    assert torch.equal(Tensors((2,), 3).draw(1)[0], Tensors((2,), 3).draw(1)[0])
    assert not torch.equal(Tensors((2,), 3).draw(1)[0], Tensors((2,), 4).draw(1)[0])
