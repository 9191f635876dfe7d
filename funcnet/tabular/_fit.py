"""One table, one call: split, scale, train with early stopping, measure."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _keys
from funcnet._module import count
from funcnet._types import Key
from funcnet.data import Columns, Dataset, Encoder, Scaler, Table, split
from funcnet.losses import cross_entropy, squared_error, supervised
from funcnet.metrics import absolute_error, accuracy
from funcnet.models import MLP
from funcnet.tabular._model import TableModel
from funcnet.tabular._save import save_fitted
from funcnet.train import EarlyStopping, Run, evaluate, fit

PARTS = ("train", "validation", "test")
FRACTIONS = (0.6, 0.2, 0.2)
# Chosen on iris, digits, wine and breast-cancer, by the accuracy over many splits: decay this strong
# is worth more there than a second hidden layer.
DROPOUT, WEIGHT_DECAY = 0.2, 0.3


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished training on a table.

    Args:
        table: what it was trained on.
        predictor: what predicts.
        run: the training, with its history; losses in nats; in a regression errors in standard
            deviations of the target, and losses in their square.
        rows: rows in "train", "validation" and "test".
        metrics: for each part "loss", in the units of `run`, and "accuracy", in 0 .. 1, or
            "absolute_error", in the target's own units.
        settings: how it was trained: sizes, epochs, batch_size and so on.
        compile_seconds: the compiler's time.
        train_seconds: the compiled training's time.
    """

    table: Table
    predictor: TableModel
    run: Run
    rows: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    compile_seconds: float
    train_seconds: float

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write model.safetensors, history.csv, curves.png and model.json, the last as the seal.

        Args:
            folder: made when missing. Files of these names are replaced, others left alone.

        Raises:
            OSError: if the folder or a file can't be written.
        """
        save_fitted(self, Path(folder))

    def facts(self) -> dict[str, str]:
        """What was trained on what, and how it went, as text by name."""
        known, run = self.predictor, self.run
        best = int(run.best_epoch) + 1
        return {
            "rows": f"{len(self.table.data):,}",
            "features": f"{len(known.feature_names):,}",
            **({"classes": _listed(known.class_names)} if known.class_names else {}),
            "layers": " - ".join(str(1 if size == "scalar" else size) for size in known.model.sizes),
            "parameters": f"{count(known.model):,}",
            "epochs": f"{int(run.state.epoch)} of at most {self.settings['epochs']}",
            "best epoch": str(best) if best else "none",
            "outcome": run.outcome.value,
            "time to compile": f"{self.compile_seconds:.2f} s",
            "time to train": f"{self.train_seconds:.2f} s",
        }

    def scores(self) -> tuple[list[str], list[list[str]]]:
        """Loss and metric of each part with their units: the head of a table, and its rows."""
        head = ["part", "rows", "loss (nats)", "accuracy"]
        if self.predictor.task == "regression":
            head[2:] = [
                "loss (squared standard deviations)",
                f"mean absolute error (in units of {self.table.target_name})",
            ]
        body = [
            [part, f"{self.rows[part]:,}", *(_number(value) for value in self.metrics[part].values())]
            for part in PARTS
        ]
        return head, body


def fit_table(
    table: Table,
    *,
    hidden: Sequence[int] = (128,),
    epochs: int = 300,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    patience: int = 30,
    seed: int = 0,
) -> Fitted:
    """Split a table, scale it, train a perceptron with early stopping, and measure it.

    60 % of the rows train, 20 % decide when to stop, 20 % test; classes in equal proportion. A
    table's standard split is kept: then a sixth of its training rows decide when to stop. AdamW with
    weight decay 0.3 and dropout 0.2, cross-entropy or the squared error of the standardised target.
    Gaps get the median or the most frequent category of the training rows, and categories become
    features of 0 and 1.

    Args:
        table: as `fn.data.load` gives it.
        hidden: units in each hidden layer.
        epochs: passes over the training rows at most.
        batch_size: rows in a batch.
        learning_rate: AdamW's, above 0.
        patience: epochs without a better validation loss after which to stop.
        seed: decides the split, the start, the order and the dropout, 0 .. 2³²-1.

    Returns:
        A Fitted, with the weights of the best epoch.

    Raises:
        TypeError: if a setting is of another type.
        ValueError: if a setting is out of range, or the table has too few rows.

    Example:
        >>> import funcnet as fn
        >>> from funcnet.tabular import fit_table
        >>> iris = fn.data.load("iris")
        >>> fitted = fit_table(iris, epochs=20)
        >>> fitted.rows["test"], fitted.metrics["test"]["accuracy"] > 0.8
        (30, True)
        >>> fitted.predictor.predict([[5.1, 3.5, 1.4, 0.2]]).tolist()
        ['setosa']
    """
    _check_settings(hidden, learning_rate, seed)
    key = jax.random.key(seed)
    parts = _split(table, _keys.named(key, "split"))
    predictor, scaled = _prepared(table, parts, tuple(hidden))
    loss = (
        supervised(cross_entropy, accuracy=accuracy)
        if table.class_names
        else supervised(squared_error, absolute_error=absolute_error)
    )
    train = fit(
        loss,
        optax.adamw(learning_rate, weight_decay=WEIGHT_DECAY),
        epochs=epochs,
        batch_size=batch_size,
        stopping=EarlyStopping(patience=patience),
    )
    start = predictor.model.init(_keys.named(key, "init"))
    run, *seconds = _timed(train, start, scaled[0], _keys.named(key, "train"), scaled[1])
    predictor = dataclasses.replace(predictor, model=run.model)
    metrics = {
        part: _in_own_units(evaluate(loss, run.model, data), predictor.target_scaler)
        for part, data in zip(PARTS, scaled, strict=True)
    }
    settings = {
        **{"hidden": tuple(hidden), "epochs": epochs, "batch_size": batch_size},
        **{"learning_rate": learning_rate, "weight_decay": WEIGHT_DECAY, "dropout": DROPOUT},
        **{"patience": patience, "seed": seed},
    }
    rows = {part: len(data) for part, data in zip(PARTS, parts, strict=True)}
    return Fitted(table, predictor, run, rows, metrics, settings, *seconds)


def _check_settings(hidden: Sequence[int], learning_rate: float, seed: int) -> None:
    for i, units in enumerate(hidden):
        _check.positive(f"hidden[{i}]", units)
    _check.between("learning_rate", learning_rate, 0.0, float("inf"))
    if learning_rate == 0:
        raise ValueError("learning_rate is above 0; got 0. Try learning_rate=1e-3.")
    if not isinstance(seed, int):
        raise TypeError(f"seed is a whole number; got {_check.describe(seed)}. Try seed=0.")
    _check.between("seed", seed, 0, 2**32)


def _split(table: Table, key: Key) -> tuple[Dataset, ...]:
    def labels(data: Dataset) -> Any:
        return data[:][1] if table.class_names else None

    if len(table.standard_split) != 2:
        return split(table.data, FRACTIONS, key, stratify=labels(table.data))
    known, test = split(table.data, table.standard_split, None)
    train, valid = split(known, (5 / 6, 1 / 6), key, stratify=labels(known))
    return train, valid, test


def _prepared(
    table: Table, parts: tuple[Dataset, ...], hidden: tuple[int, ...]
) -> tuple[TableModel, list[Dataset]]:
    """The architecture with what prepares its features, and the parts as it sees them."""
    # Pixels share one unit, and a pixel that is nearly always black has no scale of its own.
    pixels = all(name.startswith("pixel") for name in table.feature_names)
    encoder = Encoder.fit(parts[0]) if isinstance(table.data.arrays[0], Columns) else None
    if encoder is not None:
        parts = tuple(encoder.transform(part) for part in parts)
    scaler = Scaler.fit(parts[0], per_feature=not pixels)
    if encoder is not None:  # a rare category would get a scale of its own, and be an outlier
        numbers = jnp.asarray(encoder.is_number)
        scaler = Scaler(jnp.where(numbers, scaler.shift, 0.0), jnp.where(numbers, scaler.scale, 1.0))
    scaled = [scaler.transform(part) for part in parts]
    target_scaler = None
    if not table.class_names:
        target_scaler = Scaler.fit(parts[0][:][1], per_feature=False)
        scaled = [Dataset((x, target_scaler.transform(y))) for x, y in (part[:] for part in scaled)]
    outputs: Any = len(table.class_names) or "scalar"
    features = parts[0].arrays[0].shape[-1]
    model = MLP((features, *hidden, outputs), dropout=DROPOUT)
    names = table.feature_names, table.target_name, table.class_names
    return TableModel(model, scaler, *names, target_scaler, encoder), scaled


def _timed(train: Callable[..., Run], *args: Any) -> tuple[Run, float, float]:
    """The run, and the seconds it took to compile and to train."""
    began = time.perf_counter()
    compiled = jax.jit(train).lower(*args).compile()
    ready = time.perf_counter()
    run = jax.block_until_ready(compiled(*args))
    return run, ready - began, time.perf_counter() - ready


def _in_own_units(means: Mapping[str, Any], target_scaler: Scaler | None) -> dict[str, float]:
    # Compiled code returns dictionaries in the order of the alphabet; the loss is to come first.
    values = {name: float(means[name]) for name in sorted(means, key=lambda name: (name != "loss", name))}
    if target_scaler is not None:
        values["absolute_error"] *= float(target_scaler.scale)
    return values


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = " | …" if len(names) > most else ""
    return f"{len(names)}: {' | '.join(names[:most])}{more}"


def _number(value: float) -> str:
    """Four digits, without the e of small and of large numbers where it can be done without."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
