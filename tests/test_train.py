"""One model trained: equal to the loop written by hand, and resumed bit for bit."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2
from shrinkage.training import Moment, Trained, train

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=0.02)
PLATEAU = partial(ReduceLROnPlateau, patience=0, factor=0.5)

pytestmark = pytest.mark.filterwarnings("ignore:scale-invariant")  # a batch normalization


def data(rows: int = 90) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(rows, 5, generator=generator)
    noise = torch.randn(rows, generator=generator)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * noise > 0).long()


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 2)
    )


def fit(**changes: Any) -> Trained:
    settings: dict[str, Any] = {"optimizer": SGD, "epochs": 6, "batch_size": 16, "seed": 4}
    return train(network(), *data(), changes.pop("penalty", None), **(settings | changes))


def assert_same(one: Trained, other: Trained) -> None:
    assert_close(one.model.state_dict(), other.model.state_dict(), rtol=0, atol=0)
    assert one.curves == other.curves
    assert one.best_epoch == other.best_epoch
    assert one.stopped_early == other.stopped_early


def test_it_is_the_loop_written_by_hand() -> None:
    X, y = data()
    model = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 2))
    other = copy.deepcopy(model)
    schedule = partial(StepLR, step_size=2, gamma=0.5)
    trained = train(
        model, X, y, L2(0.01), valid=(X, y), optimizer=SGD, scheduler=schedule, epochs=5,
        batch_size=len(X),
    )  # fmt: skip
    optimizer = SGD(other.parameters())
    rates, losses = [], []
    for epoch in range(5):
        rates.append(0.1 * 0.5 ** (epoch // 2))
        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.zero_grad()
        loss = F.cross_entropy(other(X), y)
        losses.append(float(loss.detach()))
        (loss + 0.01 * sum((w**2).sum() for w in (other[0].weight, other[2].weight))).backward()
        optimizer.step()
    assert_close(model.state_dict(), other.state_dict())
    assert [row["lr"] for row in trained.curves] == pytest.approx(rates)
    assert [row["train_loss"] for row in trained.curves] == pytest.approx(losses, rel=1e-5)
    last = trained.curves[-1]
    assert last["valid_loss"] == pytest.approx(F.cross_entropy(other(X), y).item(), rel=1e-5)
    assert last["valid_accuracy"] == (other(X).argmax(1) == y).double().mean()
    assert trained.summary is not None
    assert [row["name"] for row in trained.summary.rows if row["penalized"]] == [
        "0.weight",
        "2.weight",
    ]


def test_every_row_is_met_once_an_epoch_and_held_out_rows_never() -> None:
    seen: list[float] = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.extend(x[:, 0].tolist())
            return super().forward(x)

    X, y = torch.arange(50.0)[:, None], torch.zeros(50)
    train(Spy(1, 1), X, y, epochs=2, batch_size=7, optimizer=partial(torch.optim.SGD, lr=1e-9))
    first, second = seen[:40], seen[40:]
    assert len(set(first)) == 40
    assert sorted(first) == sorted(second)
    assert first != second


def test_early_stopping_keeps_the_weights_of_the_best_epoch() -> None:
    X, y = data(40)
    held = data(400)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 2))
    trained = train(
        model,
        X,
        y,
        valid=held,
        optimizer=partial(torch.optim.Adam, lr=0.03),
        epochs=200,
        patience=4,
    )
    losses = [row["valid_loss"] for row in trained.curves]
    assert trained.stopped_early
    assert trained.best_epoch == losses.index(min(losses)) + 1
    assert len(losses) == trained.best_epoch + 4
    assert F.cross_entropy(model(held[0]), held[1]).item() == pytest.approx(min(losses), rel=1e-5)


def test_without_validation_it_trains_on_all_rows_to_the_end() -> None:
    trained = fit(valid=None)
    assert trained.best_epoch == 6
    assert set(trained.curves[0]) == {"epoch", "lr", "train_loss"}


def test_regression_has_no_accuracy() -> None:
    X, _ = data()
    trained = train(nn.Linear(5, 1), X, X[:, 0], epochs=2)
    assert set(trained.curves[0]) == {"epoch", "lr", "train_loss", "valid_loss"}


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    model = network()
    torch.set_rng_state(before)
    train(model, *data(), epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


class StoppedError(Exception):
    """Stands in for a power cut."""


def stop_after(epoch: int, step: int = 0) -> Callable[[Moment], None]:
    def look(moment: Moment) -> None:
        if len(moment.curves) >= epoch and moment.step >= step:
            raise StoppedError

    return look


CASES: list[dict[str, Any]] = [
    {},
    {"penalty": L1(0.01), "optimizer": partial(torch.optim.SGD, lr=0.1)},
    {"penalty": {"0.*": L1(0.01), "4.weight": L2(0.1)}, "scheduler": partial(StepLR, step_size=2)},
    {"optimizer": ADAM, "scheduler": PLATEAU, "how": "decoupled", "penalty": L2(0.1)},
    {"optimizer": partial(torch.optim.AdamW, lr=0.02, amsgrad=True), "patience": 1, "epochs": 12},
    {"optimizer": torch.optim.RMSprop, "scheduler": partial(CosineAnnealingLR, T_max=6)},
    {"optimizer": partial(torch.optim.Adam, lr=torch.tensor(0.02)), "valid": None},
    {"scheduler": partial(MultiStepLR, milestones=[1, 3]), "valid": 0.4},
    {"scheduler": partial(OneCycleLR, max_lr=0.3, total_steps=8)},
    {"optimizer": partial(torch.optim.LBFGS, lr=0.1, max_iter=3)},
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("epoch", [1, 3])
def test_stopped_after_an_epoch_and_resumed_it_ends_bit_for_bit_the_same(
    case: dict[str, Any], epoch: int, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        fit(**case, checkpoint=path, progress=stop_after(epoch))
    torch.rand(7)
    assert_same(fit(**case, checkpoint=path), fit(**case))
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_training_is_read_back_without_a_step(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole = fit(checkpoint=path)
    steps: list[Moment] = []
    assert_same(fit(checkpoint=path, progress=steps.append), whole)
    assert not steps


@pytest.mark.parametrize(
    ("at", "number", "end"),
    [
        ((0, 2), signal.SIGINT, KeyboardInterrupt),
        ((1, 1), signal.SIGTERM, SystemExit),
        ((2, 5), signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_a_signal_finishes_the_step_writes_and_resumes_the_same(
    at: tuple[int, int], number: int, end: type[BaseException], tmp_path: Path
) -> None:
    def interrupt(moment: Moment) -> None:
        moments.append(moment)
        if (len(moment.curves), moment.step) == at:
            os.kill(os.getpid(), number)

    path, moments = tmp_path / "checkpoint.safetensors", []
    handler = signal.getsignal(number)
    with pytest.raises(end):
        fit(checkpoint=path, progress=interrupt)
    assert signal.getsignal(number) is handler
    assert moments[-1].step in (at[1], 0)
    assert_same(fit(checkpoint=path), fit())


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_train import fit
def kill(moment):
    if (len(moment.curves), moment.step) == (3, 2):
        os.kill(os.getpid(), signal.SIGKILL)
fit(checkpoint=sys.argv[2], progress=kill)
"""


