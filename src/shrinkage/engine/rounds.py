"""The rounds of a path: one, or a second by refining, each by the engine that can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shrinkage.engine.exact.solve import solve
from shrinkage.engine.keep.kept import keeping
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.member.update import update_for
from shrinkage.engine.plan.outcome import Progress
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.refine import refined
from shrinkage.engine.run.alone import train_one_by_one, warn_of_time
from shrinkage.engine.run.run import Run, begun
from shrinkage.engine.run.together import train_together
from shrinkage.tensors.own_thread import all_random_numbers


@all_random_numbers(0)
def train_rounds(
    problem: Problem, plan: Plan, settings: Settings, tell: Callable[[Progress], None]
) -> tuple[Run, str]:
    """Train the plan, in as many rounds as the settings ask for.

    Args:
        problem: What to train.
        plan: The members of the first round.
        settings: By which solver, how fast, in how many rounds, and where to keep it.
        tell: Told how far the run is.

    Returns:
        The run of all rounds, and the engine of the first.
    """
    update = update_for(problem.optimizer)
    with keeping(problem, plan, settings.checkpoint) as kept_of:

        def trained(plan: Plan) -> tuple[Run, str]:
            return _trained(begun(problem, plan, update, kept_of(plan), tell), settings)

        run, engine = trained(plan)
        if settings.refine:
            plan, outcome = refined(
                plan, run.outcome, settings.refine, lambda plan: trained(plan)[0].outcome
            )
            run = replace(run, plan=plan, outcome=outcome)
    return run, engine


def _trained(run: Run, settings: Settings) -> tuple[Run, str]:
    """Train a run side by side if that can be, else one by one; return the engine, too."""
    if settings.exact:
        return run, solve(run)
    if run.kept.places:
        run.tell_stage("check", run.kept.found())
    together, note = train_together(run, settings)
    if together:
        return run, f"vectorized, {note}"
    warn_of_time(run.plan, note)
    run.tell_stage("train", f"members train one by one, slower: {note}")
    alone = begun(run.problem, run.plan, run.update, run.kept, run.tell)
    train_one_by_one(alone)
    return alone, f"one by one: {note}"
