"""The self-check: do members trained together equal the same members trained alone?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from shrinkage import coupling
from shrinkage.engine.chunk import Chunk
from shrinkage.engine.compiled import Stepper
from shrinkage.engine.plan import Plan
from shrinkage.engine.problem import Problem
from shrinkage.engine.stack import stacked_members
from shrinkage.engine.step import Member, Tensors, trained_names
from shrinkage.engine.train import step_inputs
from shrinkage.engine.update import Update

TOLERANCE = 1e-2
STEPS_FROM_EACH_END = 2


def difference_together(
    problem: Problem, plan: Plan, update: Update, chunk: Chunk, stepper: Stepper
) -> str | None:
    """Train a few steps of two members together and alone; return what differs, or None.

    The steps are the first and the last two of an epoch, the short batch among them. The two
    members are those of the smallest and the largest strength. Compared is the distance between
    the two results against the distance either moved from its start: rounding is far below
    the tolerance, a batch statistic or a random number out of step far above it.
    """
    group = chunk.groups[0]
    together = stacked_members(problem, update, chunk)
    every = list(step_inputs(problem, plan, chunk, together, 0))
    last = plan.steps(group)
    chosen = sorted({*range(min(STEPS_FROM_EACH_END, last)), *range(max(0, last - STEPS_FROM_EACH_END), last)})
    for step in chosen:
        stepper.run(every[step])
    lr = float(problem.lrs[0])
    for place in {0, chunk.real_strengths - 1}:
        strength = float(plan.strengths[chunk.strengths[place]])
        model = problem.initial(group)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        batches = list(_real_batches(plan, chunk, chosen))
        _train_alone(model, problem, update, strength, lr, batches)
        worst = _worst_difference(model, start, together, place)
        if worst is not None:
            return worst
    return None


def blamed_module(model: nn.Module, x: Tensor, error: Exception) -> str:
    """Return the module in which a batched forward pass fails, with the reason.

    Args:
        model: The module in training mode.
        x: A few rows.
        error: What the engine saw.
    """
    from torch.func import functional_call, vmap

    entered: list[str] = []
    names = {module: name or "the model" for name, module in model.named_modules()}
    hooks = [
        module.register_forward_pre_hook(lambda m, _: entered.append(f"{type(m).__name__} {names[m]!r}"))
        for module in names
    ]
    tensors = {n: t.detach().expand(2, *t.shape).clone() for n, t in
               [*model.named_parameters(), *model.named_buffers()]}  # fmt: skip
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    try:
        vmap(lambda own: functional_call(model, own, (x,)))(tensors)
    except (RuntimeError, ValueError, NotImplementedError, TypeError) as failure:
        reason = f"{entered[-1]}: {str(failure).splitlines()[0][:160]}" if entered else reason
    finally:
        for hook in hooks:
            hook.remove()
    return reason


def _real_batches(plan: Plan, chunk: Chunk, steps: list[int]) -> Iterator[Tensor]:
    rows, weight = plan.batches(chunk.groups[0], 0)
    for step in steps:
        yield rows[step][weight[step] > 0]


def _train_alone(
    model: nn.Module,
    problem: Problem,
    update: Update,
    strength: float,
    lr: float,
    batches: list[Tensor],
) -> None:
    penalty = problem.penalty.at(strength)
    own = dict(model.named_parameters())
    trained: Tensors = {name: own[name] for name in trained_names(model)}
    slots = {n: tuple(torch.zeros_like(p) for _ in range(update.slots)) for n, p in trained.items()}
    rate = torch.tensor(lr, dtype=next(iter(trained.values())).dtype)
    for count, rows in enumerate(batches, start=1):
        loss = problem.loss(model(problem.X[rows]), problem.y[rows]).mean()
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        with torch.no_grad():
            for (name, w), g in zip(trained.items(), gradients, strict=True):
                if g is None:
                    continue
                chosen, start = name in problem.selected, w
                if chosen and problem.how == "coupled":
                    g = coupling.coupled(penalty, w, g)
                if chosen and problem.how == "decoupled":
                    start = coupling.decoupled(penalty, w, rate)
                steps = torch.tensor(count, dtype=torch.float64)
                moved, slots[name] = update.apply(start, g, slots[name], steps, rate)
                if chosen and problem.how == "proximal":
                    moved = coupling.proximal(penalty, moved, rate)
                w.copy_(moved)


def _worst_difference(
    alone: nn.Module, start: Tensors, together: Member, place: int
) -> str | None:
    for name, tensor in [*alone.named_parameters(), *alone.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        stacked = {**together.params, **together.fixed}[name][0, place]
        tensor = tensor.detach()
        if not (tensor.isfinite().all() and stacked.isfinite().all()):
            continue
        scale = (tensor - start[name]).norm() if name in start else tensor.norm()
        gap = (tensor - stacked).norm()
        if gap > TOLERANCE * scale + 1e-6 * tensor.norm():
            return f"{name} differs by {gap / scale.clamp_min(1e-30):.1%} of its way"
    return None