@pytest.mark.slow
def test_killed_and_resumed_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", SCRIPT, here, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert_same(fit(checkpoint=path), fit())


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 7}, "epochs: 6 then, 7 now"),
        ({"seed": 5}, "seed: 4 then, 5 now"),
        ({"penalty": L2(0.1)}, r"penalty: none then, .*L2\(0.1\)"),
        (
            {"optimizer": torch.optim.SGD},
            r"optimizer: SGD\(lr=0.1, momentum=0.9\) \w+ then, SGD \w+ now",
        ),
        ({"valid": 0.3}, "rows: .* then, .* now"),
    ],
)
def test_another_training_does_not_go_on_from_it(
    changes: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ShrinkageError, match=difference):
        fit(checkpoint=path, **changes)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(checkpoint=path)
    whole = path.read_bytes()
    for damaged in (
        whole[:-9],
        whole[:50],
        b"",
        b"[1]",
        whole.replace(b"training 2", b"training 9"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ShrinkageError, match=r"is damaged|is not a checkpoint"):
            fit(checkpoint=path)


def test_a_state_that_json_cannot_say_is_refused(tmp_path: Path) -> None:
    class Factor:
        def __init__(self) -> None:
            self.table = {1, 2}

        def __call__(self, epoch: int) -> float:
            return 1.0

    with pytest.raises(ShrinkageError, match=r"state.schedule.* is a set, which a checkpoint"):
        fit(checkpoint=tmp_path / "c.safetensors", scheduler=partial(LambdaLR, lr_lambda=Factor()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"epochs": "3"}, "epochs='3': give a whole number of at least 1"),
        ({"epochs": True}, "epochs=True"),
        ({"patience": 0}, "patience=0"),
        ({"patience": 2, "valid": None}, "give valid="),
        ({"valid": 1.0}, "valid=1.0"),
        ({"valid": "0.2"}, "valid='0.2': give a fraction"),
        ({"valid": data()[:1]}, r"(?s)valid=\(tensor.*give a fraction"),
        ({"valid": (torch.ones(3, 4), torch.ones(3).long())}, r"valid X has rows of shape \(4,\)"),
        ({"valid": (torch.ones(3, 5), torch.ones(3))}, "targets of torch.float32"),
        ({"valid": (torch.ones(3, 5), 2 * torch.ones(3).long())}, "does not fit .* classes 0 to 2"),
        (
            {"optimizer": torch.optim.SGD(network().parameters())},
            "optimizer is a SGD.* give its class",
        ),
        ({"scheduler": "cosine"}, "scheduler is a str, which cannot make one"),
        ({"seed": "4"}, "seed='4' is not an integer"),
        ({"batch_size": 71}, "the last batch of an epoch has one row .*batch_size"),
        ({"loss": "mae"}, "unknown loss 'mae'"),
        ({"penalty": 3}, "penalty=3 is not a penalty"),
        ({"optimizer": partial(torch.optim.SGD, lr=1e30)}, "the loss is .* in epoch 1, step"),
        ({"checkpoint": "no/such/place/c.safetensors"}, "cannot write"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        fit(**changes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network, "is not a module; give one"),
        (network().requires_grad_(False), "no parameter with requires_grad"),
        (nn.Linear(4, 2), r"the model refuses rows of shape \(5,\) and type torch.float32"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(model: Any, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        train(model, *data())


def test_one_row_is_trained_on_but_not_split() -> None:
    X, y = data(1)
    with pytest.raises(ShrinkageError, match="one row cannot be split"):
        train(nn.Linear(5, 2), X, y)
    assert len(train(nn.Linear(5, 2), X, y, valid=None, epochs=2).curves) == 2


def test_after_a_refusal_the_model_can_be_regularized_again() -> None:
    model = network()
    for _ in range(2):
        with pytest.raises(ShrinkageError, match="the loss is"):
            train(model, *data(), L2(0.1), optimizer=partial(torch.optim.SGD, lr=1e30))
        model.load_state_dict(network().state_dict())


def test_complex_weights_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1))
            self.weight = nn.Parameter(torch.view_as_complex(pairs.double()))

        def forward(self, x: Tensor) -> Tensor:
            return (x.to(self.weight.dtype) @ self.weight.T).abs()

    run = partial(train, X=data()[0], y=data()[1], penalty=L2(1e-3), select="*", optimizer=ADAM)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        run(Waves(), checkpoint=path, progress=stop_after(2))
    assert_same(run(Waves(), checkpoint=path), run(Waves()))
