"""Many trainings on one table, and what they say."""

import csv
import dataclasses
import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, report, study
from funcnet._types import Key
from funcnet.data import Dataset, Scaler, Table, kfold
from funcnet.models import MLP
from funcnet.report._canvas import png
from funcnet.tabular._prepare import DROPOUT, check_settings, parts_of, prepared, training_of
from funcnet.train import Fit, evaluate
from funcnet.train._weights import write_whole

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # times the learning rate
DECAYS = (0.0, 0.03, 0.1, 0.3, 1.0)
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training rows
THIRDS = (27, 9, 3, 1)  # by which the epochs are divided
SIZES = {"ensemble": 20, "folds": 5, "bias-variance": 30, "learning-curve": 10, "diagnose": 8}
BLOCKS = 8  # a study tells its progress so many times


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What a study of a table found, ready to be shown.

    Args:
        name: the kind of study.
        title: what was done, in a line.
        head: the columns of a table.
        rows: its rows, as text.
        remarks: sentences about it.
        draw: draws it into matplotlib axes, one for each panel.
        panels: how many axes `draw` wants.
    """

    name: str
    title: str
    head: list[str]
    rows: list[list[str]]
    remarks: list[str]
    draw: Callable[[Any], Any]
    panels: int = 1

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the table as NAME.csv and the picture as NAME.png.

        Args:
            folder: made when missing. Files of these names are replaced, others left alone.

        Raises:
            OSError: if the folder or a file can't be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
        write_whole(folder / f"{self.name}.csv", text.getvalue().encode())
        write_whole(folder / f"{self.name}.png", png(self.draw, self.panels))


@dataclasses.dataclass(frozen=True)
class Job:
    """What every study of a table starts from: the network, its rows as it sees them, the settings."""

    table: Table
    net: MLP
    parts: Sequence[Dataset]
    target_scaler: Scaler | None
    key: Key
    size: int
    settings: Mapping[str, Any]
    progress: Callable[[int], None] | None

    def train(self, *, stops: bool, **changes: Any) -> Fit:
        """The training of `fit_table`, with early stopping or without, and with some settings changed."""
        settings = {**self.settings, **changes}
        return training_of(self.table, **(settings if stops else settings | {"patience": None}))

    @property
    def block(self) -> int:
        return -(-self.size // BLOCKS)

    @property
    def metric(self) -> str:
        return "accuracy" if self.table.class_names else "absolute_error"

    def head(self, first: str) -> list[str]:
        """The columns of a table of losses and metrics, with their units."""
        if self.table.class_names:
            return [first, "loss (nats)", "accuracy"]
        unit = f"mean absolute error (in units of {self.table.target_name})"
        return [first, "loss (squared standard deviations)", unit]

    @property
    def unit(self) -> float:
        """What metrics are multiplied by to have the target's own units."""
        return 1.0 if self.target_scaler is None else float(self.target_scaler.scale)

    def row(self, name: str, loss: Any, metric: Any) -> list[str]:
        """A row of that table."""
        return [name, f"{float(loss):.4f}", f"{float(metric) * self.unit:.4f}"]


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
    progress: Callable[[int], None] | None = None,
) -> StudyReport:
    """Train many networks on a table as one program: an ensemble, folds, a sweep, and others.

    Rows are split and scaled, and networks made and trained, as `fit_table` does it; but only "ensemble"
    and "sweep" stop early: rows that chose the epoch could not judge it.

    Args:
        table: as `fn.data.load` gives it.
        kind: one of `STUDIES`.
        size: how many networks or folds, or repeats of each number of rows; `SIZES[kind]` when left
            out. A sweep has its own number.
        hidden, epochs, batch_size, learning_rate, patience, seed: as for `fit_table`.
        progress: called on the host with how many more trainings are done.

    Returns:
        A StudyReport.

    Raises:
        TypeError: if a setting is of another type.
        ValueError: if a setting is out of range, the kind unknown, or the table has too few rows.

    Example:
        >>> import funcnet as fn
        >>> from funcnet.tabular import study_table
        >>> found = study_table(fn.data.load("iris"), "folds", size=3, epochs=5, hidden=(8,))
        >>> found.head, len(found.rows)
        (['fold', 'loss (nats)', 'accuracy'], 5)
    """
    _check.choice("study", kind, STUDIES)
    check_settings(hidden, learning_rate, seed)
    size = SIZES.get(kind, 1) if size is None else size
    _check.positive("size", size)
    key = jax.random.key(seed)
    parts = parts_of(table, _keys.named(key, "split"))
    predictor, scaled = prepared(table, parts, tuple(hidden))
    settings = {
        **{"epochs": epochs, "batch_size": batch_size},
        **{"learning_rate": learning_rate, "patience": patience},
    }
    job = Job(table, predictor.model, scaled, predictor.target_scaler, key, size, settings, progress)
    return STUDIES[kind](job)


