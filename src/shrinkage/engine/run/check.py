"""The self-check: do members trained together equal the same members trained alone?"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from shrinkage.engine.member.knobs import (
    Point,
    dropout_alone,
    loss_at,
    penalty_at,
    rate_at,
    update_at,
)
from shrinkage.engine.member.layers import mappable_attention, replaced, without_memory
from shrinkage.engine.member.member import (
    Member,
    Tensors,
    model_tensors,
    stacked_members,
    trained_names,
)
from shrinkage.engine.member.precision import forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.step import updated
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.chunks import outputs_of, step_inputs
from shrinkage.engine.run.compiled import Stepper

TOLERANCE = 1e-2
AUTOCAST_TOLERANCE = 0.25
"""Differences larger than rounding makes; in bfloat16 Adam's first steps differ by up to 0.1."""

STEPS_FROM_EACH_END = 2
ROWS = 256


def difference_together(
    problem: Problem, plan: Plan, update: Update, chunk: Chunk, stepper: Stepper
) -> str | None:
    """Train a few steps of two members together and alone; return what differs, or None.

    The steps are the first and the last two of an epoch, the short batch among them. The two
    members are those of the chunk's smallest and largest strength. Compared are their outputs:
    the gap between the two results, relative to how far training has moved them. Rounding lies far
    below the tolerance, a wrong batch statistic or random number far above it. Weights are not
    compared, since Adam makes whole steps of gradients that are mere rounding; nor are the
    running means of batch normalization, which follow a bias that has only such gradients.

    Args:
        problem: What to train.
        plan: The grid.
        update: The optimizer.
        chunk: The members to try.
        stepper: The mapped step under test.
    """
    tolerance = TOLERANCE if problem.autocast is None else AUTOCAST_TOLERANCE
    together = stacked_members(problem.initial(chunk.group), update, len(chunk.strengths))
    chosen = _run_some(problem, plan, update, chunk, together, stepper)
    x = problem.views.of(chunk.group.fold)[plan.train_rows(chunk.group)[:ROWS]]
    for place in {0, chunk.members - 1}:
        model = problem.initial(chunk.group)
        with replaced(without_memory()):
            before = _outputs(model, x)
        point = plan.point(chunk.strengths[place])
        unused = _train_alone(model.train(), problem, plan, update, chunk, point, chosen)
        if unused:
            return f"{unused} has no part in the loss"
        tensors = {**together.params, **together.fixed}
        own = {name: tensor[place : place + 1] for name, tensor in tensors.items()}
        with replaced(without_memory()):
            alone = _outputs(model, x)
            stacked = outputs_of(model.eval(), own, x)[0]
        way, gap = (alone - before).norm(), (alone - stacked).norm()
        if way.isfinite() and not gap <= tolerance * way + 1e-5 * alone.norm():
            return (
                f"{_suspect(model)}trained together, outputs differ by {gap / way:.1%} of their "
                "change"
            )
    return None


@contextmanager
def slow_mapping_refused() -> Iterator[None]:
    """Turn torch's warning that an operation is mapped one by one, slowly, into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "There is a performance drop", UserWarning)
        yield


def blamed_module(model: nn.Module, x: Tensor, error: Exception) -> str:
    """Return the module in which a mapped forward pass fails, with the reason.

    Args:
        model: The module in training mode.
        x: A few rows.
        error: What the engine saw.
    """
    from torch.func import functional_call, vmap

    entered: list[str] = []
    names = {module: name or "the model" for name, module in model.named_modules()}
    hooks = [
        module.register_forward_pre_hook(
            lambda m, _: entered.append(f"{type(m).__name__} {names[m]!r}")
        )
        for module in names
    ] + [module.register_forward_hook(lambda *_: entered.pop() and None) for module in names]
    stacked = {n: t.expand(2, *t.shape).clone() for n, t in model_tensors(model).items()}
    reason = _in_words(error)
    try:
        with mappable_attention(), slow_mapping_refused():
            vmap(lambda own, x: functional_call(model, own, (x,)))(stacked, x.expand(2, *x.shape))
    except (RuntimeError, ValueError, TypeError, UserWarning) as failure:
        reason = f"{entered[-1]}: {_in_words(failure)}" if entered else reason
    finally:
        for hook in hooks:
            hook.remove()
    return reason


def _in_words(error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if operation := re.search(r"batching rule .*(aten::\w+)", first, re.IGNORECASE):
        return f"torch has no batching rule for {operation[1]}"
    if "random operation" in first:
        return "draws random numbers of its own"
    return first[:160]


def _suspect(model: nn.Module) -> str:
    kinds = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    found = [f"{type(m).__name__} {n!r}" for n, m in model.named_modules() if isinstance(m, kinds)]
    return f"{found[0]}: " if found else ""


def _run_some(
    problem: Problem,
    plan: Plan,
    update: Update,
    chunk: Chunk,
    members: Member,
    stepper: Stepper,
) -> list[int]:
    last, some = plan.steps(chunk.group), STEPS_FROM_EACH_END
    chosen = sorted({*range(min(some, last)), *range(max(0, last - some), last)})
    for step in chosen:
        stepper.run(next(step_inputs(problem, plan, update, chunk, members, 0, step)))
    return chosen


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    training = model.training
    with torch.no_grad():
        outputs: Tensor = model.eval()(x)
    model.train(training)
    return outputs


def _train_alone(
    model: nn.Module,
    problem: Problem,
    plan: Plan,
    update: Update,
    chunk: Chunk,
    point: Point,
    steps: list[int],
) -> str | None:
    penalty, update, rate = penalty_at(problem, point), update_at(update, point), point.get("lr")
    own = dict(model.named_parameters())
    trained: Tensors = {name: own[name] for name in trained_names(model)}
    slots = {n: tuple(torch.zeros_like(p) for _ in range(update.slots)) for n, p in trained.items()}
    dtype = next(iter(trained.values())).dtype
    lr = problem.lrs[0] if rate is None else rate_at(problem, torch.as_tensor(rate), 0)
    lr = lr.to(dtype)
    rows, real = plan.batches(chunk.group, 0)
    for step in steps:
        factors = torch.tensor(update.factors(step + 1), dtype=dtype)
        batch = rows[step][real[step]]
        x, y = problem.batch(chunk.group, step + 1, batch)
        with dropout_alone(problem, point, chunk.group, step + 1):
            output = forward(model, x, problem.autocast)
        loss = problem.mean(loss_at(problem, point)(output, y), batch)
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        with torch.no_grad():
            for (name, w), g in zip(trained.items(), gradients, strict=True):
                if g is None:
                    return name
                how = problem.how if name in problem.selected else None
                one = penalty.for_tensor(name, w) if how else penalty
                moved, slots[name] = updated(w, g, slots[name], factors, lr, update, one, how)
                w.copy_(moved)
    return None
