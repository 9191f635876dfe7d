"""What a process is told from outside: SIGTERM and Ctrl-C, as values to look at between two visits."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """SIGTERM and SIGINT as entries of a list; a second one does what it always does."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before: dict[signal.Signals, Any] = {}

    def note(number: int, _: Any) -> None:
        seen.append(number)
        signal.signal(number, before.get(signal.Signals(number), signal.SIG_DFL))

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
