"""Is a strength chosen by cross-validation worth it? Many small training sets, one answer each.

    python examples/does_it_help.py                        # 200 splits of four small data sets
    python examples/does_it_help.py --mnist DIR            # and 1,000 of the MNIST images
    python examples/does_it_help.py --repeats 8 --only wine

Each repeat draws a small training part and keeps the rest as the test, far larger than any
held-out fold. Every way to choose the strength of an L2 penalty sees the training part alone:

- no penalty: strength 0.
- AdamW as it comes: ``weight_decay=0.01``, nothing tuned.
- one split, 10 trials: what PyTorch's tuning tutorial does. A random 80/20 split, 10 random
  strengths of the same grid, one training each; the best trial's model is the answer. Once more
  with the best trial's strength trained again on all rows.
- minimum, one standard error, paired: ``fit_path`` (20 strengths and 0, 5 folds, 2 seeds), then
  the three rules of ``shrinkage.choose``.

Reported are the test loss, its difference from no penalty in the same repeat with the standard
error over repeats (they share rows, so it is a little too small), the regret against the strength
that is best on the test rows (which nobody can know), how often the strength is 0, and the standard
deviation of log10 of the others.
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from shrinkage import (
    L2,
    fit_path,
    minimum,
    one_standard_error,
    paired_one_standard_error,
    regularize,
)
from shrinkage.data import load_data
from shrinkage.models import perceptron

BATCH, TRIALS = 32, 10


@dataclass(frozen=True)
class Case:
    """A data set, how much of it is for training, and how it is trained."""

    source: str
    rows: int
    hidden: int
    epochs: int
    lr: float
    share_of_repeats: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What one way to choose gave in one repeat."""

    data: str
    repeat: int
    way: str
    strength: float
    test_loss: float
    change: float
    regret: float


CASES = {
    "digits": Case("digits", 200, 64, 40, 3e-3),
    "breast_cancer": Case("breast_cancer", 100, 32, 60, 3e-3),
    "wine": Case("wine", 60, 32, 60, 3e-3),
    "diabetes": Case("diabetes", 100, 32, 60, 3e-3),
}


@dataclass(frozen=True)
class Split:
    """One repeat: a training part, the test part, and what to fit to them."""

    X: Tensor
    y: Tensor
    held_rows: Tensor
    held_targets: Tensor
    model: Callable[[], nn.Module]
    loss: nn.Module


def draw(case: Case, repeat: int) -> Split:
    data = load_data(case.source)
    if data.test is not None:
        data = data.test
    X, y = data.X, data.y
    classes = data.task == "classification"
    if not classes:
        y = (y - y.mean()) / y.std()
    kept, rest = train_test_split(
        range(len(y)), train_size=case.rows, stratify=y if classes else None, random_state=repeat
    )
    scaler = StandardScaler().fit(X[kept])
    train, test = (torch.tensor(scaler.transform(X[part])).float() for part in (kept, rest))
    outputs = data.outputs
    return Split(
        train,
        y[kept],
        test,
        y[rest],
        partial(perceptron, X.shape[1], outputs, [case.hidden]),
        nn.CrossEntropyLoss() if classes else nn.MSELoss(),
    )


def one_model(
    case: Case, split: Split, rows: Tensor, seed: int, strength: float, decay: float = 0.0
) -> nn.Module:
    """Train one model as anybody would: with a penalty, or with AdamW's own decay."""
    torch.manual_seed(seed)
    model = split.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=case.lr, weight_decay=decay)
    if strength:
        regularize(model, optimizer, L2(strength))
    for _ in range(case.epochs):
        for batch in rows[torch.randperm(len(rows))].split(BATCH):
            optimizer.zero_grad()
            fit(split, model, split.X[batch], split.y[batch]).backward()
            optimizer.step()
    return model


def fit(split: Split, model: nn.Module, X: Tensor, y: Tensor) -> Tensor:
    output = model(X)
    return split.loss(output if y.dtype == torch.long else output.flatten(), y)


