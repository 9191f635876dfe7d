"""Parse the arguments of `funcnet`, call a command, and turn errors into one line."""

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from funcnet.cli._config import read_config
from funcnet.cli._output import print_error, print_warning, to_json
from funcnet.cli._parser import make_parser

MODULES = {
    **{name: f"_{name}" for name in ("train", "study", "predict", "runs")},
    **dict.fromkeys(("evaluate", "compare", "report"), "_model"),
    "show": "_runs",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after `funcnet`; those of the process if None.

    Returns:
        The exit code: 0 for success, 2 for a user error (one line on stderr), 130 for Ctrl-C.

    Example:
        >>> from funcnet.cli import main
        >>> main(["--version"])
        funcnet 0.1.0
        0
    """
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        _cache_compilations()
        with warnings.catch_warnings():
            warnings.showwarning = print_warning  # type: ignore[assignment]
            command = getattr(importlib.import_module(f"funcnet.cli.{MODULES[args.run]}"), args.run)
            _call(command, args)
    except SystemExit as end:  # argparse, after --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt:
        return print_error("interrupted.", 130)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe: discard what is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return print_error(f"{error.filename}: {error.strerror}." if error.filename else str(error), 2)
    except (ValueError, FloatingPointError) as error:
        return print_error(str(error), 2)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; those of a configuration come first, so that the command line overrules them."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if getattr(args, "config", None) is not None:
        given = {name.replace("_", "-") for name, value in vars(args).items() if isinstance(value, list)}
        table, configured = read_config(args.config, given)
        args = parser.parse_args([argv[0], *configured, *argv[1:]])
        args.table = table if args.table is None else args.table
    if "table" in args and args.table is None:
        raise ValueError(f"{argv[0]} needs a table: its name or file. See funcnet {argv[0]} --help.")
    return args


def _call(command: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Call a command; for --json and --quiet without what it prints."""
    if args.run == "predict" or not (args.json or args.quiet):
        command(args)
        return
    with contextlib.redirect_stdout(io.StringIO()):
        result = command(args)
    if args.json:
        print(json.dumps(to_json(result), indent=1, ensure_ascii=False))


def _cache_compilations() -> None:
    from funcnet import cache_compilations

    with contextlib.suppress(OSError):  # without a writable cache it only takes longer
        cache_compilations()
