"""Path, choice and refit as scikit-learn estimators."""

from shrinkage.estimators.paths import PathClassifier, PathRegressor

__all__ = ["PathClassifier", "PathRegressor"]
