"""A synthetic PathResult whose numbers look like those of a real path, made in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from shrinkage.penalties import L2, Penalty
from shrinkage.result.path_result import PathResult, Refit

LOSSES = {"classification": "cross_entropy", "regression": "mse"}


def make_result(
    K: int = 8,
    F: int = 5,
    S: int = 2,
    E: int = 4,
    *,
    helped: bool = True,
    seed: int = 0,
    rows: int = 60,
    classes: int = 3,
    task: str = "classification",
    test: bool = True,
    penalty: Penalty | None = None,
    names: tuple[str, ...] = ("0.weight", "2.weight"),
    sparse: bool = False,
    strong: bool = True,
    diverged: Iterable[tuple[int, int, int]] = (),
    **changes: Any,
) -> PathResult:
    """Make a path of K strengths (strength 0 included), F folds, S seeds and E epochs.

    Args:
        helped: Whether a strength inside the grid lowers the held-out loss.
        sparse: Whether strong strengths make exact zeros.
        strong: Whether the grid reaches strengths that ruin the fit.
        diverged: Members (k, f, s) to mark as diverged; the refit stays whole.
        changes: Fields of the result to replace at the end.
    """
    random = torch.Generator().manual_seed(seed)
    noise = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    top = 0 if strong else -1.5
    grid = torch.logspace(-6, top, K - 1, dtype=torch.float64) if K > 1 else torch.empty(0)
    strengths = torch.cat([torch.zeros(1, dtype=torch.float64), grid.double()])
    reach = (strengths / 1e-3).float()
    gain = 0.045 * reach / (1 + reach) if helped else torch.zeros(K)
    pain = 1.6 * reach / (reach + 120)
    shared = 0.012 * noise(F, 1) + 0.006 * noise(F, S)
    final = (0.21 - gain + pain).view(K, 1, 1) + shared + 0.0015 * noise(K, F, S)
    fade = torch.linspace(2.5, 0, E).exp() - 1
    valid_loss = final.unsqueeze(-1) + 0.1 * fade
    fit_loss = (0.03 + 1.05 * pain + 0.03 * reach / (1 + reach)).view(K, 1, 1) * (1 + 0.1 * shared)
    train_loss = fit_loss.unsqueeze(-1) + 0.11 * fade
    size = 2.0 + 6.0 * torch.rand(len(names), generator=random)
    slope = 1 / (1 + reach.sqrt().view(K, 1) * torch.linspace(0.3, 1.2, len(names)))
    norms = (size * slope).view(K, 1, 1, -1) * (1 + 0.01 * noise(K, F, S, len(names)))
    zeros = (reach / (reach + 3)).view(K, 1, 1, 1) if sparse else torch.zeros(1)
    sparsity = zeros.expand(K, F, S, len(names)).clone()
    if task == "classification":
        targets = torch.arange(rows) % classes
        signal = 2.0 * torch.nn.functional.one_hot(targets, classes)
    else:
        classes, targets = 1, noise(rows)
        signal = targets.unsqueeze(-1)
    predictions = signal - 0.5 * pain.view(K, 1, 1, 1) * signal + noise(1, S, rows, classes)
    folds = torch.arange(rows) % F
    marks = torch.full((K, F, S), -1)
    for k, f, s in diverged:
        marks[k, f, s] = 7
        for tensor in (valid_loss, train_loss, fit_loss, norms):
            tensor[k, f, s] = torch.nan
        predictions[k, s, folds == f] = torch.nan
    n_test = 20
    refit = Refit(
        train_loss=train_loss.nanmean(1),
        fit_loss=fit_loss.nanmean(1),
        norms=norms.nanmean(1),
        sparsity=sparsity.mean(1),
        diverged=torch.full((K, S), -1),
        weights={
            "0.weight": noise(K, S, 4, 3),
            "0.bias": noise(K, S, 4),
            "1.num_batches_tracked": torch.arange(K * S).view(K, S),
            "2.weight": noise(K, S, classes, 4),
        },
        test_predictions=predictions[:, :, :n_test].clone() if test else None,
        test_targets=targets[:n_test].clone() if test else None,
        test_loss=final.mean(1) if test else None,
    )
    result = PathResult(
        penalty=penalty or L2(1.0),
        strengths=strengths,
        folds=folds,
        seeds=tuple(range(S)),
        tensor_names=names,
        targets=targets,
        predictions=predictions.float(),
        train_loss=train_loss,
        valid_loss=valid_loss,
        fit_loss=fit_loss,
        norms=norms,
        sparsity=sparsity,
        diverged=marks,
        refit=refit,
        about={
            "data": {"name": "synthetic", "n": rows},
            "engine": "vectorized: eager",
            "plan": {"loss": LOSSES[task]},
        },
    )
    return replace(result, **changes) if changes else result


def with_losses(per_fold: Tensor, fold_rows: list[int] | None = None) -> PathResult:
    """Make a path of one seed and one epoch whose held-out losses are exactly (K, F) given."""
    K, F = per_fold.shape
    counts = fold_rows or [10] * F
    folds = torch.repeat_interleave(torch.arange(F), torch.tensor(counts))
    base = make_result(K, F, 1, 1, rows=len(folds), test=False)
    valid_loss = per_fold.double().view(K, F, 1, 1)
    return replace(base, valid_loss=valid_loss, folds=folds)


def make_crossed(rates: dict[float, float], K: int = 6, **changes: Any) -> PathResult:
    """Make paths of K strengths each, one for every rate of dropout.

    Args:
        rates: By how much each rate raises the held-out loss.
        K: How many strengths each path has.
        changes: For `make_result`.
    """
    one, n = make_result(K, **changes), len(rates)

    def repeated(tensors: object, names: str) -> dict[str, Any]:
        own = {name: getattr(tensors, name) for name in names.split()}
        return {name: t.repeat(n, *[1] * (t.dim() - 1)) for name, t in own.items()}

    whole = repeated(
        one, "strengths predictions train_loss valid_loss fit_loss norms sparsity diverged"
    )
    raised = torch.tensor([*rates.values()]).repeat_interleave(K)
    whole["valid_loss"] += raised.view(-1, 1, 1, 1)
    whole["predictions"] *= 1 - raised.view(-1, 1, 1, 1)
    whole["knobs"] = {"dropout": torch.tensor([*rates], dtype=torch.float64).repeat_interleave(K)}
    if one.refit is not None:
        refit = repeated(
            one.refit, "train_loss fit_loss norms sparsity diverged test_predictions test_loss"
        )
        weights = {name: t.repeat(n, *[1] * (t.dim() - 1)) for name, t in one.refit.weights.items()}
        whole["refit"] = replace(one.refit, **refit, weights=weights)
    return replace(one, **whole)


def same_bits(a: Tensor, b: Tensor) -> bool:
    bytes_of = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bytes_of)


def assert_same(a: Any, b: Any) -> None:
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name == "refit":
            assert_same(x, y)
        elif f.name == "weights":
            assert x.keys() == y.keys()
            assert all(same_bits(x[name], y[name]) for name in x)
        elif isinstance(x, Tensor):
            assert same_bits(x, y), f.name
        elif isinstance(x, Penalty):
            assert repr(x) == repr(y)
        else:
            assert x == y, f.name
