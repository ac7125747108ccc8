"""The main function: a whole cross-validated regularization path in one call."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from shrinkage.engine.assemble import about, assemble
from shrinkage.engine.exact.solve import check_convex, check_convex_settings
from shrinkage.engine.keep.stopping import interrupted
from shrinkage.engine.member.fresh import ModelSource
from shrinkage.engine.member.given import Grid, make_seeds
from shrinkage.engine.member.problem import Problem, make_problem, with_augmented
from shrinkage.engine.member.schedule import MakeScheduler
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.trial import check_last_batch
from shrinkage.engine.member.update import ADAM, MakeOptimizer
from shrinkage.engine.plan.crossed import make_points
from shrinkage.engine.plan.outcome import Progress, Teller
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.rounds import train_rounds
from shrinkage.errors import warn
from shrinkage.parameters import Selection, weights
from shrinkage.penalties import Penalty
from shrinkage.result.path_result import PathResult
from shrinkage.rows.datasets import batch_size_of
from shrinkage.rows.loss import Loss
from shrinkage.rows.preprocess import Transformer
from shrinkage.rows.read import read_data
from shrinkage.tensors.own_thread import one_thread
from shrinkage.tensors.surroundings import own_surroundings


@contextmanager
def _with_garbage_of_its_own() -> Iterator[None]:
    """Search new objects alone for garbage: going through torch's takes longer than the check."""
    if gc.get_freeze_count():  # the caller has seen to it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@own_surroundings()
