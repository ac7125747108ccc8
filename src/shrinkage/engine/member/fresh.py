"""Freshly initialized models, each from a random key."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from shrinkage.engine.member.trainable import check_no_script
from shrinkage.errors import ShrinkageError
from shrinkage.tensors.own_thread import all_random_numbers
from shrinkage.tensors.wrapped import bare, unwrapped

ModelSource: TypeAlias = nn.Module | Callable[[], nn.Module]


def make_builder(model: ModelSource) -> Callable[[int], nn.Module]:
    """Return a function from a random key to a freshly initialized model.

    The caller's random state is left as it was. What a factory puts into all of its models, such as
    a pretrained part, each of them gets as a copy, so none learns what another has seen.

    Args:
        model: A module whose layers have ``reset_parameters`` (it is copied, never changed), or
            a factory without arguments.

    Raises:
        ShrinkageError: A parameter of the module belongs to no layer that can reset it, or the
            factory does not return a module.
    """
    if isinstance(model, nn.Module):
        check_no_script(model)
        _check_resettable(model)
        make: Callable[[], nn.Module] = lambda: _reset(bare(copy.deepcopy(unwrapped(model))))  # noqa: E731
    elif callable(model):
        _check_no_arguments(model)
        make = model
    else:
        raise ShrinkageError(f"model={model!r} is neither a module nor a factory () -> module.")

    before: weakref.ref[nn.Module] | None = None

    def build(seed: int) -> nn.Module:
        nonlocal before
        with all_random_numbers(seed):
            built = make()
        if not isinstance(built, nn.Module):
            raise ShrinkageError(
                f"the model factory returned {type(built).__name__}, not a module."
            )
        check_no_script(built)
        if before is not None and before() is built:
            raise ShrinkageError(
                "the model factory returned the same module twice; it must make a new one each "
                "time."
            )
        if any(isinstance(p, UninitializedParameter) for p in built.parameters()):
            raise ShrinkageError("the model has lazy layers; give their input sizes.")
        before = weakref.ref(built)
        return bare(built)

    if not isinstance(model, nn.Module) and _share_tensors(build):
        return lambda seed: copy.deepcopy(build(seed))
    return build


def _share_tensors(build: Callable[[int], nn.Module]) -> bool:
    """Return whether two models of a factory have tensors in common.

    Raises:
        ShrinkageError: The models differ although their random keys do not.
    """
    starts = [dict([*m.named_parameters(), *m.named_buffers()]) for m in (build(0), build(0))]
    unlike = (
        name
        for name in dict.fromkeys([*starts[0], *starts[1]])
        if not _equal(starts[0].get(name), starts[1].get(name))
    )
    if (name := next(unlike, None)) is not None:
        raise ShrinkageError(
            f"the model factory makes another {name} at each call although torch's random numbers "
            "are the same; members could not start alike. Draw its weights by torch, and let it "
            "depend on nothing that changes from call to call."
        )
    places = [{t.data_ptr() for t in start.values() if t.numel()} for start in starts]
    return bool(places[0] & places[1])


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_meta:
        return True
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _check_no_arguments(make: Callable[[], nn.Module]) -> None:
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ShrinkageError(
            f"model={make!r:.80} cannot be called without arguments: {error}; give a module, or "
            "bind them with functools.partial."
        ) from error
    except ValueError:  # a builtin without a signature
        return


def _reset(model: nn.Module) -> nn.Module:
    for module in reversed(list(model.modules())):  # a parent may reset its children once more
        if (reset := _resetter(module)) is not None:
            reset()
    return model


def _resetter(module: nn.Module) -> Callable[[], object] | None:
    public = getattr(module, "reset_parameters", None)
    return public or getattr(module, "_reset_parameters", None)


def _check_resettable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        own = [n for n, _ in module.named_parameters(recurse=False)]
        if own and _resetter(module) is None:
            where = f"{name}.{own[0]}" if name else own[0]
            raise ShrinkageError(
                f"{where} belongs to a {type(module).__name__} without reset_parameters(), so a "
                "fresh start per seed is impossible; give a factory: lambda: MyModel()."
            )
