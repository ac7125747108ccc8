"""One list of settings with their defaults, and each wrong one refused before anything is built."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from shrinkage import L1, L2, SCAD, PathClassifier, PathRegressor, ShrinkageError, compare, fit_path
from shrinkage.cli.compare.options import CompareOptions
from shrinkage.cli.path.options import PathOptions
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.update import ADAM

SETTINGS = {setting.name: setting.default for setting in fields(Settings)}

NO_DEFAULT = "no default"


def defaults_of(function: Any) -> dict[str, Any]:
    """The arguments that can be given by name alone."""
    named = inspect.signature(function).parameters.values()
    own = {p.name: p.default for p in named if p.kind is p.KEYWORD_ONLY}
    return {
        n: NO_DEFAULT if value is inspect.Parameter.empty else value for n, value in own.items()
    }


def options_of(command: type) -> dict[str, Any]:
    return {f.name: NO_DEFAULT if f.default is MISSING else f.default for f in fields(command)}


LISTS: dict[str, tuple[dict[str, Any], set[str], dict[str, Any], set[str]]] = {
    "fit_path": (defaults_of(fit_path), set(), {}, set()),
    "the classifier": (
        defaults_of(PathClassifier),
        {"test", "classes", "groups", "sample_weight", "refit", "progress", "chunk", "max_memory"},
        {"optimizer": None},
        {"rule", "metric", "random_state"},
    ),
    "compare": (
        defaults_of(compare),
        {"strengths", "grid", "draws", "refine", "sample_weight", "how", "refit", "solver"}
        | {"classes", "chunk", "max_memory", "optimizer"},
        {"test": NO_DEFAULT, "seeds": 2, "epochs": 40},
        {"methods", "optimizers", "values"},
    ),
    "shrinkage path": (
        options_of(PathOptions),
        {"test", "augmented", "sample_weight", "preprocess", "refit", "autocast", "progress"}
        | {"classes", "chunk", "max_memory", "loss"},
        {"strengths": None, "select": None, "optimizer": "adam", "epochs": 40, "batch_size": 32},
        {"data", "target", "task", "missing", "ignore", "max_bytes", "model", "penalty"}
        | {"n_strengths", "repeats", "lr", "bfloat16", "seed"}
        | {"out", "overwrite", "as_json", "quiet", "debug"},
    ),
    "shrinkage compare": (
        options_of(CompareOptions),
        {"test", "augmented", "sample_weight", "preprocess", "refit", "autocast", "progress"}
        | {"classes", "chunk", "max_memory", "loss"}
        | {"strengths", "grid", "draws", "refine", "how", "solver"},
        {"select": None, "optimizer": "adam", "seeds": 2, "epochs": 40, "batch_size": 32},
        {"data", "target", "task", "missing", "ignore", "max_bytes", "model"}
        | {"methods", "values", "repeats", "bfloat16", "seed"}
        | {"out", "overwrite", "as_json", "quiet", "debug"},
    ),
}
"""Arguments of each; then what it leaves out, what it changes, and what it has besides."""


@pytest.mark.parametrize("name", LISTS)
def test_every_list_of_settings_is_that_of_the_path(name: str) -> None:
    listed, left_out, changed, more = LISTS[name]
    expected = {n: value for n, value in SETTINGS.items() if n not in left_out} | changed
    assert {n: value for n, value in listed.items() if n not in more} == expected
    assert left_out <= SETTINGS.keys()
    assert more <= listed.keys() - SETTINGS.keys()


def test_both_estimators_have_the_same_arguments() -> None:
    assert inspect.signature(PathClassifier) == inspect.signature(PathRegressor)


def test_what_stands_for_a_default_is_it() -> None:
    assert SETTINGS["optimizer"] is ADAM
    assert inspect.signature(compare).parameters["optimizers"].default == {"adam": ADAM}


class Untouched:
    """Rows, targets or a factory of models; counts how often anything is asked of it."""

    def __init__(self) -> None:
        self.touched = 0

    def __call__(self) -> nn.Module:
        self.touched += 1
        return nn.Linear(4, 2)

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.touched += 1
        return np.zeros((8, 4))

    def __len__(self) -> int:
        self.touched += 1
        return 8

    def __getitem__(self, _: Any) -> Any:
        self.touched += 1
        return 0.0


def momentum(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0)


EXACT = {"solver": "exact"}

WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"penalty": 0.1}, "penalty=0.1 is not a penalty"),
    ({"strengths": 1}, "strengths=1: give at least 2"),
    ({"strengths": 0}, "strengths=0: give at least 2"),
    ({"strengths": [-1.0]}, "strengths must be finite and >= 0; got -1.0"),
    ({"strengths": [float("nan")]}, "strengths must be finite"),
    ({"strengths": [0]}, "no strength above 0"),
    ({"strengths": "1e-3"}, "are not numbers"),
    ({"strengths": None}, "are not numbers"),
    ({"grid": ["lr"]}, "give values by name"),
    ({"grid": {"lrr": [1.0]}}, "'lrr' is not a knob; did you mean 'lr'?"),
    ({"grid": {"strength": [1.0]}}, "the strength has an argument of its own"),
    ({"grid": {"l1_ratio": [0.5]}}, "'l1_ratio' is not a knob"),
    ({"grid": {"lr": "fast"}}, "is not a list of numbers"),
    ({"grid": {"lr": [0.0]}}, "must be finite and above 0"),
    ({"grid": {"lr": [0.1, 0.1]}}, "give distinct finite numbers"),
    ({"grid": {"dropout": [1.5]}}, "at least 0, below 1"),
    ({"grid": {"epochs": [50]}}, "whole numbers from 1 to the epochs of the run, 20"),
    ({"grid": {"lr": (1e-4, 1e-2)}}, "is a range to draw from; give draws"),
    ({"grid": {"lr": (1e-2, 1e-4)}, "draws": 3}, "is not a range (low, high)"),
    ({"grid": {"weight_decay": (0, 0.1)}, "draws": 3}, "start above 0"),
    ({"draws": 4}, "draws=4 needs a range to draw from"),
    ({"grid": {"lr": (1e-4, 1e-2)}, "draws": 0}, "draws=0: give a whole number"),
    ({"refine": -1}, "refine=-1: give a whole number"),
    ({"classes": ["a", "a"]}, "classes=['a', 'a']: give one label a class"),
    ({"folds": 1}, "folds=1: give a whole number of at least 2"),
    ({"seeds": 0}, "seeds=0: give a whole number of at least 1"),
    ({"seeds": [1, 1]}, "distinct integers"),
    ({"seeds": "3"}, "seeds='3'"),
    ({"epochs": 0}, "epochs=0: give a whole number"),
    ({"batch_size": 0}, "batch_size=0: give a whole number"),
    ({"chunk": 0}, "chunk=0: give a whole number"),
    ({"max_memory": 1.5}, "max_memory=1.5: give a whole number"),
    ({"loss": "hinge"}, "unknown loss 'hinge'"),
    ({"loss": nn.MSELoss}, "loss=MSELoss is a class"),
    ({"loss": nn.MSELoss(reduction="sum")}, "give a torch loss with reduction='mean'"),
    ({"loss": 3}, "loss=3: give 'cross_entropy'"),
    ({"optimizer": "adam"}, "optimizer='adam': give what makes an optimizer"),
    ({"optimizer": functools.partial(SGD, rate=1)}, "SGD does not take these settings"),
    ({"scheduler": "step"}, "scheduler='step' makes no schedule"),
    ({"scheduler": ReduceLROnPlateau}, "ReduceLROnPlateau follows a metric"),
    ({"scheduler": momentum, "optimizer": functools.partial(SGD, lr=0.1, momentum=0.9)},
     "changes more than the learning rate"),
    ({"preprocess": "standard"}, "preprocess='standard' cannot be fitted"),
    ({"select": 3}, "select=3 is not a selection"),
    ({"select": ["0.weight"]}, "is not a selection, but several"),
    ({"how": "sideways"}, "how='sideways' is not a coupling"),
    ({"autocast": torch.float16}, "autocast=torch.float16: give torch.bfloat16"),
    ({"solver": "newton"}, "solver='newton': choose 'steps' or 'exact'"),
    ({"compile": "yes"}, "compile='yes': choose True, False or 'auto'"),
    ({"progress": True}, "progress=True: give a function"),
    ({"checkpoint": 3}, "checkpoint=3: give a path"),
    ({**EXACT, "scheduler": StepLR}, "scheduler= has no meaning with solver='exact'"),
    ({**EXACT, "grid": {"lr": [0.1]}}, "the knob 'lr' belongs to training by steps"),
    ({**EXACT, "penalty": SCAD(1.0)}, "SCAD is not convex"),
    ({**EXACT, "loss": lambda output, target: output}, "is not known to be convex"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_setting_is_refused_before_a_model_is_built_or_data_are_read(
    wrong: Mapping[str, Any], said: str
) -> None:
    model, X, y = Untouched(), Untouched(), Untouched()
    settings = {"penalty": L2(1.0), **wrong}
    with pytest.raises(ShrinkageError, match=re.escape(said)):
        fit_path(model, X, y, settings.pop("penalty"), **settings)
    assert (model.touched, X.touched, y.touched) == (0, 0, 0)


OF_A_COMPARISON = inspect.signature(compare).parameters.keys() - {"scheduler", "optimizer"}


@pytest.mark.parametrize(
    ("wrong", "said"), [(wrong, said) for wrong, said in WRONG if wrong.keys() <= OF_A_COMPARISON]
)
def test_a_comparison_refuses_it_as_early(wrong: Mapping[str, Any], said: str) -> None:
    model, X, y = Untouched(), Untouched(), Untouched()
    with pytest.raises(ShrinkageError, match=re.escape(said)):
        compare(model, X, y, test=(X, y), **wrong)
    assert (model.touched, X.touched, y.touched) == (0, 0, 0)


def test_every_setting_that_can_be_wrong_by_itself_is_among_the_wrong_ones() -> None:
    of_the_data = {"test", "augmented", "groups", "sample_weight"}
    anything = {"refit"}
    assert {name for wrong, _ in WRONG for name in wrong} - {"penalty"} == (
        SETTINGS.keys() - of_the_data - anything
    )


def test_a_right_setting_is_not_refused() -> None:
    """The same rows and model, so that the refusals above are of the settings alone."""
    X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))

    def fit(**settings: Any) -> Tensor:
        return fit_path(
            nn.Linear(4, 2), X, (X[:, 0] > 0).long(), L1(1.0), strengths=[0.1], folds=2, seeds=1,
            epochs=1, compile=False, **settings,
        ).valid_loss  # fmt: skip

    assert fit().isfinite().all()
    assert fit(grid={"lr": [0.1]}, refine=True).isfinite().all()
