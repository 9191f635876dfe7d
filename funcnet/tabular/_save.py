"""A trained table model as four files, and back."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet.data import Encoder, Scaler
from funcnet.models import MLP
from funcnet.tabular._model import TableModel
from funcnet.train import Run, load_weights
from funcnet.train._weights import save_weights, write_whole

FORMAT = 1
WEIGHTS, DESCRIPTION, HISTORY, CURVES = "model.safetensors", "model.json", "history.csv", "curves.png"


def save_fitted(fitted: Any, folder: Path) -> None:
    """Write a `Fitted`; the description last, so that its presence says that all is there."""
    from funcnet.report._epochs import history_png

    folder.mkdir(parents=True, exist_ok=True)
    save_weights(fitted.predictor.model, folder / WEIGHTS)
    write_whole(folder / HISTORY, history_csv(fitted.run).encode())
    write_whole(folder / CURVES, history_png(fitted.run))
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    text = json.dumps(_description(fitted) | {"weights_sha256": digest}, indent=1, ensure_ascii=False)
    write_whole(folder / DESCRIPTION, (text + "\n").encode())


def load_fitted(folder: str | os.PathLike[str]) -> TableModel:
    """What predicts, from a folder that `Fitted.save` wrote.

    Args:
        folder: with model.json and model.safetensors.

    Returns:
        A TableModel.

    Raises:
        FileNotFoundError: if there is no model.
        ValueError: if the files are damaged, or of another version of the format.

    Example:
        >>> import tempfile, funcnet as fn
        >>> from funcnet.tabular import fit_table, load_fitted
        >>> fitted = fit_table(fn.data.load("iris"), hidden=(8,), epochs=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(folder)
        ...     loaded = load_fitted(folder)
        >>> loaded.feature_names[0], loaded.model == fitted.predictor.model
        ('sepal length (cm)', True)
    """
    place = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (place / name).is_file():
            raise FileNotFoundError(f"{place} holds no trained model: {place / name} is missing.")
    try:
        described = json.loads((place / DESCRIPTION).read_bytes())
        predictor, digest = _described(described), described["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{place / DESCRIPTION} is damaged: {str(what).rstrip('.')}.") from None
    if described["format"] != FORMAT:
        raise ValueError(
            f"{place / DESCRIPTION} has format {described['format']}; this funcnet reads {FORMAT}."
        )
    if hashlib.sha256((place / WEIGHTS).read_bytes()).hexdigest() != digest:
        raise ValueError(f"{place / WEIGHTS} is damaged, or belongs to another training.")
    return dataclasses.replace(predictor, model=load_weights(predictor.model, place / WEIGHTS))


def history_csv(run: Run) -> str:
    """A row for each epoch trained, from 1; what was not measured is empty."""
    columns = {name: np.asarray(values) for name, values in run.history.items()}
    lines = [",".join(["epoch", *columns])]
    for epoch in range(int(run.state.epoch)):
        # str of a numpy scalar is the shortest text that reads back as the same number.
        cells = [str(values[epoch]) for values in columns.values()]
        lines.append(",".join([str(epoch + 1), *("" if c == "nan" else c for c in cells)]))
    return "\n".join(lines) + "\n"


def _description(fitted: Any) -> dict[str, Any]:
    from importlib.metadata import version

    predictor, run = fitted.predictor, fitted.run
    target_scaler = predictor.target_scaler
    return {
        **{"format": FORMAT, "funcnet": version("funcnet"), "table": fitted.table.name},
        "task": predictor.task,
        "target_name": predictor.target_name,
        "class_names": predictor.class_names,
        "feature_names": predictor.feature_names,
        **{"sizes": predictor.model.sizes, "activation": "relu", "dropout": predictor.model.dropout},
        "encoder": None if predictor.encoder is None else predictor.encoder.to_dict(),
        "scaler": _scaler_numbers(predictor.scaler),
        "target_scaler": None if target_scaler is None else _scaler_numbers(target_scaler),
        "settings": dict(fitted.settings),
        "outcome": run.outcome.name.lower(),
        "epochs": int(run.state.epoch),
        "best_epoch": int(run.best_epoch) + 1 or None,
        "rows": dict(fitted.rows),
        "metrics": {part: _finite_or_none(values) for part, values in fitted.metrics.items()},
    }


def _finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _scaler_numbers(scaler: Scaler) -> dict[str, Any]:
    return {"shift": np.asarray(scaler.shift).tolist(), "scale": np.asarray(scaler.scale).tolist()}


def _described(described: Mapping[str, Any]) -> TableModel:
    """The architecture with its scalers and names, from what `Fitted.save` told of it."""
    if not isinstance(described, dict):
        raise TypeError("it holds no JSON object")
    _check.choice("activation", described["activation"], ["relu"])

    def scaler(numbers: Mapping[str, Any]) -> Scaler:
        return Scaler(jnp.asarray(numbers["shift"], float), jnp.asarray(numbers["scale"], float))

    target, encoder = described["target_scaler"], described.get("encoder")
    return TableModel(
        model=MLP(tuple(described["sizes"]), dropout=described["dropout"]),
        scaler=scaler(described["scaler"]),
        feature_names=tuple(described["feature_names"]),
        target_name=described["target_name"],
        class_names=tuple(described["class_names"]),
        target_scaler=None if target is None else scaler(target),
        encoder=None if encoder is None else Encoder.from_dict(encoder),
    )
