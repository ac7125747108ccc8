"""The comparison as one call: every method tuned alike, then judged on rows that none has seen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from shrinkage.comparing.comparison import Comparison, ranked
from shrinkage.comparing.contender import Contender
from shrinkage.comparing.contest import Contest, Relay
from shrinkage.comparing.methods import BEST_PAIR, make_methods
from shrinkage.engine.fit_path import fit_path
from shrinkage.engine.member.fresh import ModelSource, make_builder
from shrinkage.engine.member.schedule import MakeScheduler
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.update import ADAM, MakeOptimizer
from shrinkage.engine.plan.outcome import Progress, Teller
from shrinkage.errors import ShrinkageError, as_whole
from shrinkage.parameters import Selection, weights
from shrinkage.penalties import L2
from shrinkage.result.path_result import PathResult
from shrinkage.rows.datasets import batch_size_of, in_memory, pair_in_memory
from shrinkage.rows.loss import row_loss
from shrinkage.rows.preprocess import Transformer
from shrinkage.rows.rows import as_rows
from shrinkage.tensors.surroundings import own_surroundings

USUAL: Mapping[str, MakeOptimizer] = {"adam": ADAM}

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@own_surroundings()
def compare(
    model: ModelSource,
    X: Any,
    y: Any,
    *,
    test: tuple[Any, Any] | Dataset[Any] | DataLoader[Any],
    augmented: Dataset[Any] | DataLoader[Any] | None = None,
    methods: Sequence[str] | None = None,
    optimizers: Mapping[str, MakeOptimizer] = USUAL,
    values: int = 8,
    folds: Any = 5,
    groups: Any = None,
    seeds: int | Sequence[int] = 2,
    epochs: int = 40,
    batch_size: int | None = None,
    loss: Literal["auto", "cross_entropy", "mse"] = "auto",
    scheduler: MakeScheduler | None = None,
    preprocess: Transformer | None = None,
    select: Selection = weights,
    autocast: torch.dtype | None = None,
    compile: bool | Literal["auto"] = "auto",
    progress: Callable[[Progress], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Comparison:
    r"""Tune ways to regularize on the same folds and seeds, and judge them on test rows.

    Each method is tuned over the same number of values, none among them: a penalty over automatic
    strengths, dropout over rates up to 0.7, label smoothing up to 0.35, early stopping over the
    number of epochs. The best pair combines the two best methods that can act at once, on as
    many points around their choices, so it builds on the tuning of both. Cross-validation chooses
    the value of the smallest mean loss; models refit on all training rows meet the test rows once.

    A method's number is the mean test loss over rows and seeds, its difference to another method
    a mean over the same rows. The intervals hold together with 95% confidence, whatever the number
    of methods, and say how the differences would vary with other test rows; not with other
    training rows or seeds.

    Args:
        model: As for :func:`shrinkage.fit_path`. If it has dropout layers, their rates are
            replaced: by 0 wherever dropout is not what is tried.
        X: Training rows, (N, ...), or a Dataset of ``(x, y)`` items (then y is None).
        y: Targets: integer classes, or numbers.
        test: Held-out ``(X, y)`` to judge on, or a Dataset.
        augmented: The training rows once more with random changes, for training alone, as for
            :func:`shrinkage.fit_path`.
        methods: From "l2", "l1", "elastic_net", "group_lasso" (of inputs and hidden units, axis 1
            of each weight), "decoupled_decay", "dropout", "label_smoothing", "early_stopping" and
            "best_pair"; None for all that the model and the loss have. No regularization is always
            among them.
        optimizers: By the name to call it. Learning rates are not tuned.
        values: How many values each method is tuned over.
        folds: As for :func:`shrinkage.fit_path`, as are all that follow.
        groups: A label per row; rows of one group stay in one fold.
        seeds: How many seeds, or the seeds.
        epochs: Passes over the training rows.
        batch_size: Rows a step; by default those of the DataLoader trained on, or 32.
        loss: "cross_entropy" or "mse", "auto" by the targets.
        scheduler: The schedule of the learning rate.
        preprocess: A scikit-learn transformer, fitted for each fold without that fold.
        select: Which tensors are penalized.
        autocast: ``torch.bfloat16`` computes forward passes in bfloat16.
        compile: "auto" compiles runs that are long enough for it to pay.
        progress: Called with a :class:`Progress` of the whole comparison.
        checkpoint: A directory that keeps what has been trained, each method in one of its own.
            The same call goes on from there, also after it was killed, with the same numbers to
            the bit; with more methods, optimizers or seeds it trains those alone. Signals are as
            for :func:`shrinkage.fit_path`.

    Returns:
        The ranking, with every path that was trained.

    Raises:
        ShrinkageError: Data, model or settings cannot be trained as given, or nothing could.

    Example:
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> result = compare(
        ...     torch.nn.Linear(4, 2), X[:40], y[:40], test=(X[40:], y[40:]),
        ...     methods=["l2", "early_stopping"], values=4, folds=2, seeds=1, epochs=4,
        ... )
        >>> sorted(row.contender.method for row in result.rows)
        ['L2', 'early stopping', 'none']
    """
    tell = Teller(progress)
    if not optimizers:
        raise ShrinkageError("optimizers: give at least one, by name.")
    shared: dict[str, Any] = {
        "augmented": augmented,
        "folds": folds,
        "groups": groups,
        "seeds": seeds,
        "epochs": epochs,
        "batch_size": batch_size,
        "loss": loss,
        "preprocess": preprocess,
        "select": select,
        "autocast": autocast,
        "compile": compile,
    }
    Settings(**shared, checkpoint=checkpoint).checked(L2(1.0))
    shared["batch_size"] = batch_size_of(X if augmented is None else augmented, batch_size)
    test = pair_in_memory(test, "test")
    rows, targets = as_rows(*in_memory(X, y), finite=preprocess is None)
    off = {"epochs": float(as_whole("epochs", epochs))}
    if row_loss(loss, targets)[0] == "cross_entropy":
        off["label_smoothing"] = 0.0
    if any(isinstance(module, DROPOUT) for module in make_builder(model)(0).modules()):
        off["dropout"] = 0.0
    chosen = make_methods(methods, values, off)
    paired = (methods is None or BEST_PAIR in methods) and len(chosen) > 1
    train = functools.partial(
        fit_path, model, rows, targets, test=test, scheduler=scheduler, **shared
    )
    relay = Relay(tell, len(optimizers) * (len(chosen) + paired))
    paths: dict[tuple[str, str], PathResult] = {}
    contenders: list[Contender] = []
    for name, optimizer in optimizers.items():
        own = functools.partial(train, optimizer=optimizer)
        contest = Contest(name, own, off, relay, None if checkpoint is None else Path(checkpoint))
        contest.run(chosen)
        if paired:
            contest.run_pair(chosen, values)
        contenders += contest.contenders.values()
        paths |= {(name, method): path for method, path in contest.paths.items()}
    if all(contender.note for contender in contenders):
        raise ShrinkageError(f"nothing could be trained: {contenders[0].note}")
    some = next(iter(paths.values()))
    about = {
        **some.about,
        "off": off,
        "values": values,
        "paired": paired,
        "test_rows": len(test[1]),
    }
    return ranked(contenders, paths, some.task, about)
