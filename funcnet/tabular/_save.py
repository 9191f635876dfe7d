"""Save a trained table model as four files, and load it."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Encoder, Scaler
from funcnet.models import MLP
from funcnet.tabular._model import TableModel
from funcnet.train import Run, load_weights
from funcnet.train._weights import save_weights, write_atomic

FORMAT = 1
WEIGHTS, DESCRIPTION, HISTORY, CURVES = "model.safetensors", "model.json", "history.csv", "curves.png"


def save_fit(result: Any, folder: Path) -> None:
    """Write a `FitResult`. The description is written last, so its presence means that all files exist."""
    from funcnet.report._epochs import history_png

    folder.mkdir(parents=True, exist_ok=True)
    save_weights(result.predictor.model, folder / WEIGHTS)
    write_atomic(folder / HISTORY, history_csv(result.run).encode())
    write_atomic(folder / CURVES, history_png(result.run))
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    text = json.dumps(_description(result) | {"weights_sha256": digest}, indent=1, ensure_ascii=False)
    write_atomic(folder / DESCRIPTION, (text + "\n").encode())


def load_table_model(folder: str | os.PathLike[str]) -> TableModel:
    """Load a model that `FitResult.save` or `funcnet train` wrote.

    Args:
        folder: folder with model.json and model.safetensors.

    Returns:
        The TableModel.

    Raises:
        FileNotFoundError: if there is no model in the folder.
        ValueError: if the files are damaged, or have another format version.

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
    path = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} contains no trained model: {path / name} is missing.")
    try:
        description = json.loads((path / DESCRIPTION).read_bytes())
        predictor, digest = _table_model(description), description["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path / DESCRIPTION} is damaged: {str(reason).rstrip('.')}.") from None
    if description["format"] != FORMAT:
        raise ValueError(
            f"{path / DESCRIPTION} must have format {FORMAT} for this version of funcnet, got format "
            f"{description['format']}."
        )
    if hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest() != digest:
        raise ValueError(f"{path / WEIGHTS} is damaged, or belongs to another run.")
    return dataclasses.replace(predictor, model=load_weights(predictor.model, path / WEIGHTS))


def history_csv(run: Run) -> str:
    """A row for each epoch, numbered from 1; values that were not measured are empty."""
    columns = {name: np.asarray(values) for name, values in run.history.items()}
    lines = [",".join(["epoch", *columns])]
    for epoch in range(int(run.state.epoch)):
        # str of a numpy scalar is the shortest text that parses to the same number.
        cells = [str(values[epoch]) for values in columns.values()]
        lines.append(",".join([str(epoch + 1), *("" if c == "nan" else c for c in cells)]))
    return "\n".join(lines) + "\n"


def _description(result: Any) -> dict[str, Any]:
    from importlib.metadata import version

    predictor, run = result.predictor, result.run
    target_scaler = predictor.target_scaler
    return {
        **{"format": FORMAT, "funcnet": version("funcnet"), "table": result.table.name},
        "task": predictor.task,
        "target_name": predictor.target_name,
        "class_names": predictor.class_names,
        "feature_names": predictor.feature_names,
        **{"sizes": predictor.model.sizes, "activation": "relu", "dropout": predictor.model.dropout},
        "encoder": None if predictor.encoder is None else predictor.encoder.to_dict(),
        "scaler": _scaler_dict(predictor.scaler),
        "target_scaler": None if target_scaler is None else _scaler_dict(target_scaler),
        "settings": dict(result.settings),
        "outcome": run.outcome.name.lower(),
        "epochs": int(run.state.epoch),
        "best_epoch": int(run.best_epoch) + 1 or None,
        "rows": dict(result.rows),
        "metrics": {part: _finite_or_none(values) for part, values in result.metrics.items()},
    }


def _finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """Replace non-finite values by None: JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _scaler_dict(scaler: Scaler) -> dict[str, Any]:
    return {"shift": np.asarray(scaler.shift).tolist(), "scale": np.asarray(scaler.scale).tolist()}


def _table_model(description: Mapping[str, Any]) -> TableModel:
    """The model without weights, from the description that `FitResult.save` wrote."""
    if not isinstance(description, dict):
        raise TypeError("it does not contain a JSON object")
    _check.choice("activation", description["activation"], ["relu"])

    def scaler(numbers: Mapping[str, Any]) -> Scaler:
        return Scaler(np.asarray(numbers["shift"], float), np.asarray(numbers["scale"], float))

    target, encoder = description["target_scaler"], description.get("encoder")
    return TableModel(
        model=MLP(tuple(description["sizes"]), dropout=description["dropout"]),
        scaler=scaler(description["scaler"]),
        feature_names=tuple(description["feature_names"]),
        target_name=description["target_name"],
        class_names=tuple(description["class_names"]),
        target_scaler=None if target is None else scaler(target),
        encoder=None if encoder is None else Encoder.from_dict(encoder),
    )
