"""What every member trains, whatever its strength, fold and seed."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from shrinkage.coupling import Coupling, check_coupling, resolve_coupling
from shrinkage.engine.augmented import Augmented
from shrinkage.engine.layers import seen
from shrinkage.engine.loss import Loss, RowLoss, check_fit, row_loss
from shrinkage.engine.plan import Group, key
from shrinkage.engine.precision import Autocast, check_autocast, forward
from shrinkage.engine.preprocess import Views
from shrinkage.engine.rows import check_finite
from shrinkage.engine.schedule import MakeScheduler, learning_rates
from shrinkage.engine.update import MakeOptimizer
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import Selection, selected_parameters
from shrinkage.penalties import Penalty

ModelSource: TypeAlias = nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True, eq=False)
class Problem:
    """The data, the model and the update, without the grid.

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

    def inputs(self, group: Group, count: int, rows: Tensor) -> Tensor:
        """Return what the members of ``group`` see of these rows in their step ``count``."""
        if self.augmented is not None:
            return self.augmented.drawn(rows, group, count)
        return self.views.of(group.fold)[rows]

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

    @property
    def X(self) -> Tensor:  # noqa: N802
        """Return the rows as the refit on all training rows sees them."""
        return self.views.X

    def initial(self, group: Group) -> nn.Module:
        """Return the model all members of ``group`` start from."""
        return self.build(key("initial weights", group))


def make_problem(
    model: ModelSource,
    views: Views,
    y: Tensor,
    penalty: Penalty,
    *,
    loss: Loss,
    optimizer: MakeOptimizer,
    scheduler: MakeScheduler | None,
    epochs: int,
    select: Selection,
    how: str | None,
    batch_size: int,
    knobs: Iterable[str] = (),
    sample_weight: Tensor | None = None,
    autocast: Autocast = None,
) -> Problem:
    """Check that model, data, loss and penalty fit together; see ``fit_path`` for the arguments."""
    if not isinstance(penalty, Penalty):
        raise ShrinkageError(f"penalty={penalty!r} is not a penalty; give L2(1.0) or the like.")
    build = make_builder(model)
    fresh = build(0)
    _check_device(fresh)
    check_autocast(autocast, fresh)
    dtype = next((p.dtype for p in fresh.parameters() if p.is_floating_point()), torch.float32)
    by_fold = tuple(_typed("X", X, dtype) for X in views.by_fold)
    views = Views(_typed("X", views.X, dtype), by_fold, views.facts)
    y = _typed("y", y, dtype)
    loss_name, each, class_weights = row_loss(loss, y)
    check_fit(each, loss_name, _first_output(fresh, views.X, autocast), y)
    draws, normalizes = _seen(build(0), views.X[:batch_size], any_rate="dropout" in knobs)
    penalized, coupling = selected_parameters(fresh, select), resolve_coupling(how, penalty)
    for name, tensor in penalized.items():
        check_coupling(penalty.for_tensor(name, tensor), tensor, coupling)
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
        scheduler=scheduler,
        lrs=learning_rates(optimizer, scheduler, epochs),
        knobs=tuple(knobs),
        draws=draws,
        normalizes=normalizes,
        row_weights=_product(sample_weight, class_weights),
        autocast=autocast,
    )


def _check_device(model: nn.Module) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    stray = sorted({str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"})
    if stray:
        raise ShrinkageError(
            f"the model is on {', '.join(stray)}, and paths train on the CPU; give model.cpu() "
            "or a factory that makes it there. One model trains anywhere, with regularize()."
        )


def _typed(name: str, rows: Tensor, dtype: torch.dtype) -> Tensor:
    rows = rows.to(dtype) if rows.is_floating_point() else rows
    check_finite(rows, f"{name} as {rows.dtype}, the model's type,")
    return rows


def _seen(model: nn.Module, X: Tensor, *, any_rate: bool) -> tuple[tuple[int, ...], bool]:
    try:
        with torch.no_grad(), torch.random.fork_rng():
            return seen(lambda: model.train()(X), any_rate=any_rate)
    except Exception as error:
        raise ShrinkageError(
            f"the model refuses a batch of {len(X)} rows in training: "
            f"{type(error).__name__}: {error}."
        ) from error


def _product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one * other


def _first_output(model: nn.Module, X: Tensor, autocast: Autocast) -> Tensor:
    try:
        with torch.no_grad():
            output = forward(model, X[:2], autocast)
    except Exception as error:
        raise ShrinkageError(
            f"the model refuses rows of shape {tuple(X.shape[1:])} and type {X.dtype}: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(output, Tensor):
        raise ShrinkageError(
            f"the model returned {type(output).__name__}; it must return one tensor."
        )
    if not 1 <= output.dim() <= 2 or len(output) != len(X[:2]):
        raise ShrinkageError(
            f"the model returned shape {tuple(output.shape)} for {len(X[:2])} rows; it must return "
            "one row of outputs for each."
        )
    return output


def make_builder(model: ModelSource) -> Callable[[int], nn.Module]:
    """Return a function from a random key to a freshly initialized model.

    The caller's random state is left as it was.

    Args:
        model: A module whose layers have ``reset_parameters`` (it is copied, never changed), or
            a factory without arguments.

    Raises:
        ShrinkageError: A parameter of the module belongs to no layer that can reset it, or the
            factory does not return a module.
    """
    if isinstance(model, nn.Module):
        _check_resettable(model)
        make: Callable[[], nn.Module] = lambda: _reset(copy.deepcopy(model))  # noqa: E731
    elif callable(model):
        _check_no_arguments(model)
        make = model
    else:
        raise ShrinkageError(f"model={model!r} is neither a module nor a factory () -> module.")

    before: weakref.ref[nn.Module] | None = None

    def build(seed: int) -> nn.Module:
        nonlocal before
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            built = make()
        if not isinstance(built, nn.Module):
            raise ShrinkageError(
                f"the model factory returned {type(built).__name__}, not a module."
            )
        if before is not None and before() is built:
            raise ShrinkageError(
                "the model factory returned the same module twice; it must make a new one each "
                "time."
            )
        if any(isinstance(p, UninitializedParameter) for p in built.parameters()):
            raise ShrinkageError("the model has lazy layers; give their input sizes.")
        before = weakref.ref(built)
        return built

    return build


def _check_no_arguments(make: Callable[[], nn.Module]) -> None:
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ShrinkageError(
            f"model={make!r:.80} cannot be called without arguments: {error}; give a module, or "
            "bind them with functools.partial."
        ) from error
    except ValueError:  # a builtin without a signature
        return


def _reset(model: nn.Module) -> nn.Module:
    for module in reversed(list(model.modules())):  # a parent may set its children once more
        reset = getattr(module, "reset_parameters", None) or getattr(
            module, "_reset_parameters", None
        )
        if reset is not None:
            reset()
    return model


def _check_resettable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        resettable = hasattr(module, "reset_parameters") or hasattr(module, "_reset_parameters")
        own = [n for n, _ in module.named_parameters(recurse=False)]
        if own and not resettable:
            where = f"{name}.{own[0]}" if name else own[0]
            raise ShrinkageError(
                f"{where} belongs to a {type(module).__name__} without reset_parameters(), so a "
                "fresh start per seed is impossible; give a factory: lambda: MyModel()."
            )
