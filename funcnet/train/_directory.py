"""A Trainer's directory: locked by the process that writes to it, with what is put aside in it."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from funcnet import _processes


@contextlib.contextmanager
def lock_directory(directory: Path, folder: Path, tidy_up: Callable[[], None]) -> Iterator[None]:
    """Create a folder in a Trainer's directory, and lock the directory for this run.

    Of several processes of one run, the first locks it and tidies up.

    Raises:
        OSError: if it can't be written, another run has locked it, or a process does not see it.
    """
    with contextlib.ExitStack() as stack:
        with _processes.together():
            if _processes.is_first():
                _lock(stack.enter_context(_open(directory, folder)), directory)
                tidy_up()
        _check_is_shared(directory)
        yield


def _open(directory: Path, folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open(directory / "lock", "a+")
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}. A Trainer must be able to write to its directory; choose another one",
            str(directory),
        ) from None


def _check_is_shared(directory: Path) -> None:
    """Raise an OSError, in every process, unless all see the lock that process 0 has just written."""
    if _processes.count() == 1:
        return
    lock = directory / "lock"
    texts = _processes.share_text(lock.read_text() if lock.is_file() else "")
    other = next((number for number, text in enumerate(texts) if text != texts[0]), None)
    if other is not None:
        raise OSError(
            f"{directory} must be a folder that all processes share, but process {other} does not "
            "see what process 0 has written there. Choose one on a shared file system."
        )


def archive(folder: Path) -> None:
    """Rename a folder in a Trainer's directory, such as `checkpoints` to `checkpoints.1`, and empty it."""
    aside = (folder.with_name(f"{folder.name}.{i}") for i in itertools.count(1))
    folder.rename(next(place for place in aside if not place.exists()))
    folder.mkdir()


def _lock(file: Any, directory: Path) -> None:
    """Lock a file until it is closed or this process ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().partition(" ")[0] or "unknown"
        raise OSError(
            f"{directory} is in use by process {owner}: a directory belongs to one run. Wait for it, "
            "or choose another directory. Several processes that train one model call fn.mesh.initialize() "
            "and train inside `with fn.mesh.use():`."
        ) from None
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()} {secrets.token_hex(8)}")  # other processes read which run holds it
    file.flush()
    os.fsync(file.fileno())
