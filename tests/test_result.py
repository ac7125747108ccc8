"""PathResult: shapes that fit, and metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from _results import make_result

from shrinkage.errors import ShrinkageError


def test_shapes_that_do_not_fit_are_named_in_one_error() -> None:
    result = make_result(5, 3, 2, 4)
    with pytest.raises(ShrinkageError) as error:
        replace(
            result,
            valid_loss=result.valid_loss[:, :2],
            norms=result.norms.long(),
            predictions=result.predictions.double(),
            fit_loss=None,
            refit=replace(
                result.refit,
                fit_loss=result.refit.fit_loss[:3],
                weights={"w": torch.ones(4, 2, 3)},
                test_loss=None,
            ),
            about={"time": math.nan},
        )
    message = str(error.value)
    for name in (
        "valid_loss has shape (5, 2, 2, 4), not (K=5, F=3, S=2, E=4)",
        "norms is torch.int64",
        "predictions is torch.float64, not torch.float32",
        "fit_loss is missing or not a tensor",
        "refit.fit_loss has shape (3, 2), not (K=5, S=2)",
        "refit.weights.w has shape (4, 2, 3), not (K=5, S=2, ...)",
        "refit.test_targets come only with",
        "about cannot be written as JSON",
    ):
        assert name in message
    assert "train_loss has" not in message


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("strengths", torch.tensor([0.0, 2, 1]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0.5, 1, 2]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0, 1, math.inf]).double(), "start at 0 and increase"),
        ("strengths", torch.tensor([0.0, 1, 2]), "torch.float32, not torch.float64"),
        ("strengths", torch.zeros(0).double(), "strengths has shape"),
        ("folds", torch.tensor([0, 2] * 30), "without a gap"),
        ("folds", torch.zeros(60), "not torch.int64"),
        ("targets", torch.zeros(60, dtype=torch.bool), "not a floating type"),
        ("seeds", (0,), "S=1"),
        ("tensor_names", ("a", "b", "c"), "P=3"),
    ],
)
def test_bad_axes_are_refused(name: str, value: object, match: str) -> None:
    with pytest.raises(ShrinkageError, match=match):
        replace(make_result(3, 2, 2), **{name: value})


def test_accuracy_counts_the_held_out_rows_of_each_fold() -> None:
    result = make_result(3, 2, 1, rows=10, diverged=[(2, 1, 0)])
    accuracy = result.metric("accuracy")
    right = result.predictions[1, 0].argmax(-1) == result.targets
    by_hand = [right[result.folds == f].double().mean().item() for f in range(2)]
    assert accuracy[1, :, 0].tolist() == by_hand
    assert accuracy[2].flatten().isnan().tolist() == [False, True]
    assert result.test_metric("accuracy").shape == (3, 1)
    torch.testing.assert_close(result.metric("loss"), result.valid_loss[..., -1], equal_nan=True)
    torch.testing.assert_close(result.test_metric("loss"), result.refit.test_loss)


def test_one_output_is_a_logit() -> None:
    result = make_result(2, 2, 1, rows=4, classes=1, test=False)
    outputs = torch.tensor([-1.0, 2.0, 3.0, -4.0]).view(1, 1, 4, 1).expand(2, 1, 4, 1)
    targets = torch.tensor([0, 1, 0, 0])
    result = replace(result, predictions=outputs, targets=targets)
    assert result.metric("accuracy")[0, :, 0].tolist() == [0.5, 1.0]


def test_metrics_that_do_not_exist_are_refused() -> None:
    regression = make_result(3, 2, 1, task="regression", test=False)
    assert regression.task == "regression"
    assert regression.n_folds == 2
    assert repr(regression) == "PathResult(L2, regression: 3 strengths x 2 folds x 1 seed)"
    with pytest.raises(ShrinkageError, match="not a metric of numbers"):
        regression.metric("accuracy")
    with pytest.raises(ShrinkageError, match="Choose from loss, accuracy"):
        make_result(3, 2, 1).metric("auc")
    with pytest.raises(ShrinkageError, match="no test rows"):
        regression.test_metric("loss")
