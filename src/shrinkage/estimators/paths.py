"""A path, a choice and a refit as scikit-learn estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d
from torch import nn
from torch.nn.functional import logsigmoid

from shrinkage.errors import ShrinkageError
from shrinkage.estimators.shared import PathEstimator


class PathClassifier(ClassifierMixin, PathEstimator):  # type: ignore[misc]
    r"""A classifier that chooses its own regularization strength by cross-validation.

    `fit` trains the model at every strength, fold and seed, chooses a strength, and keeps the
    models that were refit on all rows at that strength, one a seed. Predictions use the mean of
    their probabilities, which is better calibrated than any one of them. Where y is a matrix of 0
    and 1, several labels a row, each has a probability of its own.

    Args:
        model: "linear", "mlp:128" or another text of :func:`shrinkage.models.make_model`, which
            sees rows flat; a module; or a function ``(inputs, outputs) -> module``, whose inputs
            are a number, or the shape of a row that has more axes than one.
        penalty: The penalty; None stands for L2.
        strengths: How many automatic strengths, or the strengths; 0 is always added.
        grid: Knobs to cross the strengths with, such as ``{"dropout": [0, 0.5]}``; the rule chooses
            among all of them. This and what follows is as in :func:`shrinkage.fit_path`.
        draws: How many combinations to draw where the grid names ranges.
        refine: How many strengths to add around the minimum.
        folds: A number of folds, a scikit-learn splitter, or one fold id per row.
        rule: "minimum", "one_standard_error" or "paired_one_standard_error".
        metric: What the rule goes by: "loss", or a scikit-learn scorer or its name.
        seeds: How many seeds.
        epochs: Passes over the rows.
        batch_size: Rows a step; by default those of the DataLoader trained on, or 32.
        loss: "auto" is the cross-entropy, for labels of 0 and 1 the binary one; or a torch loss
            module, or a function ``(output, target) -> one value per row``.
        optimizer: ``functools.partial(torch.optim.Adam, lr=1e-3)``, which None stands for, or the
            like.
        scheduler: ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)`` or the like.
        preprocess: A transformer fitted for each fold without that fold. One that comes before, in
            a pipeline, has seen the rows of every fold.
        augmented: A function ``(X, y) -> Dataset`` or DataLoader: the rows of a fit once more with
            random changes, for training alone. It sees the rows as the model does, and classes as
            their numbers. Or the Dataset itself, where X will always be its rows.
        select: Which tensors are penalized.
        how: The coupling.
        autocast: ``torch.bfloat16`` computes forward passes in bfloat16 while fitting; predictions
            are computed in float64.
        solver: "steps", or "exact" for linear models.
        compile: "auto" compiles runs that are long enough for it to pay.
        checkpoint: A directory that keeps what has been trained, for one fit of this data.
        random_state: None for seeds 0, 1, ...; a number draws others. Each gives the same numbers
            every time.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`; the columns' numbers
            where y is a matrix.
        strength_: The chosen strength.
        choice_: The choice; ``choice_.at_edge`` says that a better strength may lie outside.
        path_: The :class:`shrinkage.PathResult`, for figures, the report and the verdict.
        model_: The refit model of the first seed that did not diverge, in evaluation mode.
        models_: Those of all seeds.
        preprocess_: The transformer fitted on all rows, if there is one.
        n_features_in_: The length of a row, along its first axis.
        feature_names_in_: Their names, where X had some.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> X, labels = X[50:], load_iris().target_names[y[50:]]  # the two that are hard to tell
        >>> classifier = PathClassifier("linear", solver="exact", strengths=5).fit(X, labels)
        >>> bool(classifier.score(X, labels) > 0.9), str(classifier.predict(X[:1])[0])
        (True, 'versicolor')
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the path, choose a strength, and keep the models refit there.

        Args:
            X: Rows of numbers, (N, P) or (N, ...): array, frame or nested lists.
            y: A label per row, of any type, (N,), or 0 and 1 for each of several labels, (N, M).
            sample_weight: A weight per row; rows of weight 0 are left out.
            groups: A label per row; rows of one group stay in one fold.

        Raises:
            ValueError: Data or arguments cannot be used, as scikit-learn or a ShrinkageError says.
        """
        X, y = self._checked(X, y, ensure_min_samples=2, multi_output=True)
        check_classification_targets(y)
        self._several = type_of_target(y) == "multilabel-indicator"
        if self._several:
            y = (y.toarray() if hasattr(y, "toarray") else y).astype(np.float64)
            self.classes_ = np.arange(y.shape[1])
            loss = nn.BCEWithLogitsLoss()
            self._fit(X, y, y.shape[1], sample_weight, groups, loss=loss, classes=[0, 1])
            return self
        y = column_or_1d(y, warn=True)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ShrinkageError(f"y holds one class, {self.classes_[0]!r}; give at least two.")
        classes = self.classes_.tolist()
        self._fit(X, numbers, len(classes), sample_weight, groups, classes=classes)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the mean probabilities of the seeds, (N, C), columns as in ``classes_``."""
        outputs = self._outputs(X)
        each = outputs.sigmoid() if self._several else outputs.softmax(-1)
        return each.mean(0).numpy()

    def decision_function(self, X: Any) -> Any:
        """Return the logarithm of `predict_proba`, for two classes their difference, (N,).

        For several labels a row, the logits of `predict_proba`, (N, M).
        """
        outputs = self._outputs(X)
        if self._several:
            return (logsigmoid(outputs).logsumexp(0) - logsigmoid(-outputs).logsumexp(0)).numpy()
        scores = (outputs.log_softmax(-1).logsumexp(0) - np.log(len(outputs))).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Any:
        """Return the most probable label of each row, or 1 for each label above one half."""
        probabilities = self.predict_proba(X)
        if self._several:
            return (probabilities > 0.5).astype(int)
        return self.classes_[probabilities.argmax(1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class PathRegressor(RegressorMixin, MultiOutputMixin, PathEstimator):  # type: ignore[misc]
    r"""A regressor that chooses its own regularization strength by cross-validation.

    The same as :class:`PathClassifier`, with its arguments and attributes, for one or several
    numbers a row. Predictions are the mean of the seeds' outputs. Targets are taken as they are:
    where they are large, put it into scikit-learn's ``TransformedTargetRegressor``.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True, scaled=False)
        >>> from sklearn.preprocessing import StandardScaler
        >>> regressor = PathRegressor(
        ...     "linear", solver="exact", strengths=5, preprocess=StandardScaler()
        ... )
        >>> bool(regressor.fit(X, y).score(X, y) > 0.4)
        True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the path, choose a strength, and keep the models refit there.

        Args:
            X: Rows of numbers, (N, P) or (N, ...): array, frame or nested lists.
            y: Targets, (N,) or (N, M).
            sample_weight: A weight per row; rows of weight 0 are left out.
            groups: A label per row; rows of one group stay in one fold.

        Raises:
            ValueError: Data or arguments cannot be used, as scikit-learn or a ShrinkageError says.
        """
        X, y = self._checked(X, y, ensure_min_samples=2, multi_output=True, y_numeric=True)
        self._several = y.ndim == 2
        if not (isinstance(self.loss, str) and self.loss == "auto"):
            y = y.reshape(len(y), -1)  # as the outputs are
        self._fit(X, y.astype(np.float64), y[0].size, sample_weight, groups)
        return self

    def predict(self, X: Any) -> Any:
        """Return the mean output of the seeds: (N,), or (N, M) for targets of that shape."""
        means = self._outputs(X).mean(0).numpy()
        return means if self._several else means[:, 0]
