"""Read an iterator ahead of its consumer, in a background thread."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

END = object()


def prefetch(items: Iterator[T], size: int) -> Generator[T, None, None]:
    """Yield the same items in the same order, with up to `size` of them computed in advance.

    An exception in the thread is raised where its item would have been yielded. Close the generator to
    stop the thread.
    """
    ready: queue.Queue[Any] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((END, None))
        except BaseException as error:  # raised again in the consumer's thread, which can handle it
            put((END, error))

    def consume() -> Generator[T, None, None]:
        thread = threading.Thread(target=produce, name="prefetch", daemon=True)
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
            thread.join()  # a JAX thread that outlives the interpreter aborts it

    return consume()
