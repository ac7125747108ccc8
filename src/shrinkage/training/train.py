"""One model trained well; the checkpoint of any moment leads to the same end, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from shrinkage.disk.files import as_path
from shrinkage.engine.keep.dependencies import made_by, versions
from shrinkage.engine.keep.stopping import interrupted
from shrinkage.engine.member.precision import check_autocast
from shrinkage.engine.member.schedule import MOST_EPOCHS
from shrinkage.engine.member.trainable import check_no_script, check_trainable
from shrinkage.engine.member.trial import check_last_batch, first_output
from shrinkage.engine.member.update import ADAM, MakeOptimizer
from shrinkage.errors import ShrinkageError, as_seed, as_whole
from shrinkage.identity import fingerprint, hash_of, named
from shrinkage.parameters import Selection, weights
from shrinkage.regularizing.handle import Regularization
from shrinkage.regularizing.regularize import regularize
from shrinkage.regularizing.rules import Acting, Rules
from shrinkage.regularizing.summary import Summary
from shrinkage.rows.augmented import make_augmented
from shrinkage.rows.datasets import batch_size_of, in_memory
from shrinkage.rows.loss import Loss, check_fit, row_loss
from shrinkage.rows.rows import as_rows
from shrinkage.tensors.own_thread import all_random_numbers
from shrinkage.tensors.surroundings import own_surroundings
from shrinkage.training.checkpoint import architecture, check_same, read_checkpoint
from shrinkage.training.held import split_rows
from shrinkage.training.loop import Job, Loop, Moment

Rows: TypeAlias = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training left behind.

    Attributes:
        model: The model that was given, with the weights of ``best_epoch``.
        curves: One dict per epoch: ``epoch`` (from 1), ``lr``, ``train_loss`` (mean over the
            epoch's batches, as they were met), with validation ``valid_loss``, and for classes
            ``valid_accuracy``.
        best_epoch: The epoch of least validation loss; the last without validation.
        stopped_early: Whether patience ended it.
        summary: What was penalized at the end; None without a penalty.
    """

    model: nn.Module
    curves: list[dict[str, float]]
    best_epoch: int
    stopped_early: bool
    summary: Summary | None


