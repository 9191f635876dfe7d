"""Studies of a table: many runs, and tables and figures of their results."""

import csv
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _files, _keys, report, study
from funcnet._types import Key
from funcnet.data import Dataset, Scaler, Table, kfold
from funcnet.models import MLP
from funcnet.report._canvas import png
from funcnet.tabular._prepare import DROPOUT, check_memory, check_settings, make_train, prepare_study
from funcnet.train import Fit, Trainer, evaluate

RATE_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the learning rate
WEIGHT_DECAYS = (0.0, 0.03, 0.1, 0.3, 1.0)
ROW_FRACTIONS = (0.125, 0.25, 0.5, 1.0)  # of the training rows
EPOCH_DIVISORS = (27, 9, 3, 1)
SIZES = {"ensemble": 20, "folds": 5, "bias-variance": 30, "learning-curve": 10, "diagnose": 8}
BLOCKS = 8  # number of progress updates of a study


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """The results of a study of a table, as a table, notes and a figure.

    Args:
        name: the kind of study.
        title: one line that describes the study.
        columns: names of the columns of the table.
        rows: rows of the table, as text.
        notes: sentences that explain the table.
        draw: function that draws the figure into matplotlib axes, one for each panel.
        panels: number of axes that `draw` needs.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    draw: Callable[[Any], Any]
    panels: int = 1

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the table as NAME.csv and the figure as NAME.png.

        Args:
            folder: created if missing. Files with these names are replaced, others are kept.

        Raises:
            OSError: if the folder or a file can't be written.
        """
        folder = _files.make_folder(_check.path("folder", folder, f"runs/{self.name}"))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        _files.write(folder / f"{self.name}.csv", text.getvalue().encode())
        _files.write(folder / f"{self.name}.png", png(self.draw, self.panels))


