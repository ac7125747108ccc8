"""Rows drawn anew whenever members train on them: a Dataset with random augmentation."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage._provenance import hash_of
from shrinkage.engine.datasets import blocks, fetch, numbered_items
from shrinkage.engine.plan import key
from shrinkage.engine.preprocess import Views
from shrinkage.engine.rows import check_finite
from shrinkage.errors import ShrinkageError

NAME = "augmented"


@dataclass(frozen=True, eq=False)
class Augmented:
    """Another view of the training rows, for training alone.

    Attributes:
        dataset: Map-style, its items are ``(x, y)``.
        X: The plain rows.
        y: Their targets, which are those of the items too.
        fact: What it is, in words; the hash is of one drawing of all rows.
    """

    dataset: Any
    X: Tensor
    y: Tensor
    fact: str = ""

    def drawn(self, rows: Tensor, *parts: object) -> Tensor:
        """Return these rows as drawn now; the random numbers depend on ``parts`` alone.

        Raises:
            ShrinkageError: They do not have the shape, type and targets of the plain rows.
        """
        with _seeded(key(NAME, *parts)):
            x, y = fetch(self.dataset, rows, NAME)
        plain = self.X[rows]
        if x.shape != plain.shape or x.is_floating_point() != plain.is_floating_point():
            raise ShrinkageError(
                f"the items of augmented= have shape {tuple(x.shape[1:])} and type {x.dtype}, the "
                f"rows of X {tuple(plain.shape[1:])} and {plain.dtype}; they must be alike."
            )
        target = self.y[rows]
        if y.shape != target.shape or not torch.equal(y.to(target.dtype), target):
            raise ShrinkageError(
                "the items of augmented= have other targets than the rows of X: item "
                f"{_first_unlike(y, target, rows)}. Give both in the same order, and leave targets "
                "as they are."
            )
        check_finite(x, NAME)
        return x.to(plain.dtype)


def make_augmented(data: Any, views: Views, y: Tensor, count: int) -> Augmented:
    """Read all rows twice, from the same random numbers, and return them as a view for training.

    Args:
        data: A map-style Dataset or a DataLoader of one.
        views: The plain rows, of which the first ``count`` are training rows.
        y: Their targets.
        count: How many items there must be.

    Raises:
        ShrinkageError: The items are not the training rows, or not the same both times.
    """
    if views.facts is not None:
        raise ShrinkageError(
            "preprocess= and augmented= do not go together: what is learned from plain rows is not "
            "applied to drawn ones. Give both views scaled."
        )
    dataset = numbered_items(data, NAME)
    if len(dataset) != count:
        raise ShrinkageError(
            f"augmented= has {len(dataset)} items and X has {count} rows; give the same rows "
            "twice, plain as X and with random changes as augmented=."
        )
    view, digest = Augmented(dataset, views.X, y), hashlib.sha256()
    for rows in blocks(count):
        first, again = view.drawn(rows, int(rows[0])), view.drawn(rows, int(rows[0]))
        if not torch.equal(first, again):
            raise ShrinkageError(
                "augmented= draws from random numbers of its own, which cannot be the same for all "
                "strengths; draw from torch's, numpy's or Python's global generator, without a "
                "generator or a seed of your own."
            )
        digest.update(hash_of(first).encode())
    return replace(view, fact=f"{type(dataset).__name__}, drawn {digest.hexdigest()[:16]}")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and ``random`` while the block runs; all are left as they were."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _first_unlike(y: Tensor, target: Tensor, rows: Tensor) -> str:
    if y.shape != target.shape:
        return f"{int(rows[0])} has shape {tuple(y.shape[1:])}, not {tuple(target.shape[1:])}"
    unlike = (y.to(target.dtype) != target).reshape(len(rows), -1).any(1)
    place = int(unlike.nonzero()[0])
    return f"{int(rows[place])} has {y[place].tolist()}, not {target[place].tolist()}"
