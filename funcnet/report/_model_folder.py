"""The folder of a saved estimator: the file that describes it, and the run that trained it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from funcnet import _files

FORMAT = 3
NAME, ARRAYS = "estimator.json", "arrays-*.safetensors"
EARLIER = "model.json"
"""The description of a model of `funcnet train` before it trained estimators."""
RUN = {"epochs": int, "max_epochs": int, "history": {str: [(float, None)]}, "saved": str}
FIELDS = {"class": str, "parameters": {}, "attributes": {}, "files": {str: str}, "run": RUN}


def read_description(folder: Path) -> dict[str, Any]:
    """The content of estimator.json.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it can't be read.
        ValueError: if it is damaged, or has another format.
    """
    if not (folder / NAME).is_file():
        if (folder / EARLIER).is_file():
            raise ValueError(f"{folder} holds a model of an earlier version of funcnet. Train it again.")
        problem = "is not a regular file" if (folder / NAME).exists() else "is missing"
        raise FileNotFoundError(f"{folder} contains no trained model: {folder / NAME} {problem}.")
    try:
        return _files.read_sealed(folder / NAME, FORMAT, FIELDS)
    except _files.OtherFormatError as error:
        raise ValueError(f"{folder} holds a model of another version: {error}. Train it again.") from None
    except ValueError as error:
        raise ValueError(f"{folder / NAME} is damaged: {error}.") from None


def array_file(kind: str, content: bytes) -> str:
    """The name of a file of arrays, which holds its checksum."""
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"


def read_arrays(folder: Path, description: Mapping[str, Any], kind: str) -> bytes:
    """The content of a file of arrays, once its checksum is verified.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is damaged, or its name is not that of such a file.
    """
    name = description["files"].get(kind, "")
    if not _files.is_plain_name(name):
        raise ValueError(f"{folder / NAME} is damaged: {name!r} is not the name of a file.")
    content = _files.read(folder / name, "the arrays of an estimator")
    if name != array_file(kind, content):
        raise ValueError(f"{folder / name} is damaged: its content has changed since it was saved.")
    return content
