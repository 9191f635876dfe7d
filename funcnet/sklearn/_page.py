"""The report of an estimator as one HTML file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet import report
from funcnet._html import Picture, Section, Table, Text, page
from funcnet.report import _canvas
from funcnet.sklearn._dependence import dependence, short_names
from funcnet.sklearn._learning_curve import describe
from funcnet.sklearn._scores import TITLES, coverage_table, format_score, recall_table, score_table

Blocks = list[Text | Table | Picture]
MAX_RECALLS = 40
"""Classes in the table of recalls."""
FEW_CLASSES, MAX_CONFUSIONS = 6, 10
"""More classes have a large confusion matrix, and a table of this many confusions."""


def report_page(
    model: Any,
    reports: Sequence[dict[str, Any]],
    held_out: Any,
    X: Any,
    y: Any,
    is_weighted: bool = False,
) -> str:
    """The page.

    Args:
        model: a fitted MLPClassifier or MLPRegressor.
        reports: its scores, those on out-of-fold rows and on the rows given, as far as there are any; the
            last one may hold a "learning_curve".
        held_out: predictions and targets of the rows that are drawn.
        X: rows given by the user, or None.
        y: their targets.
        is_weighted: whether the weights of the rows that are drawn differ; only scores depend on them.
    """
    kind = "classes" if hasattr(model, "classes_") else "numbers"
    lead = (
        f"{len(model.members_)} networks, trained on {len(model.out_of_fold_):,} rows. Intervals are of "
        "95 %, from a bootstrap over the rows."
    )
    if is_weighted:
        lead += " Scores are weighted; pictures and what predictions depend on count each row once."
    return page(
        f"Predictions of {model.schema_.target or kind}",
        lead,
        [
            Section("Scores", _scores(model, reports)),
            Section("What is doubtful", [Text(sentence) for sentence in reports[0]["warnings"]]),
            Section("Predictions", _predictions(model, reports[-1]["on"], *held_out)),
            Section("Intervals", _coverage(model, X, y)),
            Section("What the predictions depend on", _dependence(model, X, y)),
            Section("Would more rows help?", _learning_curve(model, reports[-1])),
            Section("Training", _training(model)),
            Section("Columns", [_schema(model.schema_)]),
            Section("What was chosen, and why", [_choices(model)]),
            Section("How to use it", [Text(_usage(model), is_code=True)]),
        ],
    )


def _scores(model: Any, reports: Sequence[dict[str, Any]]) -> list[Table]:
    by_name = {report["on"]: report for report in reports}
    columns, rows = score_table(by_name, _target(model))
    tables = [Table("Scores on rows that the networks were not trained on", columns, rows)]
    columns, rows = recall_table(by_name)
    caption = "Recall: the share of a class that is found"
    if len(rows) > MAX_RECALLS:
        recalls = reports[-1]["recall"]
        rows = sorted(rows, key=lambda row: recalls.get(row[0], np.inf))[:MAX_RECALLS]
        caption += f"; the lowest {MAX_RECALLS} of {len(model.classes_)} classes"
    return tables + ([Table(caption, columns, rows)] if rows else [])


def _target(model: Any) -> str:
    return model.schema_.target or "the target"


def _predictions(model: Any, on: str, predicted: np.ndarray, target: np.ndarray) -> Blocks:
    is_classifier = hasattr(model, "classes_")
    if not len(target) or predicted.ndim > 2 or (predicted.ndim == 2) != is_classifier:
        return []
    if is_classifier and model._task == "labels":
        return []
    rows = f"the {len(target):,} rows given" if on == "the rows given" else f"{len(target):,} {on}"
    drawn = Text(f"Drawn for {rows}.")
    if is_classifier:
        return [drawn, *_class_predictions([str(name) for name in model.classes_], predicted, target)]
    return [drawn, *_value_predictions(_target(model), predicted, target)]


def _class_predictions(names: Sequence[str], predicted: np.ndarray, target: np.ndarray) -> Blocks:
    logits = np.log(np.maximum(predicted, 1e-12))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (target, predicted.argmax(axis=1)), 1)
    side = float(np.clip(0.42 * len(names) + 2.2, _canvas.PANEL[0], 10.0))
    is_large = len(names) > FEW_CLASSES

    def draw_matrix(ax: Any) -> None:
        report.confusion_matrix(counts, axes=ax, class_names=short_names(names))

    def draw_calibration(axes: Any) -> None:
        report.calibration(logits, target, axes)
        axes[1].set_ylabel("rows")
        axes[1].locator_params(axis="y", nbins=3)

    panel = (side, 0.8 * side) if is_large else _canvas.PANEL
    right = f"{int(np.trace(counts)):,} of {len(target):,} rows are on the diagonal"
    matrix = Picture(
        _canvas.png(draw_matrix, panel=panel),
        f"Confusion matrix: the number of rows by true and predicted class; {right}",
        f"Matrix of {len(names)} true by {len(names)} predicted classes: {right}.",
        is_large,
    )
    calibration = Picture(
        _canvas.png(draw_calibration, heights=(0.8, 0.4)),
        "Calibration: on the dotted line, probabilities are what happens; bars are intervals of 95 %",
        "Accuracy by probability of the predicted class, beside the diagonal, and the number of rows.",
    )
    confusions = _confusions(names, counts) if is_large else []
    return [matrix, *confusions, calibration]


def _confusions(names: Sequence[str], counts: np.ndarray) -> list[Table]:
    """The most frequent errors: a large matrix is hard to read."""
    errors = counts * (1 - np.eye(len(counts), dtype=int))
    order = [divmod(int(i), len(counts)) for i in np.argsort(-errors, axis=None, kind="stable")]
    rows = [[names[a], names[b], f"{errors[a, b]:,}"] for a, b in order[:MAX_CONFUSIONS] if errors[a, b]]
    return [Table("The most frequent confusions", ["true class", "predicted class", "rows"], rows)] * bool(
        rows
    )


def _value_predictions(name: str, predicted: np.ndarray, target: np.ndarray) -> Blocks:
    residuals = target - predicted

    def draw_targets(ax: Any) -> None:
        span = [min(target.min(), predicted.min()), max(target.max(), predicted.max())]
        ax.plot(span, span, color=_canvas.GREY, linestyle=":", linewidth=1.2)
        ax.scatter(predicted, target, s=9, alpha=0.5, color=_canvas.BLUE)
        _canvas.use_plain_numbers(ax, 4)
        _canvas.finish(ax, "prediction", _canvas.truncate(name, 40))

    def draw_residuals(ax: Any) -> None:
        ax.hist(residuals, bins=30, color=_canvas.BLUE, edgecolor="white")
        _canvas.use_plain_numbers(ax, 4)
        _canvas.finish(ax, "target minus prediction", "rows")

    low, middle, high = np.quantile(residuals, [0.05, 0.5, 0.95])
    low, middle, high = map(format_score, (low, middle, high))
    spread = f"half of them are below {middle}, and nine of ten from {low} to {high}"
    return [
        _picture(
            draw_targets,
            "Targets by prediction; on the dotted line they are equal",
            f"Scatter plot of {len(target):,} targets from {target.min():.4g} to {target.max():.4g} by "
            f"their predictions from {predicted.min():.4g} to {predicted.max():.4g}, beside the diagonal.",
        ),
        _picture(
            draw_residuals,
            f"Residuals, in units of {name}: {spread}",
            f"Histogram of target minus prediction: {spread}.",
        ),
    ]


def _coverage(model: Any, X: Any, y: Any) -> list[Table]:
    if X is None or not hasattr(model, "predict_interval") or not len(model._rows):
        return []
    columns, rows = coverage_table(model, X, y, _target(model))
    return [
        Table(
            "Coverage: how many of the rows given lie in their predict_interval, within 95 % (Wilson)",
            columns,
            rows,
        )
    ]


def _dependence(model: Any, X: Any, y: Any) -> Blocks:
    if X is None:
        return [Text("Pass rows and their targets to see it: model.report('report.html', X=X, y=y).")]
    return dependence(model, X, y)


def _learning_curve(model: Any, scores: dict[str, Any]) -> Blocks:
    """The scores by number of training rows, if they were asked for."""
    curve = scores.get("learning_curve")
    if curve is None:
        return []
    rows, values = np.asarray(curve["rows"]), np.asarray(curve["values"])
    unit = f" (in units of {_target(model)})" if curve["score"] == "rmse" else ""
    name = TITLES.get(curve["score"], curve["score"].upper()) + unit
    baseline = scores["baseline"][curve["score"]]

    def draw(ax: Any) -> None:
        ax.axhline(baseline, color=_canvas.GREY, linestyle=":", linewidth=1.2, label="best constant")
        label = "mean" if values.shape[1] > 1 else "one network"
        ax.plot(rows, values.mean(axis=1), color=_canvas.BLUE, marker="o", markersize=4, label=label)
        if values.shape[1] > 1:
            each = np.repeat(rows, values.shape[1])
            ax.scatter(
                each, values.ravel(), s=22, color=_canvas.VERMILLION, marker="x", label="one network"
            )
        _canvas.use_plain_numbers(ax)
        ax.set_xscale("log")
        ax.set_xticks(rows, [f"{count:,}" for count in rows])
        ax.minorticks_off()
        _canvas.finish(ax, "training rows", _canvas.truncate(name, 40))

    points = ", ".join(
        f"{value:.4g} with {count:,} rows" for count, value in zip(rows, values.mean(axis=1), strict=True)
    )
    picture = _picture(
        draw, f"Learning curve: {name} of single networks by number of training rows", f"{name}: {points}."
    )
    return [picture, *(Text(sentence) for sentence in describe(curve))]


def _training(model: Any) -> Blocks:
    history = {
        name: np.nanmean(values[:, : model.n_iter_], axis=0)
        for name, values in model.history_.items()
        if np.isfinite(values).any()
    }
    unit = "nats" if hasattr(model, "classes_") else "variances of the target"
    styles = {
        "loss": ("training", _canvas.BLUE, "-"),
        "val_loss": ("held out", _canvas.VERMILLION, "--"),
    }

    def draw(ax: Any) -> None:
        for name, values in history.items():
            label, color, line = styles[name]
            ax.plot(np.arange(1, len(values) + 1), values, label=label, color=color, linestyle=line)
        _canvas.use_integer_ticks(ax)
        _canvas.finish(ax, "epoch", f"loss ({unit})")

    ends = [
        f"{styles[name][0]} from {values[0]:.4g} to {values[-1]:.4g}" for name, values in history.items()
    ]
    return [
        _picture(
            draw,
            "Loss by epoch, on training and on held-out rows, the mean of the networks",
            f"Line chart of the loss by epoch: {', '.join(ends)} in {model.n_iter_} epochs.",
        )
    ]


def _schema(schema: Any) -> Table:
    columns = ["column", "role", "read as", "missing", "why"]
    rows = [[c.name, c.role, c.read_as, f"{c.missing:,}", c.why] for c in schema.columns]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table("How each column is read", columns, rows)


def _choices(model: Any) -> Table:
    rows = [[name, _format(value), why] for name, (value, why) in model.chosen_.items()]
    return Table("Settings of the training", ["setting", "value", "why"], rows)


def _format(value: Any) -> str:
    """A setting as a person would write it."""
    if isinstance(value, tuple):
        return ", ".join(map(_format, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _usage(model: Any) -> str:
    name = type(model).__name__
    return (
        f"from funcnet.sklearn import {name}\n\n"
        f'model = {name}.load("PATH")  # the folder in which it was saved\n'
        "model.predict(new_rows)  # a frame with the columns above\n\n"
        "# on the command line\n"
        "funcnet predict PATH new.csv"
    )


def _picture(draw: Any, caption: str, description: str) -> Picture:
    return Picture(_canvas.png(draw), caption, description)
