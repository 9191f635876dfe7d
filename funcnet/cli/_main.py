"""Parse the arguments of `funcnet`, call a command, and turn errors into one line."""

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from funcnet.cli._output import print_error, print_warning
from funcnet.cli._parser import make_parser

MODULES = {"train": "_train", "study": "_study", "predict": "_predict", "runs": "_runs", "show": "_runs"}


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
        args = make_parser().parse_args(argv)
        _cache_compilations()
        with warnings.catch_warnings():
            warnings.showwarning = print_warning  # type: ignore[assignment]
            module = importlib.import_module(f"funcnet.cli.{MODULES[args.run]}")
            getattr(module, args.run)(args)
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


def _cache_compilations() -> None:
    from funcnet import cache_compilations

    with contextlib.suppress(OSError):  # without a writable cache it only takes longer
        cache_compilations()
