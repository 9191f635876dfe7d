"""One table, one call: split, scale, train with early stopping, measure."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from funcnet import _keys
from funcnet._module import count
from funcnet.data import Scaler, Table
from funcnet.tabular._model import TableModel
from funcnet.tabular._prepare import DROPOUT, WEIGHT_DECAY, check_settings, parts_of, prepared, training_of
from funcnet.tabular._save import save_fitted
from funcnet.train import Fit, Run, Trainer, evaluate

PARTS = ("train", "validation", "test")


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
        compile_seconds: the compiler's time; None where it is part of the next.
        train_seconds: the compiled training's time.
    """

    table: Table
    predictor: TableModel
    run: Run
    rows: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    compile_seconds: float | None
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
            **(
                {} if self.compile_seconds is None else {"time to compile": f"{self.compile_seconds:.2f} s"}
            ),
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
    directory: str | os.PathLike[str] | None = None,
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
        directory: where checkpoints are kept and the newest is gone on from, as a `Trainer` does; None for
            none.

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
    check_settings(hidden, learning_rate, seed)
    key = jax.random.key(seed)
    parts = parts_of(table, _keys.named(key, "split"))
    predictor, scaled = prepared(table, parts, tuple(hidden))
    train = training_of(table, epochs, batch_size, learning_rate, patience)
    start = predictor.model.init(_keys.named(key, "init"))
    args = start, scaled[0], _keys.named(key, "train"), scaled[1]
    timed = _timed(train, *args) if directory is None else _resumed(train, directory, *args)
    run, compile_seconds, train_seconds = timed
    predictor = dataclasses.replace(predictor, model=run.model)
    metrics = {
        part: _in_own_units(evaluate(train.loss, run.model, data), predictor.target_scaler)
        for part, data in zip(PARTS, scaled, strict=True)
    }
    settings = {
        **{"hidden": tuple(hidden), "epochs": epochs, "batch_size": batch_size},
        **{"learning_rate": learning_rate, "weight_decay": WEIGHT_DECAY, "dropout": DROPOUT},
        **{"patience": patience, "seed": seed},
    }
    rows = {part: len(data) for part, data in zip(PARTS, parts, strict=True)}
    return Fitted(table, predictor, run, rows, metrics, settings, compile_seconds, train_seconds)


def _timed(train: Callable[..., Run], *args: Any) -> tuple[Run, float | None, float]:
    """The run, and the seconds it took to compile and to train."""
    began = time.perf_counter()
    compiled = jax.jit(train).lower(*args).compile()
    ready = time.perf_counter()
    run = jax.block_until_ready(compiled(*args))
    return run, ready - began, time.perf_counter() - ready


def _resumed(train: Fit, directory: str | os.PathLike[str], *args: Any) -> tuple[Run, float | None, float]:
    """The run that a Trainer makes or goes on with, and its seconds, compiling included."""
    began = time.perf_counter()
    run = jax.block_until_ready(Trainer(train, directory)(*args))
    return run, None, time.perf_counter() - began


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
