"""The order of things: chunks, epochs, steps, evaluation."""

from __future__ import annotations

from shrinkage.engine.keep.stopping import Stopped
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.run.compiled import Stepper
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.stacked import stacked
from shrinkage.engine.run.workers import run_in_workers


def train_chunks(run: Run, chunks: list[Chunk], stepper: Stepper, workers: int) -> None:
    """Train every chunk; what its members leave behind goes into the run's outcome.

    Args:
        run: The run.
        chunks: All chunks of the plan.
        stepper: The mapped step.
        workers: How many chunks train at once.
    """
    plan, kept, outcome, model = run.plan, run.kept, run.outcome, run.problem.build(0).eval()

    def work(job: int) -> None:
        chunk = chunks[job]
        own = stacked(run, chunk)
        done, steps = kept.restore(chunk, own.members, outcome), plan.steps(chunk.group)
        if done == plan.epochs * steps:
            own.record_held(model, plan.epochs - 1)
        for epoch in range(done // steps, plan.epochs):
            for inputs in own.inputs(epoch, max(0, done - epoch * steps)):
                stepper.call(inputs)
                done += 1
                kept.after_step(chunk, own.members, outcome, done)
            own.record_training(epoch)
            own.record_held(model, epoch)
            kept.after_epoch(chunk, own.members, outcome, done)
            outcome.epochs_done[own.place] = min(epoch + 1, plan.epochs - 1)
            if workers == 1:
                run.tell_progress()
        own.record_end(model)
        outcome.epochs_done[own.place] = plan.epochs

    run.tell_progress()
    run_in_workers(len(chunks), work, run.tell_progress, workers)
    run.tell_progress()
    if kept.stop_asked():
        raise Stopped
