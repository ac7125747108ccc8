"""What `shrink` removes, with the sparse model as the oracle; and what it tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from _shrinking import Block, assert_shrinks, outputs, perceptron, settled, why, zero
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.shrinking import shrink


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.Sigmoid(), nn.Softplus(), nn.PReLU(8)], ids=str
)
def test_neurons_without_inputs_are_folded_into_the_next_bias(
    activation: nn.Module, bias: bool
) -> None:
    model = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 3, bias=bias))
    zero(model[0].weight, slice(5))
    zero(model[2].weight, slice(None), 4)
    shrunk = assert_shrinks(model, torch.randn(9, 4))
    assert [m.out_features for m in (shrunk.model[0], shrunk.model[2])] == [3, 3]
    assert why(shrunk, "0") == "5 of 8 neurons removed: 1 unused, 4 constant"


def test_neurons_that_nobody_reads_go_and_so_do_those_that_only_they_read() -> None:
    model = nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2), nn.Softmax(1)
    )
    zero(model[4].weight, slice(None), slice(3))
    zero(model[2].weight, slice(3, None), slice(1, None))
    shrunk = assert_shrinks(model, torch.randn(9, 4))
    assert shrunk.model[0].weight.shape == (1, 4)
    assert shrunk.model[2].weight.shape == (2, 1)
    assert why(shrunk, "0") == "5 of 6 neurons removed: 5 unused"
    assert why(shrunk, "4") == "followed by Softmax, which may mix its neurons"


def test_a_batch_normalization_shrinks_with_its_layer_and_its_zero_weights_count() -> None:
    model = settled(perceptron(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)), (20, 4))
    zero(model[0].weight, slice(2))
    zero(model[1].weight, slice(4, 6))
    shrunk = assert_shrinks(model, torch.randn(9, 4))
    norm = shrunk.model[1]
    assert norm.num_features == len(norm.running_mean) == len(norm.running_var) == 4
    assert why(shrunk, "0") == "4 of 8 neurons removed: 4 constant"
    assert shrunk.model.training
    assert shrunk.model(torch.randn(9, 4).double()).shape == (9, 3)


def test_a_constant_is_normalized_as_the_batch_normalization_would() -> None:
    model = settled(perceptron(nn.BatchNorm1d(8, eps=0.1)), (20, 4))
    zero(model[0].weight, slice(4))
    shrunk = assert_shrinks(model, torch.randn(9, 4))
    assert shrunk.model[0].out_features == 4


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(8)], ids=str)
def test_without_running_statistics_only_unread_neurons_go(norm: nn.BatchNorm1d) -> None:
    norm.running_mean = norm.running_var = None
    norm.track_running_stats = False
    model = perceptron(norm, nn.ReLU())
    zero(model[0].weight, 0)
    zero(model[3].weight, slice(None), 1)
    shrunk = assert_shrinks(model, torch.randn(9, 4))
    assert why(shrunk, "0") == "1 of 8 neurons removed: 1 unused"


def network(
    padding: int | str, mode: str = "zeros", pool: nn.Module | None = None
) -> nn.Sequential:
    return settled(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            pool or nn.MaxPool2d(2),
            nn.Conv2d(6, 5, 3, padding=padding, padding_mode=mode),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(20, 3),
        ),
        (7, 1, 12, 12),
    )


@pytest.mark.parametrize(
    ("padding", "mode"), [(0, "zeros"), ("valid", "zeros"), (1, "circular"), (1, "reflect")]
)
def test_constant_filters_are_folded_where_padding_is_not_zero(
    padding: int | str, mode: str
) -> None:
    model = network(padding, mode)
    zero(model[0].weight, slice(4))
    zero(model[4].weight, slice(2, 4))
    shrunk = assert_shrinks(model, torch.randn(7, 1, 12, 12))
    assert [shrunk.model[i].weight.shape[:2] for i in (0, 4, 8)] == [(2, 1), (3, 2), (3, 12)]


@pytest.mark.parametrize("padding", [1, "same", (0, 1)])
def test_in_front_of_zero_padding_constant_filters_become_one(padding: int | str) -> None:
    model = network(padding)
    with torch.no_grad():
        model[1].bias[:4] = torch.tensor([1.0, -1, 0.5, 2])
        model[1].weight[:4] = 0
    shrunk = assert_shrinks(model, torch.randn(7, 1, 12, 12))
    assert len(shrunk.model[0].weight) == 3
    reasons = "1 constant, 2 merged into one constant"
    assert why(shrunk, "0") == f"3 of 6 neurons removed: {reasons}"
    assert (
        assert_shrinks(shrunk.model, torch.randn(7, 1, 12, 12)).rows[0]["why"]
        == "no neuron is zero"
    )


@pytest.mark.parametrize(
    ("pool", "kept"),
    [
        (nn.AvgPool2d(2), 2),
        (nn.AvgPool2d(3, 2, ceil_mode=True), 2),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), 2),
        (nn.MaxPool2d(3, padding=1), 2),
        (nn.AdaptiveMaxPool2d(5), 2),
        (nn.AvgPool2d(2, padding=1), 5),
        (nn.AvgPool2d(2, divisor_override=3), 5),
    ],
    ids=str,
)
def test_a_constant_stays_one_behind_pooling_unless_padding_is_averaged_in(
    pool: nn.Module, kept: int
) -> None:
    model = network(0, pool=pool)
    with torch.no_grad():
        model[1].weight[:4] = 0
        model[1].bias[:4] = torch.tensor([1.0, 1, 1, -1])  # the last is zero behind the ReLU
    shrunk = assert_shrinks(model, torch.randn(7, 1, 12, 12))
    assert len(shrunk.model[0].weight) == kept


class Functional(nn.Module):
    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.head = nn.Linear(6 * 4, 3)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.avg_pool2d(F.dropout(x, 0.5, self.training), 2).sigmoid()
        return torch.tanh(self.head(self.flatten(x)))


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(start_dim=1),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
    ],
)
def test_functions_and_methods_are_followed_too(flatten: Callable[[Tensor], Tensor]) -> None:
    model = Functional(flatten)
    zero(model.conv.weight, slice(4))
    shrunk = assert_shrinks(model, torch.randn(5, 1, 10, 10))
    assert isinstance(shrunk.model, Functional)
    assert shrunk.model.head.in_features == 2 * 4


def test_without_an_example_the_same_is_found() -> None:
    model = network(1)
    zero(model[0].weight, slice(4))
    shrunk = assert_shrinks(model, torch.randn(7, 1, 12, 12), with_example=False)
    assert shrunk.rows == assert_shrinks(model, torch.randn(7, 1, 12, 12)).rows
    assert len(shrunk.model[0].weight) < 4
    assert shrunk.difference is None
    assert "not compared" in str(shrunk)


def test_frozen_and_half_precision_parameters_stay_so() -> None:
    model = perceptron(nn.ReLU()).bfloat16()
    zero(model[0].weight, slice(3))
    model[0].weight.requires_grad_(False)
    shrunk = shrink(model, X := torch.randn(5, 4).bfloat16())
    assert shrunk.model[0].weight.dtype == shrunk.model[2].bias.dtype == torch.bfloat16
    assert not shrunk.model[0].weight.requires_grad
    assert shrunk.model[2].weight.requires_grad
    assert_close(outputs(shrunk.model, X), outputs(model, X), rtol=0.05, atol=0.05)


def test_the_shrunk_model_trains() -> None:
    model = perceptron(nn.BatchNorm1d(8), nn.ReLU())
    zero(model[0].weight, slice(3))
    small = shrink(model).model
    small(torch.randn(6, 4)).sum().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_what_tracing_cannot_see_is_caught_on_the_example() -> None:
    model = Block(lambda b, x: b.two(b.one(x)) * b.one.out_features)
    zero(model.one.weight, 0)
    with pytest.raises(ShrinkageError, match=r"differ by .* more than rounding"):
        shrink(model, torch.randn(6, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shrink(perceptron(), torch.randn(6, 5)), r"run on the example, Tensor \(6, 5\):"),
        (lambda: shrink(perceptron(), (torch.randn(6, 4), torch.ones(6))), "no targets, no loader"),
        (lambda: shrink(nn.Conv2d(1, 1, 2), [1]), "run on the example, list: .* Give a batch"),
        (lambda: shrink(perceptron(), tolerance=1.0), "tolerance=1.0 is not a fraction"),
        (lambda: shrink(perceptron(), tolerance="0.1"), "tolerance='0.1' is not a fraction"),
        (lambda: shrink(nn.Sequential(nn.LazyLinear(2))), "has lazy layers; call it once"),
        (lambda: shrink(perceptron().state_dict()), "OrderedDict is not a model"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        call()


def test_several_inputs_and_outputs_are_compared() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = perceptron(nn.ReLU()), perceptron(nn.ReLU())

        def forward(self, x: Tensor, y: Tensor) -> dict[str, object]:
            return {"both": (self.left(x), self.right(y)), "count": 2}

    model = Two()
    zero(model.right[0].weight, slice(6))
    X, Y = torch.randn(5, 4), torch.randn(5, 4)
    shrunk = shrink(model, (X, Y))
    assert shrunk.model.right[0].out_features == 2
    assert shrunk.difference is not None
    assert shrunk.difference < 1e-6


def test_a_single_layer_is_left() -> None:
    shrunk = shrink(nn.Linear(4, 3), torch.randn(2, 4))
    assert "forward() reads weight itself" in why(shrunk, "")


def test_the_table_shows_both_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    model = perceptron(nn.ReLU())
    zero(model[0].weight, slice(3))
    shrunk = shrink(model, torch.randn(5, 4))
    assert "67 -> 43 parameters (64.2%)" in str(shrunk)
    assert "Linear(4, 5)" in str(shrunk)
    Console(width=100).print(shrunk)
    assert "3 of 8 neurons removed" in capsys.readouterr().out