def trainings(kind: str, size: int | None = None) -> int:
    """How many trainings a study makes."""
    if kind == "sweep":
        return len(RATES) * len(DECAYS)
    size = SIZES[kind] if size is None else size
    return size * len(SHARES) if kind == "learning-curve" else size


def _ensemble(job: Job) -> StudyReport:
    data, valid, test = job.parts
    train = job.train(stops=True)
    average: Any = "classes" if job.table.class_names else "values"
    many = study.ensemble(train, job.size, average=average, block=job.block, progress=job.progress)
    run = many(job.net, data, job.key, valid)
    each = jax.vmap(lambda model: evaluate(train.loss, model, test))(run.runs.model)
    both = evaluate(train.loss, run.model, test)
    rows = [
        job.row("one network, mean", each["loss"].mean(), each[job.metric].mean()),
        job.row("one network, standard deviation", each["loss"].std(ddof=1), each[job.metric].std(ddof=1)),
        job.row(f"all {job.size} together", both["loss"], both[job.metric]),
    ]
    features = test[:][0]
    remarks = [f"Judged by {len(test):,} test rows."]
    if job.table.class_names:
        unsure = float(jnp.mean(run.model.disagreement(features)))
        remarks.append(f"A network contradicts the ensemble on {unsure:.1%} of them.")
    title = f"an ensemble of {job.size} networks"
    return StudyReport(
        "ensemble",
        title,
        job.head("test rows"),
        rows,
        remarks,
        functools.partial(report.history, run.runs),
        2,
    )


def _folds(job: Job) -> StudyReport:
    whole = _joined(job.parts)
    labels = whole[:][1] if job.table.class_names else None
    folds = kfold(whole, job.size, _keys.named(job.key, "folds"), stratify=labels)
    many = study.cross_validate(job.train(stops=False), folds, block=1, progress=job.progress)
    found = many(job.net, job.key)
    losses, metrics = found.scores["loss"], found.scores[job.metric]
    rows = [job.row(str(i + 1), *pair) for i, pair in enumerate(zip(losses, metrics, strict=True))]
    rows.append(job.row("mean", found.mean["loss"], found.mean[job.metric]))
    error = found.standard_error
    rows.append(job.row("standard error", error["loss"], error[job.metric]))
    trained = int(jnp.sum(folds[0][0].weights() > 0))
    remarks = [
        f"Each network was trained on {trained:,} rows for all {job.settings['epochs']} epochs "
        "and judged by the others.",
        "Features were scaled by the rows that `funcnet train` with this seed trains on.",
    ]
    title = f"{job.size} folds"
    return StudyReport(
        "folds", title, job.head("fold"), rows, remarks, functools.partial(report.folds, found), 2
    )