@dataclasses.dataclass(frozen=True)
class StudySetup:
    """What all studies share: the network, the preprocessed rows, the settings."""

    table: Table
    net: MLP
    parts: Sequence[Dataset]
    target_scaler: Scaler | None
    key: Key
    size: int
    settings: Mapping[str, Any]
    progress: Callable[[int], None] | None
    directory: str | os.PathLike[str] | None

    def run(self, run_study: Any, *arguments: Any) -> Any:
        """The result of a study; with a directory, its members are kept there."""
        if self.directory is None:
            return run_study(*arguments)
        return Trainer(run_study, self.directory, progress=False)(*arguments)

    def make_train(self, *, early_stopping: bool, **changes: Any) -> Fit:
        """The training function with some settings changed."""
        settings = {**self.settings, **changes}
        return make_train(self.table, **(settings if early_stopping else settings | {"patience": None}))

    @property
    def block(self) -> int:
        return -(-self.size // BLOCKS)

    @property
    def metric(self) -> str:
        return "accuracy" if self.table.class_names else "absolute_error"

    def columns(self, first: str) -> list[str]:
        """The columns of a table of losses and metrics, with units."""
        if self.table.class_names:
            return [first, "loss (nats)", "accuracy"]
        unit = f"mean absolute error (in units of {self.table.target_name})"
        return [first, "loss (squared standard deviations)", unit]

    @property
    def metric_scale(self) -> float:
        """The factor that converts metrics to the units of the target."""
        return 1.0 if self.target_scaler is None else float(self.target_scaler.scale)

    def row(self, name: str, loss: Any, metric: Any) -> list[str]:
        """A row of a table with these columns."""
        return [name, f"{float(loss):.4f}", f"{float(metric) * self.metric_scale:.4f}"]


def study_table(
    table: Table,
    kind: str,
    *,
    size: int | None = None,
    hidden: Sequence[int] = (128,),
    epochs: int = 300,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    patience: int = 30,
    seed: int = 0,
    roles: Mapping[str, str] | None = None,
    missing: Sequence[str] = (),
    dayfirst: bool | None = None,
    progress: Callable[[int], None] | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> StudyReport:
    """Train many networks on a table in one program: an ensemble, cross-validation, a sweep, and others.

    The subject of a study is a plain MLP, so that over- and underfitting can be seen: ReLU, dropout 0.2,
    AdamW with weight decay 0.3, on cross-entropy or the squared error of the standardized target. Columns
    are read and scaled as the estimators of `fn.sklearn` do, by 60 % of the rows, which are trained on;
    20 % are for validation and 20 % for testing, stratified by class. Only "ensemble" and "sweep" use early
    stopping: the other studies measure on rows that must not influence the training.

    Args:
        table: a table, as returned by `fn.data.load`.
        kind: one of `STUDIES`.
        size: number of networks or folds, or of repeats for each number of rows; `SIZES[kind]` by default.
            Ignored for a sweep.
        hidden: units in each hidden layer.
        epochs: maximum number of passes over the training rows.
        batch_size: rows in a batch.
        learning_rate: learning rate of AdamW, above 0.
        patience: number of epochs without improvement of the validation loss before training stops.
        seed: seed of the split, the initial weights, the order of rows and the dropout, 0 .. 2³²-1.
        roles: of columns, as `Schema.fit` takes them.
        missing: words that count as missing, too.
        dayfirst: whether 01/02/2024 is the first of February, as `Schema.fit` takes it.
        progress: called on the host with the number of newly finished runs.
        directory: where blocks of finished runs are kept, so that the same call trains the others if it was
            interrupted; None to keep none.

    Returns:
        A StudyReport.

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if a setting is out of range, the kind is unknown, or the table has too few rows.

    Example:
        >>> import funcnet as fn
        >>> from funcnet.tabular import study_table
        >>> result = study_table(fn.data.load("iris"), "folds", size=3, epochs=5, hidden=(8,))
        >>> result.columns, len(result.rows)
        (['fold', 'loss (nats)', 'accuracy'], 5)
    """
    _check.choice("study", kind, STUDIES)
    check_settings(hidden, learning_rate, seed)
    size = SIZES.get(kind, 1) if size is None else size
    size = _check.positive("size", size)
    key = jax.random.key(seed)
    keys = _keys.fold_in_name(key, "test"), _keys.fold_in_name(key, "validation")
    net, parts, target_scaler = prepare_study(table, tuple(hidden), keys, roles, missing, dayfirst)
    epochs = _check.positive("epochs", epochs)
    check_memory(net, epochs, num_runs(kind, size))
    settings = {
        **{"epochs": epochs, "batch_size": batch_size},
        **{"learning_rate": learning_rate, "patience": patience},
    }
    setup = StudySetup(table, net, parts, target_scaler, key, size, settings, progress, directory)
    return STUDIES[kind](setup)


def num_runs(kind: str, size: int | None = None) -> int:
    """The number of runs of a study."""
    if kind == "sweep":
        return len(RATE_FACTORS) * len(WEIGHT_DECAYS)
    size = SIZES[kind] if size is None else size
    return size * len(ROW_FRACTIONS) if kind == "learning-curve" else size


def _ensemble(setup: StudySetup) -> StudyReport:
    data, valid, test = setup.parts
    train = setup.make_train(early_stopping=True)
    average: Any = "classes" if setup.table.class_names else "values"
    run_study = study.ensemble(
        train, setup.size, average=average, block=setup.block, progress=setup.progress
    )
    run = setup.run(run_study, setup.net, data, setup.key, valid)
    scores = jax.vmap(lambda model: evaluate(train.loss, model, test))(run.runs.model)
    ensemble = evaluate(train.loss, run.model, test)
    rows = [
        setup.row("single networks, mean", scores["loss"].mean(), scores[setup.metric].mean()),
        setup.row(
            "single networks, standard deviation",
            scores["loss"].std(ddof=1),
            scores[setup.metric].std(ddof=1),
        ),
        setup.row(f"ensemble of {setup.size}", ensemble["loss"], ensemble[setup.metric]),
    ]
    features = test[:][0]
    notes = [f"Evaluated on {len(test):,} test rows."]
    if setup.table.class_names:
        rate = float(jnp.mean(run.model.disagreement(features)))
        notes.append(f"On average, a single network disagrees with the ensemble on {rate:.1%} of them.")
    title = f"an ensemble of {setup.size} networks"
    return StudyReport(
        "ensemble",
        title,
        setup.columns("test rows"),
        rows,
        notes,
        functools.partial(report.history, run.runs),
        2,
    )


def _folds(setup: StudySetup) -> StudyReport:
    data = _concatenate(setup.parts)
    labels = data[:][1] if setup.table.class_names else None
    folds = kfold(data, setup.size, _keys.fold_in_name(setup.key, "folds"), stratify=labels)
    run_study = study.cross_validate(
        setup.make_train(early_stopping=False), folds, block=1, progress=setup.progress
    )
    result = setup.run(run_study, setup.net, setup.key)
    losses, metrics = result.scores["loss"], result.scores[setup.metric]
    rows = [setup.row(str(i + 1), *pair) for i, pair in enumerate(zip(losses, metrics, strict=True))]
    rows.append(setup.row("mean", result.mean["loss"], result.mean[setup.metric]))
    error = result.standard_error
    rows.append(setup.row("standard error", error["loss"], error[setup.metric]))
    num_rows = int(jnp.sum(folds[0][0].weights() > 0))
    notes = [
        f"Each network was trained on {num_rows:,} rows for all {setup.settings['epochs']} epochs "
        "and evaluated on the others.",
        "Columns were read and scaled with 60 % of the rows.",
    ]
    title = f"cross-validation with {setup.size} folds"
    return StudyReport(
        "folds", title, setup.columns("fold"), rows, notes, functools.partial(report.folds, result), 2
    )


def _sweep(setup: StudySetup) -> StudyReport:
    data, valid, _ = setup.parts

    def make_train(learning_rate: Any, weight_decay: Any) -> Fit:
        return setup.make_train(early_stopping=True, learning_rate=learning_rate, weight_decay=weight_decay)

    rates = [float(setup.settings["learning_rate"] * factor) for factor in RATE_FACTORS]
    grid = {"learning_rate": rates, "weight_decay": list(WEIGHT_DECAYS)}
    run_study = study.sweep(
        make_train, grid, block=-(-num_runs("sweep") // BLOCKS), progress=setup.progress
    )
    result = setup.run(run_study, setup.net, data, setup.key, valid)
    rows = [
        [f"{place + 1}", f"{trial['learning_rate']:.3g}", f"{trial['weight_decay']:.3g}", f"{score:.4f}"]
        for place, trial, score in (
            (place, result.trials[n], result.scores[n]) for place, n in enumerate(result.order[:5])
        )
    ]
    columns = ["best trials", "learning rate", "weight decay", "validation loss"]
    notes = [
        f"{len(result.trials)} runs with the same initial weights and order of rows; dropout {DROPOUT}.",
        f"Epoch and settings were selected on {len(valid):,} validation rows: small differences between "
        "trials may be due to chance.",
    ]
    return StudyReport(
        "sweep",
        "a sweep of learning rate and weight decay",
        columns,
        rows,
        notes,
        functools.partial(report.sweep, result),
    )


def _bias_variance(setup: StudySetup) -> StudyReport:
    data, _, test = setup.parts
    epochs = sorted({-(-setup.settings["epochs"] // divisor) for divisor in EPOCH_DIVISORS})
    error: Any = "zero_one" if setup.table.class_names else "squared"
    run_study = study.bias_variance(
        setup.make_train(early_stopping=False),
        setup.size,
        loss=error,
        epochs=epochs,
        block=setup.block,
        progress=setup.progress,
    )
    result = setup.run(run_study, setup.net, data, setup.key, test)
    parts = ("error", "bias_and_noise", "variance")
    rows = [
        [str(count), *(_plus_minus(result.mean[p][i], result.standard_error[p][i]) for p in parts)]
        for i, count in enumerate(epochs)
    ]
    unit = "fraction of wrong rows" if setup.table.class_names else "squared standard deviations"
    notes = [
        f"Each of {setup.size} networks was trained on a bootstrap sample of {len(data):,} rows and "
        f"evaluated on {len(test):,} test rows.",
        "Bias and noise are the part of the error that all networks share; variance is the part that "
        "differs between them.",
    ]
    columns = ["epochs", f"error ({unit})", "bias and noise", "variance"]
    draw = functools.partial(report.bias_variance, result)
    return StudyReport(
        "bias-variance", f"bias and variance of {setup.size} networks", columns, rows, notes, draw
    )


def _learning_curve(setup: StudySetup) -> StudyReport:
    data, valid, _ = setup.parts
    counts = sorted({max(1, round(len(data) * share)) for share in ROW_FRACTIONS})
    block = -(-setup.size * len(counts) // BLOCKS)
    run_study = study.learning_curve(
        setup.make_train(early_stopping=False), counts, setup.size, block=block, progress=setup.progress
    )
    result = setup.run(run_study, setup.net, data, setup.key, valid)
    mean, error = result.mean, result.standard_error
    units = {"loss": 1.0, "val_loss": 1.0, f"val_{setup.metric}": setup.metric_scale}
    rows = [
        [str(count), *(_plus_minus(mean[name][i] * u, error[name][i] * u) for name, u in units.items())]
        for i, count in enumerate(counts)
    ]
    _, loss, metric = setup.columns("")
    columns = ["rows", f"training {loss}", f"validation {loss}", f"validation {metric}"]
    notes = [
        f"{setup.size} networks for each number of rows, each trained on its own random rows and evaluated "
        f"on {len(valid):,} validation rows.",
    ]
    title = "scores by number of training rows"
    draw = functools.partial(report.learning_curve, result)
    return StudyReport("learning-curve", title, columns, rows, notes, draw, 2)


def _diagnose(setup: StudySetup) -> StudyReport:
    data, valid, _ = setup.parts
    run_study = study.ensemble(
        setup.make_train(early_stopping=False), setup.size, block=setup.block, progress=setup.progress
    )
    runs = setup.run(run_study, setup.net, data, setup.key, valid).runs
    result = study.diagnose(runs, baseline=_baseline(setup))
    rows = [
        ["verdict", result.verdict],
        ["best epoch", _epoch(result.best_epoch)],
        ["validation loss rises from epoch", _epoch(result.onset)],
        *([name, _estimate(e)] for name, e in (("final gap", result.gap), ("rise", result.rise))),
    ]
    notes = [f"{text[0].upper()}{text[1:]}" for text in (result.reason, *result.advice)]
    title = f"a diagnosis from {setup.size} networks, without early stopping"
    return StudyReport(
        "diagnose", title, ["quantity", "value"], rows, notes, functools.partial(report.diagnosis, result)
    )


STUDIES: dict[str, Callable[[StudySetup], StudyReport]] = {
    "ensemble": _ensemble,
    "folds": _folds,
    "sweep": _sweep,
    "bias-variance": _bias_variance,
    "learning-curve": _learning_curve,
    "diagnose": _diagnose,
}


def _baseline(setup: StudySetup) -> float:
    """The loss of the best constant prediction: class frequencies, or the mean target."""
    y = np.asarray(setup.parts[1][:][1])
    if not setup.table.class_names:
        return float(y.var())
    p = np.bincount(y) / len(y)
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def _concatenate(parts: Sequence[Dataset]) -> Dataset:
    """All parts as one dataset."""
    arrays = [part[:] for part in parts]
    return Dataset(jax.tree.map(lambda *a: jnp.concatenate(a), *arrays))


def _epoch(number: int | None) -> str:
    return "none" if number is None else str(number + 1)


def _estimate(value: Any) -> str:
    return "unknown" if value is None else _plus_minus(value.value, value.standard_error)


def _plus_minus(value: Any, error: Any) -> str:
    return f"{float(value):.4f} ± {float(error):.4f}"