@_with_garbage_of_its_own()
def fit_path(
    model: ModelSource,
    X: Any,
    y: Any,
    penalty: Penalty,
    *,
    test: tuple[Any, Any] | Dataset[Any] | DataLoader[Any] | None = None,
    augmented: Dataset[Any] | DataLoader[Any] | None = None,
    strengths: int | Sequence[float] = 20,
    grid: Grid | None = None,
    draws: int | None = None,
    refine: int = 0,
    classes: Sequence[Any] | None = None,
    folds: Any = 5,
    groups: Any = None,
    seeds: int | Sequence[int] = 3,
    epochs: int = 20,
    batch_size: int | None = None,
    loss: Loss = "auto",
    sample_weight: Any = None,
    optimizer: MakeOptimizer = ADAM,
    scheduler: MakeScheduler | None = None,
    preprocess: Transformer | None = None,
    select: Selection = weights,
    how: str | None = None,
    refit: bool = True,
    autocast: torch.dtype | None = None,
    solver: Literal["steps", "exact"] = "steps",
    compile: bool | Literal["auto"] = "auto",
    progress: Callable[[Progress], None] | None = None,
    chunk: int | None = None,
    max_memory: int | None = None,
    checkpoint: str | Path | None = None,
) -> PathResult:
    r"""Train a model at every strength, fold and seed, all at once, and cross-validate it.

    Members that share a fold and a seed share initial weights, batches and random numbers, so
    their differences show the strength alone. The same path is also fit on all training rows.

    Args:
        model: A module whose layers have ``reset_parameters`` (copied, never changed), or a
            factory without arguments; on the CPU, where all members train.
        X: Training rows, (N, ...): tensor, array, nested lists, a frame of pandas or polars,
            or a map-style Dataset of ``(x, y)`` items, or its DataLoader (then y is None).
        y: Targets: integer classes 0..C-1, or numbers, (N,) or (N, M).
        penalty: The penalty; the path's strengths replace its own.
        test: Held-out ``(X, y)`` or Dataset, never used for the choice of a strength.
        augmented: The training rows once more, as a Dataset or DataLoader whose items are random:
            every step draws its own, the same for all strengths. Their targets may be drawn too,
            and a loader's ``collate_fn`` may mix the rows of a batch. Training sees these alone;
            X judges, and the training loss at the end is that of X too.
        strengths: How many automatic strengths, or the strengths. Strength 0 is always added;
            ``[0]`` beside a grid compares the knobs alone.
        grid: Knobs to cross the strengths with: values by name, such as ``{"dropout": [0, 0.5]}``.
            ``lr`` (scales the schedule), ``weight_decay`` (the optimizer's own), ``dropout``
            (replaces the rate of every dropout), ``label_smoothing`` (while training), ``epochs``
            (after which a member stays as it is: early stopping), and the real arguments of the
            penalty, such as ``l1_ratio``, or ``l2_strength`` for the term of a sum (the strengths
            multiply the whole sum).
        draws: How many combinations of knobs to draw, quasi-random and each with a whole path
            of strengths, where the grid names ranges: ``{"lr": (1e-4, 1e-2)}``.
        refine: How many strengths to train in a second round around the minimum of the first, on
            the same folds and seeds; True stands for 8.
        classes: The labels of the classes 0..C-1, such as ``["ham", "spam"]``. Scorers, splitters
            and ``preprocess`` see them in place of the numbers, and reports show them.
        folds: A number of folds (stratified for classes), any scikit-learn splitter, such as
            ``TimeSeriesSplit(5)``, pairs of rows as its ``split`` yields, or a fold id per row.
        groups: A label per row, such as the patient's; rows of one group stay in one fold.
        seeds: How many seeds (0, 1, ...), or the seeds.
        epochs: Passes over the training rows.
        batch_size: Rows a step; by default those of the DataLoader trained on, or 32.
        loss: "auto" (cross-entropy for integer targets, else mean squared error),
            "cross_entropy", "mse", a torch loss module, or a function
            ``(output, target) -> one value per row``. The data loss is a mean over rows.
        sample_weight: A weight above 0 for each row, in every mean over rows, held-out ones too.
            Test rows weigh the same.
        optimizer: ``functools.partial(torch.optim.Adam, lr=1e-3)`` or the like. SGD, Adam,
            AdamW and RMSprop train vectorized, any other one member at a time.
        scheduler: ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)`` or the
            like, stepped after each epoch.
        preprocess: A scikit-learn transformer such as ``StandardScaler()``. Each fold's members
            see X through a copy fitted without that fold, the refit and the test rows through one
            fitted on all training rows. X may then hold NaN, for an imputer.
        select: Which tensors are penalized, as in :func:`shrinkage.regularize`.
        how: The coupling; by default coupled for smooth penalties, proximal for the others.
        refit: Whether to fit the path on all training rows too.
        autocast: ``torch.bfloat16`` computes forward passes of a float32 model in bfloat16, as
            ``torch.autocast`` does, with losses, penalty, parameters and optimizer in float32.
        solver: "steps" trains with the optimizer. "exact" finds the minimum itself, for a model
            that is linear in its parameters with a convex penalty and one of torch's convex
            losses; epochs, batch_size and seeds are then ignored.
        compile: "auto" compiles runs that are long enough for it to pay.
        progress: Called with a :class:`Progress` as the run goes on.
        chunk: Members trained at once; by default as many as fit into caches and memory.
        max_memory: Bytes that the members trained at once may need; by default half of what
            is free. If memory runs out all the same, fewer are trained at once.
        checkpoint: A directory that keeps what has been trained. The same call goes on from
            there, also after it was killed, with the same numbers to the bit; with more
            strengths, knobs, seeds or epochs it trains those alone. SIGINT, SIGTERM and SIGHUP
            then end the run after the step they find it in, with everything written.

    Returns:
        The path: losses, outputs, norms by strength, fold and seed.

    Warns:
        ShrinkageWarning: ``one fold``: a single split, which has no verdict.

    Raises:
        ShrinkageError: Data, model, grid or settings cannot be trained as given.

    Example:
        >>> from shrinkage.penalties import L2
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> result = fit_path(torch.nn.Linear(4, 2), X, y, L2(1.0), strengths=3, seeds=1, epochs=2)
        >>> result.strengths.shape
        torch.Size([4])
    """
    settings = Settings.among(locals()).checked(penalty)
    tell = Teller(settings.progress)
    if settings.exact:
        check_convex_settings(penalty, settings)
    batch_size = batch_size_of(X if augmented is None else augmented, settings.batch_size)
    with one_thread():
        data = read_data(X, y, test, folds, groups, sample_weight, preprocess, classes)
        rows = data.folds.rows
        batch_size = rows if settings.exact else min(batch_size, rows)
        problem = make_problem(model, data, penalty, settings, batch_size)
    if len(data.folds.held) == 1:
        warn(
            "one fold",
            "the path and minimum() work, but a single split has no variance over folds: "
            "verdict(), noise() and the standard-error rules refuse it, and need 2 folds or more.",
        )
    if augmented is not None:
        problem = with_augmented(problem, augmented, rows, batch_size)
    if settings.exact:
        check_convex(problem)
    points, knobs = make_points(problem, rows, settings)
    chosen = make_seeds(settings.seeds)
    plan = Plan(points, data.folds, chosen, data.tests, settings.epochs, batch_size, refit, knobs)
    _check_last_batches(problem, plan)
    try:
        run, engine = train_rounds(problem, plan, settings, tell)
    except KeyboardInterrupt:
        raise interrupted(tell.so_far, settings.checkpoint) from None
    facts = about(run, engine, select)
    if data.columns:
        facts["columns"] = data.columns
    if data.classes:
        facts["classes"] = data.classes
    return assemble(run, facts)


def _check_last_batches(problem: Problem, plan: Plan) -> None:
    sizes = {len(plan.train_rows(group)) for group in plan.groups()}
    if problem.augmented is not None:
        problem.augmented.check_batches({size % plan.batch_size for size in sizes} - {0})
    if problem.normalizes:
        check_last_batch(problem.build(0), problem.X, sizes, plan.batch_size)
