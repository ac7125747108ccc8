"""Losses by row: their plain mean is torch's loss; what has no plain mean is refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError
from shrinkage.rows.loss import check_fit, row_loss

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0, 1])
VALUES = torch.randn(7, 1, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([1.0, 3.0, 0.5])
TARGETS = torch.randn(7, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("loss", "y", "name"),
    [
        ("auto", CLASSES, "cross_entropy"),
        ("auto", TARGETS, "mse"),
        ("mse", TARGETS, "mse"),
        ("cross_entropy", CLASSES, "cross_entropy"),
        (nn.HuberLoss(), TARGETS, "HuberLoss"),
    ],
)
def test_the_loss_is_named_after_what_it_computes(loss: Any, y: Tensor, name: str) -> None:
    assert row_loss(loss, y)[0] == name


def test_cross_entropy_of_a_row_is_torchs() -> None:
    values = row_loss("auto", CLASSES)[1](LOGITS, CLASSES)
    assert values.shape == (7,)
    torch.testing.assert_close(values.mean(), F.cross_entropy(LOGITS, CLASSES))
    torch.testing.assert_close(values[2], F.cross_entropy(LOGITS[2:3], CLASSES[2:3]))


def test_mse_never_broadcasts_an_output_column_against_a_target_vector() -> None:
    values = row_loss("mse", TARGETS)[1](VALUES, TARGETS)
    torch.testing.assert_close(values, (VALUES[:, 0] - TARGETS).square())


@pytest.mark.parametrize(
    ("module", "output", "target"),
    [
        (nn.CrossEntropyLoss(), LOGITS, CLASSES),
        (nn.CrossEntropyLoss(label_smoothing=0.2), LOGITS, CLASSES),
        (nn.NLLLoss(), LOGITS.log_softmax(1), CLASSES),
        (nn.MSELoss(), VALUES, TARGETS[:, None]),
        (nn.L1Loss(), VALUES[:, 0], TARGETS),
        (nn.SmoothL1Loss(beta=0.3), VALUES, TARGETS[:, None]),
        (nn.HuberLoss(delta=0.2), VALUES, TARGETS[:, None]),
        (nn.BCEWithLogitsLoss(), VALUES[:, 0], (TARGETS > 0).float()),
        (nn.MSELoss(), LOGITS, LOGITS.flip(0)),
        (nn.BCEWithLogitsLoss(WEIGHTS, pos_weight=2 * WEIGHTS), LOGITS, (LOGITS > 0.3).float()),
        (nn.PoissonNLLLoss(), VALUES, TARGETS[:, None].abs()),
    ],
)
def test_a_torch_loss_by_row_has_the_modules_mean(
    module: nn.Module, output: Tensor, target: Tensor
) -> None:
    values = row_loss(module, target)[1](output, target)
    assert values.shape == (7,)
    torch.testing.assert_close(values.mean(), module(output, target))
    assert module.reduction == "mean"


@pytest.mark.parametrize(
    "module",
    [
        nn.MSELoss(reduction="sum"),
        nn.MSELoss(reduction="none"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 1.0])),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 1.0]), label_smoothing=0.1),
        nn.MultiMarginLoss(weight=torch.tensor([1.0, 2.0, 1.0])),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.Linear(3, 1),
    ],
)
def test_a_loss_whose_mean_is_not_a_plain_mean_is_refused(module: nn.Module) -> None:
    with pytest.raises(ShrinkageError, match="reduction='mean'"):
        row_loss(module, CLASSES)


SMOOTHED = functools.partial(nn.CrossEntropyLoss, label_smoothing=0.3)


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss, SMOOTHED])
def test_class_weights_weigh_the_rows(kind: Any) -> None:
    module, output = kind(weight=WEIGHTS), LOGITS.log_softmax(1)
    _, each, weights = row_loss(module, CLASSES)
    assert weights is not None
    mean = (weights * each(output, CLASSES)).sum() / weights.sum()
    torch.testing.assert_close(mean, module(output, CLASSES).double())
    with pytest.raises(ShrinkageError, match="weighs 3 classes"):
        row_loss(module, CLASSES + 1)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothed_weighted_classes_have_the_gradient_of_torch(smoothing: float) -> None:
    module = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=smoothing)
    _, each, weights = row_loss(module, CLASSES)
    assert weights is not None
    one, other = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    ((weights * each(one, CLASSES)).sum() / weights.sum()).backward()
    module(other, CLASSES).backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="choose from cross_entropy, mse"):
        row_loss("hinge", CLASSES)


@pytest.mark.parametrize(
    ("loss", "output", "targets", "words"),
    [
        ("cross_entropy", LOGITS[:, :2], CLASSES, r"one output per class \(3\)"),
        ("cross_entropy", LOGITS, CLASSES - 1, "classes -1 to 1"),
        ("cross_entropy", LOGITS, TARGETS, "integer classes"),
        ("cross_entropy", LOGITS[:, 0], CLASSES, "one output per class"),
        ("mse", LOGITS, TARGETS, "one output per target"),
        (nn.MSELoss(), VALUES, TARGETS, "refuses"),
        (nn.MSELoss(), LOGITS, TARGETS, "refuses"),
        (lambda output, target: output.mean(), VALUES, TARGETS, "one value per row"),
        (lambda output, target: output[:3], VALUES, TARGETS, "refuses|one value per row"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(
    loss: Any, output: Tensor, targets: Tensor, words: str
) -> None:
    name, each, _ = row_loss(loss, targets)
    with pytest.raises(ShrinkageError, match=words):
        check_fit(each, name, output, targets)


def test_outputs_beyond_the_classes_are_fine() -> None:
    check_fit(row_loss("auto", CLASSES)[1], "cross_entropy", LOGITS[:2], CLASSES.clamp_max(1))
