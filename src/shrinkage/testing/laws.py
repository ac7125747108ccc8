"""How laws are checked: functions that raise where they do not hold, tried on some tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tensors:
    """The float64 tensors a law is tried on, the same for one seed.

    Attributes:
        shape: Their shape.
        seed: Their seed.
        center: What a penalty pulls to; it is added to the weights that are tried.
    """

    shape: tuple[int, ...]
    seed: int
    center: Tensor | float = 0.0

    def draw(self, count: int, scale: float = 1.0) -> list[Tensor]:
        """Return ``count`` normal tensors without zeros."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(count, *self.shape, generator=generator, dtype=torch.float64)
        return list(scale * torch.where(drawn == 0, 1.0, drawn))

    def zero(self) -> Tensor:
        """Return the weights at the center: zeros, if it is zero."""
        return torch.zeros(self.shape, dtype=torch.float64) + self.center

    def directions(self) -> list[Tensor]:
        """Return differences to the center without zeros, small to large."""
        return [self.draw(3)[i] * scale for i, scale in enumerate((0.1, 1.0, 10.0))]

    def smooth(self) -> list[Tensor]:
        """Return weights away from kinks."""
        return [direction + self.center for direction in self.directions()]

    def kinked(self) -> list[Tensor]:
        """Return weights that agree with the center, in some entries or whole slices.

        Their differences to it are, as matrices, of low rank or have equal singular values.
        """
        w = self.draw(1)[0]
        some = torch.where(torch.arange(w.numel()).reshape(self.shape) % 2 == 0, 0.0, w)
        slices = (w.index_fill(axis, torch.tensor(0), 0.0) for axis in range(w.dim()))
        tensors = [0 * w, some, *slices, torch.ones_like(w)]
        if w.dim() > 1:
            tensors.append(torch.eye(len(w), w[0].numel(), dtype=w.dtype).reshape(w.shape))
        return [tensor + self.center for tensor in tensors]


T = TypeVar("T")


def check_laws(laws: Sequence[Callable[[T, Tensors], None]], thing: T, tensors: Tensors) -> None:
    """Check that ``thing`` obeys every law.

    Raises:
        AssertionError: A law does not hold; the first line names the law and the thing.
    """
    for law in laws:
        try:
            law(thing, tensors)
        except Exception as error:
            name = law.__name__.replace("_", " ")
            raise AssertionError(
                f"law '{name}' does not hold for {_shown(thing)}\n{type(error).__name__}: {error}"
            ) from error


def _shown(thing: object) -> str:
    try:
        return repr(thing)
    except Exception:
        return type(thing).__name__
