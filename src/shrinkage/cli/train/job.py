"""The job behind ``shrinkage train``: from options to a trained model on disk."""

from __future__ import annotations

import re
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from shrinkage.cli import screens
from shrinkage.cli.exits import say, usage
from shrinkage.cli.facts import about, data_line, network_line, training_line, without_nan
from shrinkage.cli.inputs import make_preprocessing, read_data
from shrinkage.cli.learning import make_optimizer, make_scheduler
from shrinkage.cli.places import Saved, free_directory
from shrinkage.cli.train.directory import CHECKPOINT, FILES, LOG, claim, save
from shrinkage.cli.train.options import TrainOptions
from shrinkage.cli.train.screen import epoch_progress, show_epochs, show_penalized
from shrinkage.data import Dataset, split_test
from shrinkage.errors import ShrinkageError, choose_from
from shrinkage.metrics import explained
from shrinkage.models import make_model
from shrinkage.parameters import explain_selection, weights
from shrinkage.penalties import Penalty, catalogue
from shrinkage.rows.loss import row_loss
from shrinkage.training import Trained, train

if TYPE_CHECKING:
    from rich.console import Console

RULE = re.compile(r"(?P<name>\w+):(?P<strength>[^@]+)(@(?P<pattern>.+))?")


def run(job: TrainOptions, screen: Console, side: Console, *, started: float) -> None:
    """Check everything, train, save, show.

    Args:
        job: What to do.
        screen: For results.
        side: For progress and notes.
        started: When the command started, by `time.perf_counter`.
    """
    rules = read_penalties(job.penalty or [])
    rows, test, facts = read_data(job, side)
    with usage("--valid"):
        fit, held = split_test(rows, job.valid, seed=job.seed)
    preprocess = make_preprocessing(fit)
    fit, held, test = _prepared(preprocess, fit, held, test)
    with usage("--model"):
        factory = make_model(job.model, fit.X.shape[1], rows.outputs, rows.feature_shape)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        model = factory()
    with usage("--penalty"):
        for select in rules:
            explain_selection(model, select)
    scheduler = make_scheduler(job)
    directory = _directory(job, rows.name, side)
    header = {
        "Data": data_line(facts, preprocess),
        "Network": network_line(job.model, (p.numel() for p in model.parameters())),
        "Penalty": ", ".join(job.penalty or ["none"]),
        "Training": training_line(f"{job.optimizer}, learning rate {job.lr:g}", job),
        "Validation": f"{len(held.y):,} of the training rows",
    }
    screens.show_facts(screen, header)
    penalty: Any = rules if len(rules) > 1 else next(iter(rules.values()), None)
    smooth = all(rule.smooth for rule in rules.values())
    how = job.how or ("decoupled" if job.optimizer == "adamw" and smooth else None)
    try:
        with (
            screens.warnings_as_notes(side) as said,
            epoch_progress(side) as progress,
            _logged(job, directory, progress) as report,
        ):
            trained = train(
                model, fit.X, fit.y, penalty, how=how, valid=(held.X, held.y),
                select=next(iter(rules), weights) if len(rules) == 1 else weights,
                optimizer=make_optimizer(job), scheduler=scheduler, epochs=job.epochs,
                autocast=torch.bfloat16 if job.bfloat16 else None,
                batch_size=job.batch_size, patience=job.patience, seed=job.seed,
                checkpoint=directory / CHECKPOINT, progress=report,
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"Interrupted. To resume, add: --out {directory} --resume")
        raise typer.Exit(130) from None
    except ShrinkageError:
        with suppress(OSError):
            directory.rmdir()
        raise
    measured = evaluate(trained, test)
    result = {
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "epochs": trained.curves,
        "test": measured,
        "cautions": said,
        "penalized": [] if trained.summary is None else trained.summary.rows,
    }
    manifest = without_nan({**about(), "data": facts, **result})
    with screens.busy(side, "Saving"):
        fault = save(directory, trained, manifest)
    saved = Saved(directory, FILES, time.perf_counter() - started, fault)
    if job.as_json:
        saved.print_json(manifest)
    show_epochs(screen, trained, measured, len(test.y))
    show_penalized(screen, trained, said)
    saved.show(screen)


def read_penalties(texts: list[str]) -> dict[Any, Penalty]:
    """Return penalties by selection: patterns in their order, then that of other weights."""
    known, rules = catalogue(), {}
    with usage("--penalty"):
        for text in texts:
            match = RULE.fullmatch(text)
            if match is not None and match["name"] not in known:
                raise ShrinkageError(
                    f"{match['name']!r} is not a penalty; "
                    f"{choose_from(match['name'], sorted(known))}"
                )
            if match is None:
                raise ShrinkageError(
                    f"{text!r} is not a penalty with a strength; write l2:1e-3, or l1:0.1@0.* for "
                    f"the parameters named 0.*. Penalties: {', '.join(sorted(known))}."
                )
            try:
                strength = float(match["strength"])
            except ValueError:
                more = "; for several penalties repeat --penalty" * ("," in text)
                raise ShrinkageError(
                    f"{text!r}: {match['strength']!r} is not a number{more}."
                ) from None
            select = match["pattern"] or weights
            if select in rules:
                raise ShrinkageError(f"{text!r}: another penalty is given for the same parameters.")
            rules[select] = known[match["name"]](strength)
    return {**{s: p for s, p in rules.items() if s is not weights}, **_rest(rules)}


def _rest(rules: dict[Any, Penalty]) -> dict[Any, Penalty]:
    return {weights: rules[weights]} if weights in rules else {}


def evaluate(trained: Trained, test: Dataset) -> dict[str, float]:
    """Return the loss on the test rows, and the accuracy or R2."""
    _, loss, _ = row_loss("auto", test.y)
    trained.model.eval()
    with torch.no_grad():
        outputs = trained.model(test.X)
        mean = loss(outputs, test.y).double().mean()
    if test.task == "classification":
        right = (outputs.argmax(1) == test.y).double().mean()
        return {"loss": mean.item(), "accuracy": right.item()}
    return {"loss": mean.item(), "R2": explained(mean, test.y).item()}


def _prepared(preprocess: Any, fit: Dataset, *others: Dataset) -> list[Dataset]:
    """Bring the columns of a table to mean 0 and deviation 1 of the rows that are trained on."""
    if preprocess is None:
        return [fit, *others]
    preprocess.fit(fit.X.double().numpy())
    return [
        replace(part, X=torch.from_numpy(preprocess.transform(part.X.double().numpy())).float())
        for part in (fit, *others)
    ]


def _directory(job: TrainOptions, data: str, side: Console) -> Path:
    """Return where the run goes, made; refuse what is not free or cannot go on."""
    if job.resume and job.out is None:
        raise typer.BadParameter("say which run with --out.", param_hint="--resume")
    directory = job.out or free_directory(f"{data}-train", job.overwrite)
    claim(directory, resume=job.resume, overwrite=job.overwrite)
    if job.resume and not (directory / CHECKPOINT).exists():
        screens.show_note(side, f"{directory} has no {CHECKPOINT} yet; the training starts anew.")
    return directory


def _logged(job: TrainOptions, directory: Path, progress: Any) -> Any:
    """Return the progress, written for TensorBoard too if asked."""
    if not job.tensorboard:
        return nullcontext(progress)
    from shrinkage.integrations.tensorboard import tensorboard

    return tensorboard(directory / LOG, progress)
