"""PathResult: every number of a path of strengths, by named axis, on and off the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from shrinkage import _run_directory
from shrinkage._result_axes import REFIT, WEIGHTS, check_axes
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty


class Chosen(Protocol):
    """What a choice says about a path; :class:`shrinkage.choose.Choice` is one."""

    @property
    def rule(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def strength(self) -> float: ...


@dataclass(frozen=True, eq=False, repr=False)
class Refit:
    """The path fit once more, on all training rows: the models to keep.

    Shape:
        train_loss: (K, S, E). fit_loss, diverged, test_loss: (K, S). norms, sparsity: (K, S, P).
        weights: every parameter and buffer of the model, each (K, S, ...).
        test_predictions: (K, S, T, C). test_targets: (T,).
    """

    train_loss: Tensor
    fit_loss: Tensor
    norms: Tensor
    sparsity: Tensor
    diverged: Tensor
    weights: dict[str, Tensor]
    test_predictions: Tensor | None = None
    test_targets: Tensor | None = None
    test_loss: Tensor | None = None


@dataclass(frozen=True, eq=False, repr=False)
class PathResult:
    """What a path of K strengths, F folds and S seeds measured; all tensors on the CPU.

    Axes: K strengths, F folds, S seeds, E epochs, N training rows, T test rows, C outputs, P
    penalized tensors. No loss in it contains the penalty. A diverged member is data: its step
    stands in ``diverged`` (-1 for never) and its predictions are NaN.

    Args:
        penalty: The penalty, at any strength.
        strengths: (K,) float64, strictly increasing from 0.
        folds: (N,) int64, the fold that held out each training row: 0 ... F-1.
        seeds: The S seeds.
        tensor_names: The P penalized tensors.
        targets: (N,), int64 for classes, else floating.
        predictions: (K, S, N, C) float32, out-of-fold outputs after the last epoch.
        train_loss: (K, F, S, E), running mean of the loss while training.
        valid_loss: (K, F, S, E), loss on the held-out rows after each epoch.
        fit_loss: (K, F, S), loss on the member's own training rows after the last epoch.
        norms: (K, F, S, P), Frobenius norms.
        sparsity: (K, F, S, P), fractions of exact zeros.
        diverged: (K, F, S) int64.
        refit: The same path on all training rows, or None where it was not wanted.
        about: JSON-able facts: versions, data, plan, engine, command.

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
        return (
            f"PathResult({type(self.penalty).__name__}, {self.task}: {len(self.strengths)} "
            f"strengths x {self.n_folds} folds x {len(self.seeds)} seeds)"
        )

    @property
    def task(self) -> str:
        """Either ``"classification"`` or ``"regression"``, by the type of the targets."""
        return "regression" if self.targets.is_floating_point() else "classification"

    @property
    def n_folds(self) -> int:
        """The number of folds, F."""
        return self.train_loss.shape[1]

    def metric(self, name: str = "loss") -> Tensor:
        """Return a held-out metric after the last epoch.

        Args:
            name: ``"loss"``, or ``"accuracy"`` for classification.

        Shape:
            (K, F, S), NaN where the member diverged.
        """
        self._check_metric(name)
        if name == "loss":
            return self.valid_loss[..., -1]
        correct = _correct(self.predictions, self.targets)
        folds = range(self.n_folds)
        return torch.stack([correct[..., self.folds == f].mean(-1) for f in folds], dim=1)

    def test_metric(self, name: str = "loss") -> Tensor:
        """Return a metric of the refit models on the test rows, (K, S); names as in `metric`."""
        self._check_metric(name)
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
        return _correct(refit.test_predictions, refit.test_targets).mean(-1)

    def _check_metric(self, name: str) -> None:
        allowed = ("loss", "accuracy") if self.task == "classification" else ("loss",)
        if name not in allowed:
            raise ShrinkageError(
                f"unknown metric {name!r} for {self.task}; choose from {', '.join(allowed)}."
            )

    def rows(self) -> Iterator[dict[str, float | int | str | None]]:
        """Yield the tidy table: one row per strength, fold, seed and epoch (from 1).

        The refit comes as fold ``"all"``, where the held-out loss does not exist (``None``).
        ``pandas.DataFrame(result.rows())`` makes a frame of it.
        """
        folds: list[int | str] = [*range(self.n_folds)]
        train = self.train_loss
        if self.refit is not None:
            folds.append("all")
            train = torch.cat([train, self.refit.train_loss.unsqueeze(1)], dim=1)
        losses = train.tolist()
        valid = self.valid_loss.tolist()
        for k, strength in enumerate(self.strengths.tolist()):
            for f, fold in enumerate(folds):
                for s, seed in enumerate(self.seeds):
                    for epoch, loss in enumerate(losses[k][f][s]):
                        yield {
                            "strength": strength,
                            "fold": fold,
                            "seed": seed,
                            "epoch": epoch + 1,
                            "train_loss": loss,
                            "valid_loss": None if fold == "all" else valid[k][f][s][epoch],
                        }

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
        header = ("strength", "fold", "seed", "epoch", "train_loss", "valid_loss")
        facts = {
            "about": self.about,
            "penalty": _run_directory.penalty_facts(self.penalty),
            "choice": kept,
            "seeds": list(self.seeds),
            "tensor_names": list(self.tensor_names),
            "axes": {
                "strengths": self.strengths.tolist(),
                "folds": self.n_folds,
                "seeds": len(self.seeds),
                "epochs": self.train_loss.shape[-1],
                "rows": len(self.targets),
                "outputs": self.predictions.shape[-1],
            },
        }
        table = chain([header], (tuple(row.values()) for row in self.rows()))
        _run_directory.write(
            Path(directory), facts, table, _tensors(self), weights, overwrite=overwrite
        )

    @classmethod
    def load(cls, directory: str | Path) -> PathResult:
        """Read a run directory back, bit for bit, after verifying its checksums."""
        manifest, tensors = _run_directory.read(Path(directory))
        try:
            return _assemble(manifest, tensors)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ShrinkageError(f"{directory} does not hold a whole run: {error}.") from error


