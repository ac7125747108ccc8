"""Metrics of kept outputs against scikit-learn's own functions on plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from _results import make_result
from sklearn import metrics
from torch import Tensor

from shrinkage.choose import curve, measure, minimum, verdict
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import OF_NUMBERS, score

Oracle = Callable[[Any, Any, Any], float]  # (targets, probabilities, classes)

OF_CLASSES: dict[str, tuple[int, Oracle]] = {
    "accuracy": (3, lambda y, p, c: metrics.accuracy_score(y, c)),
    "balanced_accuracy": (3, lambda y, p, c: metrics.balanced_accuracy_score(y, c)),
    "f1_macro": (3, lambda y, p, c: metrics.f1_score(y, c, average="macro")),
    "matthews_corrcoef": (3, lambda y, p, c: metrics.matthews_corrcoef(y, c)),
    "neg_log_loss": (3, lambda y, p, c: -metrics.log_loss(y, p)),
    "roc_auc_ovr": (3, lambda y, p, c: metrics.roc_auc_score(y, p, multi_class="ovr")),
    "top_k_accuracy": (3, lambda y, p, c: metrics.top_k_accuracy_score(y, p)),
    "roc_auc": (2, lambda y, p, c: metrics.roc_auc_score(y, p[:, 1])),
    "average_precision": (2, lambda y, p, c: metrics.average_precision_score(y, p[:, 1])),
    "neg_brier_score": (2, lambda y, p, c: -metrics.brier_score_loss(y, p[:, 1])),
    "f1": (2, lambda y, p, c: metrics.f1_score(y, c)),
}


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_metrics_of_classes_equal_scikit_learns_functions(name: str) -> None:
    classes, oracle = OF_CLASSES[name]
    result = make_result(3, 5, 2, classes=classes)
    values = result.metric(name)
    assert values.shape == (3, 5, 2)
    for k, f, s in [(0, 0, 0), (2, 4, 1), (1, 2, 0)]:
        rows = result.folds == f
        logits = result.predictions[k, s, rows].double().numpy()
        expected = oracle(result.targets[rows].numpy(), softmax(logits), logits.argmax(1))
        assert values[k, f, s].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "roc_auc"])
def test_what_is_measured_of_all_members_at_once(name: str, classes: int) -> None:
    outputs = (2 * torch.randn(2, 3, 60, classes)).round() / 2  # with ties
    outputs[1, 2, 5] = torch.nan
    targets = torch.arange(60).sqrt().long() % max(classes, 2)  # uneven
    several = classes > 2
    values = score(name + "_ovr" * (several and name == "roc_auc"), outputs, targets)
    assert values[1, 2].isnan()
    assert not values.flatten()[:-1].isnan().any()
    logits = outputs if classes > 1 else torch.cat([torch.zeros_like(outputs), outputs], -1)
    for a, b in [(0, 0), (0, 2), (1, 1)]:
        own, y = logits[a, b].double().numpy(), targets.numpy()
        oracle = {
            "accuracy": lambda y, own: metrics.accuracy_score(y, own.argmax(1)),
            "balanced_accuracy": lambda y, own: metrics.balanced_accuracy_score(y, own.argmax(1)),
            "roc_auc": lambda y, own: metrics.roc_auc_score(
                y,
                torch.from_numpy(own).softmax(1) if several else own[:, 1] - own[:, 0],
                multi_class="ovr",
            ),
        }[name]
        assert values[a, b].item() == pytest.approx(oracle(y, own), rel=1e-9)


LABELS: dict[str, Oracle] = {
    "accuracy": lambda y, z, c: metrics.accuracy_score(y, c),
    "f1_macro": lambda y, z, c: metrics.f1_score(y, c, average="macro"),
    "f1_samples": lambda y, z, c: metrics.f1_score(y, c, average="samples", zero_division=0),
    "roc_auc": lambda y, z, c: metrics.roc_auc_score(y, z),
    "average_precision": lambda y, z, c: metrics.average_precision_score(y, z),
    "neg_log_loss": lambda y, z, c: -metrics.log_loss(y, 1 / (1 + np.exp(-z))),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("labels", [1, 3])
def test_numbers_that_are_all_zero_or_one_are_labels_to_metrics_of_classes(
    name: str, labels: int
) -> None:
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 40, labels, generator=random, dtype=torch.float64)
    y = (logits.mean(0) + torch.randn(40, labels, generator=random) > 0).double()
    y = y.flatten() if labels == 1 else y
    if (labels == 1 and name == "f1_samples") or (labels > 1 and name == "neg_log_loss"):
        with pytest.raises(ShrinkageError, match=f"the metric '{name}' cannot be computed"):
            score(name, logits, y)
        return
    for member, value in zip(logits.squeeze(-1).numpy(), score(name, logits, y), strict=True):
        assert value.item() == pytest.approx(LABELS[name](y.numpy(), member, member > 0), rel=1e-9)
    assert score("r2", logits, y).shape == (2,)
    with pytest.raises(ShrinkageError, match="cannot be computed"):
        score(name, logits, y + 0.5)


def test_a_single_output_is_the_logit_of_class_one() -> None:
    logit = torch.tensor([[-1.0], [2.0], [0.5], [-0.1]])
    y = torch.tensor([0, 1, 0, 1])
    both = torch.cat([torch.zeros_like(logit), logit], 1)
    for name in ("accuracy", "roc_auc", "neg_log_loss", "f1"):
        assert score(name, logit, y) == pytest.approx(score(name, both, y).item(), rel=1e-12)
    assert score("roc_auc", logit, y).item() == 0.75
    assert score("neg_log_loss", logit, y).item() == pytest.approx(
        -torch.nn.functional.binary_cross_entropy_with_logits(logit[:, 0].double(), y.double())
    )


@pytest.mark.parametrize("name", ["r2", "neg_mean_absolute_error", "neg_mean_squared_error"])
def test_metrics_of_numbers_equal_scikit_learns_functions(name: str) -> None:
    result = make_result(3, 4, 2, task="regression")
    oracle = {
        "r2": metrics.r2_score,
        "neg_mean_absolute_error": lambda y, p: -metrics.mean_absolute_error(y, p),
        "neg_mean_squared_error": lambda y, p: -metrics.mean_squared_error(y, p),
    }[name]
    rows = result.folds == 1
    expected = oracle(result.targets[rows].double(), result.predictions[2, 1, rows, 0].double())
    assert result.metric(name)[2, 1, 1].item() == pytest.approx(expected, rel=1e-9)
    tested = oracle(result.refit.test_targets, result.refit.test_predictions[0, 1, :, 0])
    assert result.test_metric(name)[0, 1].item() == pytest.approx(tested, rel=1e-6)


def test_several_targets() -> None:
    targets = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    outputs = targets + 0.1
    assert score("neg_mean_squared_error", outputs, targets).item() == pytest.approx(-0.01)


def test_a_scorer_and_a_plain_function_are_metrics() -> None:
    result = make_result(3, 4, 1)
    made = metrics.make_scorer(metrics.zero_one_loss, greater_is_better=False)
    torch.testing.assert_close(result.metric(made), result.metric("accuracy") - 1)

    def wrong_share(estimator: Any, X: Any, y: Any) -> float:
        return -float((estimator.predict(X) != y).mean())

    torch.testing.assert_close(result.metric(wrong_share), result.metric("accuracy") - 1)
    assert measure(made) == "cross-validated zero_one_loss"
    assert minimum(result, wrong_share).index == minimum(result, "accuracy").index


def test_a_larger_auc_is_better() -> None:
    result = make_result(8, 5, 2, classes=2, rows=120)
    mean = curve(result, "roc_auc").mean
    assert mean[minimum(result, "roc_auc").index] == mean.max()
    assert mean.min() < mean.max()
    assert "cross-validated roc_auc" in verdict(result, metric="roc_auc").sentence


def test_a_diverged_member_has_no_metric() -> None:
    result = make_result(4, 3, 2, diverged=[(2, 1, 0)])
    values = result.metric("f1_macro")
    assert values.isnan().nonzero().tolist() == [[2, 1, 0]]


@pytest.mark.parametrize(
    ("task", "metric", "words"),
    [
        ("classification", "auc", "'auc' cannot be computed"),
        ("classification", "r2", "it is not a metric of classes"),
        ("classification", "roc_auc", "'roc_auc' cannot be computed on these 20 rows"),
        ("classification", "f1", "average='binary'"),
        ("classification", 3.5, "neither the name of a scikit-learn scorer nor a function"),
        ("classification", lambda X, y: 1.0, "positional arguments"),
        ("classification", lambda e, X, y: float("nan"), "it is nan there"),
        ("regression", "accuracy", "it is not a metric of numbers"),
        ("regression", "neg_mean_gamma_deviance", "strictly positive"),
    ],
)
def test_what_the_outputs_cannot_give_is_refused_with_the_list(
    task: str, metric: Any, words: str
) -> None:
    result = make_result(3, 3, 1, task=task)
    with pytest.raises(ShrinkageError, match=words) as refusal:
        result.metric(metric)
    listed = str(refusal.value).split("Choose from ")[1]
    assert ("accuracy" in listed) == (task == "classification")
    assert (" r2" in listed) == (task == "regression")


def test_every_scorer_of_scikit_learn_is_sorted_by_task() -> None:
    numbers = torch.rand(9, 1, generator=torch.Generator().manual_seed(0)) + 0.5

    def works(name: str, outputs: Tensor, targets: Tensor) -> bool:
        try:
            return bool(score(name, outputs, targets).isfinite())
        except ShrinkageError:
            return False

    known = set(metrics.get_scorer_names())
    works_on_numbers = {n for n in known if works(n, numbers, numbers[:, 0].roll(1))}
    assert works_on_numbers == OF_NUMBERS & known
    for name in OF_CLASSES:
        assert not works(name, numbers, numbers[:, 0])
