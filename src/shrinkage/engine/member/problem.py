"""What every member trains, whatever its strength, fold and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from shrinkage.coupling import Coupling, check_coupling, resolve_coupling
from shrinkage.engine.member.fresh import ModelSource, make_builder
from shrinkage.engine.member.layers import inspected
from shrinkage.engine.member.precision import Autocast, check_autocast
from shrinkage.engine.member.schedule import MakeScheduler, learning_rates
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.trainable import check_trainable
from shrinkage.engine.member.trial import first_output
from shrinkage.engine.member.update import MakeOptimizer, sparse_refused
from shrinkage.errors import ShrinkageError, counted
from shrinkage.parameters import selected_parameters
from shrinkage.penalties import Penalty
from shrinkage.rows.augmented import Augmented, make_augmented
from shrinkage.rows.groups import Group, key
from shrinkage.rows.loss import RowLoss, check_fit, row_loss
from shrinkage.rows.preprocess import Views
from shrinkage.rows.read import Data
from shrinkage.rows.rows import check_finite
from shrinkage.tensors.own_thread import all_random_numbers


@dataclass(frozen=True, eq=False)
class Problem:
    """The data, the model and the update, without the members.

    Attributes:
        build: Makes a freshly initialized model from a random key.
        views: Rows to train on, then the test rows, as each fold sees them.
        y: Their targets.
        loss: The data loss of each row.
        loss_name: What to call it.
        penalty: The penalty; the plan's strengths replace its own.
        selected: Names of the penalized tensors.
        how: The coupling.
        optimizer: Makes the optimizer from parameters.
        scheduler: Makes the scheduler from the optimizer, or None.
        lrs: (epochs,) the learning rates that the scheduler yields.
        knobs: Names of what the strengths are crossed with.
        draws: How many random numbers each call of dropout reads for a whole batch.
        normalizes: Whether batches go through batch or instance normalization.
        row_weights: Float64 weight of each row, or None where all weigh the same.
        augmented: The view of the training rows that members train on, or None for the rows.
        autocast: The type that forward passes compute in, or None for the model's own.
    """

    build: Callable[[int], nn.Module]
    views: Views
    y: Tensor
    loss: RowLoss
    loss_name: str
    penalty: Penalty
    selected: tuple[str, ...]
    how: Coupling
    optimizer: MakeOptimizer
    scheduler: MakeScheduler | None
    lrs: Tensor
    knobs: tuple[str, ...] = ()
    draws: tuple[int, ...] = ()
    normalizes: bool = False
    row_weights: Tensor | None = None
    augmented: Augmented | None = None
    autocast: Autocast = None

    def batch(self, group: Group, count: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of these rows in step ``count`` of a group."""
        if self.augmented is not None:
            return self.augmented.drawn(rows, group, count)
        return self.views.of(group.fold)[rows], self.y[rows]

    def weights_of(self, rows: Tensor) -> Tensor:
        """Return the float64 weight of each of these rows."""
        if self.row_weights is None:
            return torch.ones(rows.shape, dtype=torch.float64)
        return self.row_weights[rows]

    def mean(self, losses: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted mean of the losses (..., B) of these rows."""
        if self.row_weights is None:
            return losses.mean(-1)
        weights = self.row_weights[rows].to(losses.dtype)
        return (losses * weights).sum(-1) / weights.sum()

    def mean_loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted mean loss of one model's outputs for these rows, in float32."""
        return self.mean(self.loss(outputs, self.y[rows]), rows).float()

    @property
    def X(self) -> Tensor:  # noqa: N802
        """Return the rows as the refit on all training rows sees them."""
        return self.views.X

    def first_rows(self, count: int) -> Tensor:
        """Return a copy of the first rows, for a model that may work on its input in place."""
        return self.X[:count].clone()

    def initial(self, group: Group) -> nn.Module:
        """Return the model all members of ``group`` start from."""
        return self.build(key("initial weights", group))


@all_random_numbers(0)
def make_problem(
    model: ModelSource, data: Data, penalty: Penalty, settings: Settings, batch_size: int
) -> Problem:
    """Check that model, data, loss and penalty fit together; see ``fit_path`` for the arguments."""
    build, autocast, optimizer = make_builder(model), settings.autocast, settings.optimizer
    fresh = build(0)
    _check_device(fresh)
    check_autocast(autocast, fresh)
    check_trainable(fresh)
    dtype = next((p.dtype for p in fresh.parameters() if p.is_floating_point()), torch.float32)
    by_fold = tuple(_typed("X", X, dtype) for X in data.views.by_fold)
    views = Views(_typed("X", data.views.X, dtype), by_fold, data.views.facts)
    y = _typed("y", data.y, dtype)
    loss_name, each, class_weights = row_loss(settings.loss, y)
    check_fit(each, loss_name, _outputs(fresh, views.X, autocast), y)
    rows, knobs = views.X[:batch_size].clone(), tuple(settings.grid or ())
    draws, normalizes = _inspected(build(0), rows, any_rate="dropout" in knobs)
    penalized = selected_parameters(fresh, settings.select)
    coupling = resolve_coupling(settings.how, penalty)
    for name, tensor in penalized.items():
        check_coupling(penalty.for_tensor(name, tensor), tensor, coupling)
    _check_sparse(fresh, optimizer, penalized)
    return Problem(
        build=build,
        views=views,
        y=y,
        loss=each,
        loss_name=loss_name,
        penalty=penalty,
        selected=tuple(name for name, tensor in penalized.items() if tensor.requires_grad),
        how=coupling,
        optimizer=optimizer,
        scheduler=settings.scheduler,
        lrs=learning_rates(optimizer, settings.scheduler, settings.epochs),
        knobs=knobs,
        draws=draws,
        normalizes=normalizes,
        row_weights=_product(data.weights, class_weights),
        autocast=autocast,
    )


def with_augmented(problem: Problem, data: Any, count: int, batch_size: int) -> Problem:
    """Return the problem with its ``count`` training rows drawn anew at every step.

    Raises:
        ShrinkageError: What is drawn is no other view of the rows, or no target of the loss.
    """
    made = make_augmented(
        data,
        problem.first_rows(count),
        problem.y[:count],
        batch_size=batch_size,
        loss=problem.loss,
        loss_name=problem.loss_name,
        output=_outputs(problem.build(0), problem.X, problem.autocast),
        weighed=problem.row_weights is not None,
    )
    return replace(problem, augmented=made)


def _check_device(model: nn.Module) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    stray = sorted({str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"})
    if stray:
        raise ShrinkageError(
            f"the model is on {', '.join(stray)}, but paths train on the CPU; give model.cpu() or "
            "a factory that makes it there. A single model with regularize() trains on any device."
        )


def _check_sparse(model: nn.Module, optimizer: MakeOptimizer, penalized: Iterable[str]) -> None:
    """Refuse an embedding with sparse gradients that its optimizer or its penalty cannot take."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Embedding | nn.EmbeddingBag) or not module.sparse:
            continue
        weight = f"{name}.weight".removeprefix(".")
        refused = "a penalty needs dense ones" if weight in penalized else sparse_refused(optimizer)
        if refused:
            raise ShrinkageError(
                f"{type(module).__name__} {name!r} has sparse=True, so its gradients are sparse, "
                f"but {refused}; build it with sparse=False."
            )


def _typed(name: str, rows: Tensor, dtype: torch.dtype) -> Tensor:
    rows = rows.to(dtype) if rows.is_floating_point() else rows
    check_finite(rows, f"{name} as {rows.dtype}, the model's type,")
    return rows


def _inspected(model: nn.Module, X: Tensor, *, any_rate: bool) -> tuple[tuple[int, ...], bool]:
    try:
        with torch.no_grad(), all_random_numbers(0):
            return inspected(lambda: model.train()(X), any_rate=any_rate)
    except Exception as error:
        raise ShrinkageError(
            f"the model refuses a batch of {counted(len(X), 'row')} in training: "
            f"{type(error).__name__}: {error}."
        ) from error


def _product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one * other


def _outputs(model: nn.Module, X: Tensor, autocast: Autocast) -> Tensor:
    output = first_output(model, X, autocast)
    if not 1 <= output.dim() <= 2 or len(output) != len(X[:2]):
        raise ShrinkageError(
            f"the model returned shape {tuple(output.shape)} for "
            f"{counted(len(X[:2]), 'row')}; it must return one row of outputs for each."
        )
    return output
