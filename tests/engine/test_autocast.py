"""bfloat16 by autocast: forward passes as torch's own loop makes them, all else in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import (
    SGD,
    SMALL,
    ByHand,
    assert_same_result,
    by_hand,
    classes,
    fit,
    problem_of,
    split_decay,
)
from torch import Tensor, nn

from shrinkage.engine import fit_path
from shrinkage.engine.member.fresh import make_builder
from shrinkage.engine.member.update import update_for
from shrinkage.engine.run.cache import step_key
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2
from shrinkage.result.path_result import PathResult
from shrinkage.rows.groups import ALL_ROWS, Group, key

pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype")
"""What torch says of RMSNorm in autocast."""

X64, Y = classes()
X = X64.float()
STRENGTHS = [0.0, 0.01, 0.1]
NAMELESS = lambda parameters: SGD(parameters)  # noqa: E731
"""An optimizer that only the loop engine can use."""

BF16: dict[str, Any] = {"autocast": torch.bfloat16}


class Mixed(nn.Module):
    """Residual attention and a normalization of each kind, seen as 2 places of 2 features."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norms = nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8), nn.RMSNorm(8))
        self.groups = nn.Sequential(nn.GroupNorm(2, 8), nn.InstanceNorm1d(8, affine=True))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x.unflatten(1, (2, 2)))
        x = self.norms(x + self.attention(x, x, x, need_weights=False)[0])
        return self.head((x + self.groups(x.mT).mT).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x.unflatten(1, (2, 2)))[0][:, -1])


MODELS: dict[str, Any] = {
    "linear": lambda: nn.Linear(4, 3),
    "perceptron": lambda: nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)),
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "mixed": Mixed,
    "one by one": Recurrent,
}


def gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[n] - other[n]).square().sum()) for n in one) ** 0.5


def in_autocast(model: nn.Module) -> nn.Module:
    """The user's model, computing in autocast."""
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # type: ignore[method-assign]
    return model


def entropy_in_autocast(output: Tensor, target: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(output, target)
    assert loss.dtype == torch.float32
    return loss


def hand(build: Any, strength: float, result: PathResult) -> ByHand:
    """A user's own loop in autocast, with the weight decay that is this L2."""
    return by_hand(
        lambda: in_autocast(build()),
        X,
        Y,
        result.folds,
        Group(ALL_ROWS, 0),
        lambda net: torch.optim.SGD(split_decay(net, 2 * strength), lr=0.1, momentum=0.9),
        loss=entropy_in_autocast,
        epochs=4,
    )


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_outputs_are_those_of_a_loop_in_autocast(name: str) -> None:
    build = MODELS[name]
    select = lambda name, tensor: name.endswith("weight")  # noqa: E731
    result = fit(build, X, Y, strengths=STRENGTHS, epochs=4, select=select, test=(X, Y), **BF16)
    assert result.about["engine"].startswith("one" if name == "one by one" else "vectorized")
    for k, strength in enumerate(STRENGTHS):
        own = {n: tensor[k, 0] for n, tensor in result.refit.weights.items()}
        alone = hand(build, strength, result)
        start = dict(make_builder(build)(key("initial weights", Group(ALL_ROWS, 0))).state_dict())
        assert gap(own, alone.weights()) < 0.04 * gap(start, alone.weights())
        curve = torch.tensor(alone.train_loss)
        torch.testing.assert_close(result.refit.train_loss[k, 0], curve, rtol=2e-2, atol=5e-3)
    outputs = result.refit.test_predictions
    assert torch.equal(outputs, outputs.bfloat16().float())
    losses = [F.cross_entropy(each[0], Y) for each in outputs]
    torch.testing.assert_close(result.refit.test_loss[:, 0], torch.stack(losses))
    assert all(w.dtype == torch.float32 for w in own.values() if w.is_floating_point())
    assert any(not torch.equal(w, w.bfloat16().float()) for w in own.values())


@pytest.mark.parametrize("optimizer", [SGD, NAMELESS], ids=["together", "alone"])
def test_a_step_computes_in_bfloat16(optimizer: Any) -> None:
    """One batch of all rows: the loss of the first epoch is that of the initial weights."""
    build = lambda: nn.Linear(4, 3, bias=False)  # noqa: E731
    result = fit(build, X, Y, epochs=1, batch_size=32, optimizer=optimizer, **BF16)
    weight = make_builder(build)(key("initial weights", Group(ALL_ROWS, 0))).weight.detach()
    narrow = F.cross_entropy((X.bfloat16() @ weight.bfloat16().mT).float(), Y)
    assert (narrow - F.cross_entropy(X @ weight.mT, Y)).abs() > 2e-5
    torch.testing.assert_close(result.refit.train_loss[0, 0, 0], narrow, rtol=0, atol=2e-6)


def test_held_out_rows_are_judged_as_training_computes() -> None:
    result = fit(MODELS["perceptron"], X, Y, **BF16)
    for values in (result.predictions, result.refit.train_loss):
        assert values.dtype == torch.float32
    assert torch.equal(result.predictions, result.predictions.bfloat16().float())
    held = result.folds == 0
    losses = F.cross_entropy(result.predictions[1, 0, held], Y[held])
    torch.testing.assert_close(result.valid_loss[1, 0, 0, -1], losses)


@pytest.mark.parametrize("name", MODELS)
def test_members_together_are_members_alone(name: str) -> None:
    together = fit(MODELS[name], X, Y, L1(1.0), **BF16)
    alone = fit(MODELS[name], X, Y, L1(1.0), **BF16, optimizer=NAMELESS)
    assert alone.about["engine"].startswith("one by one")
    assert_same_result(together, alone, rtol=0.05, atol=0.05)


def test_dropout_and_its_knob_are_the_same_together_and_alone() -> None:
    model = lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))  # noqa: E731
    knobs: dict[str, Any] = {"grid": {"dropout": [0.2, 0.6], "label_smoothing": [0.1]}, **BF16}
    together = fit(model, X, Y, **knobs)
    assert together.about["engine"] == "vectorized, eager"
    alone = fit(model, X, Y, **knobs, optimizer=NAMELESS)
    assert_same_result(together, alone, rtol=0.05, atol=0.05)


