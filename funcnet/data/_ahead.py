"""An iterator that a thread runs ahead of who reads it."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

END = object()


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """The same items in the same order, up to `count` of them made before they are asked for.

    What the thread raises is raised where the item would have come. Close it to stop the thread.
    """
    ready: queue.Queue[Any] = queue.Queue(count)
    stopped = threading.Event()

    def hand_over(item: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over((item, None)):
                    return
            hand_over((END, None))
        except BaseException as error:  # told to the reader, whose thread can do something about it
            hand_over((END, error))

    def read() -> Generator[T, None, None]:
        thread = threading.Thread(target=work, name="read ahead", daemon=True)
        thread.start()
        try:
            while True:
                item, error = ready.get()
                if error is not None:
                    raise error
                if item is END:
                    return
                yield item
        finally:
            stopped.set()
            thread.join()  # a thread of JAX's that outlives the interpreter ends it with an abort

    return read()
