"""Arguments of `funcnet train` in a TOML file: read for --config, and written beside every model."""

import argparse
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from funcnet import _files

NAME = "run.toml"
FLAGS = (
    *("target", "task", "number", "category", "date", "drop", "id", "missing", "day-first", "separator"),
    *("encoding", "decimal", "hidden", "epochs", "batch-size", "learning-rate", "patience", "seed"),
    *("members", "folds", "test-size", "class-weight", "metric"),
)
"""The arguments that belong to a run; the others say what is written and printed."""


def read_config(path: Path, omit: Collection[str] = ()) -> tuple[str | None, list[str]]:
    """The table of a configuration, and its other arguments as those of a command line.

    Args:
        path: of the file.
        omit: names of lists that the command line overrules: argparse would join both.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is not TOML, or holds something else.
    """
    try:
        content = tomllib.loads(_files.read(path, "a TOML file").decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from None
    table = content.pop("table", None)
    if not isinstance(table, str | None):
        raise ValueError(f'{path}: table must be text, got {table!r}. Try table = "houses.csv".')
    arguments = []
    for name, value in content.items():
        if name not in FLAGS:
            raise ValueError(f"{path} must hold table, {', '.join(FLAGS)}; got {name!r}.")
        if name in omit:
            continue
        values = value if isinstance(value, list) and name != "hidden" else [value]
        for entry in values:
            arguments += _argument(path, name, entry)
    return table, arguments


def _argument(path: Path, name: str, value: Any) -> list[str]:
    if name == "day-first":
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {name} must be true or false, got {value!r}.")
        return ["--day-first" if value else "--no-day-first"]
    if name == "hidden" and isinstance(value, list):
        value = ",".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{path}: {name} must be text or a number, got {value!r}.")
    return [f"--{name}={value}"]


def write_config(folder: Path, table: str, args: argparse.Namespace) -> None:
    """Write the arguments that are given, so that `funcnet train --config` repeats the run."""
    given: dict[str, Any] = {"table": table}
    for name in FLAGS:
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            given[name] = list(value) if isinstance(value, tuple) else value
    _files.write(folder / NAME, to_toml(given).encode())


def to_toml(content: Mapping[str, Any]) -> str:
    """Text, numbers, booleans and lists of them as TOML, which writes them as JSON does."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in content.items())


def _value(value: str | float | bool | Sequence[Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f") if isinstance(value, str | list) else text
