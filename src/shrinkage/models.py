"""Small models to start with, and the door to the user's own."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from shrinkage.errors import ShrinkageError


def perceptron(
    features: int, outputs: int, widths: Sequence[int], dropout: float = 0.0
) -> nn.Sequential:
    """Return linear layers with ReLU between them.

    Args:
        features: Inputs per row.
        outputs: Logits or values per row.
        widths: Units of each hidden layer.
        dropout: Probability that a hidden unit is left out of a training step.

    Shape:
        input: (N, features). output: (N, outputs).

    Example:
        >>> perceptron(4, 3, (8, 5))
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=5, bias=True)
          (3): ReLU()
          (4): Linear(in_features=5, out_features=3, bias=True)
        )
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def convolutional(shape: Sequence[int], outputs: int, channels: Sequence[int]) -> nn.Sequential:
    """Return convolutions of 3 x 3 with ReLU and 2 x 2 pooling, then a linear layer.

    Args:
        shape: Height and width, or channels, height and width of the images, which come in flat.
        outputs: Logits or values per row.
        channels: Channels of each convolution.

    Shape:
        input: (N, height * width * channels). output: (N, outputs).

    Example:
        >>> convolutional((8, 8), 10, (4,))
        Sequential(
          (0): Unflatten(dim=1, unflattened_size=(1, 8, 8))
          (1): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (2): ReLU()
          (3): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
          (4): Flatten(start_dim=1, end_dim=-1)
          (5): Linear(in_features=64, out_features=10, bias=True)
        )
    """
    before, height, width = (1, *shape)[-3:]
    layers: list[nn.Module] = [nn.Unflatten(1, (before, height, width))]
    for after in channels:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before, height, width = after, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * height * width, outputs))


def with_dropout(model: nn.Sequential) -> nn.Sequential:
    """Return the layers with dropout of rate 0 before each linear layer but the first layer.

    Args:
        model: Layers; left alone if there is dropout among them.

    Example:
        >>> with_dropout(perceptron(4, 3, (8,)))
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ReLU()
          (2): Dropout(p=0.0, inplace=False)
          (3): Linear(in_features=8, out_features=3, bias=True)
        )
    """
    if any(isinstance(layer, nn.Dropout) for layer in model):
        return model
    layers: list[nn.Module] = []
    for layer in model:
        layers += [nn.Dropout(0.0)] if layers and isinstance(layer, nn.Linear) else []
        layers.append(layer)
    return nn.Sequential(*layers)


def linear(features: int, outputs: int) -> nn.Linear:
    """Return a linear layer: linear or logistic regression, by the loss it is trained with.

    Args:
        features: Inputs per row.
        outputs: Logits or values per row.

    Shape:
        input: (N, features). output: (N, outputs).

    Example:
        >>> linear(4, 3)
        Linear(in_features=4, out_features=3, bias=True)
    """
    return nn.Linear(features, outputs)


