"""The ``shrinkage`` command and its options. Torch is loaded only when a run starts."""

from __future__ import annotations

from typing import Annotated

import typer

from shrinkage._version import __version__
from shrinkage.cli.commands import OPTIONS, add_command
from shrinkage.cli.compare import EXAMPLES as COMPARE_EXAMPLES
from shrinkage.cli.compare import compare
from shrinkage.cli.compare.options import CompareOptions
from shrinkage.cli.exits import Commands
from shrinkage.cli.help import Command
from shrinkage.cli.path import EXAMPLES as PATH_EXAMPLES
from shrinkage.cli.path import path
from shrinkage.cli.path.options import PathOptions
from shrinkage.cli.report import EXAMPLE as REPORT_EXAMPLE
from shrinkage.cli.report import report
from shrinkage.cli.train import EXAMPLES as TRAIN_EXAMPLES
from shrinkage.cli.train import train
from shrinkage.cli.train.options import TrainOptions
from shrinkage.errors import choose_from

__all__ = ["app", "main"]

EXAMPLES = "\n\n".join(
    text.partition("\n\n")[0]
    for text in (PATH_EXAMPLES, COMPARE_EXAMPLES, TRAIN_EXAMPLES, REPORT_EXAMPLE)
)
"""The first one of every command."""

app = typer.Typer(
    cls=Commands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
)


def main() -> None:
    """Run the command line."""
    app(prog_name="shrinkage")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shrinkage {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def shrinkage(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Regularization for PyTorch: add a penalty, tune its strength, see whether it helped."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


add_command(app, PathOptions, path, epilog=PATH_EXAMPLES)
add_command(app, CompareOptions, compare, epilog=COMPARE_EXAMPLES)
add_command(app, TrainOptions, train, epilog=TRAIN_EXAMPLES)
app.command(cls=Command, epilog=REPORT_EXAMPLE)(report)


@app.command(cls=Command)
def config(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="The command that will read the file.")
    ] = "path",
) -> None:
    """Print a file of every option and its default, for --config.

    Such as: shrinkage config > run.toml; shrinkage path --config run.toml
    """
    if command not in OPTIONS:
        raise typer.BadParameter(
            f"{command!r} reads no file; {choose_from(command, OPTIONS)}", param_hint="COMMAND"
        )
    from shrinkage.cli.config import write_config

    typer.echo(write_config(command, OPTIONS[command]))