@own_surroundings()
def train(
    model: nn.Module,
    X: Any,
    y: Any,
    penalty: Acting | Rules | None = None,
    *,
    select: Selection = weights,
    how: str | None = None,
    valid: float | Rows | None = 0.2,
    augmented: Dataset[Any] | DataLoader[Any] | None = None,
    loss: Loss = "auto",
    optimizer: MakeOptimizer = ADAM,
    scheduler: Callable[[Optimizer], Any] | None = None,
    epochs: int = 40,
    batch_size: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    checkpoint: str | Path | None = None,
    progress: Callable[[Moment], None] | None = None,
) -> Trained:
    """Train ``model`` in place and leave it with the weights of its best epoch.

    Args:
        model: The model, with its initial weights.
        X: (N, ...) rows, or a Dataset of ``(x, y)`` items (then y is None).
        y: (N,) integer classes or numbers.
        penalty: A penalty, or rules, as for :func:`shrinkage.regularize`; none by default.
        select: Which tensors, as there.
        how: The coupling, as there.
        valid: The fraction of the rows held out to watch, or rows of your own ``(X, y)``; None
            trains on all rows to the last epoch.
        augmented: All rows once more with random changes, drawn anew at every step, as for
            :func:`shrinkage.fit_path`; the rows held out are plain ones.
        loss: ``"auto"`` (cross-entropy for classes, else mean squared error), a name, a torch
            loss, or a function ``(output, target) -> one value per row``.
        optimizer: The optimizer's class, or a ``functools.partial`` of it.
        scheduler: ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)`` or the like,
            stepped after every epoch; ``ReduceLROnPlateau`` sees the validation loss.
        epochs: How often each row is met, at most.
        batch_size: Rows per step; by default those of the DataLoader trained on, or 32.
        patience: Stop after so many epochs without a smaller validation loss; None never stops.
        seed: Decides held-out rows, batches and dropout, not the initial weights.
        autocast: ``torch.bfloat16`` computes forward passes in bfloat16 by ``torch.autocast``.
        checkpoint: A file. It is written after every epoch, and on Ctrl-C, SIGTERM or SIGHUP
            after the step at hand. If it is there, the training goes on from it, on the CPU bit
            for bit as if it had never stopped; everything but ``progress`` has to be as it was.
        progress: Told after every step and epoch.

    Returns:
        The model, the curves, the best epoch and what was penalized.

    Raises:
        ShrinkageError: The arguments do not fit together, the loss is no longer finite, or the
            checkpoint is that of another training.
        KeyboardInterrupt: After Ctrl-C, once the checkpoint is written.
        SystemExit: After SIGTERM or SIGHUP, once it is written.

    Example:
        >>> from shrinkage.penalties import L2
        >>> _ = torch.manual_seed(0)
        >>> X, net = torch.randn(100, 3), nn.Linear(3, 2)
        >>> trained = train(net, X, (X[:, 0] > 0).long(), L2(1e-3), epochs=3)
        >>> [sorted(row) for row in trained.curves][-1]
        ['epoch', 'lr', 'train_loss', 'valid_accuracy', 'valid_loss']
    """
    _check_model(model, optimizer, scheduler)
    epochs = as_whole("epochs", epochs, most=MOST_EPOCHS)
    batch_size = None if batch_size is None else as_whole("batch_size", batch_size)
    batch_size = batch_size_of(X if augmented is None else augmented, batch_size)
    patience = None if patience is None else as_whole("patience", patience)
    seed = as_seed("seed", seed)
    path = None if checkpoint is None else _file("checkpoint", checkpoint)
    if patience is not None and valid is None:
        raise ShrinkageError("patience needs a validation loss; give valid=, such as 0.2.")
    check_autocast(autocast, model)
    rows, targets = as_rows(*in_memory(X, y))
    numbers, held = split_rows(rows, targets, valid, seed)
    name, each, row_weights = row_loss(loss, targets)
    if row_weights is not None:
        raise ShrinkageError("a loss with weight= is not supported here; weight the rows yourself.")
    every_target = targets if held is None else torch.cat([targets, held[1]])
    output = first_output(model, rows, autocast)
    check_fit(each, name, output, every_target)
    check_last_batch(model, rows[numbers], [len(numbers)], batch_size)
    view = None
    if augmented is not None:
        fits: Any = {"loss": each, "loss_name": name, "output": output}
        view = make_augmented(augmented, rows, targets, batch_size=batch_size, **fits)
        view.check_batches({len(numbers) % batch_size} - {0})
    opt = optimizer([p for p in model.parameters() if p.requires_grad])
    schedule = scheduler(opt) if scheduler else None
    if schedule is None and all(group.get("lr") == 0 for group in opt.param_groups):
        raise ShrinkageError(
            f"{named(optimizer)} has the learning rate 0, so nothing would be trained; give one "
            "above 0."
        )
    handle = (
        regularize(model, opt, penalty, select=select, how=how) if penalty is not None else None
    )
    job = Job(
        model, rows, targets, numbers, held, each, opt, schedule, handle, epochs, batch_size,
        patience, seed, view, autocast,
    )  # fmt: skip
    manifest = {
        "rows": hash_of(rows, targets, *(held or ()))[:16],
        "model": architecture(model),
        "code and attributes of the model": fingerprint(model, "model"),
        "penalty": "none" if handle is None else _in_words(handle),
        "loss": f"{name} {fingerprint(each, 'loss', weights=True)}",
        "optimizer": made_by(optimizer, "optimizer"),
        "scheduler": made_by(scheduler, "scheduler"),
        "epochs": epochs,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
        "augmented": "none" if view is None else view.fact,
        "autocast": str(autocast),
        **versions(),
    }
    loop = Loop(job, manifest, path, progress)
    try:
        with all_random_numbers(seed):
            if path is not None and path.exists():
                _go_on(loop, manifest, path)
            try:
                loop.run()
            except KeyboardInterrupt:
                so_far = f"after {len(loop.curves)} of {epochs} epochs"
                raise interrupted(so_far, checkpoint) from None
        return Trained(
            model,
            loop.curves,
            loop.best_epoch,
            loop.stopped_early,
            None if handle is None else handle.summary(),
        )
    finally:
        if handle is not None:
            handle.remove()


def _in_words(handle: Regularization) -> str:
    parts = [(rule.select, rule.penalty, rule.how) for rule in handle.rules]
    return f"{'; '.join(map(repr, handle.rules))} {fingerprint(parts, 'penalty')}"


def _file(name: str, place: Any) -> Path:
    path = as_path(name, place)
    if not path.parent.is_dir():
        raise ShrinkageError(f"cannot write {path}: {path.parent} is no directory; make it first.")
    return path


def _go_on(loop: Loop, manifest: dict[str, Any], path: Path) -> None:
    """Bring the loop to the moment that a checkpoint holds."""
    state = read_checkpoint(path)
    try:
        check_same(manifest, state["manifest"], path)
        loop.restore(state)
    except ShrinkageError:
        raise
    except Exception as error:  # no training of these arguments writes such a state
        raise ShrinkageError(
            f"{path} does not hold the state of this training ({type(error).__name__}: {error}). "
            "Remove it to start anew, or restore it from a copy."
        ) from error


def _check_model(model: Any, optimizer: Any, scheduler: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ShrinkageError(f"model={model!r:.80} is not a module; give one with its weights.")
    check_no_script(model)
    check_trainable(model)
    if any(p.is_inference() for p in model.parameters()):
        raise ShrinkageError(
            "the model was made inside torch.inference_mode(), where nothing can be trained; make "
            "it outside."
        )
    for name, given in (("optimizer", optimizer), ("scheduler", scheduler)):
        if given is not None and not callable(given):
            raise ShrinkageError(
                f"{name} is a {type(given).__name__}, which cannot make one; give its class, or a "
                "functools.partial of it with settings: it is made here, for this model."
            )
