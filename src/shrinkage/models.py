"""Small models to start with: the tutorial's network, other perceptrons, and a linear model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from torch import nn

from shrinkage.errors import ShrinkageError


def tutorial_net(features: int, classes: int, hidden: int = 128) -> nn.Sequential:
    """The tutorial's network, one hidden layer with ReLU: 784-128-10 on MNIST.

    Args:
        features: inputs per row; images come in flat, so no ``nn.Flatten`` is needed.
        classes: outputs, one logit per class.
        hidden: units of the hidden layer.

    Shape:
        input: (N, features). output: (N, classes).

    Example:
        >>> sum(parameter.numel() for parameter in tutorial_net(784, 10).parameters())
        101770
    """
    return perceptron(features, classes, (hidden,))


def perceptron(features: int, outputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Args:
        features: inputs per row.
        outputs: logits or values per row.
        widths: units of each hidden layer.

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
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def linear(features: int, outputs: int) -> nn.Linear:
    """Linear or logistic regression, by the loss it is trained with.

    Args:
        features: inputs per row.
        outputs: logits or values per row.

    Shape:
        input: (N, features). output: (N, outputs).

    Example:
        >>> linear(4, 3)
        Linear(in_features=4, out_features=3, bias=True)
    """
    return nn.Linear(features, outputs)


def make_model(spec: str, features: int, outputs: int) -> Callable[[], nn.Module]:
    """Factory of the model that a short text describes; each call draws new initial weights.

    Args:
        spec: "linear", or "mlp:" and the widths of the hidden layers, such as "mlp:512,512".
        features: inputs per row.
        outputs: logits or values per row.

    Raises:
        ShrinkageError: any other text.

    Example:
        >>> make_model("mlp:128", features=784, outputs=10)()
        Sequential(
          (0): Linear(in_features=784, out_features=128, bias=True)
          (1): ReLU()
          (2): Linear(in_features=128, out_features=10, bias=True)
        )
    """
    if spec == "linear":
        return functools.partial(linear, features, outputs)
    if re.fullmatch(r"mlp:[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", spec):
        widths = tuple(int(width) for width in spec.removeprefix("mlp:").split(","))
        return functools.partial(perceptron, features, outputs, widths)
    raise ShrinkageError(
        f"unknown model {spec!r}; write 'linear', or 'mlp:' and the widths of the hidden layers "
        "(1 to 999999), such as 'mlp:128' or 'mlp:512,512'."
    )
