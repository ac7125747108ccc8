"""From what training left behind to a result with named axes."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from shrinkage.engine.plan.outcome import Outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.stacked import mean_losses
from shrinkage.errors import ShrinkageError
from shrinkage.identity import named
from shrinkage.parameters import Selection, explain_selection, selected_parameters, weights
from shrinkage.result.path_result import PathResult, Refit
from shrinkage.rows.groups import ALL_ROWS, Group
from shrinkage.rows.rows import flat
from shrinkage.tensors.own_thread import one_thread


@one_thread()
def assemble(run: Run, about: dict[str, Any]) -> PathResult:
    """Return the result of a run.

    Raises:
        ShrinkageError: Every member diverged.
    """
    problem, plan, outcome = run.problem, run.plan, run.outcome
    _mark_late(plan, outcome)
    if bool((outcome.diverged >= 0).all()):
        raise ShrinkageError(
            f"all {outcome.diverged.numel()} members diverged (learning rate "
            f"{float(problem.lrs[0]):g}, strengths 0 to {float(plan.strengths[-1]):g}); "
            "lower the learning rate or scale the data."
        )
    rows, sizes = torch.cat(plan.folds.held), torch.tensor([len(h) for h in plan.folds.held])
    order = rows.argsort(stable=True)
    judged = rows[order]
    trained = [problem.weights_of(rows).sum() for rows in plan.folds.trained]

    def by_fold(values: Tensor) -> Tensor:
        taken = [
            [values[:, outcome.columns[Group(f, s)]] for s in plan.seeds]
            for f in range(plan.n_folds)
        ]
        return torch.stack([torch.stack(row, 1) for row in taken], 1)

    return PathResult(
        penalty=problem.penalty,
        strengths=plan.strengths,
        folds=torch.arange(plan.n_folds).repeat_interleave(sizes)[order],
        seeds=plan.seeds,
        tensor_names=problem.selected,
        targets=flat(problem.y[judged]),
        predictions=_out_of_fold(plan, outcome)[:, :, order],
        train_loss=by_fold(outcome.train_loss),
        valid_loss=by_fold(outcome.held_loss),
        fit_loss=by_fold(outcome.fit_loss),
        norms=by_fold(outcome.norms),
        sparsity=by_fold(outcome.sparsity),
        diverged=by_fold(outcome.diverged),
        refit=_refit(run) if plan.refit else None,
        about=about,
        knobs=plan.knobs,
        row_weights=None if problem.row_weights is None else problem.row_weights[judged],
        rows_held=None if plan.folds.ordinary else judged,
        trained_on=None if plan.folds.ordinary else torch.stack(trained),
    )


def _mark_late(plan: Plan, outcome: Outcome) -> None:
    """Mark members that the last step of all made useless: no later loss could tell."""
    late = (outcome.diverged < 0) & ~outcome.fit_loss.isfinite()
    for column, group in enumerate(plan.groups()):
        strengths = late[:, column]
        outcome.diverged[strengths, column] = plan.steps(group) * plan.epochs
        outcome.fit_loss[strengths, column] = torch.nan
        outcome.held_loss[strengths, column, -1] = torch.nan
        if group in outcome.outputs:
            outcome.outputs[group][strengths] = torch.nan


def _out_of_fold(plan: Plan, outcome: Outcome) -> Tensor:
    """Return the outputs of held-out rows, fold after fold: (K, S, N, C)."""

    def of_seed(seed: int) -> Tensor:
        groups = [Group(fold, seed) for fold in range(plan.n_folds)]
        return torch.cat([outcome.outputs[group].float() for group in groups], 1)

    outputs = torch.stack([of_seed(seed) for seed in plan.seeds], 1)
    return outputs.view(*outputs.shape[:3], -1)


def _refit(run: Run) -> Refit:
    problem, plan, outcome = run.problem, run.plan, run.outcome
    groups = [Group(ALL_ROWS, seed) for seed in plan.seeds]

    def by_seed(values: Tensor) -> Tensor:
        return torch.stack([values[:, outcome.columns[group]] for group in groups], 1)

    outputs = targets = losses = None
    if plan.tests:
        outputs = torch.stack([outcome.outputs[group] for group in groups], 1)
        outputs = outputs.view(*outputs.shape[:3], -1)
        tests = plan.held_rows(groups[0])
        losses = torch.stack([mean_losses(problem, outcome.outputs[g], tests) for g in groups], 1)
        targets = flat(problem.y[tests])
    names = outcome.weights[groups[0]]
    return Refit(
        train_loss=by_seed(outcome.train_loss),
        fit_loss=by_seed(outcome.fit_loss),
        norms=by_seed(outcome.norms),
        sparsity=by_seed(outcome.sparsity),
        diverged=by_seed(outcome.diverged),
        weights={
            name: torch.stack([outcome.weights[g][name] for g in groups], 1) for name in names
        },
        test_predictions=outputs,
        test_targets=targets,
        test_loss=losses,
    )


def about(run: Run, engine: str, select: Selection) -> dict[str, Any]:
    """Return the facts that a result carries."""
    problem, plan = run.problem, run.plan
    model = problem.initial(plan.groups()[0])
    by_steps = not engine.startswith("exact")
    return {
        "engine": engine,
        "plan": {
            "model": str(model),
            "optimizer": named(problem.optimizer) if by_steps else None,
            "scheduler": named(problem.scheduler) if problem.scheduler else None,
            "loss": problem.loss_name,
            "how": problem.how if by_steps else None,
            "selected": list(problem.selected),
            "select": _select(model, select),
            "preprocess": problem.views.facts,
            "augmented": problem.augmented.fact if problem.augmented else None,
            "epochs": plan.epochs if by_steps else None,
            "batch_size": plan.batch_size if by_steps else None,
            "autocast": str(problem.autocast) if problem.autocast else None,
        },
        "selection": [
            {
                "name": row.name,
                "penalized": row.name in problem.selected,
                "why": row.reason,
                "numbers": row.tensor.numel(),
            }
            for row in explain_selection(model, select)
        ],
        "versions": {"torch": torch.__version__},
    }


def _select(model: nn.Module, select: Selection) -> str | None:
    """Return the code of a selection of the same tensors; None where it is the default's."""
    names = list(selected_parameters(model, select))
    if select is weights or names == [row.name for row in explain_selection(model) if row.selected]:
        return None
    if isinstance(select, str):
        return repr(select)
    if len(names) == len(list(model.named_parameters())):
        return repr("*")
    return f"re.compile({'^(' + '|'.join(map(re.escape, names)) + ')$'!r})"
