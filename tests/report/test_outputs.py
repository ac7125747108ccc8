from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from _results import make_result
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, root_mean_squared_error

from shrinkage.choose.overview import overview
from shrinkage.report.noise import seeds_matter
from shrinkage.report.outputs import _calibration, out_of_fold
from shrinkage.report.tables import choices_table
from shrinkage.report.thin import evenly, plain


def test_confusion_is_that_of_scikit_learn() -> None:
    result = make_result(K=3, S=2, rows=90)
    counts = out_of_fold(result, [0, 2])["confusion"]["counts"]
    for shown, k in zip(counts, (0, 2), strict=True):
        classes = result.predictions[k].argmax(-1)
        wanted = sum(confusion_matrix(result.targets, c, labels=range(3)) for c in classes) / 2
        np.testing.assert_allclose(shown, wanted)


def test_of_many_classes_the_most_mistaken_are_shown() -> None:
    result = make_result(K=2, S=1, rows=300, classes=30)
    perfect = 9.0 * torch.nn.functional.one_hot(result.targets, 30).float()
    perfect[result.targets == 17] = perfect[result.targets == 4][0]
    predictions = perfect.expand_as(result.predictions).clone()
    shown = out_of_fold(replace(result, predictions=predictions), [0])["confusion"]
    assert {"4", "17"} <= set(shown["classes"])
    assert (len(shown["classes"]), shown["total"]) == (12, 30)


def test_classes_go_by_their_names_where_the_data_have_them() -> None:
    def shown(classes: object) -> list[str]:
        about = {"data": {"classes": classes}}
        return out_of_fold(make_result(K=1, classes=3, about=about), [0])["confusion"]["classes"]

    names = ["setosa", "versi\ncolor", "a name that is much too long"]
    assert shown(names) == ["setosa", "versi�color", "a name that i…"]
    for useless in ([], ["one"], "abc", None, {"a": 1, "b": 2, "c": 3}):
        assert shown(useless) == ["0", "1", "2"]


def test_calibration_is_share_right_at_a_confidence() -> None:
    result = make_result(K=1, S=1, rows=100, classes=2, F=2)
    sure = torch.logit(torch.tensor(0.85, dtype=torch.float64)).float()
    targets = torch.arange(100) % 2
    outputs = torch.zeros(100, 2)
    outputs[:, 1] = torch.where(torch.arange(100) < 70, 2 * targets - 1, 1 - 2 * targets) * sure
    shown = out_of_fold(
        replace(result, targets=targets, predictions=outputs.view(1, 1, 100, 2)), [0]
    )["calibration"][0]
    ((said, was, share),) = shown["bins"]
    assert (said, was, share) == (pytest.approx(0.85, abs=1e-4), 0.7, 1.0)
    assert shown["error"] == pytest.approx(0.15, abs=1e-4)


def test_one_output_is_the_logit_of_class_1() -> None:
    about = {"plan": {"loss": "BCEWithLogitsLoss"}}
    result = make_result(K=1, S=1, rows=60, classes=2, test=False, about=about)
    logits = result.predictions[..., 1:] - result.predictions[..., :1]
    two = out_of_fold(replace(result, about={}), [0])
    one = out_of_fold(replace(result, predictions=logits), [0])
    assert one["confusion"]["counts"] == two["confusion"]["counts"]
    assert one["calibration"][0]["error"] == pytest.approx(two["calibration"][0]["error"], rel=1e-3)


def test_residuals_are_those_of_every_row_and_seed() -> None:
    result = make_result(K=2, S=3, rows=500, task="regression")
    shown = out_of_fold(result, [0, 1])["residuals"]
    for k in (0, 1):
        targets = result.targets.expand(3, -1)
        wanted = root_mean_squared_error(targets.flatten(), result.predictions[k, ..., 0].flatten())
        assert shown["error"][k] == pytest.approx(wanted, rel=1e-4)
        assert sum(shown["bars"][k]) == pytest.approx(100, rel=1e-3)
    assert len(shown["points"][0]) == len(shown["observed"]) == 300


def test_several_targets_are_counted_one_by_one() -> None:
    result = make_result(K=2, rows=40, task="regression", test=False)
    two = replace(
        result,
        targets=result.targets.unsqueeze(1).repeat(1, 2),
        predictions=result.predictions.repeat(1, 1, 1, 2),
    )
    one = out_of_fold(result, [0])["residuals"]
    both = out_of_fold(two, [0])["residuals"]
    assert both["total"] == 80
    assert both["error"] == one["error"]


def test_choices_have_their_numbers_beside_strength_0() -> None:
    result = make_result()
    table = choices_table(overview(result), {})
    assert table.note.endswith("test: ± deviation over the seeds.")
    assert "seeds" not in choices_table(overview(make_result(S=1)), {}).note
    cells = {row[0]: row[1] for row in table.rows}
    valid, train = result.valid_loss[0, ..., -1].mean(), result.fit_loss[0].mean()
    assert cells["validation loss"].startswith(f"{valid:.4f} ±")
    assert float(cells["gap"]) == pytest.approx((valid - train).item(), abs=1e-4)
    accuracy = (result.predictions[0].argmax(-1) == result.targets).double().mean()
    assert cells["accuracy"] == f"{100 * accuracy:.1f} %"


@given(n=st.integers(1, 500), most=st.integers(2, 60), data=st.data())
def test_thinned_axis_is_short_sorted_and_whole_at_its_ends(
    n: int, most: int, data: st.DataObject
) -> None:
    keep = data.draw(st.sets(st.integers(0, n - 1), max_size=3))
    places = evenly(n, most, keep)
    assert places == sorted(set(places))
    assert keep <= set(places)
    assert {places[0], places[-1]} == {0, n - 1}
    assert len(places) <= max(most, len(keep) + 2)


def test_what_json_cannot_say_is_none() -> None:
    assert plain(torch.tensor([1 / 3, torch.nan, torch.inf, -torch.inf])) == [
        0.33333, None, None, None,
    ]  # fmt: skip


def test_calibration_keeps_the_surest_bin_apart() -> None:
    sure = torch.tensor([0.95, 0.95, 0.85, 1.0])
    shown = _calibration(torch.stack([sure, 1 - sure], -1)[None], torch.tensor([0, 1, 0, 0]))
    assert shown["bins"] == [[0.85, 1.0, 0.25], [0.96667, 0.66667, 0.75]]
    assert shown["error"] == pytest.approx((0.15 + 0.9) / 4, rel=1e-4)


def test_more_seeds_let_starts_matter_less(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"residual": 3.0, "strength_by_fold": 1.0}
    monkeypatch.setattr("shrinkage.report.noise._compared", lambda result: parts)
    assert seeds_matter(make_result(S=2))
    assert not seeds_matter(make_result(S=4))
