"""Successive halving: who goes on, what they are, and what is left of the others."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from _problems import ADAM, classes, fit, perceptron

from shrinkage.choose import minimum, noise, one_standard_error, verdict
from shrinkage.engine.halving import rungs, survivors
from shrinkage.engine.plan.outcome import Progress
from shrinkage.errors import ShrinkageError
from shrinkage.plots import plot_path
from shrinkage.result.path_result import PathResult

X, Y = classes(48)
STRENGTHS = [10.0**power for power in range(-6, 2)]
COSINE = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=9)


def run(**changes: Any) -> PathResult:
    settings = {"strengths": STRENGTHS, "epochs": 9, "scheduler": COSINE, **changes}
    return fit(perceptron(), X, Y, **settings)


def kept_by_hand(losses: torch.Tensor, points: list[int], count: int) -> list[int]:
    """The best points and strength 0, from the table of the full grid."""
    best = sorted(points, key=lambda k: losses[k].item())[:count]
    return sorted({0, *best})


@pytest.mark.parametrize("optimizer", [ADAM, functools.partial(torch.optim.Adagrad, lr=0.1)])
def test_who_goes_on_is_what_it_is_in_the_full_grid(optimizer: Any) -> None:
    full, part = run(optimizer=optimizer), run(optimizer=optimizer, halving=3)
    rows = torch.bincount(full.folds).double()
    by_epoch = (full.valid_loss.double().mean(2) * rows.view(-1, 1)).sum(1) / rows.sum()
    first = kept_by_hand(by_epoch[:, 2], list(range(9)), 3)
    second = kept_by_hand(by_epoch[:, 5], first, 1)
    expected = [-1 if k in second else 6 if k in first else 3 for k in range(9)]
    assert part.dropped is not None
    assert part.dropped.tolist() == expected
    for k, epochs in enumerate(expected):
        n = 9 if epochs < 0 else epochs
        for name in ("train_loss", "valid_loss"):
            one, other = getattr(part, name)[k], getattr(full, name)[k]
            assert torch.equal(one[..., :n], other[..., :n])
            assert one[..., n:].isnan().all()
    for name in ("fit_loss", "norms", "sparsity", "predictions"):
        one, other = getattr(part, name), getattr(full, name)
        assert torch.equal(one[second], other[second])
        assert one[part.dropped >= 0].isnan().all()
    assert part.refit is not None
    assert full.refit is not None
    for name, weights in part.refit.weights.items():
        assert torch.equal(weights[second], full.refit.weights[name][second])
    assert (part.diverged == -1).all()


def test_the_choices_ignore_what_was_dropped(tmp_path: Path) -> None:
    result = run(halving=2, epochs=8, scheduler=None, test=(X[:9], Y[:9]))
    assert result.dropped is not None
    alive = set((result.dropped < 0).nonzero().flatten().tolist())
    assert 0 in alive
    assert {minimum(result).index, one_standard_error(result).index} <= alive
    assert math.isfinite(verdict(result).difference)
    assert math.isfinite(noise(result).paired_error)
    result.save(tmp_path / "run", choice=minimum(result))
    again = PathResult.load(tmp_path / "run")
    assert torch.equal(again.dropped, result.dropped)
    again.report(tmp_path / "report.html")
    assert "because halving dropped them" in " ".join(
        text.get_text().replace("\n", " ") for text in plot_path(again).figure_.texts
    )


def test_every_combination_of_knobs_keeps_its_own_strength_zero() -> None:
    result = run(strengths=[1e-3, 1e-2], grid={"lr": [1e-6, 0.03, 0.1]}, halving=3)
    assert result.dropped is not None
    alive = result.dropped < 0
    choice = minimum(result)
    assert alive[choice.index]
    path = result.slice(**choice.knobs)
    assert path.dropped is not None
    assert path.dropped[0] == -1
    assert alive.sum() < 5


def test_refined_strengths_are_not_dropped() -> None:
    result = run(halving=3, refine=4)
    assert len(result.strengths) == 13
    assert result.dropped is not None
    whole = result.valid_loss[..., -1].isfinite().all((1, 2))
    assert torch.equal(whole, result.dropped < 0)
    assert whole.sum() >= 5


def test_diverged_points_are_dropped_first_and_stay_marked() -> None:
    result = run(grid={"lr": [0.05, 1e30]}, strengths=[1e-3, 1e-2], halving=3, optimizer=ADAM)
    lost = result.knobs["lr"] == 1e30
    assert result.dropped is not None
    assert (result.dropped[lost] == 3).all()
    assert (result.dropped[~lost] == -1).any()


def test_only_those_that_go_on_train_further() -> None:
    seen: list[Progress] = []
    result = run(halving=3, progress=seen.append)
    assert result.dropped is not None
    members = [9, 9 - int((result.dropped == 3).sum()), int((result.dropped == -1).sum())]
    told = dict.fromkeys((p.epochs, p.members_total) for p in seen if p.stage == "train")
    assert list(told) == [(e, n * 8) for e, n in zip((3, 6, 9), members, strict=True)]
    assert members[0] > members[1] > members[2]


def test_the_best_points_survive_with_strength_zero_of_their_knobs() -> None:
    plan = replace_knobs([0, 1, 2, 0, 1, 2], [0.0] * 3 + [0.5] * 3)
    losses = torch.tensor([5.0, 1, 4, 6, 2, math.inf])
    assert survivors(plan, losses, 1).tolist() == [True, True, False, False, False, False]
    assert survivors(plan, losses, 2).tolist() == [True, True, False, True, True, False]


def replace_knobs(strengths: list[float], dropout: list[float]) -> Any:
    from shrinkage.engine.plan.plan import Plan
    from shrinkage.rows.folds import by_ids

    plan = Plan(torch.tensor(strengths), by_ids(torch.tensor([0, 1])), (0,), 0, 4, 1)
    return replace(plan, knobs={"dropout": torch.tensor(dropout)})


@pytest.mark.parametrize(
    ("epochs", "factor", "expected"),
    [(40, 3, [13, 26, 40]), (9, 2, [3, 6, 9]), (4, 3, [1, 2, 4]), (3, 2, [1, 2, 3])],
)
def test_points_are_dropped_after_each_third_of_the_epochs(
    epochs: int, factor: int, expected: list[int]
) -> None:
    assert rungs(epochs, factor) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"halving": 1}, "give 2 or more"),
        ({"halving": -1}, "give a whole number"),
        ({"halving": 2, "epochs": 2}, "at least 3 epochs"),
    ],
)
def test_halving_that_cannot_be(
    changes: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ShrinkageError, match=words):
        run(**changes)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_nothing_compiles_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHRINKAGE_CACHE", str(tmp_path))
    result = run(halving=3, compile=True)
    assert "compiled" in result.about["engine"]
    assert len(list(tmp_path.rglob("*.pt2"))) == 1
