"""Options in a TOML file: written with comments, and read with one clear error."""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w
from typer.models import OptionInfo

from shrinkage.cli.exits import in_words, usage
from shrinkage.disk.files import read_regular
from shrinkage.errors import ShrinkageError, choose_from

MAX_BYTES = 1 << 20


def read_config(file: Path, options: type[Any]) -> dict[str, Any]:
    """Return the values of a file by the names of the fields of ``options``.

    Raises:
        BadParameter: The file is unreadable, no TOML, or holds an unknown key or a wrong type.
    """
    with usage("--config"):
        if file.suffix in (".yaml", ".yml", ".json"):
            raise ShrinkageError(
                f"{file} is not TOML; `shrinkage config` prints a file to start from."
            )
        text = _text(file)
        try:
            values = tomllib.loads(text)
        except RecursionError:
            raise ShrinkageError(
                f"{file} is nested too deeply; write every option on one line."
            ) from None
        except ValueError as error:
            fault = str(error).replace("Cannot overwrite a value", "a key is given twice")
            raise ShrinkageError(f"{file} is not TOML: {fault}.") from error
        return _checked(file, text, values, options)


def write_config(command: str, options: type[Any]) -> str:
    """Return a file with every option of ``options`` at its default, explained."""
    lines = [f"# For shrinkage {command} --config FILE. What is typed on the command line wins."]
    panel, kinds = None, get_type_hints(options)
    for field, info in _described(options):
        if info.rich_help_panel != panel:
            panel = info.rich_help_panel
            lines += ["", f"## {panel}"]
        lines += ["", *_wrapped(str(info.help))]
        if field.default is None:
            sample = _sample(kinds[field.name], str(info.metavar))
            lines.append(f"# {_key(field, info)} = {sample}  # default: {info.show_default}")
        else:
            lines.append(tomli_w.dumps({_key(field, info): field.default}).rstrip())
    return "\n".join(lines)


def _text(file: Path) -> str:
    try:
        return read_regular(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShrinkageError(f"{file} is not UTF-8: {error}; save it as UTF-8.") from error


def _checked(file: Path, text: str, values: dict[str, Any], options: type[Any]) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    known = {_key(field, info): field.name for field, info in _described(options)}
    kinds = get_type_hints(options)
    checked = {}
    for key, given in values.items():
        place = f"{file}, line {_line(text, key)}"
        if key not in known:
            hint = choose_from(key.replace("_", "-"), known)
            raise ShrinkageError(f"{place}: unknown key {key!r}; {hint}")
        kind = _in_toml(kinds[known[key]])
        value = _joined(given) if kind is str else _listed(given) if kind == list[str] else given
        try:
            checked[known[key]] = TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError as error:
            raise ShrinkageError(f"{place}: {key}: {in_words(error)}.") from error
    return checked


def _described(options: type[Any]) -> list[tuple[Field[Any], OptionInfo]]:
    hints = get_type_hints(options, include_extras=True)
    return [(field, hints[field.name].__metadata__[-1]) for field in fields(options)]


def _key(field: Field[Any], info: OptionInfo) -> str:
    named = info.default if isinstance(info.default, str) else field.name.replace("_", "-")
    return named.removeprefix("--")


def _in_toml(kind: Any) -> Any:
    """Return the type that a value has in TOML: a path is a string, and None is no value."""
    if get_origin(kind) is UnionType:
        (kind,) = [part for part in get_args(kind) if part is not NoneType]
    return str if kind is Path else kind


def _joined(value: Any) -> Any:
    """Return an array or a number as the text that an option takes: [1e-3, 1] as "0.001,1"."""
    if isinstance(value, float):
        return str(value)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    """Return a table, or one text, as a list of texts: {lr = [1, 2]} as ["lr=1,2"]."""
    if isinstance(value, dict):
        return [f"{name}={_joined(own)}" for name, own in value.items()]
    return [value] if isinstance(value, str) else value


def _sample(kind: Any, metavar: str) -> str:
    """Return how a value is written."""
    name, equals, values = metavar.partition("=")
    if equals:
        return f'{{ {name} = "{values}" }}'
    return metavar if _in_toml(kind) is int else f'"{metavar}"'


def _line(text: str, key: str) -> int:
    start = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[\].=]")
    found = (number for number, line in enumerate(text.splitlines(), 1) if start.match(line))
    return next(found, 1)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")