def check_choice(result: PathResult, choice: Chosen) -> None:
    """Refuse a choice that was made from another path."""
    strengths = result.strengths.tolist()
    if not 0 <= choice.index < len(strengths) or strengths[choice.index] != choice.strength:
        raise ShrinkageError(
            f"the choice (index {choice.index}, strength {choice.strength:g}) is not of this path; "
            "make it from the same result."
        )


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the class of the largest output is the target, 0 where not, NaN for NaN outputs.

    A single output is the logit of class 1.
    """
    one = outputs.shape[-1] == 1
    classes = (outputs[..., 0] > 0).long() if one else outputs.argmax(-1)
    right = (classes == targets).double()
    return right.masked_fill(outputs.isnan().any(-1), torch.nan)


def _tensors(result: PathResult) -> dict[str, Tensor]:
    """Every tensor of a result under the name it has on disk."""
    named = {f.name: getattr(result, f.name) for f in fields(result)}
    if result.refit is not None:
        named |= {REFIT + f.name: getattr(result.refit, f.name) for f in fields(result.refit)}
        named |= {WEIGHTS + name: tensor for name, tensor in result.refit.weights.items()}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def _assemble(manifest: dict[str, Any], tensors: dict[str, Tensor]) -> PathResult:
    weights = {n.removeprefix(WEIGHTS): t for n, t in tensors.items() if n.startswith(WEIGHTS)}
    refit = {n: t for n, t in tensors.items() if n.startswith(REFIT) and not n.startswith(WEIGHTS)}
    return PathResult(
        penalty=_run_directory.penalty_from(manifest["penalty"]),
        seeds=tuple(manifest["seeds"]),
        tensor_names=tuple(manifest["tensor_names"]),
        refit=Refit(weights=weights, **{n.removeprefix(REFIT): t for n, t in refit.items()})
        if refit
        else None,
        about=manifest["about"],
        **{n: t for n, t in tensors.items() if not n.startswith(REFIT)},
    )


def _keep(result: PathResult, choice: Chosen) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """What the manifest says of a choice, and its weights if a refit seed trained well."""
    check_choice(result, choice)
    k = choice.index
    kept = {"rule": choice.rule, "index": k, "strength": choice.strength}
    if result.refit is None:
        return {**kept, "weights_seed": None}, None
    whole = (result.refit.diverged[k] < 0).nonzero().flatten().tolist()
    if not whole:
        return {**kept, "weights_seed": None}, None
    weights = {name: tensor[k, whole[0]] for name, tensor in result.refit.weights.items()}
    return {**kept, "weights_seed": result.seeds[whole[0]]}, weights
