"""What figures, pages and screens show for every strength is one number, not two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _results import make_result
from sklearn.metrics import r2_score

from shrinkage.choose import Curve
from shrinkage.choose.overview import as_plain, overview
from shrinkage.choose.per_strength import frame, total_norm, zero_share
from shrinkage.metrics import explained
from shrinkage.report.tables import choices_table, strength_columns


def test_zeros_count_weights_not_tensors_on_screen_and_page() -> None:
    result = make_result(K=2, sparse=True)
    sparsity = result.sparsity.clone()
    sparsity[1, ..., 0], sparsity[1, ..., 1] = 1.0, 0.0
    assert result.refit is not None
    wide = {**result.refit.weights, "2.weight": torch.zeros(2, 2, 9, 4)}  # 12 of 48 weights zero
    result = replace(result, sparsity=sparsity, refit=replace(result.refit, weights=wide))
    assert zero_share(result).tolist() == [0.0, 0.25]
    seen = overview(result)
    assert [row["zeros"] for row in as_plain(seen)["strengths"]] == [0.0, 0.25]
    assert strength_columns(seen)["exact zeros"] == ["0.0 %", "25.0 %"]
    assert zero_share(replace(result, refit=None)).tolist() == [0.0, 0.5]
    assert zero_share(make_result(K=2, names=())).tolist() == [0.0, 0.0]


def test_norm_is_that_of_all_penalized_weights() -> None:
    result = make_result(3, 2, 2)
    for k, total in enumerate(total_norm(result).tolist()):
        members = [row.norm().item() for row in result.norms[k].flatten(0, 1)]
        assert total == pytest.approx(sum(members) / 4)


def test_r2_is_that_of_scikit_learn() -> None:
    targets, outputs = torch.randn(2, 40, 1, generator=torch.Generator().manual_seed(0))
    error = (outputs - targets).square().mean()
    assert explained(error, targets).item() == pytest.approx(r2_score(targets, outputs), rel=1e-5)


def test_r2_of_targets_that_do_not_vary_is_unknown() -> None:
    assert explained(torch.tensor(0.5), torch.tensor([2.0])).isnan()
    assert explained(torch.ones(3, 2), torch.full((9,), 2.0)).isnan().all()


@pytest.mark.parametrize(
    ("loss", "known"), [("mse", True), ("MSELoss", True), ("L1Loss", False), ("", False)]
)
def test_r2_is_shown_where_the_loss_is_squared_error_and_nowhere_else(
    loss: str, known: bool
) -> None:
    result = make_result(task="regression")
    seen = overview(replace(result, about={**result.about, "plan": {"loss": loss}}))
    plain = as_plain(seen)
    assert ("R2" in plain["strengths"][0]) == ("R2_sd" in plain["test"][0]) == known
    assert ("R²" in strength_columns(seen)) == known
    names = [row[0] for row in choices_table(seen, seen.choices).rows]
    assert ("R²" in names) == ("test R²" in names) == known


def test_frame_keeps_what_is_judged_and_lets_ruined_strengths_leave() -> None:
    nan = torch.nan
    mean = torch.tensor([1.0, 0.8, 50.0, nan])
    values = Curve(mean, torch.tensor([0.1, 0.1, 9.0, nan]), mean.unsqueeze(1))
    found = frame(values, torch.tensor([0.5, 0.6, nan, nan]), [0, 1])
    assert found is not None
    assert found[0] < 0.5
    assert 1.1 < found[1] < 2
    assert frame(replace(values, mean=mean * nan), mean, [0]) is None


def test_an_accuracy_of_the_largest_class_alone_gets_a_word() -> None:
    result = make_result(3, 4, 1, classes=2, rows=80)
    assert overview(result).majority == ""
    targets = (torch.arange(80) % 20 == 0).long()
    always_0 = torch.tensor([1.0, 0.0]).expand(3, 1, 80, 2).clone()
    alone = replace(result, targets=targets, predictions=always_0)
    seen = overview(alone)
    assert seen.majority.startswith("The largest class has 95.0% of the rows, and no")
    assert as_plain(seen)["majority"] == seen.majority
    assert choices_table(seen, {}).note.endswith(seen.majority)
    always_0[1, 0, targets == 1] = torch.tensor([0.0, 1.0])
    assert overview(replace(alone, predictions=always_0)).majority == ""
    assert overview(make_result(3, 4, 1, task="regression")).majority == ""
