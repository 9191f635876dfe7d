"""The output folder of a command, and the table that it belongs to."""

import os
from pathlib import Path

from funcnet import _files
from funcnet.data._load import NAMES
from funcnet.report._model_folder import EARLIER, NAME
from funcnet.train._manifest import places

FORMAT = 1
SOURCE = ".source.json"


def default_folder(name: str, source: str) -> Path:
    """`runs/NAME`, unless that may belong to another table.

    Args:
        name: the name of the run, such as that of its table.
        source: its table, as `table_source` returns it.

    Raises:
        ValueError: if the folder belongs to another table, or it is unknown to which.
    """
    if name in (".", ".."):
        raise ValueError(f"the table {source} has no name for a folder. Choose one with --out runs/NAME.")
    folder = Path("runs", name)
    advice = f"Choose another folder with --out, such as --out runs/{name}-2."
    try:
        owner = _files.read_sealed(folder / SOURCE, FORMAT, {"source": str})["source"]
    except (FileNotFoundError, NotADirectoryError):
        if (folder / NAME).exists() or (folder / EARLIER).exists() or places(folder):
            raise ValueError(
                f"{folder} holds a run of an unknown table, and this table is {source}. {advice}"
            ) from None
        return folder
    except ValueError as error:
        raise ValueError(f"{folder} belongs to an unknown table: {error}. {advice}") from None
    if owner != source:
        raise ValueError(f"{folder} belongs to the table {owner}, and this table is {source}. {advice}")
    return folder


def table_source(name: str) -> str:
    """The name of a table that comes with funcnet, or the absolute path of a file."""
    return (
        name
        if name in (*NAMES, "-")
        else os.fsencode(os.path.realpath(name)).decode(errors="backslashreplace")
    )


def set_owner(folder: Path, source: str) -> None:
    """Create a folder and record the table that it belongs to."""
    _files.make_folder(folder)
    _files.write_sealed(folder / SOURCE, {"format": FORMAT, "source": source})


def check_folder(folder: Path) -> None:
    """Raise before training, not after it, if files can't be written to `folder`."""
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise ValueError(
            f"{existing} is a file, so nothing can be written to {folder}: choose another --out."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{existing} is not writable: choose another --out.")
