"""Fitted estimators as a folder of JSON and safetensors, without pickle."""

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check, _files
from funcnet.tabular import Schema
from funcnet.tabular._members import Members
from funcnet.train._weights import deserialize, save_weights, serialize

FORMAT = 1
NAME = "estimator.json"
EXAMPLE = "models/wine"
PART = ".weights.part"
FIELDS = {"class": str, "parameters": {}, "attributes": {}, "files": {str: str}}


def save(
    estimator: Any, path: str | os.PathLike[str], omit: tuple[str, ...] = (), model: Any = None
) -> None:
    """Write the parameters and the fitted attributes of an estimator, but those of some names.

    Arrays and the weights of a model are written first, under names that hold their checksums, and the JSON
    file, which names them, last: if the process is killed, the folder holds the old estimator or the new
    one.
    """
    folder = _check.path("path", path, EXAMPLE)
    arrays: dict[str, np.ndarray] = {}
    parameters = estimator.get_params(deep=False)
    attributes = {n: v for n, v in vars(estimator).items() if n not in parameters and n not in omit}
    content = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "parameters": {
            n: to_plain(f"the parameter {n}", v, arrays) for n, v in parameters.items() if n not in omit
        },
        "attributes": {n: to_plain(n, v, arrays) for n, v in attributes.items()},
    }
    _files.make_folder(folder)
    files = {"arrays": serialize({name: np.array(a, order="C") for name, a in arrays.items()}, {})}
    if model is not None:
        save_weights(model, folder / PART)
        files["weights"] = (folder / PART).read_bytes()
        (folder / PART).unlink()
    names = {kind: f"{kind}-{hashlib.sha256(c).hexdigest()[:32]}.safetensors" for kind, c in files.items()}
    for kind, encoded in files.items():
        _files.write(folder / names[kind], encoded)
    _files.write_sealed(folder / NAME, {**content, "files": names})
    for other in (*folder.glob("arrays-*.safetensors"), *folder.glob("weights-*.safetensors")):
        if other.name not in names.values():
            other.unlink()


def load(cls: type, path: str | os.PathLike[str], **given: Any) -> Any:
    """The estimator of a folder; `given` are the parameters that were omitted."""
    folder = _check.path("path", path, EXAMPLE)
    if not (folder / NAME).is_file():
        raise FileNotFoundError(f"{folder} contains no estimator: {folder / NAME} is missing.")
    content = _files.read_sealed(folder / NAME, FORMAT, FIELDS)
    if content["class"] != cls.__name__:
        raise ValueError(
            f"{folder} contains a {content['class']}: load it with {content['class']}.load(path)."
        )
    arrays, _ = deserialize(_read(folder, content, "arrays"), str(folder))
    try:
        parameters = {n: from_plain(v, arrays) for n, v in content["parameters"].items()}
        attributes = {n: from_plain(v, arrays) for n, v in content["attributes"].items()}
        estimator = cls(**parameters, **given)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{folder / NAME} is damaged: {error}.") from None
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The file with the weights of a network, once its checksum is verified."""
    folder = _check.path("path", path, EXAMPLE)
    content = _files.read_sealed(folder / NAME, FORMAT, FIELDS)
    _read(folder, content, "weights")
    return folder / str(content["files"]["weights"])


def _read(folder: Path, content: Mapping[str, Any], kind: str) -> bytes:
    """The content of a file whose name holds its checksum."""
    name = content["files"].get(kind, "")
    if not _files.is_plain_name(name):
        raise ValueError(f"{folder / NAME} is damaged: {name!r} is not the name of a file.")
    encoded = _files.read(folder / name, "the arrays of an estimator")
    if name != f"{kind}-{hashlib.sha256(encoded).hexdigest()[:32]}.safetensors":
        raise ValueError(f"{folder / name} is damaged: its content has changed since it was saved.")
    return encoded


def write_json(path: Any, content: Mapping[str, Any]) -> None:
    """Write a report to a .json file."""
    place = _check.path("path", path, "report.json")
    if Path(place).suffix != ".json":
        raise ValueError(f"path must end in .json, got {str(place)!r}. Try report.json.")
    _files.write(place, json.dumps(content, indent=1).encode())


def to_plain(name: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; its arrays of numbers are added to `arrays`, and stand for themselves by number."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "__array__") and not hasattr(value, "columns"):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            arrays[str(len(arrays))] = array
            return {"array": str(len(arrays) - 1)}
        if array.dtype.kind in "OU" and all(isinstance(v, str) for v in array.ravel().tolist()):
            return {"texts": array.tolist(), "dtype": array.dtype.str}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [to_plain(name, entry, arrays) for entry in value]}
    if isinstance(value, Mapping):
        return {"pairs": [[to_plain(name, part, arrays) for part in pair] for pair in value.items()]}
    if isinstance(value, Schema):
        return {"schema": to_plain(name, value.to_dict(), arrays)}
    if type(value) in CLASSES.values():
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {type(value).__name__: to_plain(name, fields, arrays)}
    raise ValueError(
        f"{name} must be numbers, text or arrays to be saved without pickle, got {_check.describe(value)}. "
        "Try joblib.dump(model, path), and load only files that you trust."
    )


def from_plain(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `to_plain` was given."""
    if not isinstance(value, dict):
        return value
    ((kind, inner), *_) = value.items()
    if kind == "array":
        return np.array(arrays[inner])
    if kind == "texts":
        return np.array(inner, np.dtype(value["dtype"]))
    if kind in ("tuple", "list"):
        entries = [from_plain(entry, arrays) for entry in inner]
        return tuple(entries) if kind == "tuple" else entries
    if kind == "pairs":
        return {from_plain(k, arrays): from_plain(v, arrays) for k, v in inner}
    fields = from_plain(inner, arrays)
    return Schema.from_dict(fields) if kind == "schema" else CLASSES[kind](**fields)


def _classes_within(cls: Any) -> dict[str, Any]:
    """A dataclass and those that its fields are annotated with, by name: what a file may hold."""
    classes = {cls.__name__: cls}
    for kind in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(kind):
            classes |= _classes_within(kind)
    return classes


CLASSES = _classes_within(Members)