def make_model(
    spec: str, features: int, outputs: int, shape: Sequence[int] = ()
) -> Callable[[], nn.Module]:
    """Return a factory of the model that a short text describes; each call draws new weights.

    Args:
        spec: "linear"; "mlp:" and the widths of the hidden layers, such as "mlp:512,512", with
            dropout as "mlp:512,512,dropout=0.5"; "cnn", or "cnn:" and the channels of its
            convolutions; or "package.module:factory", a function or a class that takes the
            numbers of inputs and outputs.
        features: Inputs per row.
        outputs: Logits or values per row.
        shape: Shape of a row before it was flattened, for "cnn".

    Raises:
        ShrinkageError: Any other text, or images that "cnn" cannot take.

    Example:
        >>> make_model("mlp:128", features=784, outputs=10)()
        Sequential(
          (0): Linear(in_features=784, out_features=128, bias=True)
          (1): ReLU()
          (2): Linear(in_features=128, out_features=10, bias=True)
        )
    """
    kind, _, rest = spec.partition(":")
    if spec == "linear":
        return functools.partial(linear, features, outputs)
    if kind == "mlp" and (read := re.fullmatch(rf"({_WIDTHS})(?:,dropout=(0?\.[0-9]+))?", rest)):
        dropout = float(read[2] or 0)
        return functools.partial(perceptron, features, outputs, _numbers(read[1]), dropout)
    if kind == "cnn" and re.fullmatch(_WIDTHS, rest or "16,32") and spec != "cnn:":
        channels = _numbers(rest or "16,32")
        return functools.partial(
            convolutional, _image(features, shape, channels), outputs, channels
        )
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", spec) and kind not in ("linear", "mlp", "cnn"):
        return own_model(spec, features, outputs)
    raise ShrinkageError(
        f"unknown model {spec[:40]!r}; write 'linear', 'mlp:' and the widths of the hidden layers "
        "(1 to 999999), such as 'mlp:128' or 'mlp:512,512', perhaps with ',dropout=0.5', 'cnn', or "
        "'module:factory' for your own."
    )


_WIDTHS = r"[1-9][0-9]{0,5}(?:,[1-9][0-9]{0,5})*"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _image(features: int, shape: Sequence[int], channels: Sequence[int]) -> Sequence[int]:
    """Return the shape of the images: a flat row may be a square one."""
    side = math.isqrt(features)
    if len(shape) < 2 and side * side == features:
        shape = (side, side)
    least = 2 ** len(channels)
    if len(shape) not in (2, 3) or min(shape[-2:]) < least:
        raise ShrinkageError(
            f"'cnn' needs images of at least {least} x {least} pixels, as (height, width) or "
            f"(channels, height, width), and a row has shape {tuple(shape) or (features,)}; "
            "choose 'mlp:128' or other data."
        )
    return shape


def own_model(spec: str, features: int, outputs: int) -> Callable[[], nn.Module]:
    """Return the factory of a model, from a module that is installed or in the current directory.

    Args:
        spec: "package.module:factory". The factory is a function or a class; it is called with the
            numbers of inputs and outputs, or with nothing if it takes nothing.
        features: Inputs per row.
        outputs: Logits or values per row.

    Raises:
        ShrinkageError: There is no such module or factory, or its code fails, now or when called.
    """
    name, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    with _blamed(spec):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ShrinkageError(
                f"{spec}: there is no module {error.name!r}, neither installed nor in {here}."
            ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory) or isinstance(factory, nn.Module):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f"did you mean {near[0]!r}?" if near and near[0] != attribute else ""
        raise ShrinkageError(
            f"{spec}: {name} has no function or class {attribute!r}. {hint}".strip()
        )
    return functools.partial(_made, spec, factory, _arguments(spec, factory, (features, outputs)))


def _arguments(spec: str, factory: Callable[..., Any], sizes: tuple[int, int]) -> tuple[int, ...]:
    signature = inspect.signature(factory)
    for arguments in (sizes, ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return arguments
    raise ShrinkageError(
        f"{spec} takes {signature}; it must take the numbers of inputs and outputs, or nothing."
    )


def _made(spec: str, factory: Callable[..., Any], arguments: tuple[int, ...]) -> nn.Module:
    with _blamed(spec):
        model = factory(*arguments)
    if not isinstance(model, nn.Module):
        raise ShrinkageError(f"{spec} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


@contextmanager
def _blamed(spec: str) -> Iterator[None]:
    """Say that an error comes from the user's code, and from which line."""
    try:
        yield
    except ShrinkageError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if "site-packages" not in frame.filename][-1]
        where = f"{last.filename}, line {last.lineno}"
        if isinstance(error, SyntaxError):
            where = f"{error.filename}, line {error.lineno}"
        raise ShrinkageError(
            f"{spec}: your code raised {type(error).__name__}: {error} ({where})."
        ) from error
