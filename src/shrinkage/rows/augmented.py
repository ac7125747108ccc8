"""Rows drawn anew whenever members train on them: a Dataset with random augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from shrinkage.errors import ShrinkageError, counted
from shrinkage.identity import hash_of
from shrinkage.rows.datasets import fetch, numbered_items
from shrinkage.rows.groups import key
from shrinkage.rows.loss import RowLoss, check_fit
from shrinkage.rows.rows import check_finite
from shrinkage.tensors.own_thread import all_random_numbers

NAME = "augmented"


@dataclass(frozen=True, eq=False)
class Augmented:
    """Another view of the training rows, for training alone.

    Attributes:
        dataset: Map-style, its items are ``(x, y)``.
        collate: Makes a batch ``(x, y)`` of items.
        X: The plain rows.
        y: Their targets.
        dtype: The type of class probabilities.
        weighed: Whether rows have weights, so that they have to keep their targets.
        fact: What it is, in words; the hash is of one drawing of all rows.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any]
    X: Tensor
    y: Tensor
    dtype: torch.dtype
    weighed: bool
    fact: str = ""

    def drawn(self, rows: Tensor, *parts: object) -> tuple[Tensor, Tensor]:
        """Return a batch of these rows as drawn now, with their targets.

        Targets are of the kind of the plain ones, or for classes the probability of each.

        Args:
            rows: Numbers of the rows.
            parts: What the random numbers depend on.

        Raises:
            ShrinkageError: The batch is no other view of these rows.
        """
        with all_random_numbers(key(NAME, *parts)):
            x, y = fetch(self.dataset, rows, NAME, self.collate)
        plain, x, y = self.X[rows], x.to(self.X.device), y.to(self.y.device)
        if x.shape != plain.shape or x.is_floating_point() != plain.is_floating_point():
            raise ShrinkageError(
                f"a batch of augmented= has shape {tuple(x.shape)} and type {x.dtype}, the same "
                f"rows of X {tuple(plain.shape)} and {plain.dtype}; they must be alike."
            )
        check_finite(x, NAME)
        return x.to(plain.dtype), self._targets(y, rows)

    def check_batches(self, sizes: Iterable[int]) -> None:
        """Refuse a view that has no batches of these sizes, such as those of last, short ones."""
        for size in sizes:
            self.drawn(torch.arange(size), size)

    def _targets(self, y: Tensor, rows: Tensor) -> Tensor:
        plain = self.y[rows]
        check_finite(y, "the targets of augmented=")
        if self.weighed and (y.shape != plain.shape or not torch.equal(y.to(plain.dtype), plain)):
            raise ShrinkageError(
                "sample_weight= and the weights of a loss belong to rows with their own targets, "
                f"and in augmented= item {_first_unlike(y, plain, rows)}. Leave out the weights, "
                "or the changes of the targets."
            )
        classes = not plain.is_floating_point()
        if classes and y.is_floating_point() and y.dim() == 2 and len(y) == len(plain):
            return y.to(self.dtype)
        if y.numel() == plain.numel() == len(rows):
            y = y.reshape(plain.shape)
        typed = y.to(plain.dtype)
        if y.shape != plain.shape or (classes and not torch.equal(typed.to(y.dtype), y)):
            raise ShrinkageError(
                f"the targets of a batch of augmented= have shape {tuple(y.shape)} and type "
                f"{y.dtype}, those of X {tuple(plain.shape)} and {plain.dtype}; give the same "
                "kind, or for classes the probability of each, (rows, classes)."
            )
        if classes and not (typed.min() >= 0 and typed.max() <= self.y.max()):
            raise ShrinkageError(
                f"augmented= has targets from {typed.min()} to {typed.max()}, and X has classes 0 "
                f"to {self.y.max()}; give only those."
            )
        return typed


def make_augmented(
    data: Any,
    X: Tensor,
    y: Tensor,
    *,
    batch_size: int,
    loss: RowLoss,
    loss_name: str,
    output: Tensor,
    weighed: bool = False,
) -> Augmented:
    """Read all rows twice, from the same random numbers, and return them as a view for training.

    Args:
        data: A map-style Dataset or a DataLoader of one.
        X: The plain training rows.
        y: Their targets.
        batch_size: Rows a step.
        loss: The loss of each row.
        loss_name: What to call it.
        output: The model's output on the first rows.
        weighed: Whether rows have weights.

    Raises:
        ShrinkageError: The items are not the training rows, not the same both times, or their
            targets do not fit the loss.
    """
    dataset = numbered_items(data, NAME, any_collate=True)
    collate = data.collate_fn if isinstance(data, DataLoader) else default_collate
    if weighed and collate is not default_collate:
        raise ShrinkageError(
            "sample_weight= and the weights of a loss belong to rows, which a collate_fn mixes; "
            "leave out the weights, or change each row in the dataset's __getitem__."
        )
    if len(dataset) != len(X):
        raise ShrinkageError(
            f"augmented= has {counted(len(dataset), 'item')} and X has "
            f"{counted(len(X), 'row')}; give the same rows twice, plain as X and with "
            "random changes as augmented=."
        )
    view, digest = Augmented(dataset, collate, X, y, output.dtype, weighed), hashlib.sha256()
    batches, targets = torch.split(torch.arange(len(X)), batch_size), []
    for rows in batches:
        first, again = view.drawn(rows, int(rows[0])), view.drawn(rows, int(rows[0]))
        if not all(map(torch.equal, first, again)):
            raise ShrinkageError(
                "augmented= draws from random numbers of its own, which cannot be the same for all "
                "strengths; draw from torch's, numpy's or Python's global generator, without a "
                "generator or a seed of your own."
            )
        digest.update(hash_of(*first).encode())
        targets.append(first[1])
    _check_order(view, batches, torch.cat(targets))
    _, drawn = view.drawn(torch.arange(len(output)), 0)
    kind = " of probabilities" if drawn.is_floating_point() and not y.is_floating_point() else ""
    check_fit(loss, loss_name + kind, output, drawn)
    return replace(view, fact=f"{type(dataset).__name__}, drawn {digest.hexdigest()[:16]}")


def _check_order(view: Augmented, batches: tuple[Tensor, ...], targets: Tensor) -> None:
    """Refuse targets that are the same at every drawing, but not those of the rows of X."""
    if targets.shape != view.y.shape or torch.equal(targets, view.y):
        return
    anew = torch.cat([view.drawn(rows, "anew", int(rows[0]))[1] for rows in batches])
    if torch.equal(anew, targets):
        first = _first_unlike(targets, view.y, torch.arange(len(targets)))
        raise ShrinkageError(
            f"augmented= always has other targets than X: item {first}. Give both in the same "
            "order: rows held out by their number in X must be those of that number here."
        )


def _first_unlike(y: Tensor, target: Tensor, rows: Tensor) -> str:
    if y.shape != target.shape:
        return f"{int(rows[0])} has shape {tuple(y.shape[1:])}, not {tuple(target.shape[1:])}"
    unlike = (y.to(target.dtype) != target).reshape(len(rows), -1).any(1)
    place = int(unlike.nonzero()[0])
    return f"{int(rows[place])} has {y[place].tolist()}, not {target[place].tolist()}"
