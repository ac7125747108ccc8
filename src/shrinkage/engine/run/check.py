"""The self-check: do members trained together equal the same members trained alone?"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from shrinkage.engine.member.knobs import penalty_at, rate_at, update_at
from shrinkage.engine.member.layers import mappable_attention, replaced, without_memory
from shrinkage.engine.member.member import Tensors, model_tensors, trained_names
from shrinkage.engine.member.step import Move
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.run.alone import Alone, Closure
from shrinkage.engine.run.compiled import Stepper
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.stacked import Stacked, outputs_of, stacked

TOLERANCE = 1e-2
AUTOCAST_TOLERANCE = 0.25
"""Differences larger than rounding makes; in bfloat16 Adam's first steps differ by up to 0.1."""

STEPS_FROM_EACH_END = 2
ROWS = 256


def difference_together(run: Run, chunk: Chunk, stepper: Stepper) -> str | None:
    """Train a few steps of two members together and alone; return what differs, or None.

    The steps are the first and the last two of an epoch, the short batch among them. The two
    members are those of the chunk's smallest and largest strength. Compared are their outputs:
    the gap between the two results, relative to how far training has moved them. Rounding lies far
    below the tolerance, a wrong batch statistic or random number far above it. Weights are not
    compared, since Adam makes whole steps of gradients that are mere rounding; nor are the
    running means of batch normalization, which follow a bias that has only such gradients.

    Args:
        run: The run; nothing is written into it.
        chunk: The members to try.
        stepper: The mapped step under test.
    """
    problem, group = run.problem, chunk.group
    tolerance = TOLERANCE if problem.autocast is None else AUTOCAST_TOLERANCE
    together = stacked(run, chunk)
    steps = _run_some(together, stepper)
    x = run.rows(group, run.plan.train_rows(group)[:ROWS])
    for place in {0, chunk.members - 1}:
        member = Alone(run, group, chunk.strengths[place], problem.initial(group))
        with replaced(without_memory()):
            before = _outputs(member.model, x)
        unused = _train_alone(member, together.update, steps)
        if unused:
            return f"{unused} has no part in the loss"
        own = {name: tensor[place : place + 1] for name, tensor in together.tensors.items()}
        with replaced(without_memory()):
            alone = _outputs(member.model, x)
            mapped = outputs_of(problem.build(0).eval(), own, x.clone())[0]
        way, gap = (alone - before).norm(), (alone - mapped).norm()
        if way.isfinite() and not gap <= tolerance * way + 1e-5 * alone.norm():
            return (
                f"{_suspect(member.model)}trained together, outputs differ by {gap / way:.1%} of "
                "their change"
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


def _run_some(together: Stacked, stepper: Stepper) -> list[int]:
    last, some = together.run.plan.steps(together.chunk.group), STEPS_FROM_EACH_END
    chosen = sorted({*range(min(some, last)), *range(max(0, last - some), last)})
    for step in chosen:
        stepper.call(next(together.inputs(0, step)))
    return chosen


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    training = model.training
    with torch.no_grad():
        outputs: Tensor = model.eval()(x.clone())
    model.train(training)
    return outputs


def _train_alone(member: Alone, update: Update, steps: list[int]) -> str | None:
    """Take the steps of one member by itself; return a parameter that the loss leaves out."""
    problem, point, model = member.run.problem, member.point, member.model.train()
    own = dict(model.named_parameters())
    trained: Tensors = {name: own[name] for name in trained_names(model)}
    update, rate = update_at(update, point), point.get("lr")
    slots = {n: tuple(torch.zeros_like(p) for _ in range(update.slots)) for n, p in trained.items()}
    dtype = next(iter(trained.values())).dtype
    lr = problem.lrs[0] if rate is None else rate_at(problem, torch.as_tensor(rate), 0)
    rows, real = member.run.plan.batches(member.group, 0)
    unused: list[str] = []
    for step in steps:
        factors = torch.tensor(update.factors(step + 1), dtype=dtype)
        move = Move(problem, update, penalty_at(problem, point), factors, lr.to(dtype))

        def by_updates(closure: Closure, move: Move = move) -> None:
            closure()
            unused.extend(name for name, w in trained.items() if w.grad is None)
            with torch.no_grad():
                for name, w in trained.items():
                    if w.grad is not None:
                        moved, slots[name] = move.of(name, w, w.grad, slots[name])
                        w.copy_(moved)

        member.step(step + 1, rows[step][real[step]], by_updates)
        if unused:
            return unused[0]
    return None
