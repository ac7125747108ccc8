"""PathResult: every number of a path of strengths, by named axis, on and off the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shrinkage.disk import run_directory
from shrinkage.errors import ShrinkageError, counted
from shrinkage.metrics import Metric, score
from shrinkage.penalties import Penalty
from shrinkage.result.axes import KNOBS, REFIT, WEIGHTS, axes_of, check_axes, table
from shrinkage.result.chosen import Chosen, check_choice, choice_facts, first_whole_seed
from shrinkage.result.described import penalty_facts, penalty_from
from shrinkage.result.points import matching, with_arguments
from shrinkage.result.refit import Refit as Refit


@dataclass(frozen=True, eq=False, repr=False)
class PathResult:
    """What a path of K strengths, F folds and S seeds measured; all tensors on the CPU.

    With other knobs K counts the points: each combination is a path, which `slice` takes out.

    Axes: K strengths, F folds, S seeds, E epochs, N training rows that a fold held out, T test
    rows, C outputs, P penalized tensors. No loss contains the penalty. A diverged member is data:
    its step stands in ``diverged`` (-1 for never) and its predictions are NaN.

    Args:
        penalty: The penalty, at any strength.
        strengths: (K,) float64, strictly increasing from 0 for every combination of knobs.
        folds: (N,) int64, the fold that held out each row: 0 ... F-1.
        seeds: The S seeds.
        tensor_names: The P penalized tensors.
        targets: (N,) int64 for classes, else floating (N,) or (N, M).
        predictions: (K, S, N, C) float32, out-of-fold outputs after the last epoch.
        train_loss: (K, F, S, E), running mean of the loss while training.
        valid_loss: (K, F, S, E), loss on the held-out rows after each epoch.
        fit_loss: (K, F, S), loss on the member's own training rows after the last epoch.
        norms: (K, F, S, P), Frobenius norms.
        sparsity: (K, F, S, P), fractions of exact zeros.
        diverged: (K, F, S) int64.
        refit: The same path on all training rows, or None where it was not wanted.
        about: JSON-able facts: versions, data, plan, engine, command.
        knobs: What the strengths were crossed with: name and values, each (K,) float64.
        row_weights: (N,) float64, the weights in every mean loss, or None where all are equal.
        rows_held: (N,) int64, which training rows these are, or None where they are all.
        trained_on: (F,) float64, rows or weight that each fold trained on, or None: all others.

    Raises:
        ShrinkageError: Some fields do not fit together; the message names every one.
    """

    penalty: Penalty
    strengths: Tensor
    folds: Tensor
    seeds: tuple[int, ...]
    tensor_names: tuple[str, ...]
    targets: Tensor
    predictions: Tensor
    train_loss: Tensor
    valid_loss: Tensor
    fit_loss: Tensor
    norms: Tensor
    sparsity: Tensor
    diverged: Tensor
    refit: Refit | None
    about: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Tensor] = field(default_factory=dict)
    row_weights: Tensor | None = None
    rows_held: Tensor | None = None
    trained_on: Tensor | None = None

    def __post_init__(self) -> None:
        problems = check_axes(_tensors(self), len(self.seeds), len(self.tensor_names))
        try:
            json.dumps(self.about, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"about cannot be written as JSON: {error}")
        if problems:
            raise ShrinkageError("PathResult: " + "; ".join(problems) + ".")

    def __repr__(self) -> str:
        """Return one line: the kind of penalty and the sizes of the axes."""
        points = f"points of strength, {', '.join(self.knobs)}" if self.knobs else "strengths"
        sizes = f"{len(self.strengths)} {points} x {counted(self.n_folds, 'fold')}"
        sizes += f" x {counted(len(self.seeds), 'seed')}"
        return f"PathResult({type(self.penalty).__name__}, {self.task}: {sizes})"

    def _repr_html_(self) -> str:
        """Return the verdict and the choices for a notebook."""
        from shrinkage.report import as_html

        return as_html(self)

    @property
    def task(self) -> str:
        """Either ``"classification"`` or ``"regression"``, by the type of the targets."""
        return "regression" if self.targets.is_floating_point() else "classification"

    @property
    def classes(self) -> list[Any] | None:
        """The labels of the classes 0..C-1; None where they are these numbers."""
        return self.about.get("classes")

    @property
    def n_folds(self) -> int:
        """The number of folds, F."""
        return self.train_loss.shape[1]

    def slice(self, **knobs: float) -> PathResult:
        """Return the part of the path that has these knobs; all of them give an ordinary path.

        Args:
            knobs: Name and value, such as ``dropout=0.2``; those left out stay crossed.

        Raises:
            ShrinkageError: No point has these knobs.
        """
        points = matching(self.knobs, knobs, len(self.strengths))
        flat = {
            name: tensor[points] if axes_of(name).startswith("K") else tensor
            for name, tensor in _tensors(self).items()
            if name.removeprefix(KNOBS) not in knobs
        }
        own = {name: float(value) for name, value in knobs.items()}
        fixed = {**self.about.get("knobs", {}), **own}
        return _from_tensors(
            flat,
            penalty=with_arguments(self.penalty, own),
            seeds=self.seeds,
            tensor_names=self.tensor_names,
            about={**self.about, "knobs": fixed} if fixed else self.about,
        )

    def metric(self, name: Metric = "loss") -> Tensor:
        """Return a held-out metric after the last epoch.

        Args:
            name: ``"loss"``, ``"accuracy"``, the name of a scikit-learn scorer such as
                ``"roc_auc"`` or ``"r2"``, or a scorer: a function ``(estimator, X, y) -> number``
                where more is better.

        Shape:
            (K, F, S), NaN where the member diverged.

        Raises:
            ShrinkageError: The kept outputs cannot give this metric.
        """
        if name == "loss":
            return self.valid_loss[..., -1]
        held = [self.folds == fold for fold in range(self.n_folds)]
        parts = [(self.predictions[:, :, rows], self.targets[rows]) for rows in held]
        return torch.stack([score(name, *part, self.classes) for part in parts], dim=1)

    def test_metric(self, name: Metric = "loss") -> Tensor:
        """Return a metric of the refit models on the test rows, (K, S); names as in `metric`."""
        refit = self.refit
        if (
            refit is None
            or refit.test_loss is None
            or refit.test_predictions is None
            or refit.test_targets is None
        ):
            raise ShrinkageError("this path has no test rows; pass test=(X, y) to fit_path.")
        if name == "loss":
            return refit.test_loss
        return score(name, refit.test_predictions, refit.test_targets, self.classes)

    def rows(self) -> Iterator[dict[str, float | int | str | None]]:
        """Yield the tidy table: one row per strength (and knobs), fold, seed and epoch (from 1).

        The refit comes as fold ``"all"``, where the held-out loss does not exist (``None``).
        ``pandas.DataFrame(result.rows())`` makes a frame of it.
        """
        point = {"strength": self.strengths, **self.knobs}
        refitted = None if self.refit is None else self.refit.train_loss
        return table(point, self.seeds, self.train_loss, self.valid_loss, refitted)

    def save(
        self, directory: str | Path, *, overwrite: bool = False, choice: Chosen | None = None
    ) -> None:
        """Write the run directory, whole or not at all.

        ``manifest.json`` (facts and checksums), ``results.csv`` (`rows`), ``path.safetensors``
        (every tensor, exact) and, with a choice, ``weights.safetensors``: the refit model at the
        chosen strength, of the first seed that did not diverge, for ``model.load_state_dict``.

        Args:
            directory: A new or empty directory, or one that holds a run.
            overwrite: Replace the run that is there, its figures included.
            choice: The strength to keep, from :mod:`shrinkage.choose`.

        Raises:
            ShrinkageError: The directory holds something else, or cannot be written.
        """
        kept, weights = (None, None) if choice is None else _keep(self, choice)
        header = ("strength", *self.knobs, "fold", "seed", "epoch", "train_loss", "valid_loss")
        facts = {
            "about": self.about,
            "penalty": penalty_facts(self.penalty),
            "choice": kept,
            "seeds": list(self.seeds),
            "tensor_names": list(self.tensor_names),
            "axes": {
                "strengths": self.strengths.tolist(),
                "knobs": {name: values.tolist() for name, values in self.knobs.items()},
                "folds": self.n_folds,
                "seeds": len(self.seeds),
                "epochs": self.train_loss.shape[-1],
                "rows": len(self.targets),
                "outputs": self.predictions.shape[-1],
            },
        }
        table = chain([header], (tuple(row.values()) for row in self.rows()))
        run_directory.write(
            Path(directory), facts, table, _tensors(self), weights, overwrite=overwrite
        )

    def report(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write one self-contained HTML file: whether the penalty helped, and the evidence.

        Args:
            path: The file to write.
            overwrite: Replace a file that is there.

        Raises:
            ShrinkageError: The file exists and ``overwrite`` is False, or it cannot be written.
        """
        from shrinkage.report import write_report

        write_report(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, directory: str | Path) -> PathResult:
        """Read a run directory back, bit for bit, after verifying its checksums.

        Args:
            directory: A directory that :meth:`save` or ``shrinkage path`` wrote.

        Raises:
            ShrinkageError: It is no run, is incomplete, or was changed since it was saved.
        """
        manifest, tensors = run_directory.read(Path(directory))
        dropped = tensors.pop("dropped", None)
        if dropped is not None and bool((dropped >= 0).any()):
            raise ShrinkageError(
                f"{directory} holds a run by successive halving, whose strengths trained for "
                "different epochs, and which this version no longer has. Train all strengths anew."
            )
        try:
            return _from_tensors(
                tensors,
                penalty=penalty_from(manifest["penalty"]),
                seeds=tuple(manifest["seeds"]),
                tensor_names=tuple(manifest["tensor_names"]),
                about=manifest["about"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShrinkageError(f"{directory} does not hold a whole run: {error}.") from error


def _tensors(result: PathResult) -> dict[str, Tensor]:
    """Every tensor of a result under the name it has on disk."""
    named = {f.name: getattr(result, f.name) for f in fields(result)}
    if result.refit is not None:
        named |= {REFIT + f.name: getattr(result.refit, f.name) for f in fields(result.refit)}
        named |= {WEIGHTS + name: tensor for name, tensor in result.refit.weights.items()}
    named |= {KNOBS + name: values for name, values in result.knobs.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def _from_tensors(flat: Mapping[str, Tensor], **others: Any) -> PathResult:
    def under(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in flat.items() if n.startswith(prefix)}

    own: dict[str, Any] = {n: t for n, t in flat.items() if not n.startswith((REFIT, KNOBS))}
    found = {n: t for n, t in under(REFIT).items() if not f"{REFIT}{n}".startswith(WEIGHTS)}
    refit = Refit(weights=under(WEIGHTS), **found) if found else None
    return PathResult(refit=refit, knobs=under(KNOBS), **own, **others)


def _keep(result: PathResult, choice: Chosen) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """What the manifest says of a choice, and its weights if a refit seed trained well."""
    check_choice(result.strengths, choice)
    place = first_whole_seed(result.refit, choice.index)
    if result.refit is None or place is None:
        return choice_facts(choice, result.knobs, None), None
    own = {name: tensor[choice.index, place] for name, tensor in result.refit.weights.items()}
    return choice_facts(choice, result.knobs, result.seeds[place]), own
