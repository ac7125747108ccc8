"""Metrics computed from kept outputs: accuracy, and any scikit-learn scorer."""

from shrinkage.metrics.at_once import (
    area_under_roc,
    balanced_accuracy,
    correct,
    explained,
    predicted,
)
from shrinkage.metrics.scores import (
    OF_NUMBERS,
    Metric,
    check_metric,
    check_name,
    greater_is_better,
    metric_name,
    score,
)

__all__ = [
    "OF_NUMBERS",
    "Metric",
    "area_under_roc",
    "balanced_accuracy",
    "check_metric",
    "check_name",
    "correct",
    "explained",
    "greater_is_better",
    "metric_name",
    "predicted",
    "score",
]
