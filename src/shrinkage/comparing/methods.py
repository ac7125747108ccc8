"""Methods: ways to regularize, each with the values it is tuned over, and pairs of them.

Every run of a comparison names the same settings, those it does not use at the value that does
nothing. So all methods train the same function, and runs with one penalty share one compiled step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from shrinkage.errors import ShrinkageError, as_whole, choose_from
from shrinkage.penalties import L2, ElasticNet, GroupLasso, Penalty

STRONGEST = MappingProxyType({"dropout": 0.7, "label_smoothing": 0.35})
"""The largest rate and the largest smoothing that are tried."""

BEST_PAIR = "best_pair"
METHODS = (
    "l2",
    "l1",
    "elastic_net",
    "group_lasso",
    "decoupled_decay",
    "dropout",
    "label_smoothing",
    "early_stopping",
    BEST_PAIR,
)
FEWEST_VALUES = 4


@dataclass(frozen=True)
class Method:
    """One way to regularize.

    Attributes:
        name: What to call it.
        penalty: Its penalty; L2 at strength 0 where it has none.
        how: The coupling of the penalty.
        strengths: How many automatic strengths, or the strengths; ``[0]`` without a penalty.
        settings: Knobs it is tuned over, by name and values, from none to most.
        fixed: Knobs that make the penalty what it is.
    """

    name: str
    penalty: Penalty = field(default_factory=lambda: L2(1.0))
    how: str = "coupled"
    strengths: int | list[float] = field(default_factory=lambda: [0.0])
    settings: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)

    @property
    def penalizes(self) -> bool:
        """Whether it has a penalty."""
        return self.strengths != [0.0]

    def grid(self, off: Mapping[str, float]) -> dict[str, list[float]]:
        """Return the grid to train, with ``off`` for each setting that is not its own."""
        alone = {name: [value] for name, value in {**off, **self.fixed}.items()}
        return alone | {name: list(values) for name, values in self.settings.items()}


def make_methods(
    names: Sequence[str] | None, values: int, off: Mapping[str, float]
) -> list[Method]:
    """Return the methods of a comparison.

    Args:
        names: Which, or None for all that the model and the loss have.
        values: How many values each is tuned over, none among them.
        off: Every setting, at the value at which it does nothing.

    Raises:
        ShrinkageError: A name is unknown or given twice, the model or the loss lacks the setting,
            or there are too few values.
    """
    values = as_whole("values", values, least=FEWEST_VALUES)
    known = {**_penalties(values - 1), **_settings(values, off)}
    if names is None:
        return list(known.values())
    check_names(names)
    lacking = {
        "dropout": "the model has no dropout layers",
        "label_smoothing": "the loss is not cross-entropy",
        "early_stopping": "there is one epoch",
    }
    for name in names:
        if name not in (*known, BEST_PAIR):
            raise ShrinkageError(f"methods: {name} is impossible here: {lacking[name]}.")
    return [known[name] for name in names if name in known]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are no methods, and lists that are no comparison."""
    for name in names:
        if name not in METHODS:
            raise ShrinkageError(f"methods: {name!r} is unknown; {choose_from(name, METHODS)}")
    if len(set(names)) < len(names):
        raise ShrinkageError(f"methods: {', '.join(names)}: one is given twice.")
    if not set(names) - {BEST_PAIR}:
        raise ShrinkageError("methods: give at least one besides the best pair.")


def combinable(one: Method, other: Method) -> bool:
    """Return whether two methods can act at once: not two penalties, which would be a third."""
    return not (one.penalizes and other.penalizes)


def make_pair(
    one: Method, other: Method, strengths: Sequence[float], chosen: Mapping[str, float], values: int
) -> Method:
    """Return two methods at once, tuned over as many points as each alone.

    The points are those around the values that were chosen for each: half of ``values`` of the
    first, strength 0 among them where it is a penalty, crossed with two of the second, its choice
    and the next weaker one.

    Args:
        one: A method.
        other: Another one; at most one of the two has a penalty.
        strengths: The positive strengths that the penalty was tuned over, or none.
        chosen: What was chosen for both: strength and settings by name.
        values: How many points.
    """
    first, second = (other, one) if other.penalizes else (one, other)
    settings = {name: around(own, chosen[name], 2) for name, own in second.settings.items()}
    half = values // 2
    if not first.penalizes:
        wide = {name: around(own, chosen[name], half) for name, own in first.settings.items()}
        return Method(f"{one.name} + {other.name}", settings={**wide, **settings})
    return Method(
        f"{one.name} + {other.name}",
        first.penalty,
        first.how,
        around(strengths, chosen["strength"], half - 1),
        settings,
        first.fixed,
    )


def around(values: Sequence[float], chosen: float, count: int) -> list[float]:
    """Return ``count`` neighboring values, the chosen one among them and not the weakest.

    Example:
        >>> around([0.0, 0.1, 0.2, 0.3], 0.2, 2)
        [0.1, 0.2]
    """
    place = min(range(len(values)), key=lambda i: abs(values[i] - chosen))
    start = max(0, min(place - count // 2, len(values) - count))
    return list(values[start : start + count])


def _penalties(strengths: int) -> dict[str, Method]:
    net, group = ElasticNet(1.0), GroupLasso(1.0, dim=1)
    return {
        "l2": Method("L2", strengths=strengths),
        "l1": Method("L1", net, "proximal", strengths, fixed={"l1_ratio": 1.0}),
        "elastic_net": Method("elastic net", net, "proximal", strengths, fixed={"l1_ratio": 0.5}),
        "group_lasso": Method("group lasso", group, "proximal", strengths),
        "decoupled_decay": Method("decoupled decay", how="decoupled", strengths=strengths),
    }


def _settings(values: int, off: Mapping[str, float]) -> dict[str, Method]:
    methods = {}
    for name, most in STRONGEST.items():
        if name in off:
            rates = [round(most * i / (values - 1), 3) for i in range(values)]
            methods[name] = Method(name.replace("_", " "), settings={name: rates})
    epochs = sorted({max(1, round(off["epochs"] * i / values)) for i in range(1, values + 1)})
    if len(epochs) > 1:
        methods["early_stopping"] = Method("early stopping", settings={"epochs": epochs[::-1]})
    return methods
