"""A penalty as a callback of the ``Trainer`` of Transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shrinkage.integrations.attaching import Attaching

__all__ = ["Regularize"]


class Regularize(Attaching, TrainerCallback):
    """Let a penalty act on a model for as long as a ``Trainer`` trains it.

    It acts inside ``optimizer.step()``, so after the trainer has clipped and accumulated gradients.
    A training that is resumed goes on at the trainer's step, with the strengths given here.

    Args:
        penalty: The penalty, constraint or rules, as for :func:`shrinkage.regularize`. The
            trainer's own ``weight_decay`` is 0 by default; a warning says if both act.
        select: Which tensors.
        how: The coupling.
        schedule: A callable from the number of the optimizer's step to a factor.
        stats_every: Measure every so many steps, and add the last of it to each entry of
            ``trainer.state.log_history``, as ``regularization/penalty``,
            ``regularization/sparsity`` and so on; by default never.

    Attributes:
        handle: What :func:`shrinkage.regularize` returned, from the start of a training on; None
            before.

    Raises:
        ShrinkageError: The arguments are none of a penalty's, or, as the training starts, the
            penalty would not act as asked.

    Example:
        >>> from shrinkage import L2
        >>> from shrinkage.integrations.transformers import Regularize
        >>> callback = Regularize({"classifier.*": L2(1e-3)})  # Trainer(..., callbacks=[callback])
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        handle = self._attach(given["model"], given["optimizer"])
        handle.load_state_dict({**handle.state_dict(), "step": state.global_step})

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.handle is not None and self.handle.attached:
            measured = self._measured()
            measured.pop("regularization/loss", None)  # the trainer logs its own
            state.log_history[-1].update(measured)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._remove()
