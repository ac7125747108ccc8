"""Epochs and steps; between any two of them the whole state can be written and read back."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from shrinkage.engine.keep.stopping import Stopped, stopping_gently
from shrinkage.engine.member.precision import Autocast, forward
from shrinkage.engine.member.update import stepping
from shrinkage.errors import ShrinkageError
from shrinkage.regularizing.regularize import Regularization
from shrinkage.rows.augmented import Augmented
from shrinkage.rows.groups import generator, key
from shrinkage.rows.loss import RowLoss
from shrinkage.tensors.own_thread import seed_others
from shrinkage.training.checkpoint import write_checkpoint

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, on what, and how: on the rows of X and y with these numbers."""

    model: nn.Module
    X: Tensor
    y: Tensor
    numbers: Tensor
    held: tuple[Tensor, Tensor] | None
    loss: RowLoss
    optimizer: Optimizer
    schedule: Any
    penalty: Regularization | None
    epochs: int
    batch_size: int
    patience: int | None
    seed: int
    augmented: Augmented | None
    autocast: Autocast


@dataclass(frozen=True)
class Moment:
    """How far a training is: ``step`` of ``steps`` in ``epoch``, both from 1, and the curves."""

    epoch: int
    epochs: int
    step: int
    steps: int
    curves: list[dict[str, float]]


