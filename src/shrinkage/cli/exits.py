"""How a command ends: one line for an error, exit code 2 for wrong usage and 1 for other faults."""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from shrinkage.cli.help import Group
from shrinkage.errors import ShrinkageError
from shrinkage.labels import printable_lines

PLAIN = {"±": "+/-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "→": "->"}

SHORTER = {
    "greater than or equal to": "at least",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
}
"""For pydantic's words."""


class Commands(Group):
    """Ends with ``Error: ...`` on stderr, whatever the terminal can show."""

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
            say(f"Error: {_sentence(error)}{_hint(error.message, context)}")
            if error.exit_code == 2 and context is not None:
                say(f"Try '{context.command_path} --help'.")
            sys.exit(error.exit_code)
        exec("")  # else CPython ends by SIGINT itself where an interrupt met the exec of an import
        sys.exit(code if isinstance(code, int) else 0)


def say(text: str) -> None:
    """Write to stderr, without what could command the terminal."""
    typer.echo(printable_lines(text), err=True)


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Turn faults into one line and exit code 1, an interrupt into 130, unless debugging."""
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted. A run is saved only when it is complete.")
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
def telling_how_to_go_on(checkpoint: Path | None) -> Iterator[None]:
    """End a stopped training that has a checkpoint with 130, or what the signal asks for."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if checkpoint is None:
            raise
        say(f"Stopped. The same command resumes from {checkpoint}.")
        code = stop.code if isinstance(stop, SystemExit) else 130
        raise typer.Exit(int(code or 0)) from None


@contextmanager
def usage(option: str) -> Iterator[None]:
    """Blame ``option`` for a `ShrinkageError`: exit code 2."""
    try:
        yield
    except ShrinkageError as error:
        fault = str(error).removeprefix(f"{option.removeprefix('--')}: ")
        raise typer.BadParameter(fault, param_hint=option) from error


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


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in unknown), error.end
