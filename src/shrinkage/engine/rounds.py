"""The rounds of a path: one, or several by halving and refining, each by the engine that can."""

from __future__ import annotations

from collections.abc import Callable

from shrinkage.engine.halving import halved
from shrinkage.engine.keep.kept import Kept, keeping
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.update import Update, update_for
from shrinkage.engine.plan.outcome import Outcome, Progress
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.refine import refined
from shrinkage.engine.run.alone import train_one_by_one, warn_of_time
from shrinkage.engine.run.exact import solve
from shrinkage.engine.run.together import Together, at_start, train_together
from shrinkage.identity import named
from shrinkage.tensors.own_thread import all_random_numbers


@all_random_numbers(0)
def train_rounds(
    problem: Problem, plan: Plan, settings: Settings, report: Callable[[Progress], None]
) -> tuple[Plan, Outcome, str]:
    """Train the plan, in as many rounds as the settings ask for.

    Args:
        problem: What to train.
        plan: The grid of the first round.
        settings: By which solver, how fast, in which rounds, and where to keep it.
        report: Told how far the run is.

    Returns:
        The plan of all rounds, what its members left behind, and the engine of the first round.
    """
    update = update_for(problem.optimizer)
    engines: list[str] = []

    def train(plan: Plan) -> Outcome:
        outcome, engine = (
            solve(problem, plan, report)
            if settings.exact
            else _by_steps(problem, plan, update, settings, report, kept_of(plan))
        )
        engines.append(engine)
        return outcome

    with keeping(problem, plan, settings.checkpoint, settings.halving) as kept_of:
        halving = settings.halving
        outcome = halved(problem, plan, halving, train) if halving else train(plan)
        if settings.refine:
            plan, outcome = refined(plan, outcome, settings.refine, train)
    return plan, outcome, engines[0]


def _by_steps(
    problem: Problem,
    plan: Plan,
    update: Update | None,
    settings: Settings,
    report: Callable[[Progress], None],
    kept: Kept,
) -> tuple[Outcome, str]:
    """Train a plan side by side if that can be, else one by one; return the engine, too."""
    if kept.places and settings.checkpoint is not None:
        report(at_start("check", plan, kept.found()))
    together = (
        Together(None, f"no vectorized {named(problem.optimizer)}")
        if update is None
        else train_together(
            problem,
            plan,
            update,
            compile=settings.compile,
            report=report,
            members=settings.chunk,
            max_memory=settings.max_memory,
            kept=kept,
        )
    )
    if together.outcome is not None:
        return together.outcome, f"vectorized, {together.note}"
    warn_of_time(plan, together.note)
    report(at_start("train", plan, f"members train one by one, slower: {together.note}"))
    return train_one_by_one(problem, plan, report, kept), f"one by one: {together.note}"
