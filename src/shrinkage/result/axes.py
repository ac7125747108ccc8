"""Which axes, and which type, every tensor of a PathResult has; one list of what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from shrinkage.result.points import combinations

REFIT: Final = "refit."
WEIGHTS: Final = "refit.weights."
KNOBS: Final = "knobs."

AXES: Final = {
    "strengths": "K",
    "folds": "N",
    "targets": "N*",
    "predictions": "KSNC",
    "train_loss": "KFSE",
    "valid_loss": "KFSE",
    "fit_loss": "KFS",
    "norms": "KFSP",
    "sparsity": "KFSP",
    "diverged": "KFS",
    "refit.train_loss": "KSE",
    "refit.fit_loss": "KS",
    "refit.norms": "KSP",
    "refit.sparsity": "KSP",
    "refit.diverged": "KS",
}
TEST_AXES: Final = {
    "refit.test_predictions": "KSTC",
    "refit.test_targets": "T*",
    "refit.test_loss": "KS",
}
OPTIONAL_AXES: Final = {"row_weights": "N", "rows_held": "N", "trained_on": "F"}
TYPES: Final = {
    "strengths": torch.float64,
    "folds": torch.int64,
    "predictions": torch.float32,
    "diverged": torch.int64,
    "row_weights": torch.float64,
    "rows_held": torch.int64,
    "trained_on": torch.float64,
    "refit.diverged": torch.int64,
}


def axes_of(name: str) -> str:
    """Return the axes of a tensor by its name; ``*`` stands for any number of further ones."""
    if name.startswith(WEIGHTS):
        return "KS*"
    return "K" if name.startswith(KNOBS) else {**AXES, **TEST_AXES, **OPTIONAL_AXES}[name]


def check_axes(tensors: Mapping[str, Tensor], n_seeds: int, n_tensors: int) -> list[str]:
    """Return one sentence for every tensor whose type, device, shape or content does not fit."""
    refitted = any(name.startswith(REFIT) for name in tensors)
    wanted = [name for name in AXES if refitted or not name.startswith(REFIT)]
    problems = [f"{name} is missing or not a tensor" for name in wanted if name not in tensors]
    knobs = {n.removeprefix(KNOBS): t for n, t in tensors.items() if n.startswith(KNOBS)}
    given_test = [name for name in TEST_AXES if name in tensors]
    if 0 < len(given_test) < len(TEST_AXES):
        problems.append(f"{', '.join(given_test)} come only with {', '.join(TEST_AXES)}")
    sizes = {"S": n_seeds, "P": n_tensors}
    if {"strengths", "folds"} <= set(tensors):
        problems += _check_strengths(tensors["strengths"], knobs, sizes)
        problems += _check_folds(tensors["folds"], sizes)
    for name, tensor in tensors.items():
        problems += _check_type(name, tensor) + _check_shape(name, tensor, sizes)
    return problems


def _check_strengths(
    strengths: Tensor, knobs: Mapping[str, Tensor], sizes: dict[str, int]
) -> list[str]:
    if strengths.dim() != 1 or len(strengths) == 0:
        return []
    sizes["K"] = len(strengths)
    known = {n: values for n, values in knobs.items() if values.shape == strengths.shape}
    odd = [f"knob {name} must be finite" for name in known if not known[name].isfinite().all()]
    paths = [] if odd else [strengths[points] for points in combinations(known, len(strengths))]
    if all(_rises_from_zero(path) for path in paths):
        return odd
    each = " for every combination of knobs" if knobs else ""
    return [f"strengths must start at 0 and increase strictly{each}"]


def _rises_from_zero(path: Tensor) -> bool:
    return bool(path[0] == 0 and (path[1:] > path[:-1]).all() and path[-1].isfinite())


def _check_folds(folds: Tensor, sizes: dict[str, int]) -> list[str]:
    if folds.dim() != 1 or len(folds) == 0:
        return []
    present = sorted(set(folds.tolist()))
    sizes["N"], sizes["F"] = len(folds), len(present)
    if present == list(range(len(present))):
        return []
    return ["folds must number the folds 0, 1, ... without a gap"]


def _check_type(name: str, tensor: Tensor) -> list[str]:
    if tensor.device.type != "cpu":
        return [f"{name} is on {tensor.device}, not on the CPU"]
    wanted = torch.float64 if name.startswith(KNOBS) else TYPES.get(name)
    if wanted is not None:
        return [] if tensor.dtype == wanted else [f"{name} is {tensor.dtype}, not {wanted}"]
    if name.startswith(WEIGHTS) or tensor.is_floating_point():
        return []
    if name.endswith("targets") and tensor.dtype == torch.int64:
        return []
    return [f"{name} is {tensor.dtype}, not a floating type"]


def _check_shape(name: str, tensor: Tensor, sizes: dict[str, int]) -> list[str]:
    shape, axes = tuple(tensor.shape), axes_of(name)
    open_ended = axes.endswith("*")
    axes = axes.removesuffix("*")
    if len(shape) == len(axes) or (open_ended and len(shape) > len(axes)):
        for axis, size in zip(axes, shape, strict=False):
            sizes.setdefault(axis, size)
        if shape[: len(axes)] == tuple(sizes[axis] for axis in axes) and 0 not in shape[:2]:
            return []
    wanted = ", ".join([f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes])
    return [f"{name} has shape {shape}, not ({wanted}{', ...' if open_ended else ''})"]


def table(
    point: Mapping[str, Tensor],
    seeds: Sequence[int],
    train_loss: Tensor,
    valid_loss: Tensor,
    refit_train_loss: Tensor | None,
) -> Iterator[dict[str, float | int | str | None]]:
    """Yield the rows.

    Args:
        point: Strength and knobs by name, each (K,).
        seeds: The S seeds.
        train_loss: (K, F, S, E).
        valid_loss: (K, F, S, E).
        refit_train_loss: (K, S, E), shown as fold "all", or None.
    """
    folds: list[int | str] = [*range(train_loss.shape[1])]
    if refit_train_loss is not None:
        folds.append("all")
        train_loss = torch.cat([train_loss, refit_train_loss.unsqueeze(1)], dim=1)
    losses, valid = train_loss.tolist(), valid_loss.tolist()
    settings = {name: values.tolist() for name, values in point.items()}
    for k in range(len(losses)):
        own = {name: values[k] for name, values in settings.items()}
        for f, fold in enumerate(folds):
            for s, seed in enumerate(seeds):
                for epoch, loss in enumerate(losses[k][f][s]):
                    yield {
                        **own,
                        "fold": fold,
                        "seed": seed,
                        "epoch": epoch + 1,
                        "train_loss": loss,
                        "valid_loss": None if fold == "all" else valid[k][f][s][epoch],
                    }
