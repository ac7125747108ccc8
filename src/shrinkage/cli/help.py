"""Help that no terminal cuts: boxes where there is room, else plain lines, one below another."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

NARROWEST_BOX, INDENT = 60, 2


class Command(TyperCommand):
    """A command whose help fits the terminal."""

    def format_help(self, context: Any, formatter: Any) -> None:
        """Write the help."""
        _fit(self, context, formatter)
        super().format_help(context, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the first paragraph of the help, whole."""
        return " ".join(str(self.help).partition("\n\n")[0].split())


class Group(TyperGroup):
    """A group whose help fits the terminal."""

    def format_help(self, context: Any, formatter: Any) -> None:
        """Write the help."""
        _fit(self, context, formatter)
        super().format_help(context, formatter)


def _fit(command: Any, context: Any, formatter: Any) -> None:
    """Let flags take nothing, --help stand with the last options, and narrow help have no boxes."""
    parameters = command.get_params(context)
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        if parameter.name == "help" and parameters[1:]:
            parameter.rich_help_panel = getattr(parameters[-2], "rich_help_panel", None)
    columns = shutil.get_terminal_size().columns
    if columns < NARROWEST_BOX:
        command.rich_markup_mode, formatter.width = None, columns - 2
        formatter.write_dl = partial(formatter.write_dl, col_max=INDENT)
