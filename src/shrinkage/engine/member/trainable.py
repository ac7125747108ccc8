"""Whether a model can be trained at all, asked before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError

HALF = (torch.float16, torch.complex32)


def check_no_script(model: nn.Module) -> None:
    """Refuse a compiled script, whose modules cannot be taken apart or copied."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"the module {name!r}" if name else "the model"
            raise ShrinkageError(
                f"{where} is a TorchScript module, which cannot be trained here; give the module "
                "that it was made from."
            )


def check_trainable(model: nn.Module) -> None:
    """Refuse a model without anything to train, or in numbers too short to train in."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ShrinkageError("the model has no parameter with requires_grad=True to train.")
    for name, parameter in trained:
        if parameter.dtype in HALF:
            raise ShrinkageError(
                f"{name} is of {parameter.dtype}, in which small gradients and Adam's eps are 0; "
                "give a float32 model, and autocast=torch.bfloat16 for speed."
            )


def check_graph(output: Tensor) -> None:
    """Refuse an output, computed with gradients enabled, that has none."""
    if not output.requires_grad:
        raise ShrinkageError(
            "the model's output has no gradient to any parameter with requires_grad=True: "
            "forward() detaches it, computes it under torch.no_grad(), or uses none of them."
        )
