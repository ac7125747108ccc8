"""A command from a class of options: each field becomes an option, and ``--config`` is added."""

from __future__ import annotations

import inspect
import time
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from shrinkage.cli import screens
from shrinkage.cli.exits import one_line_errors
from shrinkage.cli.help import Command

OPTIONS: dict[str, type[Any]] = {}
"""The options of every command that takes a file of them."""


def add_command(app: typer.Typer, name: str, options: type[Any], examples: str) -> None:
    """Add a command whose work is ``run`` of ``shrinkage.cli.NAME.job``, loaded when it starts.

    Args:
        app: To what.
        name: What to call it.
        options: A `shrinkage.cli.options.command`.
        examples: What stands below its help.
    """
    hints = get_type_hints(options, include_extras=True)
    own = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)
    ]
    file = inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=FILE
    )

    def command(**given: Any) -> None:
        del given["config"]
        with one_line_errors(given["debug"]):
            _run(f"shrinkage.cli.{name}.job", options(**given))

    command.__name__, command.__doc__ = name, options.__doc__
    command.__signature__ = inspect.Signature([*own, file])  # type: ignore[attr-defined]
    command.__annotations__ = {**hints, "config": FILE}
    OPTIONS[name] = options
    app.command(cls=Command, epilog=examples)(command)


def _run(job: str, options: Any) -> None:
    started = time.perf_counter()
    side = screens.make_console(stderr=True, quiet=options.quiet)
    with screens.loading(side):
        run = import_module(job).run
    screen = screens.make_console(quiet=options.quiet or options.as_json)
    run(options, screen, side, started=started)


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
