"""What a penalty does, in two parameters: value, gradient, prox and unit ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty
from shrinkage.plots import ink
from shrinkage.plots.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACH, BESIDE, POINTS, SIDE = 2.5, 0.8, 500, 161
LEVELS = (0.25, 0.5, 1.0, 1.5, 2.0)


class Family(NamedTuple):
    """Tensors of two parameters.

    Args:
        formula: The tensor, in words.
        make: The tensor of ``(a, b)``.
    """

    formula: str
    make: Callable[[Tensor, Tensor], Tensor]


ROW = Family("w = [[a, b]]", lambda a, b: torch.stack([a, b]).unsqueeze(0))
COLUMN = Family("w = [[a], [b]]", lambda a, b: torch.stack([a, b]).unsqueeze(1))
TURNED = Family(
    "w = [[a, b], [b, a]]", lambda a, b: torch.stack([torch.stack([a, b]), torch.stack([b, a])])
)


@dataclass(eq=False, repr=False)
class PenaltyDisplay(Display):
    """A penalty of the tensors of a family in two parameters, a and b.

    Args:
        name: The call that makes the penalty.
        family: The tensors, in words.
        a: (T,) values of the first parameter.
        beside: (B,) values of the second: 0, and another one if it matters.
        value: (B, T). gradient: (B, T), in a. prox: (B, T), parameter a of the prox of step 1.
        grid: (G,) values of both parameters.
        ball: (G, G) values at strength 1, b by a.
        moved: (N, 4), points and where the prox of step 1 brings them: a, b, a, b.

    Attributes:
        axes_: Of value, gradient, prox and unit ball.
        figure_: Their figure.
    """

    name: str
    family: str
    a: Tensor
    beside: Tensor
    value: Tensor
    gradient: Tensor
    prox: Tensor
    grid: Tensor
    ball: Tensor
    moved: Tensor

    @classmethod
    def from_penalty(cls, penalty: Penalty) -> PenaltyDisplay:
        """Compute what the drawing shows; a reference of the penalty is left out.

        Raises:
            ShrinkageError: The penalty takes no small matrix.
        """
        if not isinstance(penalty, Penalty):
            raise ShrinkageError(f"{penalty!r:.80} is not a penalty; give one such as L1(0.5).")
        penalty = penalty.around_zero()
        name = repr(penalty)
        family = family_of(penalty)
        numbers: dict[str, Any] = {"dtype": torch.float64}
        a, grid = torch.linspace(-REACH, REACH, POINTS, **numbers), torch.linspace(-2, 2, SIDE)
        beside = torch.tensor([0.0] if _separable(penalty) else [0.0, BESIDE], **numbers)
        lines = torch.meshgrid(beside, a, indexing="ij")
        field = torch.meshgrid(grid.double(), grid.double(), indexing="ij")
        along = family.make(torch.ones(()), torch.zeros(()))
        angle = torch.arange(24, **numbers) * torch.pi / 12
        start = torch.stack([1.75 * angle.cos(), 1.75 * angle.sin()])
        end = _mapped(lambda a, b: penalty.prox(family.make(a, b), 1.0).flatten()[:2], *start)
        return cls(
            name=name,
            family=family.formula,
            a=a,
            beside=beside,
            value=_mapped(lambda b, a: penalty.value(family.make(a, b)), *lines),
            gradient=_mapped(
                lambda b, a: (penalty.gradient(family.make(a, b)) * along).sum(), *lines
            ),
            prox=_mapped(lambda b, a: penalty.prox(family.make(a, b), 1.0).flatten()[0], *lines),
            grid=grid,
            ball=_mapped(lambda b, a: penalty.at(1.0).value(family.make(a, b)), *field),
            moved=torch.cat([start.T, end], dim=1),
        )

    def plot(self, ax: Any = None, *, width: float = 4.8) -> PenaltyDisplay:
        """Draw.

        Args:
            ax: Four axes, or a figure or subfigure to put them in. None makes a figure.
            width: Of that figure, in inches.
        """
        with ink.paper(ax, [1, 1], width, 0.98 * width, columns=2) as paper:
            self.axes_, self.figure_, self._given = paper.axes, paper.figure, paper.given
            value, gradient, prox, ball = self.axes_
            self._draw_lines(value, self.value, "value", (-0.1, 3.1), paper)
            self._draw_lines(gradient, self.gradient, "gradient", (-2.3, 2.3), paper)
            self._draw_lines(prox, self.prox, "prox, step 1", (-REACH, REACH), paper)
            prox.axline((0, 0), slope=1, color=paper.colors.faint, lw=0.8, ls=(0, (5, 4)), zorder=1)
            self._draw_ball(ball, paper)
            if len(self.beside) > 1:
                labels = ["b = 0", f"b = {BESIDE:g}"]
                prox.legend(
                    prox.get_lines()[: len(self.beside)], labels, loc="lower right", frameon=False
                )
            if not paper.given:
                self.figure_.suptitle(f"{self.name}   {self.family}", parse_math=False)
        return self

    def _draw_lines(
        self, ax: Axes, values: Tensor, title: str, limits: tuple[float, float], paper: ink.Paper
    ) -> None:
        hues = (paper.colors.blue, paper.colors.orange)
        for line, color, style in zip(values, hues, ("-", (0, (4, 1.5))), strict=False):
            ax.plot(self.a, _torn(line), color=color, ls=style, lw=1.5)
        ax.set(xlim=(-REACH, REACH), ylim=limits)
        ax.set_title(title, size="medium")
        ax.set_xlabel("a")

    def _draw_ball(self, ax: Axes, paper: ink.Paper) -> None:
        height, colors = self.ball.nan_to_num(posinf=1e6), paper.colors
        ax.contourf(self.grid, self.grid, height, [-1, 1], colors=[colors.blue], alpha=0.15)
        widths = [1.6 if level == 1 else 0.6 for level in LEVELS]
        ax.contour(self.grid, self.grid, height, LEVELS, colors=[colors.blue], linewidths=widths)
        for a, b, to_a, to_b in self.moved.tolist():
            arrow = {"arrowstyle": "-|>,head_width=0.12,head_length=0.25", "shrinkA": 0}
            arrow |= {"shrinkB": 0, "color": colors.orange, "lw": 0.8}
            ax.annotate("", xy=(to_a, to_b), xytext=(a, b), arrowprops=arrow)
        ax.set(xlim=(-2, 2), ylim=(-2, 2), xticks=(-1, 0, 1), yticks=(-1, 0, 1), aspect="equal")
        ax.set_title("value ≤ 1 at strength 1; prox", size="medium")
        ax.set_xlabel("a")
        ax.set_ylabel("b")


def plot_penalty(penalty: Penalty, *, ax: Any = None, width: float = 4.8) -> PenaltyDisplay:
    """Draw a penalty: value, gradient and prox in one parameter, the unit ball in two.

    The tensor is ``[[a, b]]`` for a penalty of entries, one group for a penalty of groups, and
    ``[[a, b], [b, a]]``, with singular values ``|a + b|`` and ``|a - b|``, for a penalty of
    singular values: its rank is 1 on the diagonals, and it is orthogonal at four points of the
    axes. Arrows go from a circle to the prox of step 1.

    Args:
        penalty: The penalty; its strength counts, its reference does not.
        ax: Four axes, or a figure or subfigure to put them in. None makes a figure.
        width: Of that figure, in inches.

    Raises:
        ShrinkageError: The penalty takes no small matrix, or ``ax`` does not fit.

    Example:
        >>> from shrinkage.penalties import NuclearNorm
        >>> plot_penalty(NuclearNorm(0.5)).family
        'w = [[a, b], [b, a]]'
    """
    return PenaltyDisplay.from_penalty(penalty).plot(ax, width=width)


def family_of(penalty: Penalty) -> Family:
    """Return the tensors that show what a penalty is made of, found by trying.

    Values that do not change when a matrix is rotated, and are no sum over entries, are those of
    singular values. Of a row and a column, the one that is no sum over entries is the group.
    """
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    rotation = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    try:
        if _separable(penalty):
            return ROW
        if torch.isclose(penalty.value(rotation @ w), penalty.value(w @ rotation)):
            return TURNED
        one, two = torch.ones((), dtype=torch.float64), torch.full((), 2.0, dtype=torch.float64)
        row = penalty.value(ROW.make(one, two))
        apart = penalty.value(one.view(1, 1)) + penalty.value(two.view(1, 1))
        return COLUMN if torch.isclose(row, apart) else ROW
    except (RuntimeError, IndexError) as error:
        raise ShrinkageError(
            f"{penalty!r} takes no matrix of 2 x 2, so there is no picture: {error}."
        ) from error


def _torn(line: Tensor) -> Tensor:
    """Leave a gap where a line jumps: a difference far beyond the one before it."""
    change = line.diff().abs()
    jumps = (change > 0.1) & (change > 5 * change.roll(1))
    return torch.cat([line[:1], line[1:].masked_fill(jumps, torch.nan)])


def _separable(penalty: Penalty) -> bool:
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    apart = torch.stack([penalty.value(entry.view(1, 1)) for entry in w.flatten()])
    return torch.allclose(penalty.value(w), apart.sum())


def _mapped(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Map a function of numbers over tensors of one shape."""
    flat = torch.vmap(function)(*(argument.flatten() for argument in arguments))
    return flat.reshape(*arguments[0].shape, *flat.shape[1:])
