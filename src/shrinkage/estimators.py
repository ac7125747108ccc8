"""A path, a choice and a refit as scikit-learn estimators."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MultiOutputMixin,
    RegressorMixin,
    clone,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn
from torch.func import functional_call

from shrinkage import choose
from shrinkage.engine.fit_path import ADAM, fit_path
from shrinkage.engine.problem import make_builder
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import Metric
from shrinkage.models import make_model
from shrinkage.penalties import L2, Penalty

ModelOf = str | nn.Module | Callable[[int, int], nn.Module]

RULES = {
    "minimum": choose.minimum,
    "one_standard_error": choose.one_standard_error,
    "paired_one_standard_error": choose.paired_one_standard_error,
}
NUMBERS = [np.float64, np.float32]


class _PathEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: their arguments, the fit, and the outputs of several seeds."""

    def __init__(
        self,
        model: ModelOf = "mlp:128",
        penalty: Penalty | None = None,
        *,
        strengths: int | Sequence[float] = 20,
        folds: Any = 5,
        rule: str = "minimum",
        metric: Metric = "loss",
        seeds: int = 3,
        epochs: int = 20,
        batch_size: int = 32,
        optimizer: Any = None,
        scheduler: Any = None,
        preprocess: Any = None,
        solver: Literal["steps", "exact"] = "steps",
        compile: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.penalty = penalty
        self.strengths = strengths
        self.folds = folds
        self.rule = rule
        self.metric = metric
        self.seeds = seeds
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.preprocess = preprocess
        self.solver = solver
        self.compile = compile
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.preprocess is not None
        return tags

    def _checked(self, X: Any, y: Any = "no_validation", **more: Any) -> Any:
        finite = self.preprocess is None or "allow-nan"
        return validate_data(self, X, y, dtype=NUMBERS, ensure_all_finite=finite, **more)

    def _fit(self, X: Any, y: Any, outputs: int, sample_weight: Any, groups: Any) -> None:
        if self.rule not in RULES:
            raise ShrinkageError(f"rule={self.rule!r}: choose from {', '.join(RULES)}.")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            counted = sample_weight > 0
            X, y, sample_weight = X[counted], y[counted], sample_weight[counted]
            groups = None if groups is None else np.asarray(groups)[counted]
        inputs = X.shape[1]
        if self.preprocess is not None:
            self.preprocess_ = clone(self.preprocess).fit(X, y)
            inputs = self.preprocess_.transform(X[:1]).shape[1]
        model = self._model_of(inputs, outputs)
        self.path_ = fit_path(
            model,
            X,
            y,
            L2(1.0) if self.penalty is None else self.penalty,
            strengths=self.strengths,
            folds=self.folds,
            groups=groups,
            seeds=self._seeds(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            sample_weight=sample_weight,
            optimizer=ADAM if self.optimizer is None else self.optimizer,
            scheduler=self.scheduler,
            preprocess=self.preprocess,
            solver=self.solver,
            compile=self.compile,
        )
        self.choice_ = RULES[self.rule](self.path_, self.metric)
        self.strength_ = self.choice_.strength
        self.models_ = self._refitted(model)
        self.model_ = self.models_[0]

    def _model_of(self, inputs: int, outputs: int) -> nn.Module | Callable[[], nn.Module]:
        if isinstance(self.model, str):
            return make_model(self.model, inputs, outputs)
        if isinstance(self.model, nn.Module):
            return self.model
        if not callable(self.model):
            raise ShrinkageError(
                f"model={self.model!r}: give a text such as 'mlp:128', a module, or a function "
                "(inputs, outputs) -> module."
            )
        return functools.partial(self.model, inputs, outputs)

    def _seeds(self) -> int | list[int]:
        if self.random_state is None:
            return self.seeds
        drawn = check_random_state(self.random_state).randint(2**31 - 1, size=self.seeds)
        return [int(seed) for seed in drawn]

    def _refitted(self, model: nn.Module | Callable[[], nn.Module]) -> list[nn.Module]:
        refit, build, models = self.path_.refit, make_builder(model), []
        assert refit is not None
        for seed in (refit.diverged[self.choice_.index] < 0).nonzero().flatten().tolist():
            own = build(0)
            weights = {n: w[self.choice_.index, seed] for n, w in refit.weights.items()}
            own.load_state_dict(weights)
            models.append(own.eval())
        if not models:
            raise ShrinkageError(
                f"at the chosen strength {self.strength_:g} every refit diverged; lower the "
                "learning rate, or standardize the inputs."
            )
        return models

    def _outputs(self, X: Any) -> Tensor:
        """Return the outputs of every seed's model, in float64: (S, N, C)."""
        check_is_fitted(self)
        rows = self._checked(X, reset=False)
        if self.preprocess is not None:
            rows = self.preprocess_.transform(rows)
        x = torch.tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            each = [functional_call(model, _wide(model), (x,)) for model in self.models_]
        return torch.stack(each).reshape(len(each), len(x), -1)


def _wide(model: nn.Module) -> dict[str, Tensor]:
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: t.double() if t.is_floating_point() else t for name, t in own.items()}


class PathClassifier(ClassifierMixin, _PathEstimator):  # type: ignore[misc]
    r"""A classifier that chooses its own regularization strength by cross-validation.

    `fit` trains the model at every strength, fold and seed, chooses a strength, and keeps the
    models that were refit on all rows at that strength, one a seed. Predictions use the mean of
    their probabilities, which is better calibrated than any one of them.

    Args:
        model: "linear", "mlp:128" or another text of :func:`shrinkage.models.make_model`, a module,
            or a function ``(inputs, outputs) -> module``.
        penalty: The penalty; None stands for L2.
        strengths: How many automatic strengths, or the strengths; 0 is always added.
        folds: A number of folds, a scikit-learn splitter, or one fold id per row.
        rule: "minimum", "one_standard_error" or "paired_one_standard_error".
        metric: What the rule goes by: "loss", or a scikit-learn scorer or its name.
        seeds: How many seeds.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        optimizer: ``functools.partial(torch.optim.Adam, lr=1e-3)``, which None stands for, or the
            like.
        scheduler: ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)`` or the like.
        preprocess: A transformer fitted for each fold without that fold. One that comes before, in
            a pipeline, has seen the rows of every fold.
        solver: "steps", or "exact" for linear models.
        compile: "auto" compiles runs that are long enough for it to pay.
        random_state: None for seeds 0, 1, ...; a number draws others. Each gives the same numbers
            every time.

    Attributes:
        classes_: The labels, in the order of the columns of `predict_proba`.
        strength_: The chosen strength.
        choice_: The choice; ``choice_.at_edge`` says that a better strength may lie outside.
        path_: The :class:`shrinkage.PathResult`, for figures, the report and the verdict.
        model_: The refit model of the first seed that did not diverge, in evaluation mode.
        models_: Those of all seeds.
        preprocess_: The transformer fitted on all rows, if there is one.
        n_features_in_: The number of inputs.
        feature_names_in_: Their names, where X had some.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> labels = load_iris().target_names[y]
        >>> classifier = PathClassifier("linear", solver="exact", strengths=5).fit(X, labels)
        >>> bool(classifier.score(X, labels) > 0.9), str(classifier.predict(X[:1])[0])
        (True, 'setosa')
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the path, choose a strength, and keep the models refit there.

        Args:
            X: Rows of numbers, (N, P): array, frame or nested lists.
            y: A label per row, of any type.
            sample_weight: A weight per row; rows of weight 0 are left out.
            groups: A label per row; rows of one group stay in one fold.

        Raises:
            ValueError: Data or arguments cannot be used, as scikit-learn or a ShrinkageError says.
        """
        X, y = self._checked(X, y, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ShrinkageError(f"y holds one class, {self.classes_[0]!r}; give at least two.")
        self._fit(X, numbers, len(self.classes_), sample_weight, groups)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the mean probabilities of the seeds, (N, C), columns as in ``classes_``."""
        return self._outputs(X).softmax(-1).mean(0).numpy()

    def decision_function(self, X: Any) -> Any:
        """Return the logarithm of `predict_proba`, for two classes their difference, (N,)."""
        outputs = self._outputs(X).log_softmax(-1)
        scores = (outputs.logsumexp(0) - np.log(len(outputs))).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Any:
        """Return the most probable label of each row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


class PathRegressor(RegressorMixin, MultiOutputMixin, _PathEstimator):  # type: ignore[misc]
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
            X: Rows of numbers, (N, P): array, frame or nested lists.
            y: Targets, (N,) or (N, M).
            sample_weight: A weight per row; rows of weight 0 are left out.
            groups: A label per row; rows of one group stay in one fold.

        Raises:
            ValueError: Data or arguments cannot be used, as scikit-learn or a ShrinkageError says.
        """
        X, y = self._checked(X, y, ensure_min_samples=2, multi_output=True, y_numeric=True)
        self._several = y.ndim == 2
        self._fit(X, y.astype(np.float64), y[0].size, sample_weight, groups)
        return self

    def predict(self, X: Any) -> Any:
        """Return the mean output of the seeds: (N,), or (N, M) for targets of that shape."""
        means = self._outputs(X).mean(0).numpy()
        return means if self._several else means[:, 0]
