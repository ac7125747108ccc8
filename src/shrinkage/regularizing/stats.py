"""What a penalty does while a model trains, in numbers that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from shrinkage.errors import as_whole
from shrinkage.penalties import Penalty
from shrinkage.regularizing.batch import Batch
from shrinkage.tensors.norms import Dim, accumulated, group_norms
from shrinkage.tensors.sharded import whole

NAMES = ("loss", "penalty", "gradient_share", "sparsity", "zero_groups")


class Stats:
    """What is measured once every so many steps, before the step updates the weights.

    The numbers stay on the device until they are read, so a measured step waits for nothing.

    Args:
        every: Number of steps from one measurement to the next; the first step is measured.
    """

    def __init__(self, every: int) -> None:
        self.every = as_whole("stats_every", every)
        self.loss: Tensor | None = None
        self._measured: dict[int, Tensor] = {}
        self._read: list[dict[str, float]] = []

    def see(self, loss: object) -> None:
        """Keep the data loss of the coming step, if it is a tensor of one number."""
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self.loss = loss.detach().reshape(())

    @torch.no_grad()
    def measure(self, step: int, batches: Iterable[Batch], scale: Tensor | None) -> None:
        """Measure if it is time: before penalties enter the gradients, once in a step.

        Args:
            step: The number of the step.
            batches: What it penalizes.
            scale: What the gradients come multiplied with, if anything.
        """
        data_loss, self.loss = self.loss, None
        if step % self.every or step in self._measured:
            return
        pairs = [(b.acting, w) for b in batches if isinstance(b.acting, Penalty) for w in b.tensors]
        if not pairs:
            return
        device = pairs[0][1].device
        parts = [_of_tensor(penalty, w).to(device, non_blocking=True) for penalty, w in pairs]
        value, own, data, zeros, numbers, zero_groups, groups = torch.stack(parts).sum(0)
        share = (own / data).sqrt()
        loss = torch.full_like(value, torch.nan) if data_loss is None else data_loss.to(value)
        self._measured[step] = torch.stack(
            [
                loss,
                value,
                share if scale is None else share * scale.to(share),
                zeros / numbers,
                zero_groups / groups,
            ]
        )

    def read(self) -> list[dict[str, float]]:
        """Return all measurements; here one waits for the device."""
        done = len(self._read)
        for step, numbers in list(self._measured.items())[done:]:
            named = dict(zip(NAMES, numbers.tolist(), strict=True))
            self._read.append({"step": step, **named})
        return [dict(row) for row in self._read]


def _of_tensor(penalty: Penalty, w: Tensor) -> Tensor:
    """Return value, squared norms of both gradients, zeros, numbers, zero groups, groups."""
    assert w.grad is not None
    tensor, data = whole(w), accumulated(whole(w.grad))
    dim: Dim = getattr(penalty, "dim", 0)
    norms, _ = group_norms(tensor, dim, "stats")
    counts = (tensor.numel() - tensor.count_nonzero(), tensor.numel())
    groups = (norms.numel() - norms.count_nonzero(), norms.numel())
    own = accumulated(penalty.gradient(tensor)).square().sum()
    numbers = (penalty.value(tensor), own, data.square().sum(), *counts, *groups)
    return torch.stack(
        [n.to(own) if isinstance(n, Tensor) else own.new_full((), n) for n in numbers]
    )
