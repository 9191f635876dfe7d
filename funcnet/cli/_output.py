"""What the command prints, and how it waits for what can be interrupted."""

import math
import os
import sys
import threading
from collections.abc import Callable, Mapping
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


def to_json(value: Any) -> Any:
    """A result as JSON can hold it: None for NaN and infinities, text for what else is unknown."""
    if isinstance(value, Mapping):
        return {str(name): to_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    if hasattr(value, "tolist"):  # of NumPy
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


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