def repeat_once(name: str, case: Case, repeat: int) -> list[Answer]:
    torch.set_num_threads(1)
    split = draw(case, repeat)
    every, seeds = torch.arange(len(split.y)), [2 * repeat, 2 * repeat + 1]
    result = fit_path(
        split.model,
        split.X,
        split.y,
        L2(1.0),
        test=(split.held_rows, split.held_targets),
        seeds=seeds,
        epochs=case.epochs,
        batch_size=BATCH,
        optimizer=partial(torch.optim.Adam, lr=case.lr),
        compile=True,
    )
    on_test = result.test_metric().mean(1)
    none, oracle = float(on_test[0]), float(on_test.min())
    answers = []

    def answer(way: str, strength: float, loss: float) -> None:
        answers.append(Answer(name, repeat, way, strength, loss, loss - none, loss - oracle))

    @torch.no_grad()
    def tested(model: nn.Module) -> float:
        return float(fit(split, model, split.held_rows, split.held_targets))

    answer("no penalty", 0.0, none)
    plain = [tested(one_model(case, split, every, seed, 0.0, decay=0.01)) for seed in seeds]
    answer("AdamW's default", math.nan, sum(plain) / len(plain))
    index, model = best_of_trials(case, split, repeat, result.strengths)
    answer("one split, 10 trials", float(result.strengths[index]), tested(model))
    answer("the same, refit", float(result.strengths[index]), float(on_test[index]))
    for way, rule in {
        "minimum": minimum,
        "paired": paired_one_standard_error,
        "one standard error": one_standard_error,
    }.items():
        choice = rule(result)
        answer(way, choice.strength, float(on_test[choice.index]))
    answer("best on the test rows", float(result.strengths[on_test.argmin()]), oracle)
    return answers


def best_of_trials(
    case: Case, split: Split, repeat: int, strengths: Tensor
) -> tuple[int, nn.Module]:
    kept, held = train_test_split(torch.arange(len(split.y)), test_size=0.2, random_state=repeat)
    random = torch.Generator().manual_seed(repeat)
    tried = (1 + torch.randperm(len(strengths) - 1, generator=random)[:TRIALS]).tolist()
    models = [
        one_model(case, split, kept, TRIALS * repeat + trial, float(strengths[index]))
        for trial, index in enumerate(tried)
    ]
    with torch.no_grad():
        losses = [float(fit(split, model, split.X[held], split.y[held])) for model in models]
    best = losses.index(min(losses))
    return tried[best], models[best]


def show(name: str, case: Case, answers: list[Answer], console: Console) -> None:
    repeats = len({answer.repeat for answer in answers})
    title = f"{name}: {case.rows} training rows, {repeats} repeats"
    table = Table(title=title, title_justify="left")
    table.add_column("way to choose", no_wrap=True)
    for column in ("test loss", "vs no penalty", "better in", "regret", "strength 0", "sd log10"):
        table.add_column(column, justify="right")
    for way in dict.fromkeys(answer.way for answer in answers):
        own = [answer for answer in answers if answer.way == way]
        values = {
            f: torch.tensor([getattr(a, f) for a in own]) for f in ("test_loss", "change", "regret")
        }
        strength = torch.tensor([a.strength for a in own], dtype=torch.float64)
        error = values["change"].std() / math.sqrt(repeats)
        above = strength[strength > 0].log10()
        chosen = not strength.isnan().any() and way != "no penalty"
        table.add_row(
            way,
            f"{values['test_loss'].mean():.4f}",
            f"{values['change'].mean():+.4f} ± {error:.4f}",
            f"{(values['change'] < 0).float().mean():.0%}",
            f"{values['regret'].mean():.4f}",
            f"{(strength == 0).float().mean():.0%}" if chosen else "-",
            f"{above.std():.2f}" if chosen and len(above) > 1 else "-",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=[*CASES, "mnist"], help="data sets")
    parser.add_argument("--mnist", metavar="DIR", help="IDX files; a tenth of the repeats")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="repeats at once")
    parser.add_argument("--out", type=Path, help="CSV file with every answer")
    options = parser.parse_args()
    cases = dict(CASES)
    if options.mnist:
        cases["mnist"] = Case(options.mnist, 1000, 128, 20, 1e-3, share_of_repeats=0.1)
    chosen = {name: cases[name] for name in options.only or cases}
    console, everything = Console(width=110), []
    for name, case in chosen.items():
        repeats = max(2, round(options.repeats * case.share_of_repeats))
        first = repeat_once(name, case, 0)  # compiles the step for all
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, spawn) as pool:
            jobs = [pool.submit(repeat_once, name, case, repeat) for repeat in range(1, repeats)]
            done = track(as_completed(jobs), name, len(jobs), console=Console(stderr=True))
            answers = first + [answer for job in done for answer in job.result()]
        answers.sort(key=lambda answer: answer.repeat)
        show(name, case, answers, console)
        everything += answers
    if options.out:
        with options.out.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(field.name for field in fields(Answer))
            writer.writerows(map(astuple, everything))


if __name__ == "__main__":
    main()
