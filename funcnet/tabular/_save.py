"""Save a trained table model as four files, and load it."""

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check, _files
from funcnet.data import Encoder, Scaler
from funcnet.models import MLP
from funcnet.report._model_folder import (
    CURVES,
    DESCRIPTION,
    FORMAT,
    HISTORY,
    PART,
    WEIGHTS,
    WHOLE,
    model_file,
    read_description,
)
from funcnet.tabular._model import TableModel
from funcnet.train import Run, load_weights, save_weights

NAMES = (WEIGHTS, HISTORY, CURVES, DESCRIPTION)


def save_fit(result: Any, folder: Path) -> None:
    """Write a `FitResult`, so that at every moment the folder holds the old model or the new one, whole.

    The files are written to a hidden folder, which is renamed when it is complete, and then moved up one by
    one. If the process is killed in between, readers find the rest of them in the hidden folder.
    """
    from funcnet.report._epochs import history_png

    _files.make_folder(folder)
    for name in NAMES:
        _files.check_target(folder / name)
    with _lock(folder):
        _move_files_up(folder)
        part = folder / PART
        shutil.rmtree(part, ignore_errors=True)
        _files.make_folder(part)
        try:
            save_weights(result.predictor.model, part / WEIGHTS)
            _files.write(part / HISTORY, history_csv(result.run).encode())
            sums = {name: _files.sha256(part / name) for name in (WEIGHTS, HISTORY)}
            _files.write(part / CURVES, history_png(result.run))
            _files.write_sealed(part / DESCRIPTION, _description(result) | {"files": sums})
            _files.sync(part)
            part.rename(folder / WHOLE)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _move_files_up(folder)


def load_table_model(folder: str | os.PathLike[str]) -> TableModel:
    """Load a model that `FitResult.save` or `funcnet train` wrote.

    Args:
        folder: folder with model.json and model.safetensors.

    Returns:
        The TableModel.

    Raises:
        FileNotFoundError: if there is no model in the folder.
        ValueError: if a file has changed since it was saved, or has another format version.

    Example:
        >>> import tempfile, funcnet as fn
        >>> from funcnet.tabular import fit_table, load_table_model
        >>> result = fit_table(fn.data.load("iris"), hidden=(8,), epochs=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(folder)
        ...     loaded = load_table_model(folder)
        >>> loaded.feature_names[0], loaded.model == result.predictor.model
        ('sepal length (cm)', True)
    """
    place = _check.path("folder", folder, "runs/iris")
    for name in (DESCRIPTION, WEIGHTS):
        if not model_file(place, name).is_file():
            problem = "is not a regular file" if (place / name).exists() else "is missing"
            raise FileNotFoundError(f"{place} contains no trained model: {place / name} {problem}.")
    description = read_description(place)
    predictor = _table_model(description, place / DESCRIPTION)
    weights = model_file(place, WEIGHTS)
    if _files.sha256(weights) != description["files"][WEIGHTS]:
        raise ValueError(f"{weights} is damaged, or belongs to another run.")
    return dataclasses.replace(predictor, model=load_weights(predictor.model, weights))


def history_csv(run: Run) -> str:
    """A row for each epoch, numbered from 1; values that were not measured are empty."""
    columns = {name: np.asarray(values) for name, values in run.history.items()}
    lines = [",".join(["epoch", *columns])]
    for epoch in range(int(run.state.epoch)):
        # str of a numpy scalar is the shortest text that parses to the same number.
        cells = [str(values[epoch]) for values in columns.values()]
        lines.append(",".join([str(epoch + 1), *("" if c == "nan" else c for c in cells)]))
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until no other process saves in the folder."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have none, either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _move_files_up(folder: Path) -> None:
    """Replace a model's files by those of the new model, which is whole in the hidden folder."""
    whole = folder / WHOLE
    if not whole.is_dir():
        return
    for name in NAMES:
        if (whole / name).exists():
            _files.move(whole / name, folder / name)
    shutil.rmtree(whole)


