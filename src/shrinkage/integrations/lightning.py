"""A penalty as a callback of Lightning's ``Trainer``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.integrations.attaching import Attaching

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:  # the same library by its older name; either's trainer takes the other's callbacks
    from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["Regularize"]


class Regularize(Attaching, Callback):
    """Let a penalty act on a ``LightningModule`` for as long as it is fitted.

    It acts inside ``optimizer.step()``, so after the trainer has clipped and accumulated gradients.
    The number of the step and the strengths are part of the trainer's checkpoints: a resumed
    training goes on as if it had not stopped. A module with several optimizers calls
    :func:`shrinkage.regularize` in its own ``configure_optimizers``, once for each.

    Args:
        penalty: The penalty, constraint or rules, as for :func:`shrinkage.regularize`.
        select: Which tensors, by their names in the ``LightningModule``.
        how: The coupling.
        schedule: A callable from the number of the optimizer's step to a factor.
        stats_every: Measure every so many steps and log it, as ``regularization/penalty``,
            ``regularization/sparsity`` and so on; by default never.

    Attributes:
        handle: What :func:`shrinkage.regularize` returned, from the start of a fit on; None before.

    Raises:
        ShrinkageError: The arguments are none of a penalty's, or, as the fit starts, the penalty
            would not act as asked.

    Example:
        >>> from shrinkage import L1
        >>> from shrinkage.integrations.lightning import Regularize
        >>> callback = Regularize(L1(1e-4), stats_every=50)  # Trainer(callbacks=[callback])
    """

    _loaded: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise ShrinkageError(
                f"the module has {len(trainer.optimizers)} optimizers, the callback is for one; "
                "call shrinkage.regularize in configure_optimizers, for each that takes a penalty."
            )
        handle = self._attach(pl_module, trainer.optimizers[0])
        if self._loaded is not None:
            handle.load_state_dict(self._loaded)
            self._loaded = None

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if self.handle is not None:
            self.handle.observe(loss)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.stats_every and (trainer.global_step - 1) % self.stats_every == 0:
            pl_module.log_dict(self._measured())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        self._remove()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.handle is None else self.handle.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.handle is not None and self.handle.attached:  # some strategies load after the start
            self.handle.load_state_dict(state_dict)
        else:
            self._loaded = state_dict or None
