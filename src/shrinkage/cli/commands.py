"""A command from a class of options: each field becomes an option, and ``--config`` is added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from shrinkage.cli.exits import one_line_errors
from shrinkage.cli.help import Command

Options = TypeVar("Options")

OPTIONS: dict[str, type[Any]] = {}
"""The options of every command that takes a file of them."""


def add_command(
    app: typer.Typer, options: type[Options], run: Callable[[Options], None], **settings: Any
) -> None:
    """Add a command named and documented like ``run``.

    Args:
        app: To what.
        options: A dataclass whose annotations hold a ``typer.Option``. One field is ``debug``.
        run: Does the work, with an instance of ``options``.
        settings: For ``typer.Typer.command``.
    """
    hints = get_type_hints(options, include_extras=True)
    own = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)  # type: ignore[arg-type]
    ]
    file = inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=FILE
    )

    def command(**given: Any) -> None:
        del given["config"]
        chosen = options(**given)
        with one_line_errors(given["debug"]):
            run(chosen)

    command.__name__, command.__doc__ = run.__name__, run.__doc__
    command.__signature__ = inspect.Signature([*own, file])  # type: ignore[attr-defined]
    command.__annotations__ = {**hints, "config": FILE}
    OPTIONS[run.__name__] = options
    app.command(cls=Command, **settings)(command)


def _read_file(context: typer.Context, file: Path | None) -> Path | None:
    """Let the file's values stand for what is not typed."""
    if file is not None and not context.resilient_parsing:
        from shrinkage.cli.config import read_config

        context.default_map = read_config(file, OPTIONS[str(context.info_name)])
    return file


FILE: Any = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_read_file,
        rich_help_panel="Output",
        show_default=False,
        help="Read options from a TOML file; see shrinkage config. What is typed here wins.",
    ),
]
