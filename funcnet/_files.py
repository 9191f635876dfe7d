"""Files: one function that writes to a path of the user."""

import os
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees all of it or the previous file, never a part.

    Raises:
        OSError: if the file can't be written; it names `path`.
    """
    place = Path(path)
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except OSError as error:
        # Names the file that was asked for, not the temporary one.
        raise OSError(error.errno, error.strerror, str(place)) from None
    finally:
        beside.unlink(missing_ok=True)
