"""What two things share only if they compute the same, and checkpoints that go by it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from shrinkage import L2, ShrinkageError, ShrinkageWarning, fit_path, train
from shrinkage.identity import UnidentifiedError, identity

FACTOR = 1.0


def by_a_global(x: Tensor) -> Tensor:
    return FACTOR * x


class Net(nn.Module):
    def __init__(self, scale: Any = 1.0, activation: Any = torch.relu) -> None:
        super().__init__()
        self.inner, self.scale, self.activation = nn.Linear(6, 2), scale, activation

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.activation(self.scale * x))


class CallableLoss:
    def __init__(self, factor: Any) -> None:
        self._factor = factor

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return self._factor * F.cross_entropy(output, target, reduction="none")


def loss_times(factor: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return factor * F.cross_entropy(output, target, reduction="none")

    return loss


def loss_to_the(power: float = 1.0) -> Callable[..., Tensor]:
    return lambda output, target: F.cross_entropy(output, target, reduction="none") ** power


def nested(factor: float) -> Callable[..., Tensor]:
    inner = loss_times(factor)
    return lambda output, target: inner(output, target)


def reference(value: float) -> dict[str, Tensor]:
    return {"weight": torch.full((2, 6), value), "bias": torch.full((2,), value)}


PAIRS: dict[str, tuple[Any, Any]] = {
    "a number": (1.0, 2.0),
    "another type": (1, 1.0),
    "an array": (np.ones(3), np.zeros(3)),
    "an attribute": (Net(1.0), Net(3.0)),
    "a tensor that is no buffer": (Net(torch.tensor(1.0)), Net(torch.tensor(3.0))),
    "a function among the attributes": (Net(), Net(activation=torch.tanh)),
    "a lambda": (lambda x: x + 1, lambda x: x + 2),
    "a variable closed over": (loss_times(1.0), loss_times(5.0)),
    "a variable closed over twice": (nested(1.0), nested(5.0)),
    "a default": (loss_to_the(), loss_to_the(2.0)),
    "a private attribute": (CallableLoss(1.0), CallableLoss(5.0)),
    "a tensor attribute": (CallableLoss(torch.ones(1)), CallableLoss(torch.zeros(1))),
    "a partial": (functools.partial(SGD, lr=0.1), functools.partial(SGD, lr=0.2)),
    "a setting of torch's": (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.4)),
    "a builtin": (torch.relu, torch.tanh),
    "a reference": (L2(1.0, toward=reference(0.0)), L2(1.0, toward=reference(1.0))),
    "a method": (CallableLoss(1.0).__call__, CallableLoss(2.0).__call__),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_computes_something_else_is_another(name: str) -> None:
    one, other = PAIRS[name]
    assert identity(one) != identity(other)
    assert identity(one) == identity(one)


def test_what_is_made_twice_alike_is_the_same() -> None:
    assert identity(Net()) == identity(Net())
    assert identity(loss_times(2.0)) == identity(loss_times(2.0))
    assert identity(CallableLoss(2.0)) == identity(CallableLoss(2.0))
    assert identity(nn.LSTM(2, 2)) == identity(nn.LSTM(2, 2))
    assert identity(Net().eval()) == identity(Net().train())


def test_weights_count_by_value_only_where_that_is_asked() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert identity(one) == identity(other)
    assert identity(one, weights=True) != identity(other, weights=True)


def test_a_global_that_is_read_counts_and_one_of_the_same_name_as_an_attribute_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, net = identity(by_a_global), identity(Net())
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    monkeypatch.setitem(globals(), "scale", 3.0)
    assert identity(by_a_global) != before
    assert identity(Net()) == net


def test_what_refers_to_itself_has_an_identity() -> None:
    one: list[Any] = [1]
    one.append(one)
    assert identity(one) == identity(one)


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(UnidentifiedError, match="a lock"):
        identity(Net(threading.Lock()))


X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()

RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "attribute of the model": ({"model": Net}, {"model": lambda: Net(3.0)}),
    "tensor of the model": (
        {"model": lambda: Net(torch.tensor(1.0))},
        {"model": lambda: Net(torch.tensor(3.0))},
    ),
    "activation": ({"model": Net}, {"model": lambda: Net(activation=torch.tanh)}),
    "closure of the loss": ({"loss": loss_times(1.0)}, {"loss": loss_times(5.0)}),
    "attribute of the loss": ({"loss": CallableLoss(1.0)}, {"loss": CallableLoss(5.0)}),
    "argument of the loss": (
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.4)},
    ),
    "weights of the loss": (
        {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))},
        {"loss": nn.CrossEntropyLoss(weight=torch.tensor([2.0, 1.0]))},
    ),
    "optimizer": (
        {"optimizer": lambda p: SGD(p, lr=0.1)},
        {"optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9)},
    ),
    "scheduler": (
        {"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5)},
        {"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.1)},
    ),
    "reference of the penalty": (
        {"model": lambda: nn.Linear(6, 2), "penalty": L2(1.0, toward=reference(0.0))},
        {"model": lambda: nn.Linear(6, 2), "penalty": L2(1.0, toward=reference(1.0))},
    ),
}


def path(directory: Path, given: dict[str, Any]) -> Any:
    own = {"model": Net, "penalty": L2(1.0), **given}
    model, penalty = own.pop("model"), own.pop("penalty")
    small: dict[str, Any] = {"strengths": [0.1], "folds": 2, "seeds": 1, "epochs": 2}
    return fit_path(
        model, X, Y, penalty, **small, compile=False, checkpoint=directory / "path", **own
    )


def training(directory: Path, given: dict[str, Any]) -> Any:
    own = {"model": Net, "penalty": L2(1.0), **given}
    model, penalty = own.pop("model"), own.pop("penalty")
    torch.manual_seed(0)
    place = directory / "training.safetensors"
    return train(model(), X, Y, penalty, epochs=2, checkpoint=place, **own)


@pytest.mark.parametrize(
    ("name", "run"),
    [(name, path) for name in RUNS]
    + [(name, training) for name in RUNS if name != "weights of the loss"],  # which it refuses
)
def test_a_checkpoint_is_taken_up_by_the_same_run_alone(
    name: str, run: Callable[[Path, dict[str, Any]], Any], tmp_path: Path
) -> None:
    first, second = RUNS[name]
    run(tmp_path, first)
    run(tmp_path, first)
    with pytest.raises(ShrinkageError, match=r"(?s)another .*then.*now"):
        run(tmp_path, second)


@pytest.mark.parametrize("run", [path, training])
def test_a_run_that_cannot_be_read_whole_says_what_its_checkpoint_will_not_notice(
    run: Callable[[Path, dict[str, Any]], Any], tmp_path: Path
) -> None:
    lock = threading.Lock()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        with lock:
            return F.cross_entropy(output, target, reduction="none")

    with pytest.warns(ShrinkageWarning, match="unidentified: the loss holds a lock"):
        run(tmp_path, {"loss": loss})


SCRIPT = """
import torch, torch.nn.functional as F
from shrinkage.identity import identity
A, B, C = 1.0, 2.0, 3.0
def one(x): return F.relu(x) * A + other(x) + B
def other(x): return F.gelu(x) * B + C
print(identity([one, other, {("a", 1), ("b", 2)}, frozenset("abc")]))
"""


def test_an_identity_is_the_same_in_every_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(said) == 1


def test_what_a_function_takes_of_modules_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def tuned(x: Tensor) -> Tensor:
        return F.relu(x)

    def importing(x: Tensor) -> Tensor:
        import math

        return math.tau * x

    tuned.level = 1.0  # type: ignore[attr-defined]
    before = identity(tuned), identity(importing)
    tuned.level = 2.0  # type: ignore[attr-defined]
    assert identity(tuned) != before[0]
    tuned.level = 1.0  # type: ignore[attr-defined]
    assert identity(tuned) == before[0]
    monkeypatch.setattr(F, "relu", lambda x: 2 * x)
    monkeypatch.setattr("math.tau", 6.0)
    assert identity(tuned) != before[0]
    assert identity(importing) != before[1]


def test_a_teacher_that_a_loss_asks_counts_by_its_weights() -> None:
    def loss_by(teacher: nn.Module) -> Callable[..., Tensor]:
        return lambda output, target: (output - teacher(target)).square()

    assert identity(loss_by(nn.Linear(2, 2))) != identity(loss_by(nn.Linear(2, 2)))
