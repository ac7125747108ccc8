"""What stands in for torch's functions while a step runs takes the arguments of torch's own.

A new argument of torch's, or another default, is to be seen here before a model passes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrinkage.engine.member import layers, precision

OURS = {
    **layers.dropout(lambda call, count: torch.rand(count)),
    **layers.narrow_linear(),
    **layers.normalization(torch.ones(2)),
}


def arguments(function: Callable[..., Any]) -> list[tuple[str, bool, Any]]:
    """Names, whether they may be left out, defaults; of a C function as its operator has them."""
    if inspect.isbuiltin(function):
        schema = getattr(torch.ops.aten, function.__name__).default._schema
        return [(one.name, one.has_default_value(), one.default_value) for one in schema.arguments]
    given = inspect.signature(function).parameters.values()
    free = {one.name: one.default is not one.empty for one in given}
    return [(one.name, free[one.name], one.default if free[one.name] else None) for one in given]


@pytest.mark.parametrize("name", OURS)
def test_a_function_of_the_step_takes_what_torchs_own_takes(name: str) -> None:
    assert arguments(OURS[name]) == arguments(getattr(F, name))


def test_normalization_without_memory_knows_the_arguments_it_replaces() -> None:
    for name, mode in (("batch_norm", "training"), ("instance_norm", "use_input_stats")):
        names = {argument[0] for argument in arguments(getattr(F, name))}
        assert {"running_mean", "running_var", mode} <= names


class Attends(nn.Module):
    """The same functions, with or without the names of their arguments."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.inner, self.outer, self.named = nn.Linear(4, 8), nn.Linear(8, 2), named

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x).view(len(x), 1, 2, 4)
        weight, bias = self.outer.weight, self.outer.bias
        if not self.named:
            h = F.layer_norm(F.scaled_dot_product_attention(h, h, h), (4,))
            return F.linear(h.flatten(1), weight, bias)
        h = F.scaled_dot_product_attention(value=h, key=h, query=h)
        h = F.layer_norm(normalized_shape=(4,), input=h)
        return F.linear(bias=bias, weight=weight, input=h.flatten(1))


def test_functions_under_autocast_take_named_arguments_too() -> None:
    plain, named = Attends(False), Attends(True)
    named.load_state_dict(plain.state_dict())
    X = torch.randn(5, 4)
    expected = precision.forward(plain, X, torch.bfloat16)
    assert torch.equal(precision.forward(named, X, torch.bfloat16), expected)
    assert not torch.equal(plain(X), expected)