class Loop:
    """A training under way.

    Attributes:
        curves: One row per finished epoch.
        best_epoch: The epoch of the weights to keep, 0 before the first.
        stopped_early: Whether patience has ended it.
    """

    def __init__(
        self,
        job: Job,
        manifest: dict[str, Any],
        path: Path | None,
        progress: Callable[[Moment], None] | None,
    ) -> None:
        self.curves: list[dict[str, float]] = []
        self.best_epoch = 0
        self.stopped_early = False
        self._job, self._manifest, self._path = job, manifest, path
        self._progress = progress or (lambda moment: None)
        self._step, self._loss_sum = 0, 0.0
        self._best: dict[str, Tensor] | None = None

    def run(self) -> None:
        """Train until the last epoch or the end of patience, then take the best weights."""
        job = self._job
        stopping: AbstractContextManager[Callable[[], bool]] = (
            nullcontext(lambda: False) if self._path is None else stopping_gently()
        )
        with stopping as stop_asked:
            while len(self.curves) < job.epochs and not self.stopped_early:
                batches = self._batches()
                job.model.train()
                while self._step < len(batches):
                    self._train_on(batches[self._step])
                    self._step += 1
                    self._tell(len(batches))
                    if stop_asked() and self._step < len(batches):
                        self._write()
                        raise Stopped
                self._end_epoch()
                self._write()
                self._tell(len(batches))
                if stop_asked():
                    raise Stopped
        if self._best is not None:
            job.model.load_state_dict(self._best)

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the moment that was written."""
        job = self._job
        job.model.load_state_dict(state["model"])
        job.optimizer.load_state_dict(state["optimizer"])
        if job.schedule is not None:
            job.schedule.load_state_dict(state["schedule"])
        if job.penalty is not None:
            job.penalty.load_state_dict(state["penalty"])
        torch.set_rng_state(state["rng"])
        self.curves, self.best_epoch = state["curves"], state["best_epoch"]
        self.stopped_early, self._best = state["stopped_early"], state["best"]
        self._step, self._loss_sum = state["step"], state["loss_sum"]
        self._check_restored()

    def _check_restored(self) -> None:
        """Refuse curves and best weights that no training of this job leaves behind."""
        job, names = self._job, {"epoch", "lr", "train_loss"}
        names |= set() if job.held is None else {"valid_loss"}
        rows = [row for row in self.curves if names <= row.keys()]
        whole = [float(value) for row in rows for value in row.values()]
        if len(rows) < len(self.curves) or not all(map(math.isfinite, whole)):
            raise ValueError("its curves are not those of a training")
        if (self._best is not None) != (job.held is not None and bool(rows)):
            raise ValueError("it has no weights of the best epoch, or should have none")
        own = {name: tensor.shape for name, tensor in job.model.state_dict().items()}
        if self._best is not None and {n: t.shape for n, t in self._best.items()} != own:
            raise ValueError("the weights of its best epoch are not those of this model")
        if not 0 <= self.best_epoch <= len(rows) or self._step < 0:
            raise ValueError("its epochs are not those of a training")

    def _write(self) -> None:
        if self._path is None:
            return
        job = self._job
        state = {
            "manifest": self._manifest,
            "model": job.model.state_dict(),
            "best": self._best,
            "optimizer": job.optimizer.state_dict(),
            "schedule": None if job.schedule is None else job.schedule.state_dict(),
            "penalty": None if job.penalty is None else job.penalty.state_dict(),
            "rng": torch.get_rng_state(),
            "curves": self.curves,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
            "step": self._step,
            "loss_sum": self._loss_sum,
        }
        write_checkpoint(self._path, state)

    def _tell(self, steps: int) -> None:
        done = min(len(self.curves) + 1, self._job.epochs)
        state = torch.get_rng_state()  # what the caller draws is not the training's
        self._progress(Moment(done, self._job.epochs, self._step, steps, self.curves))
        torch.set_rng_state(state)

    def _batches(self) -> tuple[Tensor, ...]:
        """Return the batches of this epoch: they depend on the seed and the epoch alone."""
        job, epoch = self._job, len(self.curves)
        order = torch.randperm(len(job.numbers), generator=generator("batches", job.seed, epoch))
        return torch.split(job.numbers[order], job.batch_size)

    def _train_on(self, rows: Tensor) -> None:
        job = self._job
        seed_others(key("training", job.seed, len(self.curves), self._step))
        losses: list[Tensor] = []
        if job.augmented is None:
            x, y = job.X[rows], job.y[rows]
        else:
            x, y = job.augmented.drawn(rows, job.seed, len(self.curves), self._step)

        def closure() -> Tensor:
            job.optimizer.zero_grad()
            loss = job.loss(forward(job.model, x, job.autocast), y).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            return loss

        stepping(job.optimizer)(closure)
        loss = float(losses[0])
        self._require_finite(loss, f"step {self._step + 1}")
        self._loss_sum += loss * len(rows)

    def _end_epoch(self) -> None:
        job, epoch = self._job, len(self.curves) + 1
        row = {
            "epoch": epoch,
            "lr": float(job.optimizer.param_groups[0]["lr"]),
            "train_loss": self._loss_sum / len(job.numbers),
        }
        if job.held is not None:
            row |= self._validate(*job.held)
        self._step, self._loss_sum = 0, 0.0
        watched = row.get("valid_loss", -math.inf)
        best = self.curves[self.best_epoch - 1]["valid_loss"] if self._best else math.inf
        self.curves.append(row)
        if job.held is None:
            self.best_epoch = epoch
        elif watched < best:
            self.best_epoch = epoch
            self._best = {k: v.detach().clone() for k, v in job.model.state_dict().items()}
        elif job.patience is not None:
            self.stopped_early = epoch - self.best_epoch >= job.patience
        if isinstance(job.schedule, ReduceLROnPlateau):
            job.schedule.step(row.get("valid_loss", row["train_loss"]))
        elif job.schedule is not None:
            job.schedule.step()

    @torch.no_grad()
    def _validate(self, X: Tensor, y: Tensor) -> dict[str, float]:
        job = self._job
        job.model.eval()
        parts = (part.clone() for part in torch.split(X, ROWS_AT_ONCE))
        outputs = torch.cat([forward(job.model, part, job.autocast) for part in parts])
        measured = {"valid_loss": float(job.loss(outputs, y).double().mean())}
        self._require_finite(measured["valid_loss"], "validation")
        if not y.is_floating_point() and outputs.dim() == 2:
            measured["valid_accuracy"] = float((outputs.argmax(1) == y).double().mean())
        return measured

    def _require_finite(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise ShrinkageError(
                f"the loss is {loss} in epoch {len(self.curves) + 1}, {where}; take a smaller "
                "learning rate, or look for extreme rows."
            )