def _sweep(job: Job) -> StudyReport:
    data, valid, _ = job.parts

    def make_train(learning_rate: Any, weight_decay: Any) -> Fit:
        return job.train(stops=True, learning_rate=learning_rate, weight_decay=weight_decay)

    rates = [float(job.settings["learning_rate"] * factor) for factor in RATES]
    grid = {"learning_rate": rates, "weight_decay": list(DECAYS)}
    many = study.sweep(make_train, grid, block=-(-trainings("sweep") // BLOCKS), progress=job.progress)
    found = many(job.net, data, job.key, valid)
    rows = [
        [f"{place + 1}", f"{trial['learning_rate']:.3g}", f"{trial['weight_decay']:.3g}", f"{score:.4f}"]
        for place, trial, score in (
            (place, found.trials[n], found.scores[n]) for place, n in enumerate(found.order[:5])
        )
    ]
    head = ["best trials", "learning rate", "weight decay", "validation loss"]
    remarks = [
        f"{len(found.trials)} trainings with one start and one order of rows; dropout {DROPOUT}.",
        f"Validation rows chose the epoch and the settings, {len(valid):,} of them: trials that lie close "
        "together may owe their order to chance.",
    ]
    return StudyReport("sweep", "a sweep", head, rows, remarks, functools.partial(report.sweep, found))


def _bias_variance(job: Job) -> StudyReport:
    data, _, test = job.parts
    epochs = sorted({-(-job.settings["epochs"] // divisor) for divisor in THIRDS})
    error: Any = "zero_one" if job.table.class_names else "squared"
    many = study.bias_variance(
        job.train(stops=False), job.size, loss=error, epochs=epochs, block=job.block, progress=job.progress
    )
    found = many(job.net, data, job.key, test)
    parts = ("error", "bias_and_noise", "variance")
    rows = [
        [str(count), *(_plus_minus(found.mean[p][i], found.standard_error[p][i]) for p in parts)]
        for i, count in enumerate(epochs)
    ]
    unit = "share of wrong rows" if job.table.class_names else "squared standard deviations"
    remarks = [
        f"Each of {job.size} networks was trained on a bootstrap sample of {len(data):,} rows and judged "
        f"by {len(test):,} test rows.",
        "What all have in common is bias, and noise that nothing could predict; in what they differ is "
        "variance.",
    ]
    head = ["epochs", f"error ({unit})", "bias and noise", "variance"]
    draw = functools.partial(report.bias_variance, found)
    return StudyReport(
        "bias-variance", f"where the error of {job.size} networks comes from", head, rows, remarks, draw
    )


def _learning_curve(job: Job) -> StudyReport:
    data, valid, _ = job.parts
    counts = sorted({max(1, round(len(data) * share)) for share in SHARES})
    block = -(-job.size * len(counts) // BLOCKS)
    many = study.learning_curve(
        job.train(stops=False), counts, job.size, block=block, progress=job.progress
    )
    found = many(job.net, data, job.key, valid)
    mean, error = found.mean, found.standard_error
    units = {"loss": 1.0, "val_loss": 1.0, f"val_{job.metric}": job.unit}
    rows = [
        [str(count), *(_plus_minus(mean[name][i] * u, error[name][i] * u) for name, u in units.items())]
        for i, count in enumerate(counts)
    ]
    _, loss, metric = job.head("")
    head = ["rows", f"training {loss}", f"validation {loss}", f"validation {metric}"]
    remarks = [
        f"{job.size} networks for each number of rows, each on rows of its own choice, judged by "
        f"{len(valid):,} validation rows.",
    ]
    title = "what more rows would bring"
    draw = functools.partial(report.learning_curve, found)
    return StudyReport("learning-curve", title, head, rows, remarks, draw, 2)


def _diagnose(job: Job) -> StudyReport:
    data, valid, _ = job.parts
    many = study.ensemble(job.train(stops=False), job.size, block=job.block, progress=job.progress)
    found = study.diagnose(many(job.net, data, job.key, valid).runs, baseline=_baseline(job))
    rows = [
        ["verdict", found.verdict],
        ["best epoch", _epoch(found.best_epoch)],
        ["validation turned at epoch", _epoch(found.onset)],
        *([name, _estimate(e)] for name, e in (("gap at the end", found.gap), ("rise", found.rise))),
    ]
    remarks = [f"{text[0].upper()}{text[1:]}" for text in (found.reason, *found.advice)]
    title = f"a diagnosis from {job.size} networks, without early stopping"
    return StudyReport(
        "diagnose", title, ["", "found"], rows, remarks, functools.partial(report.diagnosis, found)
    )


STUDIES: dict[str, Callable[[Job], StudyReport]] = {
    "ensemble": _ensemble,
    "folds": _folds,
    "sweep": _sweep,
    "bias-variance": _bias_variance,
    "learning-curve": _learning_curve,
    "diagnose": _diagnose,
}


def _baseline(job: Job) -> float:
    """The loss of a constant prediction: of the frequencies of classes, or of the mean target."""
    y = np.asarray(job.parts[1][:][1])
    if not job.table.class_names:
        return float(y.var())
    p = np.bincount(y) / len(y)
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def _joined(parts: Sequence[Dataset]) -> Dataset:
    """All parts as one data set."""
    arrays = [part[:] for part in parts]
    return Dataset(jax.tree.map(lambda *a: jnp.concatenate(a), *arrays))


def _epoch(number: int | None) -> str:
    return "none" if number is None else str(number + 1)


def _estimate(value: Any) -> str:
    return "unknown" if value is None else _plus_minus(value.value, value.standard_error)


def _plus_minus(value: Any, error: Any) -> str:
    return f"{float(value):.4f} ± {float(error):.4f}"
