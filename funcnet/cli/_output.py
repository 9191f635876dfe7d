"""What the command prints, and how it waits for what can be interrupted."""

import math
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO, TypeVar

from funcnet import _text

T = TypeVar("T")

FLAGS = (
    (r"dayfirst=True or dayfirst=False", "--day-first or --no-day-first"),
    (r"class_weight='balanced'", "--class-weight balanced"),
    (r"preprocessing=\{'(.*?)': '(number|category|date)'\}", r"--\2 '\1'"),
    (r"separator='(.)'", r"--separator '\1'"),
    (r"\bhidden_layer_sizes=", "--hidden="),
    (r"(?<!['\w])max_iter\b", "--epochs"),  # but not in quotes, as the name of a column
    (r"(?<!['\w])learning_rate_init\b", "--learning-rate"),
    (r"\bmembers=", "--members="),
    (r"\bcv(?==| must)", "--folds"),
    (r"\bpredict_interval needs\b", "--interval needs"),
    (r"^(target|separator|encoding) must", r"--\1 must"),
    (r"^path must end", "the name of a report must end"),
    (r"^name must be a table or a file\b", "NAME_OR_FILE must be a table or a file"),
    (r"(^|^the table )-(?=: | (?:is|has|lacks|can't|must) )", r"\1stdin"),
)
"""Arguments in the sentences of the library, and the flags that a user of the command knows them by."""


def print_error(message: str, code: int) -> int:
    for argument, flag in FLAGS:
        message = re.sub(argument, flag, message)
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


def run_interruptibly(work: Callable[[], T], message: str = "interrupted.") -> T:
    """Run `work()` in a thread: a compiled program ignores Ctrl-C, but a thread that waits does not.

    After Ctrl-C, the process prints the message and exits with 130.
    """
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
        # A regular exit would wait for the program. No file is left incomplete.
        code = print_error(message, 130)
        sys.stderr.flush()
        os._exit(code)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
