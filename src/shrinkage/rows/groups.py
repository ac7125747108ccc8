"""Who shares rows and random numbers: the members of one fold and one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch

ALL_ROWS: Literal[-1] = -1


@dataclass(frozen=True)
class Group:
    """The members that share a fold and a seed: same rows, same start, same batches.

    Attributes:
        fold: The held-out fold, or ``ALL_ROWS`` for the refit on every training row.
        seed: The seed of initial weights and batch order.
    """

    fold: int
    seed: int


def key(*parts: object) -> int:
    """Return a 63-bit number that depends on ``parts`` alone: the seed of one random stream."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: object) -> torch.Generator:
    """Return a random generator seeded by :func:`key`."""
    return torch.Generator().manual_seed(key(*parts))
