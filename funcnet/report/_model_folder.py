"""The folder of a trained table model: the names of its files, its description and its history."""

import hashlib
from pathlib import Path
from typing import Any

from funcnet import _files

FORMAT = 2
WEIGHTS, DESCRIPTION, HISTORY, CURVES = "model.safetensors", "model.json", "history.csv", "curves.png"
PART, WHOLE = ".model.part", ".model"
"""Hidden folders of the files of a new model: being written, and complete but not moved up yet."""
SCALER = {"shift": (float, [float]), "scale": (float, [float])}
FIELDS = {
    "task": str,
    "target_name": str,
    "class_names": [str],
    "feature_names": [str],
    "sizes": [(int, str)],
    "activation": str,
    "dropout": float,
    "encoder": (None, {}),
    "scaler": SCALER,
    "target_scaler": (None, SCALER),
    "settings": {"epochs": int},
    "outcome": str,
    "epochs": int,
    "rows": {str: int},
    "metrics": {str: {str: (float, None)}},
    "saved": str,
    "files": {WEIGHTS: str, HISTORY: str},
}


def read_description(folder: Path) -> dict[str, Any]:
    """The content of model.json.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is damaged, or has another format.
    """
    path = model_file(folder, DESCRIPTION)
    try:
        return _files.read_sealed(path, FORMAT, FIELDS)
    except _files.OtherFormatError as error:
        raise ValueError(f"{folder} holds a model of another version: {error}. Train it again.") from None
    except ValueError as error:
        raise ValueError(f"{folder / DESCRIPTION} is damaged: {error}.") from None


def read_history(folder: Path, digest: str) -> str:
    """The content of history.csv, once its SHA-256 is verified."""
    path = model_file(folder, HISTORY)
    content = _files.read(path, "the history of a run")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is damaged, or belongs to another run.")
    return content.decode()


def model_file(folder: Path, name: str) -> Path:
    """The path of a model's file, which a killed process may not have moved up yet."""
    hidden = folder / WHOLE / name
    return hidden if hidden.is_file() else folder / name
