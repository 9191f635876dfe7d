"""SIGTERM and Ctrl-C as values, to be read between two chunks of a run."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from funcnet import _processes, _text


@contextlib.contextmanager
def record_signals() -> Iterator[list[int]]:
    """Record SIGTERM and SIGINT in a list; a second signal has its usual effect."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before: dict[signal.Signals, Any] = {}

    def record(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, before.get(signal.Signals(number), signal.SIG_DFL))

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, record)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_after(number: int, message: str) -> NoReturn:
    """Exit after a signal, with a message on stderr that begins with its name.

    Raises:
        SystemExit: with 128 and the number of the signal.
    """
    if _processes.is_first():
        print(_text.printable(f"{signal.Signals(number).name}: {message}"), file=sys.stderr)
    raise SystemExit(128 + number)
