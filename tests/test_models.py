from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from shrinkage.errors import ShrinkageError
from shrinkage.models import convolutional, linear, make_model


def widths(model: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]


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


def test_dropout_follows_every_hidden_layer() -> None:
    model = make_model("mlp:8,4,dropout=0.25", 7, 3)()
    kinds = [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in model.children()] == kinds
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("spec", "features", "shape", "last"),
    [
        ("cnn", 64, (8, 8), 32 * 2 * 2),
        ("cnn", 64, (64,), 32 * 2 * 2),
        ("cnn:4", 30, (6, 5), 4 * 3 * 2),
        ("cnn:4,8,2", 3 * 8 * 12, (3, 8, 12), 2 * 1 * 1),
    ],
)
def test_cnn_has_one_input_per_channel_and_pooled_pixel(
    spec: str, features: int, shape: tuple[int, ...], last: int
) -> None:
    model = make_model(spec, features, 5, shape)()
    assert widths(model) == [(last, 5)]
    assert model(torch.zeros(2, features)).shape == (2, 5)


def test_cnn_sees_the_pixels_where_they_are() -> None:
    model = convolutional((4, 6), 1, (1,))
    X = torch.randn(2, 24)
    first = model[1]
    assert isinstance(first, nn.Conv2d)
    expected = nn.functional.conv2d(X.view(2, 1, 4, 6), first.weight, first.bias, padding=1)
    torch.testing.assert_close(model[:2](X), expected)


@pytest.mark.parametrize(
    ("spec", "features", "shape"),
    [("cnn", 30, (30,)), ("cnn", 9, (3, 3)), ("cnn:4,4,4", 64, (8, 7)), ("cnn", 16, (2, 2, 2, 2))],
)
def test_cnn_refuses_what_is_no_image(spec: str, features: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShrinkageError, match=r"needs images of at least . x . pixels"):
        make_model(spec, features, 5, shape)


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(nn.Linear(inputs, outputs))

def fixed():
    return nn.Linear(7, 3)

def extra(inputs, outputs, width=4):
    return nn.Sequential(nn.Linear(inputs, width), nn.Linear(width, outputs))

def three(a, b, c):
    return None

def nothing():
    return None

def fails(inputs, outputs):
    return 1 / 0

ready = nn.Linear(7, 3)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_nets.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("x = 1\nimport no_such_thing\n", encoding="utf-8")
    (tmp_path / "own_syntax.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "own_exit.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Net", [(7, 3)]), ("fixed", [(7, 3)]), ("extra", [(7, 4), (4, 3)])],
)
def test_a_factory_of_ones_own_makes_new_models(
    own: Path, name: str, expected: list[tuple[int, int]]
) -> None:
    factory = make_model(f"own_nets:{name}", 7, 3)
    assert widths(factory()) == expected
    assert factory() is not factory()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own_nets:net", "no function or class 'net'. did you mean 'Net'"),
        ("own_nets:ready", "no function or class 'ready'"),
        ("own_nets:three", r"takes \(a, b, c\); it must take the numbers of inputs and outputs"),
        ("own_nets:nothing", "returned NoneType, not a torch.nn.Module"),
        ("own_nets:fails", r"your code raised ZeroDivisionError: .*own_nets.py, line 21\)"),
        ("own_missing:f", "no module 'own_missing', neither installed nor in"),
        ("torch.missing:f", "no module 'torch.missing'"),
        ("own_broken:f", r"raised ModuleNotFoundError: .*no_such_thing.*own_broken.py, line 2\)"),
        ("own_syntax:f", r"your code raised SyntaxError: .*own_syntax.py, line 1\)"),
        ("own_exit:f", "your code raised SystemExit: 3"),
    ],
)
def test_faults_of_own_models_are_told_as_theirs(own: Path, spec: str, said: str) -> None:
    with pytest.raises(ShrinkageError, match=said):
        make_model(spec, 7, 3)()


@pytest.mark.parametrize(
    "spec",
    [
        *("", "mlp", "mlp:", "mlp:0", "mlp:-4", "mlp:4,", "mlp: 4", "mlp:4.5", "mlp:٣", "mlp:4\n"),
        *("MLP:4", "conv", "linear:3", "mlp:" + "9" * 5000),
        *(
            "mlp:4,dropout=1",
            "mlp:dropout=0.5",
            "mlp:4,dropout=",
            "cnn:",
            "cnn:0",
            "a:b:c",
            "a/b:c",
        ),
    ],
    ids=lambda spec: repr(spec[:12]),
)
def test_other_texts_are_refused_with_the_allowed_forms(spec: str) -> None:
    with pytest.raises(ShrinkageError, match=r"'linear'.*'mlp:128' or 'mlp:512,512'"):
        make_model(spec, 7, 3)
