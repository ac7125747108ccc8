"""From options to what they name: data, model, folds. A wrong name is wrong usage."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from shrinkage.cli import screens
from shrinkage.cli.exits import usage
from shrinkage.data import BUILT_IN, Dataset, load_data, split_test
from shrinkage.errors import ShrinkageError, counted
from shrinkage.models import make_model, with_dropout
from shrinkage.parameters import Row, explain_selection, weights
from shrinkage.rows.folds import Folds, make_folds

if TYPE_CHECKING:
    from rich.console import Console

    from shrinkage.cli.compare.options import CompareOptions
    from shrinkage.cli.path.options import PathOptions
    from shrinkage.cli.train.options import TrainOptions


@dataclass(frozen=True, eq=False)
class Trials:
    """What every member of a path or a comparison has in common.

    Attributes:
        factory: Makes the model.
        explained: Its parameters, and which of them are penalized.
        folds: Which rows each fold holds out.
        preprocess: What brings columns to one scale, or None.
    """

    factory: Callable[[], nn.Module]
    explained: list[Row]
    folds: Folds
    preprocess: Any


def make_trials(job: PathOptions | CompareOptions, train: Dataset, *, dropout: bool) -> Trials:
    """Return what all members share; ``dropout`` puts layers of rate 0 into a model of ours."""
    with usage("--model"):
        make = make_model(job.model, train.X.shape[1], train.outputs, train.feature_shape)
        ours = job.model.partition(":")[0] in ("mlp", "cnn")
        factory = functools.partial(_dropping, make) if dropout and ours else make
        first = factory()
    with usage("--select"):
        explained = explain_selection(first, job.select or weights)
    with usage("--folds"):
        folds = _make_folds(job, train)
    return Trials(factory, explained, folds, make_preprocessing(train))


def read_data(
    job: PathOptions | TrainOptions | CompareOptions, side: Console
) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Return training part, test part, and what the manifest says of them."""
    with screens.busy(side, "Reading the data"), screens.warnings_as_notes(side):
        return _read_data(job)


def _read_data(
    job: PathOptions | TrainOptions | CompareOptions,
) -> tuple[Dataset, Dataset, dict[str, Any]]:
    if job.data not in BUILT_IN and not os.path.lexists(job.data):
        with usage("--data"):
            load_data(job.data)
    loaded = load_data(
        job.data,
        target=job.target,
        task=job.task,
        missing=job.missing,
        ignore=job.ignore or (),
        groups=job.groups,
        max_bytes=job.max_bytes,
    )
    train, test = split_test(loaded, seed=job.seed)
    drawn = "a stratified fifth" if loaded.groups is None else "about a fifth, in whole groups"
    facts = {
        "name": loaded.name,
        "sha256": loaded.sha256,
        "task": loaded.task,
        "rows": len(train.y),
        "test_rows": len(test.y),
        "test_part": "its own" if loaded.test else f"{drawn}, seed {job.seed}",
        "features": train.X.shape[1],
        "columns": train.columns,
        "outputs": train.outputs,
        "feature_names": list(train.feature_names),
        "classes": list(train.classes),
        "notes": list(train.notes),
    }
    if train.task == "regression":
        mean, deviation = float(train.y.mean()), float(train.y.std(correction=0)) or 1.0
        train, test = (replace(part, y=(part.y - mean) / deviation) for part in (train, test))
        facts["target"] = {"mean": mean, "sd": deviation}
    return train, test, facts


def _dropping(make: Any) -> nn.Module:
    return with_dropout(make())


def _check_classes(job: PathOptions | CompareOptions, train: Dataset) -> None:
    """Refuse a class with fewer rows than folds, by its name."""
    if not train.classes:
        return
    counts = train.y.bincount(minlength=len(train.classes)).tolist()
    rarest = min(range(len(counts)), key=counts.__getitem__)
    if counts[rarest] < job.folds:
        raise ShrinkageError(
            f"class {train.classes[rarest]!r} has {counted(counts[rarest], 'training row')}, "
            f"fewer than {job.folds} folds; use fewer folds or leave the class out."
        )


def class_labels(train: Dataset) -> list[Any] | None:
    """Return the labels of the classes as the data have them: numbers, or their names."""
    names = list(train.classes)
    whole = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in names)
    return [int(name) for name in names] if whole and names else names or None


def _make_folds(job: PathOptions | CompareOptions, train: Dataset) -> Folds:
    """Return which rows each fold holds out; a group stays in one fold of each repeat."""
    _check_classes(job, train)
    settings: Any = {"seed": job.seed, "groups": train.groups, "repeats": job.repeats}
    return make_folds(job.folds, train.X, train.y, **settings)


def make_preprocessing(train: Dataset) -> Any:
    """Return what brings the columns of a table to mean 0 and deviation 1; images stay."""
    if len(train.feature_shape) > 1 and not train.X.isnan().any():
        return None
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if train.X.isnan().any():
        return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    return StandardScaler()
