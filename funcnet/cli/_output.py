"""What the command prints, and how it waits for what can be interrupted."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from funcnet import _text

T = TypeVar("T")


def print_error(message: str, code: int) -> int:
    print_line(f"funcnet: {' '.join(message.split())}", file=sys.stderr)
    return code


def print_warning(message: Warning | str, *_: Any) -> None:
    print_error(f"warning: {message}", 0)


def print_line(line: str, file: TextIO | None = None) -> None:
    print(_text.printable(line), file=file)


def run_interruptibly(work: Callable[[], T]) -> T:
    """Run `work()` in a thread: a compiled program ignores Ctrl-C, but a thread that waits does not."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        # A regular exit would wait for the program. Nothing has been written yet.
        code = print_error("interrupted.", 130)
        sys.stderr.flush()
        os._exit(code)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
