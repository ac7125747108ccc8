"""The ``shrinkage`` command and its options. Torch is loaded only when a run starts."""

from __future__ import annotations

from typing import Annotated

import typer

from shrinkage._version import __version__
from shrinkage.cli.commands import OPTIONS, add_command
from shrinkage.cli.compare import options as compare
from shrinkage.cli.exits import Commands
from shrinkage.cli.help import Command
from shrinkage.cli.path import options as path
from shrinkage.cli.report import EXAMPLE, report
from shrinkage.cli.train import options as train
from shrinkage.errors import choose_from

__all__ = ["app", "main"]

EXAMPLES = "\n\n".join(
    text.partition("\n\n")[0] for text in (path.EXAMPLES, compare.EXAMPLES, train.EXAMPLES, EXAMPLE)
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


add_command(app, "path", path.PathOptions, path.EXAMPLES)
add_command(app, "compare", compare.CompareOptions, compare.EXAMPLES)
add_command(app, "train", train.TrainOptions, train.EXAMPLES)
app.command(cls=Command, epilog=EXAMPLE)(report)


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
