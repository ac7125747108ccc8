"""What Python calls warnings, as notes on the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shrinkage.errors import ShrinkageWarning

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def warnings_as_notes(console: Console) -> Iterator[list[str]]:
    """Show each warning of this package as a note at once, without its place in the code.

    Yields:
        What was shown.
    """
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ShrinkageWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, ShrinkageWarning):
                usual(message, category, *place, **more)
                return
            said.append(str(message).partition(" Silence:")[0])
            console.print(f"Note: {said[-1]}", style="yellow")

        warnings.showwarning = show
        yield said
