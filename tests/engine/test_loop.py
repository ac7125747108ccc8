"""The loop engine: any optimizer, any model, the same numbers as the vectorized one."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest
import torch
from _problems import assert_same_result, by_hand, classes, fit, numbers, perceptron, split_decay
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import StepLR

from shrinkage.engine import Progress
from shrinkage.errors import ShrinkageWarning
from shrinkage.penalties import L1, L2, GroupLasso, Penalty
from shrinkage.rows.groups import ALL_ROWS, Group

X, Y = classes()

OPTIMIZERS: dict[str, Any] = {
    "sgd": functools.partial(SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": functools.partial(Adam, lr=0.02),
    "adamw": functools.partial(AdamW, lr=0.02, weight_decay=0.0),
    "rmsprop": functools.partial(RMSprop, lr=0.01, centered=True),
}


@pytest.mark.parametrize(
    ("penalty", "how"),
    [(L2(1.0), "coupled"), (L2(1.0), "decoupled"), (L2(1.0), "proximal"), (L1(1.0), "proximal"),
     (L1(1.0), "coupled"), (GroupLasso(1.0), None)],
)  # fmt: skip
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equals_the_vectorized_engine(penalty: Penalty, how: str | None, optimizer: str) -> None:
    make = OPTIMIZERS[optimizer]
    settings = {
        "how": how,
        "epochs": 2,
        "seeds": 1,
        "test": (X[:7], Y[:7]),
        "scheduler": functools.partial(StepLR, step_size=1, gamma=0.5),
    }
    together = fit(perceptron(), X, Y, penalty, optimizer=make, **settings)
    alone = fit(perceptron(), X, Y, penalty, optimizer=lambda ps: make(ps), **settings)
    assert together.about["engine"] == "vectorized, eager"
    assert alone.about["engine"].startswith("one by one: no vectorized")
    assert_same_result(together, alone, rtol=2e-6, atol=1e-6)
    for name, tensor in alone.refit.weights.items():
        kept = together.refit.weights[name]
        torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
        assert torch.equal(kept == 0, tensor == 0)


@pytest.mark.parametrize("make", [
    functools.partial(AdamW, lr=0.02, weight_decay=0.1),
    functools.partial(SGD, lr=0.1, weight_decay=0.1, momentum=0.9),
])  # fmt: skip
def test_a_decay_of_the_optimizers_own_comes_on_top_in_both_engines(make: Any) -> None:
    together = fit(perceptron(), X, Y, L1(1.0), optimizer=make, epochs=2, seeds=1)
    alone = fit(perceptron(), X, Y, L1(1.0), optimizer=lambda ps: make(ps), epochs=2, seeds=1)
    assert_same_result(together, alone, rtol=2e-6, atol=1e-6)


def test_equals_a_loop_by_hand() -> None:
    make = functools.partial(torch.optim.Adagrad, lr=0.1)
    result = fit(perceptron(), X, Y, L2(1.0), optimizer=make)
    assert result.about["engine"] == "one by one: no vectorized Adagrad(lr=0.1)"
    for k, strength in enumerate([0.0, 0.01, 0.1]):
        decayed = lambda net, s=strength: make(split_decay(net, 2 * s))  # noqa: E731
        alone = by_hand(perceptron(), X, Y, result.folds, Group(ALL_ROWS, 1), decayed)
        for name, tensor in alone.weights().items():
            kept = result.refit.weights[name][k, 1]
            torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_batch_norm_with_short_batches_equals_a_loop_by_hand(engine: str) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    make = functools.partial(SGD, lr=0.1, momentum=0.9)
    given = make if engine == "vectorized" else lambda parameters: make(parameters)
    result = fit(model, X, Y, L2(1.0), epochs=2, batch_size=9, optimizer=given)
    assert result.about["engine"].startswith(engine)
    for group in (Group(ALL_ROWS, 1), Group(0, 1)):
        alone = by_hand(
            model, X, Y, result.folds, group, lambda net: make(net.parameters()),
            epochs=2, batch_size=9,
        )  # fmt: skip
        if group.fold == ALL_ROWS:
            for name, tensor in alone.weights().items():
                kept = result.refit.weights[name][0, 1]
                torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
        else:
            held = result.folds == 0
            outputs = alone.model(X[held]).detach().float()
            kept = result.predictions[0, 1, held]
            torch.testing.assert_close(kept, outputs, rtol=1e-5, atol=1e-6)


def test_an_optimizer_that_calls_the_closure_again() -> None:
    make = functools.partial(torch.optim.LBFGS, lr=0.5, max_iter=4)
    result = fit(perceptron(), X, Y, epochs=2, seeds=1, batch_size=32, optimizer=make)
    losses = result.refit.train_loss
    assert (losses[:, 0, 1] < losses[:, 0, 0]).all()


def test_divergence_is_marked_as_by_the_vectorized_engine() -> None:
    X, y = numbers()
    make = functools.partial(SGD, lr=1.0)
    settings = {"strengths": [0.01, 1e30], "epochs": 3, "seeds": 1, "test": (X[:5], y[:5])}
    one = fit(nn.Linear(4, 1).double(), X, y, optimizer=make, **settings)
    two = fit(nn.Linear(4, 1).double(), X, y, optimizer=lambda ps: make(ps), **settings)
    assert torch.equal(one.diverged, two.diverged)
    assert torch.equal(one.refit.diverged, two.refit.diverged)
    assert (two.diverged[2] > 0).all()
    for name in ("train_loss", "valid_loss", "fit_loss", "predictions"):
        assert torch.equal(getattr(one, name)[2].isnan(), getattr(two, name)[2].isnan()), name
        torch.testing.assert_close(getattr(two, name)[:2], getattr(one, name)[:2])
    assert one.refit.test_loss is not None
    assert two.refit.test_loss is not None
    assert one.refit.test_loss[2].isnan().all()
    assert two.refit.test_loss[2].isnan().all()


@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_progress_counts_every_member_and_step(engine: str) -> None:
    seen: list[Progress] = []
    make: Any = functools.partial(SGD, lr=0.1)
    if engine == "one by one":
        make = lambda parameters: SGD(parameters, lr=0.1)  # noqa: E731
    fit(perceptron(), X, Y, optimizer=make, progress=seen.append, epochs=2, chunk=3)
    train = [now for now in seen if now.stage == "train" and now.steps_total]
    total = 2 * 3 * 2 * (3 * 3 + 4)  # epochs, strengths, seeds, steps of three folds and a refit
    assert {now.steps_total for now in train} == {total}
    assert {now.members_total for now in train} == {3 * 2 * 4}
    assert [now.steps_done for now in train] == sorted(now.steps_done for now in train)
    assert (train[-1].steps_done, train[-1].members_done) == (total, 24)
    assert len({now.steps_done for now in train}) > 8


def test_a_long_run_says_why_it_is_slow_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        fit(perceptron(), X, Y, optimizer=lambda ps: SGD(ps, lr=0.1), epochs=2, batch_size=16)

    run()
    monkeypatch.setattr("shrinkage.engine.run.alone.LONG", 10)
    said = (
        r"one by one: 24 trainings cannot run together \(no vectorized .* and have 96 steps in all"
    )
    with pytest.warns(ShrinkageWarning, match=said) as seen:
        run()
    assert seen[0].filename == inspect.getsourcefile(fit)  # the line that calls fit_path
