"""The model inside what wraps it for training, and tensors inside transforms of torch.func."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile``, DDP and ``DataParallel``, which share its tensors.

    What they add, communication and compiled code, is in the way when a copy is inspected.
    """
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner = inner.module
    return inner if inner is model else unwrapped(inner)


def named_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield every use of a module by the name that it has without wrappers."""
    module = unwrapped(model)
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None:
            yield from named_modules(child, f"{prefix}.{name}" if prefix else name)


def bare(model: nn.Module) -> nn.Module:
    """Take the wrappers off a model and off all modules inside it, and return what is left."""
    model = unwrapped(model)
    for module in list(model.modules()):
        inside = {n: unwrapped(child) for n, child in module._modules.items() if child is not None}
        module._modules.update(inside)
    return model


def plain_name(name: str) -> str:
    """Return a name of a wrapped model's ``state_dict()`` as it is without wrappers."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def is_constant(tensors: Iterable[Tensor]) -> bool:
    """Return whether a transform of ``torch.func`` differentiates, but none of these tensors."""
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    if not any(one.key().name in ("Grad", "Jvp") for one in transforms):
        return False
    return not any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))
