"""A Trainer's directory: locked by the process that writes to it, with what is put aside in it."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def lock_directory(directory: Path, folder: Path) -> Iterator[None]:
    """Create a folder in a Trainer's directory, and lock the directory for this process.

    Raises:
        OSError: if it can't be written, or another process has locked it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(directory / "lock", "a+")  # noqa: SIM115  (open as long as it is held)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}. A Trainer must be able to write to its directory; choose another one",
            str(directory),
        ) from None
    with lock:
        _lock(lock, directory)
        yield


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
        raise OSError(
            f"{directory} is in use by process {file.read().strip() or 'unknown'}: a directory belongs to "
            "one run. Wait for it, or choose another directory."
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
