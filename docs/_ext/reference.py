"""The reference pages: every command with its options, every public name with its docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import typer

import shrinkage

SECTIONS = {
    "shrinkage.penalties": "Penalties",
    "shrinkage.constraints": "Constraints",
    "shrinkage.regularizing": "Add: a penalty on an optimizer",
    "shrinkage.integrations.lightning": "Add: a callback of Lightning",
    "shrinkage.integrations.transformers": "Add: a callback of Transformers",
    "shrinkage.integrations.tensorboard": "Train: curves for TensorBoard",
    "shrinkage.parameters": "Which tensors are penalized",
    "shrinkage.schedules": "Strengths that change on the way",
    "shrinkage.engine": "Tune: a path of strengths",
    "shrinkage.result": "What a path measured",
    "shrinkage.choose": "Choose a strength, judge, see the noise",
    "shrinkage.estimators": "Tune: scikit-learn estimators",
    "shrinkage.metrics": "Metrics",
    "shrinkage.plots": "See: figures",
    "shrinkage.report": "See: the report",
    "shrinkage.shrinking": "Shrink: a smaller model",
    "shrinkage.data": "Data",
    "shrinkage.models": "Models",
    "shrinkage.testing": "Laws for your own penalties",
    "shrinkage.errors": "Errors",
}
NAMED = {
    "shrinkage.parameters": ("everything", "explain_selection", "weights", "Row"),
    "shrinkage.regularizing": ("Activity", "activity", "regularize", "Regularization"),
    "shrinkage.estimators": ("PathClassifier", "PathRegressor"),
    "shrinkage.result": ("PathResult", "Refit"),
}
"""The public names of modules that do not list them."""
WITH_MEMBERS = {
    "Constraint",
    "PathClassifier",
    "PathRegressor",
    "PathResult",
    "Penalty",
    "Regularization",
    "Shrunk",
}


def api() -> str:
    """Return a page with every public name, each in the section of its module."""
    page = ["# API reference\n"]
    for module_name, title in sections().items():
        entries = [_entry(path, thing) for path, thing in sorted(_public(module_name).items())]
        if entries:
            is_function = callable(getattr(shrinkage, module_name.split(".")[1], None))
            module = "" if is_function else f".. module:: {module_name}\n\n"
            page.append(f"## {title}\n\n```{{eval-rst}}\n{module}" + "\n".join(entries) + "```\n")
    return "\n".join(page)


def sections() -> dict[str, str]:
    """Return module and title of every section, also of modules that nobody gave a title."""
    modules = {_home(name) for name in shrinkage.__all__} - set(SECTIONS)
    return SECTIONS | {module: module.removeprefix("shrinkage.").title() for module in modules}


def _home(name: str) -> str:
    """Return the module, or the package, under shrinkage that a public name is from."""
    thing = getattr(shrinkage, name)
    return ".".join(getattr(thing, "__module__", thing.__name__).split(".")[:2])


def command_line() -> str:
    """Return a page with every command, its options by panel, and their defaults."""
    from shrinkage.cli import app

    group: Any = typer.main.get_command(app)
    page = ["# Command line\n", "`shrinkage --help` and `shrinkage COMMAND --help` say the same.\n"]
    for name, command in group.commands.items():
        page += [f"## shrinkage {name}\n", _plain(command.help), ""]
        panels: dict[str, list[Any]] = {}
        for option in command.params:
            panel = getattr(option, "rich_help_panel", None) or "Options"
            panels.setdefault(panel, []).append(option)
        for panel, options in panels.items():
            page += [f"**{panel}**\n", *map(_option, options)]
    return "\n".join(page)


def _public(module_name: str) -> dict[str, object]:
    """Return the names of one module: those of the package first, then its own ``__all__``."""
    module = importlib.import_module(module_name)
    own = [n for n, thing in vars(module).items() if getattr(thing, "__module__", 0) == module_name]
    names = NAMED.get(module_name) or getattr(module, "__all__", None)
    names = {*(names or own), *(n for n in shrinkage.__all__ if _home(n) == module_name)}
    found = {}
    for name in sorted(name for name in names if not name.startswith("_")):
        thing = getattr(module, name, None) or getattr(shrinkage, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            at_top = name in shrinkage.__all__ and getattr(shrinkage, name) is thing
            found[f"shrinkage.{name}" if at_top else f"{module_name}.{name}"] = thing
    return found


def _entry(path: str, thing: object) -> str:
    if not inspect.isclass(thing):
        return f".. autofunction:: {path}\n"
    members = "   :members:\n" if thing.__name__ in WITH_MEMBERS or "Display" in path else ""
    routing = [name for name in vars(thing) if re.fullmatch(r"set_\w+_request", name)]
    hidden = f"   :exclude-members: {', '.join(routing)}\n" if routing else ""
    return f".. autoclass:: {path}\n{members}{hidden}"


def _option(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])
    kind = f" *{option.metavar}*" if option.metavar else ""
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    default = "" if shown in (None, False, "") else f" Default: {shown}."
    return f"{flags}{kind}\n: {_plain(option.help)}{default}\n"


def _plain(text: str | None) -> str:
    """Take Rich's markup and Markdown's special characters out of a help text."""
    return re.sub(r"([*_<])", r"\\\1", re.sub(r"\[/?bold\]", "", inspect.cleandoc(text or "")))
