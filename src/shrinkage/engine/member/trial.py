"""A model tried on a few rows before it trains: whether it takes them, and a batch of one."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from shrinkage.engine.member.precision import Autocast, forward
from shrinkage.engine.member.trainable import check_graph
from shrinkage.errors import ShrinkageError
from shrinkage.tensors.own_thread import all_random_numbers

WHOLE = " X holds whole numbers; give X.float(), X.astype('float32') of a frame or an array."


def first_output(model: nn.Module, X: Tensor, autocast: Autocast = None) -> Tensor:
    """Return what the model makes of the first two rows; model and random state stay as they are.

    Raises:
        ShrinkageError: It refuses them, or returns something else than one tensor with a gradient.
    """
    was = model.training
    try:
        with all_random_numbers(0):
            output = forward(model.eval(), X[:2].clone(), autocast)
    except Exception as error:
        raise ShrinkageError(
            f"the model refuses rows of shape {tuple(X.shape[1:])} and type {X.dtype}: "
            f"{type(error).__name__}: {error}.{WHOLE * (not X.is_floating_point())}"
        ) from error
    finally:
        model.train(was)
    if not isinstance(output, Tensor):
        raise ShrinkageError(
            f"the model returned {type(output).__name__}; it must return one tensor."
        )
    check_graph(output)
    return output.detach()


def check_last_batch(model: nn.Module, X: Tensor, sizes: Iterable[int], batch_size: int) -> None:
    """Refuse a last batch of one row where batch normalization needs two.

    Args:
        model: Tried as a copy.
        X: Rows.
        sizes: How many rows an epoch may have.
        batch_size: Rows a step.

    Raises:
        ShrinkageError: An epoch of these sizes ends in a batch that the model refuses.
    """
    numbers = sorted(sizes)
    if all(size % batch_size != 1 for size in numbers):
        return
    try:
        with torch.no_grad(), all_random_numbers(0):
            copy.deepcopy(model).train()(X[:1].clone())
    except ValueError as error:
        raise ShrinkageError(
            f"the last batch of an epoch has one row ({', '.join(map(str, numbers))} rows, "
            f"batch_size={batch_size}), and batch normalization needs two; choose another "
            f"batch_size ({error})."
        ) from error
