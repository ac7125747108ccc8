from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from _results import make_result

from shrinkage.choose.choices import best_path
from shrinkage.choose.overview import overview
from shrinkage.penalties import L2
from shrinkage.report.findings import find
from shrinkage.report.noise import scatter, seeds_matter
from shrinkage.report.page import title
from shrinkage.report.slices import knobs_table
from shrinkage.result.path_result import PathResult


def told(result: PathResult) -> str:
    found = find(overview(result))
    steps = (f"{step.text} {step.code}" for step in found.steps)
    return "\n".join((found.headline, found.sentence, *steps))


def final(result: PathResult, losses: torch.Tensor) -> PathResult:
    """The result with this held-out loss (E,) after each epoch, at every strength."""
    return replace(result, valid_loss=losses.expand_as(result.valid_loss).clone())


def test_penalty_that_helped_is_to_be_kept_with_its_code() -> None:
    result = make_result(penalty=L2(1.0), F=8)
    found = find(overview(result))
    assert found.answer == "helped"
    assert found.verdict is not None
    base = result.valid_loss[0, ..., -1].double().mean()
    share = -100 * found.verdict.difference / base.item()
    assert found.headline == f"L2 helped: it lowered the loss by {share:.1f} %"
    best = found.choices["minimum"].strength
    assert f"regularize(model, optimizer, L2({best:.3g}))" in found.steps[0].code
    assert f"weight_decay={2 * best:.2g}" in found.steps[0].text


def test_penalty_that_did_not_help_is_to_be_left_out() -> None:
    found = find(overview(make_result(helped=False, F=8)))
    assert found.answer != "helped"
    harmed = make_result(helped=False)
    strengths = torch.arange(8.0).view(8, 1, 1, 1)
    worse = replace(harmed, valid_loss=0.5 + strengths + 0 * harmed.valid_loss)
    found = find(overview(worse))
    assert found.answer == "did not help"
    assert found.steps[0].text.startswith("Train without it.")


@pytest.mark.parametrize(("losses", "says"), [((9.0, 0.2), "at the minimum")])
def test_short_training_brings_no_advice_on_epochs(losses: tuple[float, ...], says: str) -> None:
    assert says not in told(final(make_result(E=2), torch.tensor(losses)))


def test_learning_curve_decides_about_epochs() -> None:
    falling = torch.linspace(2, 1, 20)
    rising = torch.cat([torch.linspace(2, 1, 12), torch.linspace(1, 1.5, 9)[1:]])
    flat = torch.ones(20)
    base = make_result(E=20)
    begun = torch.linspace(100, 95, 20)  # large targets, too few steps
    assert "still fell by 0.6 % in the last 2 of 20 epochs" in told(final(base, begun))
    assert "still fell by 10 % in the last 2 of 20 epochs" in told(final(base, falling))
    assert "lowest after epoch 12 of 20" in told(final(base, rising))
    assert "50 %" in told(final(base, rising))
    assert "at the minimum" not in told(final(base, flat))
    short = final(make_result(E=3), torch.tensor([2.0, 1.25, 1.0]))
    assert "still fell by 20 % in the last of 3 epochs" in told(short)


def test_choice_at_the_end_of_the_grid_asks_for_a_longer_one() -> None:
    result = make_result(K=4)
    better = 1 - 0.1 * torch.arange(4.0).view(4, 1, 1, 1)
    said = told(replace(result, valid_loss=better.expand_as(result.valid_loss).clone()))
    assert "largest of the grid" in said
    assert "--strengths 1e+00,1e+01,1e+02" in said


def test_diverged_trainings_are_counted() -> None:
    assert "2 of 80 trainings diverged" in told(make_result(diverged=[(7, 0, 0), (7, 1, 1)]))


@pytest.mark.parametrize(
    ("changes", "headline"),
    [({"F": 1}, "No verdict from one fold"), ({"K": 1}, "No verdict on L2")],
)
def test_what_cannot_be_judged_is_said_with_what_to_do(
    changes: dict[str, Any], headline: str
) -> None:
    found = find(overview(make_result(**changes)))
    assert found.headline == headline
    assert found.answer == "no verdict"
    assert found.steps[0].code.startswith("shrinkage path")


def noisy(by_fold: float, by_seed: float) -> PathResult:
    """Two strengths, whose difference varies between folds and between seeds that much.

    A third ruins the fit, each time in another way, and must not matter.
    """
    base = make_result(3, 6, 4, 1)
    random = torch.Generator().manual_seed(0)
    folds, seeds = torch.randn(6, 1, generator=random), torch.randn(6, 4, generator=random)
    difference = 0.1 + by_fold * folds + by_seed * seeds
    ruined = 9 + torch.randn(6, 4, generator=random)
    losses = torch.stack([1 + difference, torch.ones(6, 4), ruined]).unsqueeze(-1)
    return replace(base, valid_loss=losses)


def test_seeds_are_asked_for_only_where_they_blur_the_comparison() -> None:
    assert seeds_matter(noisy(by_fold=0.001, by_seed=0.1))
    assert not seeds_matter(noisy(by_fold=0.1, by_seed=0.01))


def test_noise_is_shown_beside_the_effect() -> None:
    sizes = {row["name"]: row["size"] for row in scatter(noisy(0.02, 0.04))["rows"]}
    assert list(sizes) == ["folds", "seeds", "strength × fold", "strength × seed", "the penalty"]
    assert sizes["the penalty"] == pytest.approx(0.1, rel=0.4)
    # half of the variance of a difference of two strengths is that of one of them
    assert sizes["strength × seed"] == pytest.approx(0.04 / 2**0.5, rel=0.3)


def test_noise_that_cannot_be_split_is_explained() -> None:
    assert scatter(make_result(F=1))["rows"] == []
    assert "one fold" in scatter(make_result(F=1))["sentence"]


def test_of_crossed_knobs_the_page_shows_the_best_path_and_lists_all() -> None:
    base = make_result(6, 4, 2)
    losses = torch.tensor([0.5, 0.4, 0.45, 0.3, 0.35, 0.25])
    crossed = replace(
        base,
        strengths=torch.tensor([0.0, 0.1, 0.2] * 2, dtype=torch.float64),
        knobs={"dropout": torch.tensor([0.0] * 3 + [0.5] * 3, dtype=torch.float64)},
        valid_loss=losses.view(6, 1, 1, 1).expand_as(base.valid_loss).clone(),
    )
    path = best_path(crossed)
    assert path.about["knobs"] == {"dropout": 0.5}
    assert title(path) == "L2, dropout 0.5, on synthetic"
    table = knobs_table(crossed)
    assert table is not None
    assert [row[:2] for row in table.rows] == [["dropout 0.5", "2.0e-01"], ["dropout 0", "1.0e-01"]]
    assert table.rows[0][2].startswith("0.25")
    assert knobs_table(base) is None
