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

from shrinkage.engine import layers

OURS = {
    **layers.dropout(lambda call, count: torch.rand(count)),
    **layers.linear(),
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
