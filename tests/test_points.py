"""Strengths crossed with knobs: points, slices of them, and choices among them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from _problems import tensors_of
from _results import make_result
from torch import Tensor

from shrinkage.choose import minimum, one_standard_error, paired_one_standard_error, verdict
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L2, ElasticNet
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import arguments, combinations, matching

K, FOLDS = 3, 4
DROPOUT, LR = (0.0, 0.5), (1e-3, 1e-2)


def crossed(penalty: ElasticNet | None = None) -> PathResult:
    """Three strengths crossed with two rates of dropout and two learning rates: 12 points."""
    base = make_result(4 * K, FOLDS, 2, 2, rows=40, penalty=penalty)
    strengths = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64).repeat(4)
    dropout = torch.tensor(DROPOUT, dtype=torch.float64).repeat_interleave(2 * K)
    lr = torch.tensor(LR, dtype=torch.float64).repeat_interleave(K).repeat(2)
    return replace(base, strengths=strengths, knobs={"dropout": dropout, "lr": lr})


def with_final_losses(losses: Tensor) -> PathResult:
    """The points, with these held-out losses (12, F) after the only epoch."""
    result = crossed()
    every = losses.view(12, FOLDS, 1, 1).expand(12, FOLDS, 2, 2).contiguous()
    return replace(result, valid_loss=every.double())


def test_a_slice_is_the_path_of_one_combination() -> None:
    result = crossed()
    path = result.slice(dropout=0.5, lr=1e-3)
    assert not path.knobs
    assert path.about["knobs"] == {"dropout": 0.5, "lr": 1e-3}
    whole = dict(tensors_of(result))
    for name, tensor in tensors_of(path):
        by_point = whole[name].shape[0] == 12
        torch.testing.assert_close(
            tensor, whole[name][6:9] if by_point else whole[name], rtol=0, atol=0, equal_nan=True
        )
    assert minimum(path).strength in (0.0, 0.1, 0.2)


def test_a_slice_of_some_knobs_stays_crossed_with_the_others() -> None:
    part = crossed().slice(dropout=0.5)
    assert list(part.knobs) == ["lr"]
    assert part.knobs["lr"].tolist() == pytest.approx([1e-3] * 3 + [1e-2] * 3)
    one = part.slice(lr=1e-2)
    assert torch.equal(one.valid_loss, crossed().slice(lr=1e-2, dropout=0.5).valid_loss)
    assert one.about["knobs"] == {"dropout": 0.5, "lr": 1e-2}


def test_a_slice_sets_the_shape_of_the_penalty() -> None:
    ratios = torch.tensor([0.25, 0.75]).double().repeat_interleave(6)
    result = crossed(ElasticNet(1.0, l1_ratio=0.5))
    result = replace(result, knobs={"lr": result.knobs["lr"], "l1_ratio": ratios})
    penalty = result.slice(l1_ratio=0.75, lr=1e-3).penalty
    assert isinstance(penalty, ElasticNet)
    assert penalty.l1_ratio == 0.75


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"droput": 0.5}, "'droput' is not a knob of this path; its knobs are: dropout, lr"),
        ({"lr": 0.5}, "no point has lr=0.5; its values: 0.001, 0.01"),
        ({"lr": "0.001"}, "lr='0.001' is not a number"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused(wanted: dict[str, Any], match: str) -> None:
    with pytest.raises(ShrinkageError, match=match):
        crossed().slice(**wanted)


def test_values_that_only_occur_apart_are_refused_together() -> None:
    lr, dropout = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)
    with pytest.raises(ShrinkageError, match=r"no point has lr=0.1, dropout=0.4 together"):
        matching({"lr": lr, "dropout": dropout}, {"lr": 0.1, "dropout": 0.4}, 2)


def test_a_plain_path_says_that_it_has_no_knobs() -> None:
    with pytest.raises(ShrinkageError, match="strengths only"):
        make_result().slice(lr=1.0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strengths": torch.arange(12).double()}, "for every combination of knobs"),
        ({"knobs": {"lr": torch.ones(12).double()}}, "for every combination of knobs"),
        ({"knobs": {"lr": torch.ones(11).double()}}, r"knobs.lr has shape \(11,\), not \(K=12\)"),
        ({"knobs": {"lr": torch.full((12,), math.nan).double()}}, "knob lr must be finite"),
    ],
)
def test_points_that_are_no_paths_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ShrinkageError, match=match):
        replace(crossed(), **changes)  # type: ignore[arg-type]


def test_knobs_return_from_the_disk_and_stand_in_the_table(tmp_path: Path) -> None:
    result = crossed()
    choice = minimum(result)
    result.save(tmp_path / "run", choice=choice)
    back = PathResult.load(tmp_path / "run")
    assert list(back.knobs) == ["dropout", "lr"]
    assert all(torch.equal(back.knobs[name], values) for name, values in result.knobs.items())
    rows = list(csv.DictReader((tmp_path / "run" / "results.csv").read_text().splitlines()))
    assert list(rows[0])[:4] == ["strength", "dropout", "lr", "fold"]
    assert {(float(r["dropout"]), float(r["lr"])) for r in rows} == {
        (d, r) for d in result.knobs["dropout"].tolist() for r in result.knobs["lr"].tolist()
    }
    assert repr(back).startswith("PathResult(L2, classification: 12 points of strength, dropout, l")


def test_the_minimum_is_sought_among_all_points_and_ties_go_to_the_largest_strength() -> None:
    losses = torch.ones(12, FOLDS)
    losses[[4, 8]] = 0.5  # strengths 0.1 and 0.2
    choice = minimum(with_final_losses(losses))
    assert (choice.index, choice.strength) == (8, 0.2)
    assert choice.knobs == pytest.approx({"dropout": 0.5, "lr": 1e-3})
    assert choice.at_edge


@pytest.mark.parametrize("rule", [one_standard_error, paired_one_standard_error])
def test_standard_error_rules_stay_on_the_path_of_the_best_point(rule: object) -> None:
    losses = torch.ones(12, FOLDS)
    losses[:, 0] += 0.4  # folds differ, so there is an error to be within
    losses[3] -= 0.001  # the best point has strength 0; 4 and 5 share its knobs
    losses[5, 1] += 0.001
    choice = rule(with_final_losses(losses))  # type: ignore[operator]
    assert choice.index in (3, 4, 5)
    assert choice.knobs == pytest.approx({"dropout": 0.0, "lr": 1e-2})


def test_the_verdict_compares_with_strength_0_at_the_same_knobs() -> None:
    random = torch.Generator().manual_seed(3)
    losses = 1 + torch.rand(12, FOLDS, generator=random)
    losses[8] = losses[6] - 0.5  # on the path of points 6, 7, 8 the largest strength helps
    losses[0] = 0.9  # a better reference that has other knobs
    result = with_final_losses(losses)
    choice = minimum(result)
    assert choice.index in (0, 8)
    said = verdict(result, replace(choice, index=8, strength=0.2))
    assert said.answer == "helped"
    assert said.difference == pytest.approx(-0.5)
    same = verdict(result.slice(dropout=0.5, lr=1e-3))
    assert same.difference == pytest.approx(-0.5)


def test_combinations_are_listed_in_the_order_they_occur() -> None:
    found = combinations({"a": torch.tensor([2.0, 1.0, 2.0, 1.0])}, 4)
    assert [points.tolist() for points in found] == [[0, 2], [1, 3]]
    assert [points.tolist() for points in combinations({}, 2)] == [[0, 1]]


Share = float | Tensor


@dataclass(frozen=True)
class Leaning(L2):
    """A penalty whose annotations name a number by another word, and by another thing a number."""

    share: Share = field(default=0.5, kw_only=True)
    by: Callable[[float], float] | None = field(default=None, kw_only=True)
    sizes: tuple[float, ...] = field(default=(), kw_only=True)
    count: int = field(default=1, kw_only=True)


def test_an_argument_is_a_knob_by_its_type_and_not_by_how_that_is_written() -> None:
    assert arguments(Leaning(1.0)) == ["share"]
    assert arguments(ElasticNet(1.0)) == ["l1_ratio"]


def test_an_annotation_that_names_nothing_is_refused_where_knobs_are_asked_for() -> None:
    @dataclass(frozen=True)
    class Odd(L2):
        other: Nowhere = field(default=None, kw_only=True)  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ShrinkageError, match=r"annotations of Odd .* 'Nowhere' is not defined"):
        arguments(Odd(1.0))
