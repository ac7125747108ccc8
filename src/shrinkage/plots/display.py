"""What every drawing can do: show itself in a notebook, and become a file of stable bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from shrinkage.disk.files import atomic_write
from shrinkage.errors import ShrinkageError
from shrinkage.plots import ink

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "shrinkage"},
    "pdf": {"CreationDate": None, "Creator": "shrinkage", "Producer": None},
}


class Display:
    """A drawing after scikit-learn's Display: data first, ink when asked.

    ``from_result`` takes the numbers, ``plot`` draws them and returns the display. In a notebook
    a display shows its figure.

    Attributes:
        figure_: The figure, once drawn.
    """

    figure_: Figure
    _given: bool

    def __repr__(self) -> str:
        """Return the name alone; a notebook shows the figure."""
        return f"<{type(self).__name__}>"

    def save(self, path: str | Path) -> None:
        """Write the figure; the same numbers give the same bytes, whatever the user's settings.

        Args:
            path: A file that ends in ``.svg``, ``.pdf`` or ``.png``.

        Raises:
            ShrinkageError: Another ending, nothing drawn yet, or the file cannot be written.
        """
        path = Path(path)
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in FACTS:
            raise ShrinkageError(f"{path} must end in .svg, .pdf or .png.")
        if not hasattr(self, "figure_"):
            raise ShrinkageError("there is no figure to save yet; call plot() first.")
        with atomic_write(path) as stream:
            self._write(stream, suffix)

    def _write(self, stream: IO[bytes], suffix: str) -> None:
        with ink.printed(), ink.style():
            background = self.figure_.get_facecolor()
            facts = FACTS[suffix]
            self.figure_.savefig(stream, format=suffix, metadata=facts, facecolor=background)

    def _repr_png_(self) -> bytes | None:
        """Show a figure of our own in a notebook; one with given axes is the caller's to show."""
        if getattr(self, "_given", True):
            return None
        stream = io.BytesIO()
        self._write(stream, "png")
        return stream.getvalue()
