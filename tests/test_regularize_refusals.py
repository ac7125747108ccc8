"""What a penalty cannot be put on, or not twice, is refused with the reason."""

from __future__ import annotations

import copy
import io
from functools import partial
from typing import Any

import pytest
import torch
from _training import (
    STRENGTH,
    assert_same,
    batches,
    forward_backward,
    make_net,
    train,
)
from torch import nn
from torch.optim import LBFGS, SGD, Optimizer

from shrinkage.constraints import MaxNorm
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso
from shrinkage.regularizing.regularize import regularize


def test_missing_parameters_are_named() -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match=r"does not hold 2\.weight; .*select="):
        regularize(model, SGD(model[0].parameters(), lr=0.1), L2(STRENGTH))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda m, o: (m.parameters(), o, L2(0.1)), "generator is not a module; give the model"),
        (lambda m, o: (m.state_dict(), o, L2(0.1)), "OrderedDict is not a module"),
        (lambda m, o: (o, m, L2(0.1)), r"regularize\(model, optimizer, penalty\)"),
        (
            lambda m, o: (m, [o, o], L2(0.1)),
            "once for each optimizer, with select= for its tensors",
        ),
        (lambda m, o: (m, L2(0.1), o), "penalty=SGD is not a penalty"),
        (lambda m, o: (m, o, L2), r"penalty=<class 'shrinkage.*L2'> is not .* such as L2\("),
        (lambda m, o: (m, o, [L1(0.1), L2(0.1)]), r"a sum such as L1\(1e-4\) \+ L2"),
        (lambda m, o: (m, o, {m[0]: L2(0.1)}), r"select its tensors by name, 0\.\*"),
    ],
)
def test_arguments_in_another_order_or_form_are_refused_in_a_line(
    arguments: Any, message: str
) -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match=message) as refused:
        regularize(*arguments(model, SGD(model.parameters(), lr=0.1)))
    assert "\n" not in str(refused.value)


def test_a_model_has_no_value_of_one_tensor() -> None:
    with pytest.raises(ShrinkageError, match=r"L2.value takes one tensor, not a Sequential; .*"):
        L2(0.1).value(make_net())  # type: ignore[arg-type]


def test_a_handle_is_not_saved_but_its_state() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(ShrinkageError, match=r"cannot be saved; save handle.state_dict\(\)"):
        torch.save({"model": model.state_dict(), "penalty": handle}, io.BytesIO())
    assert "NOT ACTING" in repr(copy.deepcopy(handle))


@pytest.mark.parametrize(
    "state", [{}, {"step": 1}, {"state": {0: torch.ones(99)}, "param_groups": []}, None]
)
def test_the_state_of_something_else_is_refused_in_a_line(state: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(
        ShrinkageError, match=r"is not the state of a handle; .* handle\.state_dict\(\)"
    ) as refused:
        handle.load_state_dict(state)
    assert len(str(refused.value)) < 200


def test_lbfgs_needs_the_loss_of_its_closure() -> None:
    model = make_net()
    optimizer = LBFGS(model.parameters())
    regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(ShrinkageError, match="closure returned None, but LBFGS compares losses"):
        optimizer.step(lambda: None)


def test_of_many_missing_parameters_the_first_are_named() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(9)))
    with pytest.raises(ShrinkageError, match=r"0\.weight, .*, 4\.weight and 4 more; build it"):
        regularize(model, SGD([torch.zeros(1)], lr=0.1), L2(STRENGTH))


def test_fault_30_attached_twice() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.raises(ShrinkageError, match=r"0\.weight, 2\.weight already carry L2.*remove"):
        regularize(model, optimizer, L2(STRENGTH))
    regularize(model, optimizer, L1(STRENGTH), how="coupled")
    regularize(model, optimizer, GroupLasso(STRENGTH))
    with pytest.raises(ShrinkageError, match=r"not the prox of the sum.*ElasticNet"):
        regularize(model, optimizer, ElasticNet(STRENGTH))
    handle.remove()
    regularize(model, optimizer, L2(STRENGTH))


def test_an_optimizer_that_was_replaced_is_no_conflict() -> None:
    model = make_net()
    for _ in range(3):
        optimizer = SGD(model.parameters(), lr=0.1)
        optimizer.scheduler = (optimizer,)  # a cycle, as some schedulers make: not freed at once
        regularize(model, optimizer, L2(STRENGTH))


def test_two_coupled_penalties_add_up() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.01))
    regularize(model, optimizer, L1(0.02), how="coupled")
    for batch in batches():
        optimizer.step(partial(forward_backward, model, optimizer, batch))
    expected = train(partial(SGD, lr=0.1), in_loss=lambda net: L2(0.01)(net) + L1(0.02)(net))
    assert_same(model, expected)


def test_a_constraint_under_lbfgs_is_refused_without_a_coupling_nobody_gave() -> None:
    model = make_net()
    with pytest.raises(ShrinkageError, match="constraint under LBFGS: its line search") as refused:
        regularize(model, LBFGS(model.parameters()), MaxNorm(1.0))
    assert "how=" not in str(refused.value)


class Wrapper:
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer


class EmptySubclass(SGD):
    """As Accelerate's: an Optimizer by type, never initialized."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer


@pytest.mark.parametrize("wrapper", [Wrapper, EmptySubclass])
def test_the_optimizer_inside_a_wrapper_without_hooks_is_found_and_named(wrapper: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, wrapper(optimizer), L2(STRENGTH))
    assert repr(handle) == f"L2(0.01), coupled, on SGD inside {wrapper.__name__}"
    for batch in batches():
        optimizer.step(partial(forward_backward, model, optimizer, batch))
    assert_same(model, train(partial(SGD, lr=0.1), in_loss=L2(STRENGTH)))


@pytest.mark.parametrize("wrapper", [object, lambda: Wrapper(object())], ids=["none", "empty"])
def test_what_holds_no_optimizer_is_refused(wrapper: Any) -> None:
    with pytest.raises(ShrinkageError, match="object has no step hooks; pass a torch optimizer"):
        regularize(make_net(), wrapper(), L2(STRENGTH))


def test_a_shape_the_penalty_does_not_take_is_refused_by_name() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match=r"^bias: GroupLasso: dim=1"):
        regularize(model, SGD(model.parameters()), GroupLasso(0.1, dim=1), select=everything)


@pytest.mark.parametrize("penalty", [0.1, L2], ids=["number", "class"])
def test_what_is_no_penalty_is_refused(penalty: Any) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match="is not a penalty"):
        regularize(model, SGD(model.parameters()), penalty)


def test_no_learning_rate_is_refused_where_it_is_needed() -> None:
    class NoRate(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

    model = nn.Linear(2, 2)
    with pytest.raises(ShrinkageError, match="NoRate has none; use how='coupled'"):
        regularize(model, NoRate(model.parameters()), L1(0.1))
