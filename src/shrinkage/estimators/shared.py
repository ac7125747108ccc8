"""What the scikit-learn estimators share: arguments, path, choice and refit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, Dataset

from shrinkage import choose
from shrinkage.choose.choices import RULES
from shrinkage.engine.fit_path import fit_path
from shrinkage.engine.member.fresh import make_builder
from shrinkage.engine.member.given import Grid
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.update import ADAM
from shrinkage.errors import ShrinkageError, warn
from shrinkage.metrics import Metric, check_metric, check_name
from shrinkage.models import make_model
from shrinkage.parameters import Selection, weights
from shrinkage.penalties import L2, Penalty
from shrinkage.rows.classes import labeled
from shrinkage.rows.folds import Folds, make_folds, of_kept
from shrinkage.rows.frames import check_dates, plain_array
from shrinkage.rows.loss import Loss
from shrinkage.rows.rows import as_rows, flat

ModelOf = str | nn.Module | Callable[[Any, int], nn.Module]

NUMBERS = [np.float64, np.float32]


class PathEstimator(BaseEstimator):  # type: ignore[misc]
    """A path of models on rows, a strength chosen by a rule, and the models refit there."""

    def __init__(
        self,
        model: ModelOf = "mlp:128",
        penalty: Penalty | None = None,
        *,
        strengths: int | Sequence[float] = 20,
        grid: Grid | None = None,
        draws: int | None = None,
        refine: int = 0,
        folds: Any = 5,
        rule: str = "minimum",
        metric: Metric = "loss",
        seeds: int = 3,
        epochs: int = 20,
        batch_size: int | None = None,
        loss: Loss = "auto",
        optimizer: Any = None,
        scheduler: Any = None,
        preprocess: Any = None,
        augmented: Any = None,
        select: Selection = weights,
        how: str | None = None,
        autocast: torch.dtype | None = None,
        solver: Literal["steps", "exact"] = "steps",
        compile: bool | Literal["auto"] = "auto",
        checkpoint: str | Path | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.penalty = penalty
        self.strengths = strengths
        self.grid = grid
        self.draws = draws
        self.refine = refine
        self.folds = folds
        self.rule = rule
        self.metric = metric
        self.seeds = seeds
        self.epochs = epochs
        self.batch_size = batch_size
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.preprocess = preprocess
        self.augmented = augmented
        self.select = select
        self.how = how
        self.autocast = autocast
        self.solver = solver
        self.compile = compile
        self.checkpoint = checkpoint
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.preprocess is not None
        tags.input_tags.three_d_array = True
        return tags

    def _checked(self, X: Any, y: Any = "no_validation", **more: Any) -> Any:
        check_dates(X, "X")
        X, y = (plain_array(a) if isinstance(a, np.ma.MaskedArray) else a for a in (X, y))
        finite = self.preprocess is None or "allow-nan"
        return validate_data(
            self, X, y, dtype=NUMBERS, ensure_all_finite=finite, allow_nd=True, **more
        )

    def _fit(
        self,
        X: Any,
        y: Any,
        outputs: int,
        sample_weight: Any,
        groups: Any,
        *,
        loss: Loss = "auto",
        classes: Sequence[Any] | None = None,
    ) -> None:
        if self.rule not in RULES:
            raise ShrinkageError(f"rule={self.rule!r}: choose from {', '.join(RULES)}.")
        check_name(self.metric)
        folds = self.folds
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            counted = sample_weight > 0
            X, y, sample_weight = X[counted], y[counted], sample_weight[counted]
            groups = None if groups is None else np.asarray(groups)[counted]
            folds = of_kept(folds, counted)
        self._row = X.shape[1:]
        X = self._as_model_takes(X)
        folds = self._folds(folds, X, y, outputs, groups, classes)
        row = X[:1]
        if self.preprocess is not None:
            self.preprocess_ = clone(self.preprocess).fit(
                X, labeled(flat(torch.as_tensor(y)), classes)
            )
            row = self.preprocess_.transform(row)
        model = self._model_of(row.shape[1:], outputs)
        own = {"seeds": self._seeds(), "augmented": self._view(X, y), "groups": groups}
        own |= {"classes": classes, "folds": folds}
        if isinstance(self.loss, str) and self.loss == "auto":
            own["loss"] = loss
        if self.optimizer is None:
            own["optimizer"] = ADAM
        penalty = L2(1.0) if self.penalty is None else self.penalty
        settings = {**self._settings(), **own, "sample_weight": sample_weight}
        self.path_ = fit_path(model, X, y, penalty, **settings)
        self.choice_ = RULES[self.rule].choose(self.path_, self.metric)
        self.strength_ = self.choice_.strength
        self._warn_if_learning()
        self.models_ = self._refitted(model)
        self.model_ = self.models_[0]

    def _folds(
        self, folds: Any, X: Any, y: Any, outputs: int, groups: Any, classes: Sequence[Any] | None
    ) -> Folds:
        """Return the folds, on which the metric and the rule are known to work."""
        rows, targets = as_rows(X, y, finite=False)
        made = make_folds(folds, rows, targets, groups=groups, classes=classes)
        if self.rule != "minimum" and len(made.held) < 2:
            raise ShrinkageError(
                f"rule={self.rule!r} needs a variance over folds, but folds= makes one; give at "
                "least 2, or rule='minimum'."
            )
        check_metric(self.metric, targets, outputs, made.held, classes)
        return made

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that are settings of a path."""
        known = {setting.name for setting in fields(Settings)}
        return {name: own for name, own in self.get_params(deep=False).items() if name in known}

    def _warn_if_learning(self) -> None:
        """Warn where the chosen models would have gone on learning, as an untrained one would."""
        last, _, pace = choose.last_epochs(self.path_, self.choice_.index)
        if pace > choose.STILL_LEARNING:
            warn(
                "still learning",
                f"at the chosen strength the held-out loss fell at {pace:.0%} of "
                f"its mean pace in the last {f'{last} ' * (last > 1)}of {self.epochs} epochs; give "
                "more epochs or a larger learning rate, and standardize inputs and, for "
                "regression, targets.",
            )

    def _model_of(self, row: tuple[int, ...], outputs: int) -> nn.Module | Callable[[], nn.Module]:
        if isinstance(self.model, str):
            return make_model(self.model, row[0], outputs, self._row)
        if isinstance(self.model, nn.Module):
            return self.model
        if not callable(self.model):
            raise ShrinkageError(
                f"model={self.model!r}: give a string such as 'mlp:128', a module, or a function "
                "(inputs, outputs) -> module."
            )
        return functools.partial(self.model, row[0] if len(row) == 1 else row, outputs)

    def _as_model_takes(self, X: Any) -> Any:
        """Return rows as they are, but flat for the models of a text."""
        return X.reshape(len(X), -1) if isinstance(self.model, str) else X

    def _view(self, X: Any, y: Any) -> Any:
        """Return the training rows with random changes, if there are any."""
        given = isinstance(self.augmented, Dataset | DataLoader) or not callable(self.augmented)
        return self.augmented if given else self.augmented(X, y)

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
        if rows.shape[1:] != self._row:
            raise ShrinkageError(
                f"X has rows of shape {rows.shape[1:]}, and was fitted on rows of {self._row}."
            )
        rows = self._as_model_takes(rows)
        if self.preprocess is not None:
            rows = self.preprocess_.transform(rows)
        x = torch.tensor(rows, dtype=torch.float64)
        with torch.no_grad():
            each = [functional_call(model, _wide(model), (x,)) for model in self.models_]
        return torch.stack(each).reshape(len(each), len(x), -1)


def _wide(model: nn.Module) -> dict[str, Tensor]:
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: t.double() if t.is_floating_point() else t for name, t in own.items()}
