"""Models that are seldom seen: parameters without axes, random numbers that are not torch's."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from _problems import ADAM, SGD, assert_same_result, classes, fit
from torch import Tensor, nn

from shrinkage import L1, L2, ElasticNet, train
from shrinkage.penalties import Penalty

X, Y = classes()


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3).double(), nn.Parameter(torch.tensor(1.0).double())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


@pytest.mark.parametrize("penalty", [L2(1.0), L1(1.0), ElasticNet(1.0)], ids=str)
def test_a_parameter_without_axes_is_penalized_and_measured_by_both_engines(
    penalty: Penalty,
) -> None:
    given: dict[str, Any] = {"select": "*", "seeds": 1, "strengths": [0.1, 100.0], "epochs": 3}
    together = fit(Scaled, X, Y, penalty, optimizer=SGD, **given)
    alone = fit(Scaled, X, Y, penalty, optimizer=lambda ps: SGD(ps), **given)
    assert together.about["engine"] == "vectorized, eager"
    assert alone.about["engine"].startswith("one by one")
    assert_same_result(together, alone, rtol=2e-6, atol=1e-6)
    place = together.tensor_names.index("scale")
    for result in (together, alone):
        assert result.refit is not None
        kept = result.refit.weights["scale"]
        assert torch.equal(result.refit.norms[..., place], kept.abs().float())
        assert torch.equal(result.refit.sparsity[..., place], (kept == 0).float())
    if not isinstance(penalty, L2):
        assert (together.refit.sparsity[-1, :, place] == 1).all()


class Shaken(nn.Module):
    """Multiplies its output by a little noise of a generator that is not torch's."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.layer, self.draw = nn.Linear(4, 3).double(), draw

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1 + 1e-4 * self.draw())


DRAWS = {"python": random.random, "numpy": np.random.rand}


@pytest.mark.parametrize("optimizer", [ADAM, lambda ps: ADAM(ps)], ids=["named", "alone"])
@pytest.mark.parametrize("draw", DRAWS)
def test_random_numbers_of_python_and_numpy_are_the_same_in_every_call(
    draw: str, optimizer: Any
) -> None:
    def path() -> Any:
        return fit(lambda: Shaken(DRAWS[draw]), X, Y, L2(1.0), seeds=1, optimizer=optimizer)

    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    one = path()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.random()
    np.random.rand()
    assert_same_result(one, path(), rtol=0, atol=0)
    assert one.about["engine"].startswith("one by one")


@pytest.mark.parametrize("draw", DRAWS)
def test_one_training_with_them_goes_on_to_the_same_bits(draw: str, tmp_path: Any) -> None:
    def run(**more: Any) -> Any:
        torch.manual_seed(0)
        return train(Shaken(DRAWS[draw]), X, Y, epochs=3, batch_size=8, **more)

    def stop(moment: Any) -> None:
        if len(moment.curves) == 2:
            raise KeyError

    whole = run()
    with pytest.raises(KeyError):
        run(checkpoint=tmp_path / "c", progress=stop)
    rest = run(checkpoint=tmp_path / "c")
    assert rest.curves == whole.curves
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)