def test_compiled_equals_eager() -> None:
    settings = {"strengths": [0.1], "refit": False, "seeds": 1, "folds": 2, **BF16}
    compiled = fit(MODELS["batch norm"], X, Y, **{**settings, "compile": True})
    assert compiled.about["engine"] == "vectorized, compiled"
    eager = fit(MODELS["batch norm"], X, Y, **settings)
    torch.testing.assert_close(compiled.predictions, eager.predictions, rtol=0.05, atol=0.05)
    assert torch.equal(compiled.predictions, compiled.predictions.bfloat16().float())


class OwnStatistic(nn.Module):
    """A batch statistic that torch's functions know nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x - x.mean(0) if self.training else x)


class Noisy(OwnStatistic):
    """Random numbers of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + torch.randn(()) if self.training else x)


@pytest.mark.parametrize("kind", [OwnStatistic, Noisy])
def test_the_check_still_sees_members_that_differ(kind: type[nn.Module]) -> None:
    assert fit(kind, X, Y, epochs=1, seeds=1, **BF16).about["engine"].startswith("one by one: ")


def test_the_result_and_the_checkpoint_know_it(tmp_path: Path) -> None:
    result = fit(MODELS["linear"], X, Y, **BF16, checkpoint=tmp_path)
    assert result.about["plan"]["autocast"] == "torch.bfloat16"
    assert_same_result(
        fit(MODELS["linear"], X, Y, **BF16, checkpoint=tmp_path), result, rtol=0, atol=0
    )
    with pytest.raises(ShrinkageError, match=r"autocast.*bfloat16"):
        fit(MODELS["linear"], X, Y, checkpoint=tmp_path)


def test_a_step_in_bfloat16_is_not_taken_for_one_in_float32() -> None:
    problems = [problem_of(nn.Linear(4, 3), X, Y, **changes) for changes in ({}, BF16)]
    update = update_for(SGD)
    assert update is not None
    one, other = (step_key(problem.build(0), problem, update, [X, Y]) for problem in problems)
    assert one is not None
    assert one != other


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (nn.Linear(4, 3).double(), BF16, "float64.*by .float()"),
        (nn.Linear(4, 3), {"autocast": torch.float16}, "float16.*give torch.bfloat16"),
        (nn.Linear(4, 3), {"autocast": "bf16"}, "'bf16'.*give torch.bfloat16"),
        (nn.Linear(4, 3), {**BF16, "solver": "exact"}, "autocast= has no meaning"),
    ],
)
def test_what_autocast_cannot_do_is_refused(
    model: nn.Module, changes: dict[str, Any], said: str
) -> None:
    given = {name: v for name, v in SMALL.items() if name not in ("optimizer", "seeds", "epochs")}
    with pytest.raises(ShrinkageError, match=said):
        fit_path(model, X, Y, L2(1.0), **{**given, **changes})
