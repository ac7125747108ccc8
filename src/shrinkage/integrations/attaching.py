"""What the callbacks of all trainers do alike: keep the arguments, attach, measure, remove."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from shrinkage.parameters import Selection, weights
from shrinkage.regularizing.regularize import Regularization, regularize
from shrinkage.regularizing.rules import Acting, Rules, read_rules
from shrinkage.regularizing.targets import Schedule


class Attaching:
    """Keeps what :func:`shrinkage.regularize` takes until a trainer has made its optimizer."""

    def __init__(
        self,
        penalty: Acting | Rules,
        *,
        select: Selection = weights,
        how: str | None = None,
        schedule: Schedule | None = None,
        stats_every: int | None = None,
    ) -> None:
        read_rules(penalty, select, how)  # what is wrong there is said here
        self.penalty, self.select, self.how = penalty, select, how
        self.schedule, self.stats_every = schedule, stats_every
        self.handle: Regularization | None = None

    def _attach(self, model: nn.Module, optimizer: Optimizer) -> Regularization:
        """Put the penalty on, in place of one that an earlier training left."""
        self._remove()
        self.handle = regularize(
            model,
            optimizer,
            self.penalty,
            select=self.select,
            how=self.how,
            schedule=self.schedule,
            stats_every=self.stats_every,
        )
        return self.handle

    def _remove(self) -> None:
        """Take the penalty off, if it is on."""
        if self.handle is not None:
            self.handle.remove()

    def _measured(self) -> dict[str, float]:
        """Return what was measured last, by the names under which it is logged."""
        rows = self.handle.stats() if self.handle is not None and self.stats_every else []
        last = rows[-1] if rows else {}
        return {f"regularization/{name}": last[name] for name in last if name != "step"}
