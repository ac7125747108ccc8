"""Rows drawn anew at every step: the training of a DataLoader over a random Dataset."""

from __future__ import annotations

import functools
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _augmented import Jittered, mixed, seed_all
from _problems import assert_same_result, classes, fit, linear, numbers, perceptron, split_decay
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from shrinkage.engine.member.fresh import make_builder
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import ADAM
from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import ALL_ROWS, Group, generator, key

X, Y = classes()
PLAIN = TensorDataset(X, Y)
SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)


class AtOnce(Jittered):
    """Rows that are drawn together, so their numbers depend on how many are asked for."""

    def __getitems__(self, numbers: list[int]) -> Any:
        away = torch.randn(len(numbers), 4, dtype=self.X.dtype)
        return list(zip(self.X[numbers] + away, self.Y[numbers], strict=True))


class Numbered(Jittered):
    """Rows that know how often they were read."""

    reads = 0

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        return self.X[i] + 0.01 * self.reads, self.Y[i]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(PLAIN)


def norm_net() -> nn.Module:
    layers = [nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.Tanh(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double()


class Mislabeled(Jittered):
    """Labels of which some are drawn at random."""

    def __getitem__(self, i: int) -> Any:
        x, y = super().__getitem__(i)
        return x, random.randrange(3) if random.random() < 0.3 else y


EXACT = {"solver": "exact", "optimizer": ADAM}
MIXED = DataLoader(PLAIN, batch_size=8, shuffle=True, collate_fn=mixed)


def loader(collate: Any) -> DataLoader[Any]:
    return DataLoader(PLAIN, batch_size=8, collate_fn=collate)


def even(items: list[Any]) -> Any:
    assert len(items) % 2 == 0, "odd"
    return default_collate(items)


VIEWS = {"jittered": Jittered(), "mislabeled": Mislabeled(), "mixed": MIXED}


def by_hand(
    model: nn.Module,
    view: Any,
    folds: Tensor,
    group: Group,
    strength: float,
    loss_of: Any = F.cross_entropy,
) -> tuple[nn.Module, float]:
    """Train one member with torch alone; return it and the mean loss of its last epoch."""
    net = make_builder(model)(key("initial weights", group)).train()
    dataset = getattr(view, "dataset", view)
    collate = getattr(view, "collate_fn", default_collate)
    rows = torch.arange(32) if group.fold == ALL_ROWS else (folds != group.fold).nonzero().flatten()
    optimizer, step = SGD(split_decay(net, 2 * strength)), 0
    for epoch in range(2):
        order = torch.randperm(len(rows), generator=generator("order", group, epoch))
        total = 0.0
        for batch in rows[order].split(8):
            step += 1
            seed_all(key("augmented", group, step))
            x, y = collate([dataset[int(i)] for i in batch])
            optimizer.zero_grad()
            loss = loss_of(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
    return net.eval(), total / len(rows)


def alone(parameters: Any) -> torch.optim.Optimizer:
    """Return an optimizer that the engine does not know, so members train one by one."""
    return SGD(parameters)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("optimizer", "engine"), [(SGD, "vectorized"), (alone, "one by one")])
def test_equals_a_loop_by_hand_and_judges_plain_rows(
    view: str, optimizer: Any, engine: str
) -> None:
    model, hand = norm_net(), partial(by_hand, view=VIEWS[view])
    result = fit(model, X, Y, augmented=VIEWS[view], optimizer=optimizer)
    assert result.about["engine"].startswith(engine)
    for k, strength in enumerate([0.0, 0.01, 0.1]):
        group = Group(ALL_ROWS, 1)
        net, train_loss = hand(model, folds=result.folds, group=group, strength=strength)
        for name, tensor in net.state_dict().items():
            kept = result.refit.weights[name][k, 1]
            torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
        assert result.refit.train_loss[k, 1, -1] == pytest.approx(train_loss, rel=1e-5)
        plain_loss = F.cross_entropy(net(X), Y).item()
        assert result.refit.fit_loss[k, 1] == pytest.approx(plain_loss, rel=1e-5)
    net, _ = hand(model, folds=result.folds, group=Group(2, 0), strength=0.1)
    outputs, held = net(X).detach(), result.folds == 2
    torch.testing.assert_close(result.predictions[2, 0, held], outputs[held].float())
    held_loss = F.cross_entropy(outputs[held], Y[held]).item()
    assert result.valid_loss[2, 2, 0, -1] == pytest.approx(held_loss, rel=1e-5)


@pytest.mark.parametrize("optimizer", [SGD, alone], ids=["vectorized", "one by one"])
def test_numbers_are_mixed_as_rows_are(optimizer: Any) -> None:
    targets, y = numbers()
    view = DataLoader(TensorDataset(targets, y), batch_size=8, collate_fn=mixed)
    model = nn.Linear(4, 1).double()
    result = fit(model, targets, y, augmented=view, optimizer=optimizer)
    mse = lambda output, y: F.mse_loss(output.flatten(), y)  # noqa: E731
    net, _ = by_hand(model, view, result.folds, Group(ALL_ROWS, 0), 0.1, mse)
    kept = result.refit.weights["weight"][2, 0]
    torch.testing.assert_close(kept, net.weight.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("optimizer", [SGD, alone], ids=["vectorized", "one by one"])
def test_mixed_targets_are_smoothed_as_torch_does(optimizer: Any) -> None:
    grid = {"label_smoothing": [0.0, 0.2]}
    result = fit(linear(), X, Y, augmented=MIXED, grid=grid, optimizer=optimizer)
    for k in (2, 5):
        strength, smoothing = result.strengths[k].item(), result.knobs["label_smoothing"][k].item()
        loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        net, _ = by_hand(linear(), MIXED, result.folds, Group(ALL_ROWS, 1), strength, loss)
        kept = result.refit.weights["weight"][k, 1]
        torch.testing.assert_close(kept, net.weight.detach(), rtol=1e-9, atol=1e-10)


def test_probabilities_in_the_type_of_the_model() -> None:
    narrow = nn.Linear(4, 3)
    result = fit(narrow, X, Y, augmented=MIXED, autocast=torch.bfloat16)
    assert result.refit.weights["weight"].dtype == torch.float32
    words = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(12, 3)).double()
    tokens = X.abs().clamp(max=8).long()
    taught = [(tokens[i], torch.full((3,), 1 / 3)) for i in range(32)]
    fit(words, tokens, Y, augmented=taught)


@pytest.mark.parametrize("model", [nn.Linear(4, 3), nn.Linear(4, 3).double()])
def test_a_plain_view_changes_no_number(model: nn.Module) -> None:
    settings = {"sample_weight": torch.rand(32) + 0.5, "test": PLAIN, "refine": 2}
    expected = fit(model, X, Y, **settings)
    assert_same_result(
        fit(model, PLAIN, None, augmented=PLAIN, **settings), expected, rtol=0, atol=0
    )
    assert not torch.equal(
        fit(model, X, Y, augmented=Jittered(), **settings).valid_loss, expected.valid_loss
    )


def test_the_same_numbers_again_whatever_the_caller_draws_and_chunks() -> None:
    model = perceptron()
    first = fit(model, X, Y, augmented=Jittered())
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
    again = fit(model, X, Y, augmented=Jittered())
    after = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()]
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    assert_same_result(again, first, rtol=0, atol=0)
    one = fit(model, X, Y, augmented=Jittered(), chunk=1)
    assert_same_result(one, first, rtol=1e-5, atol=1e-6)


def test_with_knobs() -> None:
    grid = {"dropout": [0.0, 0.3]}
    model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.1), nn.Linear(5, 3))
    both = [
        fit(model, X, Y, augmented=AtOnce(), grid=grid, epochs=3, seeds=1, optimizer=optimizer)
        for optimizer in (SGD, alone)
    ]
    assert both[0].about["engine"].startswith("vectorized")
    assert_same_result(*both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [SGD, alone], ids=["vectorized", "one by one"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    run = partial(fit, perceptron(), X, Y, augmented=Jittered(), optimizer=optimizer)
    whole, steps = run(), 0
    for module in ("together", "alone"):
        monkeypatch.setattr(f"shrinkage.engine.run.{module}.worker_count", lambda: 1)
    problem = Problem
    batch = problem.batch

    def counted(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(problem, "batch", counted)
        with pytest.raises(SystemExit):
            run(checkpoint=tmp_path)
    assert_same_result(run(checkpoint=tmp_path), whole, rtol=0, atol=0)


def test_a_checkpoint_knows_what_was_drawn(tmp_path: Path) -> None:
    first = fit(perceptron(), X, Y, augmented=Jittered(), checkpoint=tmp_path)
    assert first.about["plan"]["augmented"].startswith("Jittered, drawn ")
    again = fit(perceptron(), X, Y, augmented=Jittered(), checkpoint=tmp_path)
    assert_same_result(again, first, rtol=0, atol=0)
    for other in (Jittered(noise=0.2), None):
        with pytest.raises(ShrinkageError, match=r"augmented: Jittered, drawn .* then, .* now"):
            fit(perceptron(), X, Y, augmented=other, checkpoint=tmp_path)


def test_a_loader_to_train_on_gives_rows_and_batch_size() -> None:
    loader = DataLoader(Jittered(), batch_size=8, shuffle=True)
    judged = DataLoader(PLAIN, batch_size=30)
    expected = fit(perceptron(), X, Y, augmented=Jittered(), batch_size=8, test=(X, Y))
    result = fit(perceptron(), judged, None, augmented=loader, test=judged, batch_size=None)
    assert_same_result(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("augmented", "settings", "words"),
    [
        (Jittered(X[:30], Y[:30]), {}, "has 30 items and X has 32 rows"),
        (TensorDataset(X[:, :3], Y), {}, r"shape \(8, 3\) .* rows of X \(8, 4\)"),
        (TensorDataset(X.long(), Y), {}, "type torch.int64"),
        (TensorDataset(X, Y.roll(1)), {}, r"always .* item \d+ has \d, not \d\. Give both"),
        (TensorDataset(X, Y + 0.5), {}, r"type torch.float32, those of X \(8,\) and torch.int64"),
        (TensorDataset(X, Y + 1), {}, "targets from 1 to 3, and X has classes 0 to 2"),
        (TensorDataset(X, X), {}, r"probabilities refuses output \(2, 3\), targets \(2, 4\)"),
        (Mislabeled(), {"sample_weight": torch.rand(32) + 1}, "sample_weight= and .* their own"),
        (Mislabeled(), {"loss": nn.CrossEntropyLoss(torch.ones(3))}, "weights of a loss belong"),
        (MIXED, {"sample_weight": torch.rand(32) + 1}, "which a collate_fn mixes"),
        (loader(lambda items: items), {}, "returned a list of tuple, tuple, .* tensors"),
        (loader(lambda items: {}), {}, "returned a dict; it must"),
        (loader(even), {}, "fails on a batch of 5 rows: AssertionError: odd"),
        (loader(lambda items: mixed(items[:2])), {}, r"has shape \(2, 4\) .* rows of X \(8, 4\)"),
        (TensorDataset(X, torch.stack([Y, Y], 1)), {}, r"shape \(8, 2\) .* those of X \(8,\)"),
        (TensorDataset(X.masked_fill(X > 1, torch.nan), Y), {}, "augmented holds NaN"),
        (TensorDataset(X), {}, r"not pairs \(x, y\)"),
        (Numbered(), {}, "random numbers of its own"),
        (Stream(), {}, "augmented is a Stream without numbered items"),
        (X, {}, r"augmented is a Tensor without numbered items \(x, y\)"),
        (Jittered(), {"test": TensorDataset(X)}, "items of test are not pairs"),
        (Jittered(), {"preprocess": StandardScaler()}, "preprocess= and augmented="),
        (Jittered(), EXACT, "augmented= has no meaning"),
    ],
    ids=["length", "shape", "type", "targets", "halves", "classes", "too many", "weights",
         "class weights", "weights mixed", "items", "dict", "odd", "fewer rows",
         "shape of targets", "nan", "no target", "own numbers", "stream", "tensor", "test",
         "preprocess", "exact"],
)  # fmt: skip
def test_what_is_no_other_view_of_the_rows_is_refused(
    augmented: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(perceptron(), X, Y, augmented=augmented, **settings)
