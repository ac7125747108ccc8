"""Knobs: every slice of a crossed path is the path that was trained with those settings."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import assert_same_result, by_hand, classes, fit, linear, perceptron, problem_of
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import StepLR

from shrinkage.choose import minimum, verdict
from shrinkage.engine.member.knobs import penalty_at
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.crossed import make_points
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, MCP, SCAD, ElasticNet, Penalty, SparseGroupLasso, catalogue
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import arguments
from shrinkage.rows.groups import ALL_ROWS, Group

X, Y = classes()
ADAMW = functools.partial(AdamW, lr=0.02, weight_decay=0.3)


def dropping(rate: float = 0.9) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(rate), nn.Linear(6, 3)).double()


# a grid, and the settings of a plain path that its first and last value stand for
CASES: dict[str, tuple[dict[str, list[float]], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "lr": (
        {"lr": [0.2, 0.05]},
        {"optimizer": functools.partial(SGD, lr=0.7, momentum=0.9)},
        {"optimizer": functools.partial(SGD, lr=0.2, momentum=0.9)},
        {"optimizer": functools.partial(SGD, lr=0.05, momentum=0.9)},
    ),
    "lr of a schedule": (
        {"lr": [0.2, 0.05]},
        {"optimizer": functools.partial(Adam, lr=0.7)},
        {"optimizer": functools.partial(Adam, lr=0.2)},
        {"optimizer": functools.partial(Adam, lr=0.05)},
    ),
    "weight_decay, coupled": (
        {"weight_decay": [0.0, 0.4]},
        {"optimizer": functools.partial(RMSprop, lr=0.01)},
        {"optimizer": functools.partial(RMSprop, lr=0.01, weight_decay=0.0)},
        {"optimizer": functools.partial(RMSprop, lr=0.01, weight_decay=0.4)},
    ),
    "weight_decay, decoupled": (
        {"weight_decay": [0.1, 4.0]},
        {"optimizer": ADAMW},
        {"optimizer": functools.partial(AdamW, lr=0.02, weight_decay=0.1)},
        {"optimizer": functools.partial(AdamW, lr=0.02, weight_decay=4.0)},
    ),
    "dropout": (
        {"dropout": [0.0, 0.5]},
        {"model": dropping()},
        {"model": dropping(0.0)},
        {"model": dropping(0.5)},
    ),
    "l1_ratio": (
        {"l1_ratio": [1.0, 0.25]},
        {"penalty": ElasticNet(1.0)},
        {"penalty": ElasticNet(1.0, l1_ratio=1.0)},
        {"penalty": ElasticNet(1.0, l1_ratio=0.25)},
    ),
    "a term of a sum": (
        {"l2_strength": [0.0, 3.0]},
        {"penalty": L1(1.0) + L2(0.5)},
        {"penalty": L1(1.0) + L2(0.0)},
        {"penalty": L1(1.0) + L2(3.0)},
    ),
    "gamma": (
        {"gamma": [3.0, 30.0]},
        {"penalty": MCP(1.0)},
        {"penalty": MCP(1.0, gamma=3.0)},
        {"penalty": MCP(1.0, gamma=30.0)},
    ),
}


def path(**changes: Any) -> PathResult:
    model, penalty = changes.pop("model", perceptron()), changes.pop("penalty", L2(1.0))
    settings = {"seeds": 1, "test": (X[:5], Y[:5]), "epochs": 3}
    return fit(model, X, Y, penalty, **{**settings, **changes})


def path_by(engine: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> PathResult:
    """The path, by one of the two engines."""
    with monkeypatch.context() as patched:
        if engine == "one by one":
            module = sys.modules["shrinkage.engine.rounds"]
            patched.setattr(module, "update_for", lambda _: None)
        result = path(**changes)
    assert result.about["engine"].startswith(engine)
    return result


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_a_slice_is_the_path_trained_with_that_value(
    name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, shared, *each = CASES[name]
    if name == "lr of a schedule":
        step = {"scheduler": functools.partial(StepLR, step_size=1, gamma=0.5)}
        shared, each = {**shared, **step}, [{**own, **step} for own in each]
    crossed = path_by(engine, monkeypatch, **shared, grid=grid)
    ((knob, values),) = grid.items()
    assert len(crossed.strengths) == 6
    assert not torch.equal(crossed.valid_loss[2], crossed.valid_loss[5])
    for value, own in zip(values, each, strict=True):
        plain = path(**{**shared, **own})
        part = crossed.slice(**{knob: value})
        assert_same_result(part, plain, rtol=2e-6, atol=1e-6)
        assert repr(part.penalty) == repr(plain.penalty)


@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
@pytest.mark.parametrize("norm", [nn.Identity, lambda: nn.BatchNorm1d(6)])
def test_a_member_whose_epochs_are_over_stays_as_it_is(
    engine: str, norm: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), norm(), nn.Dropout(0.3), nn.Linear(6, 3)).double()

    settings: dict[str, Any] = {
        "model": net,
        "optimizer": functools.partial(Adam, lr=0.02),
        "scheduler": functools.partial(StepLR, step_size=1, gamma=0.7),
    }
    crossed = path_by(engine, monkeypatch, **settings, grid={"epochs": [1, 2, 4]}, epochs=4)
    for epochs in (1, 2, 4):
        part, plain = crossed.slice(epochs=epochs), path(**settings, epochs=epochs)
        assert part.train_loss[..., epochs:].isnan().all()
        later = part.valid_loss[..., epochs - 1 :]
        torch.testing.assert_close(later, plain.valid_loss[..., -1:].expand_as(later))
        for kept in (part, plain):
            object.__setattr__(kept, "train_loss", kept.train_loss[..., :epochs])
            object.__setattr__(kept, "valid_loss", kept.valid_loss[..., :epochs])
            object.__setattr__(kept.refit, "train_loss", kept.refit.train_loss[..., :epochs])
        assert_same_result(part, plain, rtol=2e-6, atol=1e-6)


def test_knobs_alone_are_compared_at_strength_0() -> None:
    alone = path(strengths=[0], grid={"lr": [0.1, 0.3]})
    assert alone.strengths.tolist() == [0.0, 0.0]
    crossed = path(strengths=[0.01], grid={"lr": [0.1, 0.3]})
    torch.testing.assert_close(alone.valid_loss, crossed.valid_loss[::2])
    best = minimum(alone)
    assert best.knobs == {"lr": [0.1, 0.3][int(alone.valid_loss[..., -1].mean((1, 2)).argmin())]}
    assert not best.at_edge
    with pytest.raises(ShrinkageError, match="no strength above 0"):
        path(strengths=[0])


@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_label_smoothing_is_torchs_and_reported_losses_have_none(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"label_smoothing": [0.0, 0.3]}
    result = path_by(engine, monkeypatch, grid=grid, strengths=[0.01])
    for smoothing in (0.0, 0.3):
        part = result.slice(label_smoothing=smoothing)
        hand = by_hand(
            perceptron(), X, Y, result.folds, Group(ALL_ROWS, 0),
            lambda net: SGD(net.parameters(), lr=0.1, momentum=0.9),
            loss=functools.partial(F.cross_entropy, label_smoothing=smoothing), epochs=3,
        )  # fmt: skip
        assert part.refit is not None
        for name, tensor in hand.weights().items():
            kept = part.refit.weights[name][0, 0]
            torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
        plain = F.cross_entropy(hand.model(X), Y).float()
        torch.testing.assert_close(part.refit.fit_loss[0, 0], plain)
        same = hand.train_loss[0] == pytest.approx(float(part.refit.train_loss[0, 0, 0]), rel=1e-5)
        assert same == (smoothing == 0)


def test_knobs_are_crossed_with_each_other_and_with_the_strengths() -> None:
    grid = {"dropout": [0.5, 0.0], "lr": [0.1, 0.2]}
    result = path(model=dropping(), grid=grid)
    assert result.strengths.tolist() == [0.0, 0.01, 0.1] * 4
    assert result.knobs["dropout"].tolist() == [0.5] * 6 + [0.0] * 6
    assert result.knobs["lr"].tolist() == ([0.1] * 3 + [0.2] * 3) * 2
    alone = path(model=dropping(0.5), optimizer=functools.partial(SGD, lr=0.2, momentum=0.9))
    assert_same_result(result.slice(dropout=0.5, lr=0.2), alone, rtol=2e-6, atol=1e-6)
    choice = minimum(result)
    assert set(choice.knobs) == {"dropout", "lr"}
    assert verdict(result, choice).sentence
    again = path(model=dropping(), grid=grid, chunk=5)
    assert_same_result(again, result, rtol=0, atol=0)


def test_a_diverged_point_disturbs_no_other() -> None:
    plain = path(grid={"lr": [0.1, 0.2]})
    wild = path(grid={"lr": [0.1, 1e200, 0.2]})
    assert (wild.slice(lr=1e200).diverged >= 0).all()
    for lr in (0.1, 0.2):
        assert_same_result(wild.slice(lr=lr), plain.slice(lr=lr), rtol=0, atol=0)


@pytest.mark.parametrize("penalty", sorted(catalogue()))
def test_the_real_arguments_of_every_penalty_may_be_tensors(penalty: str) -> None:
    kind = catalogue()[penalty]
    w = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for example in kind.examples:
        own = kind(**example)
        problem = problem_of(linear(), X, Y, own)
        point = {"strength": float(own.strength)}
        point |= {name: getattr(own, name) for name in arguments(own)}
        mapped = {name: torch.tensor([value] * 2).double() for name, value in point.items()}
        operations: list[Callable[[Penalty], Tensor]] = [
            lambda p: p.value(w), lambda p: p.gradient(w), lambda p: p.prox(w, 0.1),
        ]  # fmt: skip
        for operation in operations:
            both = torch.vmap(lambda at, p=problem, do=operation: do(penalty_at(p, at)))(mapped)
            alone = operation(own)
            torch.testing.assert_close(both, torch.stack([alone, alone]))


def test_the_arguments_that_are_knobs() -> None:
    found = {kind.__name__: arguments(kind(**kind.examples[0])) for kind in catalogue().values()}
    assert found["L2"] == []
    assert found["ElasticNet"] == found["SparseGroupLasso"] == ["l1_ratio"]
    assert found["MCP"] == found["SCAD"] == ["gamma"]
    for kind in catalogue().values():
        assert "strength" not in found[kind.__name__]
        assert set(found[kind.__name__]) <= {f.name for f in fields(kind)}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"grid": {"momentum": [0.9]}}, "'momentum' is not a knob; choose from dropout"),
    "a slip": ({"grid": {"lrate": [0.1]}}, "did you mean 'lr'"),
    "unknown, with those of the penalty": (
        {"grid": {"gamma": [3.0]}, "penalty": ElasticNet(1.0)}, "weight_decay, l1_ratio",
    ),
    "strength": ({"grid": {"strength": [0.1]}}, "give strengths="),
    "no dropout": ({"grid": {"dropout": [0.1]}}, "the model calls no dropout"),
    "dropout of 1": ({"model": dropping(), "grid": {"dropout": [1.0]}}, "dropout=1 .* below 1"),
    "more epochs than the run": ({"grid": {"epochs": [1, 4]}}, "epochs=4 must be whole .* run, 3"),
    "half an epoch": ({"grid": {"epochs": [1.5]}}, "epochs=1.5 must be whole"),
    "lr of 0": ({"grid": {"lr": [0.0]}}, "lr=0 must be finite and above 0"),
    "lr below 0": ({"grid": {"lr": [0.1, -0.1]}}, "lr=-0.1 must be"),
    "decay below 0": ({"grid": {"weight_decay": [-1.0]}}, "at least 0"),
    "l1_ratio of 2": ({"grid": {"l1_ratio": [2.0]}, "penalty": ElasticNet(1.0)}, r"\[0, 1\]"),
    "smoothing of another loss": (
        {"grid": {"label_smoothing": [0.1]}, "loss": nn.MultiMarginLoss()},
        "the loss is MultiMarginLoss, not 'cross_entropy' or nn.CrossEntropyLoss",
    ),
    "smoothing twice": (
        {
            "grid": {"label_smoothing": [0.1]},
            "loss": nn.CrossEntropyLoss(label_smoothing=0.2),
        },
        "has a label_smoothing of its own",
    ),
    "optimizer in a function": (
        {"grid": {"lr": [0.1]}, "optimizer": lambda parameters: SGD(parameters, lr=0.1)},
        "the optimizer is a function; give its class",
    ),
    "optimizer without decay": (
        {"grid": {"weight_decay": [0.1]}, "optimizer": torch.optim.LBFGS},
        "LBFGS has no weight_decay",
    ),
    "a term below 0": (
        {"grid": {"l2_strength": [-1.0]}, "penalty": L1(1.0) + L2(0.5)}, "must be finite and >= 0",
    ),
    "one of two equal terms": (
        {"grid": {"l1_strength": [1.0]}, "penalty": L1(1.0) + L1(0.5)}, "is not a knob",
    ),
    "one number": ({"grid": {"lr": 0.1}}, "lr=0.1 is not a list"),
    "text": ({"grid": {"lr": "12"}}, "is not a list"),
    "no names": ({"grid": [0.1, 0.2]}, "give values by name"),
    "no value": ({"grid": {"lr": []}}, "distinct finite numbers"),
    "a value twice": ({"grid": {"lr": [0.1, 0.1]}}, "distinct finite numbers"),
    "not finite": ({"grid": {"lr": [math.nan]}}, "distinct finite numbers"),
    "a range without draws": ({"grid": {"lr": (0.1, 0.2)}}, "is a range to draw from; give draws"),
    "draws without a range": ({"grid": {"lr": [0.1, 0.2]}, "draws": 3}, "draws=3 needs a range"),
    "draws without a grid": ({"draws": 3}, "draws=3 needs a range"),
    "no draws": ({"grid": {"lr": (0.1, 0.2)}, "draws": 0}, "draws=0: give a whole"),
    "draws in a text": ({"grid": {"lr": (0.1, 0.2)}, "draws": "5"}, "draws='5': give a whole"),
    "a range upside down": ({"grid": {"lr": (0.2, 0.1)}, "draws": 3}, "not a range"),
    "a range of three": ({"grid": {"lr": (0.1, 0.2, 0.3)}, "draws": 3}, "not a range"),
    "a range of decays from 0": (
        {"grid": {"weight_decay": (0.0, 0.1)}, "draws": 3}, "start above 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_knobs_are_refused(name: str) -> None:
    changes, words = REFUSED[name]
    with pytest.raises(ShrinkageError, match=words):
        path(**changes)


def drawn(grid: Any, draws: int) -> dict[str, Tensor]:
    problem = problem_of(dropping(), X, Y, grid=grid, draws=draws)
    settings = Settings(strengths=[0.1], grid=grid, draws=draws).checked(problem.penalty)
    strengths, knobs = make_points(problem, len(X), settings)
    assert strengths.tolist() == [0.0, 0.1] * draws
    return {name: values[::2] for name, values in knobs.items()}


def test_draws_fill_their_ranges_evenly_and_are_the_same_again() -> None:
    grid = {"lr": (1e-4, 1e-1), "dropout": (0.2, 0.6), "weight_decay": [0.0, 0.1]}
    knobs = drawn(grid, 30)
    decade = knobs["lr"].log10().floor()
    assert [int((decade == d).sum()) for d in (-4, -3, -2)] == pytest.approx([10] * 3, abs=1)
    quarter = ((knobs["dropout"] - 0.2) / 0.1).floor()
    assert [int((quarter == q).sum()) for q in range(4)] == pytest.approx([7.5] * 4, abs=1)
    assert int((knobs["weight_decay"] == 0.1).sum()) == pytest.approx(15, abs=1)
    assert len(set(knobs["lr"].tolist())) == 30
    again = drawn(grid, 30)
    assert all(torch.equal(again[name], values) for name, values in knobs.items())


def test_a_drawn_path_trains() -> None:
    result = path(model=dropping(), grid={"lr": (0.01, 0.3), "dropout": (0.0, 0.5)}, draws=3)
    assert len(result.strengths) == 9
    choice = minimum(result)
    assert len(result.slice(**choice.knobs).strengths) == 3


def test_automatic_strengths_go_with_the_shape_of_the_penalty() -> None:
    given = {"grid": {"l1_ratio": [1.0, 0.5]}, "penalty": ElasticNet(1.0), "model": linear()}
    result = path(strengths=4, **given)
    for ratio in (1.0, 0.5):
        part = result.slice(l1_ratio=ratio)
        plain = path(strengths=4, penalty=ElasticNet(1.0, l1_ratio=ratio), model=linear())
        assert_same_result(part, plain, rtol=2e-6, atol=1e-6)
    top = [float(result.slice(l1_ratio=ratio).strengths[-1]) for ratio in (1.0, 0.5)]
    assert top[1] == pytest.approx(2 * top[0])


def test_a_crossed_path_returns_from_the_disk(tmp_path: Path) -> None:
    result = path(grid={"lr": [0.1, 0.2]})
    result.save(tmp_path / "run", choice=minimum(result))
    assert_same_result(PathResult.load(tmp_path / "run"), result, rtol=0, atol=0)


def test_shapes_of_two_penalties_do_not_mix() -> None:
    for penalty in (L1(1.0), SCAD(1.0), SparseGroupLasso(1.0)):
        with pytest.raises(ShrinkageError, match="'ratio' is not a knob"):
            path(penalty=penalty, grid={"ratio": [0.1]})


REFERENCE = {"weight": torch.full((3, 4), 0.1).double()}
TOWARD: dict[str, tuple[Penalty, dict[str, list[float]]]] = {
    "elastic net": (ElasticNet(1.0, toward=REFERENCE), {"l1_ratio": [0.2, 0.7]}),
    "MCP": (MCP(1.0, toward=REFERENCE), {"gamma": [2.5, 4.0]}),
    "sum": (L1(1.0, toward=REFERENCE) + L2(1.0, toward=REFERENCE), {"l2_strength": [0.2, 0.5]}),
}


@pytest.mark.parametrize("case", TOWARD)
def test_arguments_of_a_penalty_with_a_reference_are_knobs_too(case: str) -> None:
    penalty, grid = TOWARD[case]
    model, own = nn.Linear(4, 3).double(), {"seeds": 1, "epochs": 2}
    make = functools.partial(SGD, lr=0.1)
    together = fit(model, X, Y, penalty, grid=grid, optimizer=make, **own)
    alone = fit(model, X, Y, penalty, grid=grid, optimizer=lambda p: make(p), **own)
    assert together.about["engine"] == "vectorized, eager"
    assert alone.about["engine"].startswith("one by one")
    assert_same_result(together, alone, rtol=1e-6, atol=1e-7)
