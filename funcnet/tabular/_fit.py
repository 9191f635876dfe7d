"""Train on a table: split, scale, train with early stopping, evaluate."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from funcnet import _check, _keys
from funcnet._module import count
from funcnet.data import Scaler, Table
from funcnet.tabular._model import TableModel
from funcnet.tabular._prepare import (
    DROPOUT,
    WEIGHT_DECAY,
    check_memory,
    check_settings,
    make_train,
    prepare,
    split_table,
)
from funcnet.tabular._save import save_fit
from funcnet.train import Fit, Run, Trainer, evaluate

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The result of training on a table.

    Args:
        table: the table it was trained on.
        predictor: the trained model with its preprocessing.
        run: the run with its history; losses in nats, or in squared standard deviations of the target for
            a regression, whose errors are in standard deviations.
        rows: number of rows in "train", "validation" and "test".
        metrics: for each of these parts "loss", in the units of `run`, and "accuracy", in 0 .. 1, or
            "absolute_error", in the units of the target.
        settings: the settings it was trained with: hidden, epochs, batch_size and so on.
        compile_seconds: compile time; None if it is included in `train_seconds`.
        train_seconds: run time of the compiled training.
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
        """Write model.safetensors, history.csv, curves.png and model.json.

        If the process is killed, the folder holds the model of before or the new one, and never a mixture.

        Args:
            folder: created if missing. Files with these names are replaced, others are kept.

        Raises:
            OSError: if the folder or a file can't be written.
        """
        save_fit(self, _check.path("folder", folder, "runs/iris"))

    def summary(self) -> dict[str, str]:
        """Data, architecture, outcome and run time, as text by name."""
        predictor, run = self.predictor, self.run
        best = int(run.best_epoch) + 1
        return {
            "rows": f"{len(self.table):,}",
            "features": f"{len(predictor.feature_names):,}",
            **({"classes": _join_names(predictor.class_names)} if predictor.class_names else {}),
            "layers": " - ".join(str(1 if size == "scalar" else size) for size in predictor.model.sizes),
            "parameters": f"{count(predictor.model):,}",
            "epochs": f"{int(run.state.epoch)} of at most {self.settings['epochs']}",
            "best epoch": str(best) if best else "none",
            "outcome": run.outcome.value,
            **(
                {} if self.compile_seconds is None else {"time to compile": f"{self.compile_seconds:.2f} s"}
            ),
            "time to train": f"{self.train_seconds:.2f} s",
        }

    def score_table(self) -> tuple[list[str], list[list[str]]]:
        """The loss and metric of each part with units: the columns of a table, and its rows."""
        columns = ["part", "rows", "loss (nats)", "accuracy"]
        if self.predictor.task == "regression":
            columns[2:] = [
                "loss (squared standard deviations)",
                f"mean absolute error (in units of {self.table.target_name})",
            ]
        rows = [
            [part, f"{self.rows[part]:,}", *(_format(value) for value in self.metrics[part].values())]
            for part in PARTS
        ]
        return columns, rows


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
) -> FitResult:
    """Split and scale a table, train an MLP on it with early stopping, and evaluate it.

    60 % of the rows are used for training, 20 % for validation (early stopping) and 20 % for testing,
    stratified by class. If the table has a standard split it is kept, and a sixth of its training rows are
    used for validation. The optimizer is AdamW with weight decay 0.3, dropout is 0.2, and the loss is
    cross-entropy or the squared error of the standardized target. Missing values are imputed with the
    median or the most frequent category of the training rows, and categories are one-hot encoded.

    Args:
        table: a table, as returned by `fn.data.load`.
        hidden: units in each hidden layer.
        epochs: maximum number of passes over the training rows.
        batch_size: rows in a batch.
        learning_rate: learning rate of AdamW, above 0.
        patience: number of epochs without improvement of the validation loss before training stops.
        seed: seed of the split, the initial weights, the order of rows and the dropout, 0 .. 2³²-1.
        directory: directory of checkpoints; if it holds one, training resumes from the newest, as a
            `Trainer` does. No checkpoints by default.

    Returns:
        A FitResult, with the weights of the best epoch.

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if a setting is out of range or needs more memory than there is, or the table has too
            few rows.

    Example:
        >>> import funcnet as fn
        >>> from funcnet.tabular import fit_table
        >>> iris = fn.data.load("iris")
        >>> result = fit_table(iris, epochs=20)
        >>> result.rows["test"], result.metrics["test"]["accuracy"] > 0.8
        (30, True)
        >>> result.predictor.predict([[5.1, 3.5, 1.4, 0.2]]).tolist()
        ['setosa']
    """
    check_settings(hidden, learning_rate, seed)
    key = jax.random.key(seed)
    parts = split_table(table, _keys.fold_in_name(key, "split"))
    predictor, scaled = prepare(table, parts, tuple(hidden))
    epochs = _check.positive("epochs", epochs)
    check_memory(predictor.model, epochs)
    train = make_train(table, epochs, batch_size, learning_rate, patience)
    model = predictor.model.init(_keys.fold_in_name(key, "init"))
    args = model, scaled[0], _keys.fold_in_name(key, "train"), scaled[1]
    if directory is None:
        run, compile_seconds, train_seconds = _run_timed(train, *args)
    else:
        run, compile_seconds, train_seconds = _run_with_checkpoints(train, directory, *args)
    predictor = dataclasses.replace(predictor, model=run.model)
    metrics = {
        part: _in_target_units(evaluate(train.loss, run.model, data), predictor.target_scaler)
        for part, data in zip(PARTS, scaled, strict=True)
    }
    settings = {
        **{"hidden": tuple(hidden), "epochs": epochs, "batch_size": batch_size},
        **{"learning_rate": learning_rate, "weight_decay": WEIGHT_DECAY, "dropout": DROPOUT},
        **{"patience": patience, "seed": seed},
    }
    rows = {part: len(data) for part, data in zip(PARTS, scaled, strict=True)}
    return FitResult(table, predictor, run, rows, metrics, settings, compile_seconds, train_seconds)


def _run_timed(train: Callable[..., Run], *args: Any) -> tuple[Run, float | None, float]:
    """The run, and the seconds of compilation and training."""
    start = time.perf_counter()
    compiled = jax.jit(train).lower(*args).compile()
    compiled_at = time.perf_counter()
    run = jax.block_until_ready(compiled(*args))
    return run, compiled_at - start, time.perf_counter() - compiled_at


def _run_with_checkpoints(
    train: Fit, directory: str | os.PathLike[str], *args: Any
) -> tuple[Run, float | None, float]:
    """The run of a Trainer, new or resumed, and its seconds including compilation."""
    start = time.perf_counter()
    run = jax.block_until_ready(Trainer(train, directory)(*args))
    return run, None, time.perf_counter() - start


def _in_target_units(means: Mapping[str, Any], target_scaler: Scaler | None) -> dict[str, float]:
    # Compiled code returns dictionaries in alphabetical order; the loss comes first.
    values = {name: float(means[name]) for name in sorted(means, key=lambda name: (name != "loss", name))}
    if target_scaler is not None:
        values["absolute_error"] *= float(target_scaler.scale)
    return values


def _join_names(names: Sequence[str], limit: int = 12) -> str:
    more = " | …" if len(names) > limit else ""
    return f"{len(names)}: {' | '.join(names[:limit])}{more}"


def _format(value: float) -> str:
    """A number with four decimals, or two if it is 10 or larger; never in exponent notation."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
