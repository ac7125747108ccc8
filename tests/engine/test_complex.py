"""Complex parameters in a path; the oracle is the same net of real and imaginary parts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from _problems import classes
from safetensors.torch import load_file
from torch import Tensor, nn

from shrinkage import PathResult, ShrinkageError, fit_path, minimum
from shrinkage.penalties import L1, L2, NuclearNorm, Penalty

X, Y = classes()


class Waves(nn.Module):
    """Sizes of complex sums, and a linear layer; starts alike, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(self.start())
        self.head = nn.Linear(5, 3, bias=False).double()
        nn.init.constant_(self.head.weight, 0.3)

    def start(self) -> Tensor:
        pairs = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(1)).double()
        return torch.view_as_complex(pairs)

    def reset_parameters(self) -> None: ...

    def sums(self, x: Tensor) -> Tensor:
        return (x.to(self.weight.dtype) @ self.weight.T).abs()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.sums(x).double())


class Pairs(Waves):
    def start(self) -> Tensor:
        return torch.view_as_real(super().start())

    def sums(self, x: Tensor) -> Tensor:
        return (x @ self.weight[..., 0].T).hypot(x @ self.weight[..., 1].T)


class Narrow(Waves):
    def start(self) -> Tensor:
        return super().start().to(torch.complex64)


def fit(model: Any, penalty: Penalty, **changes: Any) -> Any:
    settings = {"strengths": [0.01, 0.1], "folds": 2, "seeds": 1, "epochs": 3} | changes
    return fit_path(lambda: model(), X, Y, penalty, select="weight", **settings)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize(
    "optimizer",
    [functools.partial(torch.optim.SGD, lr=0.1), functools.partial(torch.optim.Adam, lr=0.05)],
)
def test_a_complex_weight_is_trained_as_its_two_parts(optimizer: Any, how: str) -> None:
    ours, real = (fit(m, L2(1.0), optimizer=optimizer, how=how) for m in (Waves, Pairs))
    assert ours.about["engine"] == "one by one: complex parameters"
    for name in ("train_loss", "valid_loss", "norms", "predictions"):
        torch.testing.assert_close(getattr(ours, name), getattr(real, name), rtol=1e-5, atol=1e-5)
    weights = torch.view_as_real(ours.refit.weights["weight"])
    torch.testing.assert_close(weights, real.refit.weights["weight"], rtol=1e-8, atol=1e-8)


def test_the_automatic_grid_of_a_complex_weight_is_that_of_its_parts() -> None:
    ours, real = (fit(m, L2(1.0), strengths=3) for m in (Waves, Pairs))
    torch.testing.assert_close(ours.strengths, real.strengths)


@pytest.mark.parametrize("model", [Narrow, Waves])
def test_a_complex_path_is_kept_to_the_bit(tmp_path: Any, model: Any) -> None:
    runs = [fit(model, L1(1.0), checkpoint=tmp_path / "kept") for _ in range(2)]
    again = runs[0].save(tmp_path / "run", choice=minimum(runs[0])) or PathResult.load(
        tmp_path / "run"
    )
    for result in (runs[1], again):
        kept = result.refit.weights["weight"]
        assert kept.dtype == model().weight.dtype
        assert torch.equal(kept, runs[0].refit.weights["weight"])
    (name,) = {"weight", "weight (real, imaginary)"} & set(
        load_file(tmp_path / "run" / "weights.safetensors")
    )
    assert (name == "weight") == (model is Narrow)


def test_a_complex_path_has_exact_zeros() -> None:
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    result = fit(Narrow, L1(1.0), optimizer=sgd, strengths=[0.01, 100.0])
    assert result.sparsity[:, 0, 0, 0].tolist() == [0, 0, 1]
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    assert fit(Waves, L1(1.0), optimizer=adam, strengths=3).strengths.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"penalty": NuclearNorm(1.0)}, "NuclearNorm: .*complex128"),
        ({"solver": "exact"}, "complex parameters"),
    ],
)
def test_what_complex_parameters_cannot_do_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(Waves, **{"penalty": L2(1.0), **changes})
