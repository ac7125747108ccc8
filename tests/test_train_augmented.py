"""One model trained on rows drawn anew, or in bfloat16, equals the loop written by hand."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _augmented import Jittered, X, Y, mixed, seed_all
from _problems import SGD, perceptron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import generator, key
from shrinkage.training import Trained, train

PLAIN = TensorDataset(X, Y)
MIXED = DataLoader(PLAIN, batch_size=8, collate_fn=mixed)
VIEWS = {"jittered": Jittered(), "mixed": MIXED}


def fit(model: nn.Module, **settings: Any) -> Trained:
    given = {"epochs": 3, "batch_size": 8, "optimizer": SGD, "seed": 4, **settings}
    return train(model, PLAIN, None, **given)


def by_hand(model: nn.Module, view: Any, autocast: bool = False) -> list[float]:
    """Train on 26 of the 32 rows, drawn anew; return the loss on the others, epoch by epoch."""
    order = torch.randperm(32, generator=generator("held out", 4))
    held, kept = order[:6], order[6:].sort().values
    dataset, collate = getattr(view, "dataset", view), getattr(view, "collate_fn", default_collate)
    optimizer, casting = SGD(model.parameters()), torch.autocast("cpu", enabled=autocast)
    losses = []
    for epoch in range(3):
        model.train()
        own = torch.randperm(26, generator=generator("batches", 4, epoch))
        for step, rows in enumerate(kept[own].split(8)):
            seed_all(key("augmented", 4, epoch, step))
            x, y = collate([dataset[int(i)] for i in rows])
            optimizer.zero_grad()
            with casting:
                output = model(x)
            F.cross_entropy(output.float() if autocast else output, y).backward()
            optimizer.step()
        with torch.no_grad(), casting:
            output = model.eval()(X[held].to(model[0].weight.dtype))
        losses.append(F.cross_entropy(output.float() if autocast else output, Y[held]).item())
    return losses


@pytest.mark.parametrize("view", VIEWS)
def test_every_step_draws_its_rows_and_plain_ones_are_watched(view: str) -> None:
    ours = perceptron()
    hand = copy.deepcopy(ours)
    trained, losses = fit(ours, augmented=VIEWS[view]), by_hand(hand, VIEWS[view])
    assert [row["valid_loss"] for row in trained.curves] == pytest.approx(losses, rel=1e-9)
    assert trained.best_epoch == 1 + min(range(3), key=losses.__getitem__)


def test_forward_passes_in_bfloat16_are_those_of_autocast() -> None:
    ours = perceptron().float()
    hand, plain, narrow = copy.deepcopy(ours), copy.deepcopy(ours), TensorDataset(X.float(), Y)
    settings = {"epochs": 3, "batch_size": 8, "optimizer": SGD, "seed": 4, "valid": 0.2}
    trained = train(ours, narrow, None, autocast=torch.bfloat16, **settings)
    losses = by_hand(hand, narrow, autocast=True)
    assert [row["valid_loss"] for row in trained.curves] == pytest.approx(losses, rel=1e-6)
    assert losses != pytest.approx(by_hand(plain, narrow), rel=1e-6)


class StoppedError(Exception):
    """Stands in for a power cut."""


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def stop(moment: Any) -> None:
        if len(moment.curves) == 2:
            raise StoppedError

    start = perceptron()
    whole, resumed = (copy.deepcopy(start) for _ in range(2))
    path = tmp_path / "kept"
    curves = fit(whole, augmented=MIXED).curves
    with pytest.raises(StoppedError):
        fit(copy.deepcopy(start), augmented=MIXED, checkpoint=path, progress=stop)
    for other in (Jittered(), None):
        with pytest.raises(ShrinkageError, match="augmented"):
            fit(copy.deepcopy(start), augmented=other, checkpoint=path)
    assert fit(resumed, augmented=MIXED, checkpoint=path).curves == curves
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loader_gives_the_batch_size() -> None:
    one, other = perceptron(), perceptron()
    other.load_state_dict(one.state_dict())
    fit(one, augmented=MIXED, batch_size=None)
    fit(other, augmented=MIXED)
    assert torch.equal(one[0].weight, other[0].weight)


def odd_refused(items: list[Any]) -> Any:
    assert len(items) % 2 == 0, "odd"
    return default_collate(items)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augmented": Jittered(X[:30], Y[:30])}, "has 30 items and X has 32 rows"),
        ({"augmented": TensorDataset(X, Y.roll(1))}, "always has other targets than X"),
        ({"augmented": X}, "is a Tensor without numbered items"),
        (
            {"augmented": DataLoader(PLAIN, 8, collate_fn=odd_refused), "valid": 3 / 32},
            "fails on a batch of 5 rows: AssertionError: odd",
        ),
        ({"autocast": torch.float16}, "give torch.bfloat16"),
        ({"autocast": torch.bfloat16}, "this one holds torch.float64"),
    ],
)
def test_refusals(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(perceptron(), **changes)


def test_targets_beside_a_dataset_are_refused() -> None:
    with pytest.raises(ShrinkageError, match="give y=None"):
        functools.partial(train, perceptron(), PLAIN)(Y)