def _description(result: Any) -> dict[str, Any]:
    from importlib.metadata import version

    predictor, run = result.predictor, result.run
    target_scaler = predictor.target_scaler
    return {
        **{"format": FORMAT, "funcnet": version("funcnet"), "table": result.table.name},
        "task": predictor.task,
        "target_name": predictor.target_name,
        "class_names": list(predictor.class_names),
        "feature_names": list(predictor.feature_names),
        **{
            "sizes": _to_plain(predictor.model.sizes),
            "activation": "relu",
            "dropout": predictor.model.dropout,
        },
        "encoder": None if predictor.encoder is None else predictor.encoder.to_dict(),
        "scaler": _scaler_dict(predictor.scaler),
        "target_scaler": None if target_scaler is None else _scaler_dict(target_scaler),
        "settings": {name: _to_plain(value) for name, value in result.settings.items()},
        "outcome": run.outcome.name,
        "epochs": int(run.state.epoch),
        "best_epoch": int(run.best_epoch) + 1 or None,
        "rows": dict(result.rows),
        "metrics": {part: _finite_or_none(values) for part, values in result.metrics.items()},
        "saved": datetime.fromtimestamp(time.time(), UTC).isoformat(),
    }


def _to_plain(value: Any) -> Any:
    """A setting without NumPy's numbers, which JSON does not know."""
    if isinstance(value, tuple):
        return [_to_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """Replace non-finite values by None: JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _scaler_dict(scaler: Scaler) -> dict[str, Any]:
    return {"shift": np.asarray(scaler.shift).tolist(), "scale": np.asarray(scaler.scale).tolist()}


def _table_model(description: Mapping[str, Any], path: Path) -> TableModel:
    """The model without weights, from the description that `FitResult.save` wrote."""

    def scaler(numbers: Mapping[str, Any]) -> Scaler:
        return Scaler(np.asarray(numbers["shift"], float), np.asarray(numbers["scale"], float))

    target, encoder = description["target_scaler"], description["encoder"]
    try:
        _check.choice("activation", description["activation"], ["relu"])
        model = TableModel(
            model=MLP(tuple(description["sizes"]), dropout=description["dropout"]),
            scaler=scaler(description["scaler"]),
            feature_names=tuple(description["feature_names"]),
            target_name=description["target_name"],
            class_names=tuple(description["class_names"]),
            target_scaler=None if target is None else scaler(target),
            encoder=None if encoder is None else Encoder.from_dict(encoder),
        )
        _check_sizes(model)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ValueError(f"{path} is damaged: {reason}.") from None
    return model


def _check_sizes(model: TableModel) -> None:
    """Raise a ValueError unless the parts of a model fit together."""
    names = model.feature_names if model.encoder is None else model.encoder.feature_names
    outputs = len(model.class_names) or "scalar"
    if (model.model.sizes[0], model.model.sizes[-1]) != (len(names), outputs):
        raise ValueError(
            f"sizes must begin with {len(names)} features and end with {outputs}, got {model.model.sizes}"
        )
    if model.encoder is not None and model.encoder.names != model.feature_names:
        raise ValueError("encoder must have the columns of feature_names")
    if (model.target_scaler is None) != bool(model.class_names):
        raise ValueError("a regression must have a target_scaler, and a classification none")
    scalers = {"scaler": (model.scaler, ((), (len(names),))), "target_scaler": (model.target_scaler, ((),))}
    for name, (scaler, shapes) in scalers.items():
        if scaler is None:
            continue
        shift, scale = np.asarray(scaler.shift), np.asarray(scaler.scale)
        if shift.shape != scale.shape or shift.shape not in shapes:
            raise ValueError(f"{name} must have a shift and a scale for each feature")
        if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"{name} must hold finite numbers, its scale above 0")
