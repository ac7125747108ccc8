"""From options to what they name: penalty, strengths, data. A wrong name is wrong usage."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from shrinkage.cli.compare.options import CompareOptions
from shrinkage.cli.exits import usage
from shrinkage.cli.notes import warnings_as_notes
from shrinkage.cli.path.options import PathOptions
from shrinkage.cli.train.options import TrainOptions
from shrinkage.coupling import resolve_coupling
from shrinkage.data import BUILT_IN, Dataset, load_data, split_test
from shrinkage.engine.member.given import make_strengths
from shrinkage.errors import ShrinkageError, choose_from
from shrinkage.models import make_model, with_dropout
from shrinkage.penalties import Penalty, catalogue
from shrinkage.rows.folds import Folds, make_folds

if TYPE_CHECKING:
    from rich.console import Console

N_STRENGTHS = 20


def make_penalty(job: PathOptions) -> tuple[Penalty, str | None]:
    """Return the penalty and its coupling; the exact solver has none."""
    known = catalogue()
    with usage("--penalty"):
        if job.penalty not in known:
            name, _, strength = job.penalty.lower().partition(":")
            if name in known and strength:
                hint = f"strengths are a separate option: --penalty {name} --strengths {strength}."
            else:
                hint = choose_from(job.penalty, sorted(known))
            raise ShrinkageError(f"unknown penalty {job.penalty!r}; {hint}")
    penalty = known[job.penalty](1.0)
    if job.solver == "exact":
        return penalty, None
    how = "decoupled" if job.optimizer == "adamw" and penalty.smooth else None
    return penalty, resolve_coupling(job.how or how, penalty)


def read_strengths(job: PathOptions, side: Console) -> int | list[float]:
    """Return how many strengths to find, or the given ones, sorted, with 0 in front.

    0 alone is for knobs: they are compared without a penalty.
    """
    if job.strengths is None:
        return job.n_strengths or N_STRENGTHS
    with usage("--strengths"):
        if job.n_strengths is not None:
            raise ShrinkageError("give either a list or --n-strengths, not both.")
        try:
            given = [float(text) for text in job.strengths.split(",")]
        except ValueError:
            raise ShrinkageError(
                f"{job.strengths!r} is not a list of numbers; write 1e-5,1e-4,1e-3."
            ) from None
        with warnings_as_notes(side):
            kept = given if job.grid and given == [0] else make_strengths(given).tolist()
    if given != sorted(given):
        side.print("Note: the strengths were sorted.", style="yellow")
    if job.strengths.isdecimal() and given[0] >= 2:
        says = (
            f"Note: this is one strength, {job.strengths}; for {job.strengths} strengths use "
            f"--n-strengths {job.strengths}."
        )
        side.print(says, style="yellow")
    return kept


def read_data(
    job: PathOptions | TrainOptions | CompareOptions, side: Console
) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Return training part, test part, and what the manifest says of them."""
    if job.data not in BUILT_IN and not os.path.lexists(job.data):
        with usage("--data"):
            load_data(job.data)
    with warnings_as_notes(side):
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


def make_factory(
    job: PathOptions | CompareOptions, train: Dataset, *, dropout: bool
) -> Callable[[], nn.Module]:
    """Return what makes the model; ``dropout`` puts layers of rate 0 into one of ours."""
    make = make_model(job.model, train.X.shape[1], train.outputs, train.feature_shape)
    ours = job.model.partition(":")[0] in ("mlp", "cnn")
    return functools.partial(_dropping, make) if dropout and ours else make


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
            f"class {train.classes[rarest]!r} has {counts[rarest]} training rows, fewer than "
            f"{job.folds} folds; use fewer folds or leave the class out."
        )


def folds_of(job: PathOptions | CompareOptions, train: Dataset) -> Folds:
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
