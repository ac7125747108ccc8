from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from shrinkage.errors import ShrinkageError
from shrinkage.models import linear, make_model, tutorial_net


def widths(model: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]


def test_the_tutorial_net_is_784_128_10_with_one_relu() -> None:
    model = tutorial_net(784, 10)
    assert [type(layer) for layer in model] == [nn.Linear, nn.ReLU, nn.Linear]
    assert widths(model) == [(784, 128), (128, 10)]
    first, last = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    X = torch.randn(3, 784, generator=torch.Generator().manual_seed(0))
    expected = (X @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(model(X), expected)
    assert widths(tutorial_net(64, 3, hidden=5)) == [(64, 5), (5, 3)]


def test_linear_is_one_layer() -> None:
    assert widths(linear(30, 2)) == [(30, 2)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("linear", [(7, 3)]),
        ("mlp:128", [(7, 128), (128, 3)]),
        ("mlp:512,16,4", [(7, 512), (512, 16), (16, 4), (4, 3)]),
    ],
)
def test_make_model_reads_every_form(spec: str, expected: list[tuple[int, int]]) -> None:
    model = make_model(spec, 7, 3)()
    assert widths(model) == expected
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == len(expected) - 1
    assert model(torch.zeros(2, 7)).shape == (2, 3)


def test_each_call_of_the_factory_draws_new_weights_and_the_factory_pickles() -> None:
    factory = pickle.loads(pickle.dumps(make_model("mlp:4", 3, 2)))
    torch.manual_seed(0)
    one, other = factory(), factory()
    torch.manual_seed(0)
    again = factory()
    assert not torch.equal(one[0].weight, other[0].weight)
    assert torch.equal(one[0].weight, again[0].weight)


@pytest.mark.parametrize(
    "spec",
    [
        *("", "mlp", "mlp:", "mlp:0", "mlp:-4", "mlp:4,", "mlp: 4", "mlp:4.5", "mlp:٣", "mlp:4\n"),
        *("MLP:4", "conv", "linear:3", "mlp:" + "9" * 5000),
    ],
    ids=lambda spec: repr(spec[:12]),
)
def test_other_texts_are_refused_with_the_allowed_forms(spec: str) -> None:
    with pytest.raises(ShrinkageError, match=r"'linear'.*'mlp:128' or 'mlp:512,512'"):
        make_model(spec, 7, 3)
