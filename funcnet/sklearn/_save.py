"""Fitted estimators as a folder of JSON and safetensors, without pickle."""

import dataclasses
import json
import os
import time
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check, _files
from funcnet.report._model_folder import (
    ARRAYS,
    FORMAT,
    NAME,
    array_file,
    read_arrays,
    read_description,
)
from funcnet.tabular import Schema
from funcnet.tabular._drift import Distribution
from funcnet.tabular._members import Members
from funcnet.train._safetensors import deserialize, serialize
from funcnet.train._weights import save_weights

EXAMPLE = "models/wine"
PART = ".weights.part"
SCHEMA, HISTORY = "schema.json", "history.csv"
LONGEST = 500
"""Characters of an error of a damaged file that are quoted."""


def save(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    history: Mapping[str, np.ndarray],
    max_epochs: int,
    omit: tuple[str, ...] = (),
    model: Any = None,
) -> None:
    """Write the parameters and the fitted attributes of an estimator, but those of some names.

    Arrays and the weights of a model are written first, under names that hold their checksums, and the JSON
    file, which names them, last: if the process is killed, the folder holds the old estimator or the new
    one. How columns are read is written to schema.json, too, and the history to history.csv, for people.

    Args:
        estimator: a fitted one.
        path: the folder, created if missing.
        history: by name, [epochs], for `funcnet show`.
        max_epochs: the number of epochs if training had not stopped early.
        omit: names of parameters and attributes.
        model: whose weights are written.
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
        "run": {
            "epochs": estimator.n_iter_,
            "max_epochs": max(estimator.n_iter_, max_epochs),
            "history": {name: _finite_or_none(values) for name, values in history.items()},
            "saved": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        },
    }
    _files.make_folder(folder)
    for name in (NAME, SCHEMA, HISTORY):
        _files.check_target(folder / name)
    files = {"arrays": serialize({name: np.array(a, order="C") for name, a in arrays.items()}, {})}
    if model is not None:
        save_weights(model, folder / PART)
        files["weights"] = (folder / PART).read_bytes()
        (folder / PART).unlink()
    names = {kind: array_file(kind, content) for kind, content in files.items()}
    for kind, encoded in files.items():
        _files.write(folder / names[kind], encoded)
    _files.write_sealed(folder / NAME, {**content, "files": names})
    for other in (*folder.glob(ARRAYS), *folder.glob("weights-*.safetensors")):
        if other.name not in names.values():
            other.unlink()
    if hasattr(estimator, "schema_"):
        write_json(folder / SCHEMA, estimator.schema_.to_dict())
    _files.write(folder / HISTORY, _to_csv(history).encode())


def load(cls: type, path: str | os.PathLike[str], **given: Any) -> Any:
    """The estimator of a folder; `given` are the parameters that were omitted."""
    folder = _check.path("path", path, EXAMPLE)
    name, parameters, attributes = read_parts(folder)
    if name != cls.__name__:
        raise ValueError(f"{folder} contains a {name}: load it with {name}.load(path).")
    try:
        estimator = cls(**parameters, **given)
        for name, value in attributes.items():
            setattr(estimator, name, value)
        estimator._check_loaded()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise damage(folder, error) from None
    return estimator


def read_parts(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The class of the estimator in a folder, its parameters, and its fitted attributes.

    Raises:
        OSError: if there is none, or it can't be read.
        ValueError: if it is damaged.
    """
    content = read_description(folder)
    arrays, _ = deserialize(read_arrays(folder, content, "arrays"), str(folder))
    try:
        parameters, attributes = (
            {name: from_plain(value, arrays) for name, value in content[part].items()}
            for part in ("parameters", "attributes")
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise damage(folder, error) from None
    return content["class"], parameters, attributes


def damage(folder: Path, error: Exception) -> ValueError:
    """The error of an estimator whose parts do not fit."""
    reason = " ".join(str(error).split())[:LONGEST]
    return ValueError(f"{folder / NAME} is damaged: {reason.rstrip('.')}.")


def weights_file(path: str | os.PathLike[str]) -> Path:
    """The file with the weights of a network, once its checksum is verified."""
    folder = _check.path("path", path, EXAMPLE)
    content = read_description(folder)
    read_arrays(folder, content, "weights")
    return folder / str(content["files"]["weights"])


def report_path(path: Any) -> Path:
    """The path of a report, which ends in .json or .html, and can be written."""
    place = _check.path("path", path, "report.html")
    if place.suffix not in (".json", ".html"):
        raise ValueError(f"path must end in .json or .html, got {str(place)!r}. Try report.html.")
    _files.check_target(place)
    return place


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    _files.write(path, json.dumps(content, indent=1).encode())


def _to_csv(history: Mapping[str, np.ndarray]) -> str:
    """A row for each epoch, counted from 1; values that were not measured are empty."""
    lines = [",".join(["epoch", *history])]
    for epoch, values in enumerate(zip(*history.values(), strict=True), 1):
        numbers = ("" if np.isnan(value) else repr(float(value)) for value in values)
        lines.append(",".join([str(epoch), *numbers]))
    return "".join(f"{line}\n" for line in lines)


def _finite_or_none(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON, which has no NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]


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
        texts = np.array(inner, object)
        if not all(isinstance(text, str) for text in texts.ravel().tolist()):
            raise TypeError("texts must be strings")
        return texts.astype(np.dtype(value["dtype"]))
    if kind in ("tuple", "list"):
        entries = [from_plain(entry, arrays) for entry in inner]
        return tuple(entries) if kind == "tuple" else entries
    if kind == "pairs":
        return {from_plain(k, arrays): from_plain(v, arrays) for k, v in inner}
    fields = from_plain(inner, arrays)
    if kind == "schema":
        return Schema.from_dict(fields)
    for name, hint in typing.get_type_hints(CLASSES[kind]).items():
        if name in fields and not _has_type(fields[name], hint):  # a later version may have added one
            raise TypeError(f"the field {name!r} of {kind} must be of type {hint}")
    return CLASSES[kind](**fields)


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value has the type that a field of a dataclass is annotated with."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        hints = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(value) == len(hints) and all(map(_has_type, value, hints))
    if kind is Mapping:
        return isinstance(value, dict) and all(
            _has_type(part, hint) for pair in value.items() for part, hint in zip(pair, parts, strict=True)
        )
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _classes_within(cls: Any) -> dict[str, Any]:
    """A dataclass and those that its fields are annotated with, by name: what a file may hold."""
    classes = {cls.__name__: cls}
    for kind in typing.get_type_hints(cls).values():
        if dataclasses.is_dataclass(kind):
            classes |= _classes_within(kind)
    return classes


CLASSES = _classes_within(Members) | _classes_within(Distribution)
