"""How a command ends: one line for an error, exit code 2 for wrong usage and 1 for other faults."""

from __future__ import annotations

import codecs
import io
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from shrinkage.errors import ShrinkageError

PLAIN = {"±": "+/-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "→": "->"}

SHORTER = {
    "greater than or equal to": "at least",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
}
"""For pydantic's words."""

NARROWEST_BOX = 60


class Commands(TyperGroup):
    """Ends with ``Error: ...`` on stderr, whatever the terminal can show."""

    def get_command(self, context: Any, name: str) -> Any:
        """Return a command whose help has no boxes where they would cut its words."""
        command: Any = super().get_command(context, name)
        if command is not None:
            _leave_flags_bare(command.get_params(context))
        columns = shutil.get_terminal_size().columns
        if command is not None and columns < NARROWEST_BOX:
            command.rich_markup_mode, context.terminal_width = None, columns - 2
        return command

    def format_help(self, context: Any, formatter: Any) -> None:
        """Write the help, without boxes in a narrow terminal."""
        columns = shutil.get_terminal_size().columns
        _leave_flags_bare(self.get_params(context))
        if columns < NARROWEST_BOX:
            self.rich_markup_mode, formatter.width = None, columns - 2
        super().format_help(context, formatter)

    def main(self, *arguments: Any, **extra: Any) -> NoReturn:
        """Run the command line and exit."""
        codecs.register_error("shrinkage.plain", _in_plain_characters)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="shrinkage.plain")
        try:
            code = super().main(*arguments, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            typer.echo(f"Error: {_sentence(error)}{_hint(error.message, context)}", err=True)
            if error.exit_code == 2 and context is not None:
                typer.echo(f"Try '{context.command_path} --help'.", err=True)
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Turn faults into one line and exit code 1, an interrupt into 130, unless debugging."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted. A run is saved only when it is whole.", err=True)
        raise typer.Exit(130) from None
    except (typer.Exit, BrokenPipeError):
        raise
    except typer.TyperException as error:
        if debug and error.__cause__ is not None:
            raise error.__cause__ from error.__cause__.__cause__
        raise
    except ShrinkageError as error:
        if debug:
            raise
        raise typer.TyperException(str(error)) from error
    except Exception as error:
        if debug:
            raise
        raise typer.TyperException(
            f"{type(error).__name__}: {error}. This should not happen; run again with --debug to "
            "see where, and report it."
        ) from error


@contextmanager
def usage(option: str) -> Iterator[None]:
    """Blame ``option`` for a `ShrinkageError`: exit code 2."""
    try:
        yield
    except ShrinkageError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def in_words(error: Any) -> str:
    """Return what was given and what it should be: '1' should be at least 4.

    Args:
        error: A ``pydantic.ValidationError``.
    """
    first = error.errors()[0]
    said = str(first["msg"]).removeprefix("Input ").partition(", unable")[0]
    for theirs, ours in SHORTER.items():
        said = said.replace(theirs, ours)
    return f"{first['input']!r:.80} {said}"


def _sentence(error: typer.TyperException) -> str:
    """Return what is wrong; of a value that an option refuses also what the option means."""
    message = error.format_message().replace("Value error, ", "")
    if "Input should" in message:
        meaning = getattr(getattr(error, "param", None), "help", "").partition(":")[0].rstrip(".")
        message = message.partition("Input should")[0] + f"{in_words(error.__cause__)} ({meaning})."
    return re.sub("for '(--[^']+)':", r"for \1:", message)


def _hint(message: str, context: Any) -> str:
    """Say which option a value may lack that stands alone: ``shrinkage path digits``."""
    extra = re.search(r"unexpected extra argument(?:\(s\)|s)? \((\S+?)[\s)]", message)
    if extra is None or all(known.name != "data" for known in context.command.params):
        return ""
    return f"; each needs its option, such as --data {extra[1]}."


def _leave_flags_bare(parameters: list[Any]) -> None:
    """Show --help as --help, not as --help <bool>."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in unknown), error.end
