"""The report of an estimator as one HTML file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.inspection import partial_dependence, permutation_importance

from funcnet import report
from funcnet.report import _canvas
from funcnet.report._html import Picture, Section, Table, Text, page
from funcnet.sklearn._scores import recall_table, score_table

REPEATS, MAX_ROWS, MAX_COLUMNS = 5, 1000, 40
"""Repeats, rows and columns of the permutation importance."""
MAX_DEPENDENCES = 3


def report_page(model: Any, reports: Sequence[dict[str, Any]], held_out: Any, X: Any, y: Any) -> str:
    """The page.

    Args:
        model: a fitted MLPClassifier or MLPRegressor.
        reports: its scores, those on out-of-fold rows and on the rows given, as far as there are any.
        held_out: predictions and targets of the rows that are drawn.
        X: rows given by the user, or None.
        y: their targets.
    """
    kind = "classes" if hasattr(model, "classes_") else "numbers"
    lead = (
        f"{len(model.members_)} networks, trained on {len(model.out_of_fold_):,} rows. Intervals are of "
        "95 %, from a bootstrap over the rows."
    )
    return page(
        f"Predictions of {model.schema_.target or kind}",
        lead,
        [
            Section("Scores", _scores(model, reports)),
            Section("What is doubtful", [Text(sentence) for sentence in reports[0]["warnings"]]),
            Section("Predictions", _predictions(model, *held_out)),
            Section("What the predictions depend on", _importances(model, X, y)),
            Section("Training", _training(model)),
            Section("Columns", [_schema(model.schema_)]),
            Section("What was chosen, and why", [_choices(model)]),
            Section("How to use it", [Text(_usage(model), is_code=True)]),
        ],
    )


def _scores(model: Any, reports: Sequence[dict[str, Any]]) -> list[Table]:
    by_name = {report["on"]: report for report in reports}
    columns, rows = score_table(by_name, model.schema_.target or "the target")
    tables = [Table("Scores on rows that the networks were not trained on", columns, rows)]
    columns, rows = recall_table(by_name)
    return tables + ([Table("Recall: the share of a class that is found", columns, rows)] if rows else [])


def _predictions(model: Any, predicted: np.ndarray, target: np.ndarray) -> list[Text | Table | Picture]:
    if not len(target) or predicted.ndim > 2 or (predicted.ndim == 2) != hasattr(model, "classes_"):
        return []
    if hasattr(model, "classes_"):
        if model._task == "labels":
            return []
        names = [str(name) for name in model.classes_]
        logits = np.log(np.maximum(predicted, 1e-12))

        def draw_matrix(ax: Any) -> None:
            report.confusion_matrix(logits, target, ax, class_names=names)

        def draw_calibration(axes: Any) -> None:
            report.calibration(logits, target, axes)

        return [
            _picture(draw_matrix, "Confusion matrix", "Counts of rows by true and predicted class"),
            _picture(
                draw_calibration,
                "Calibration: on the dotted line, probabilities are what happens",
                "Accuracy by probability of the predicted class, and the number of rows of each",
                heights=(0.8, 0.4),
            ),
        ]

    def draw_targets(ax: Any) -> None:
        span = [min(target.min(), predicted.min()), max(target.max(), predicted.max())]
        ax.plot(span, span, color=_canvas.GREY, linestyle=":", linewidth=1.2)
        ax.scatter(predicted, target, s=9, alpha=0.5, color=_canvas.BLUE)
        ax.locator_params(axis="x", nbins=5)
        _canvas.finish(ax, "prediction", "target")

    def draw_residuals(ax: Any) -> None:
        ax.hist(target - predicted, bins=30, color=_canvas.BLUE, edgecolor="white")
        ax.locator_params(axis="x", nbins=5)
        _canvas.finish(ax, "target minus prediction", "rows")

    return [
        _picture(draw_targets, "Targets by prediction; on the dotted line they are equal"),
        _picture(draw_residuals, "Residuals: how far targets are from the predictions"),
    ]


def _importances(model: Any, X: Any, y: Any) -> list[Text | Table | Picture]:
    if X is None:
        return [Text("Pass rows and their targets to see it: model.report('report.html', X=X, y=y).")]
    rows = np.random.default_rng(0).permutation(len(X))[:MAX_ROWS]
    part = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    if part.shape[1] > MAX_COLUMNS or len(rows) < 10:
        return [Text(f"It is computed for 10 rows or more, and up to {MAX_COLUMNS} columns.")]
    found = permutation_importance(model, part, np.asarray(y)[rows], n_repeats=REPEATS, random_state=0)
    names = list(getattr(model, "feature_names_in_", [f"x{j}" for j in range(part.shape[1])]))
    order = np.argsort(-found.importances_mean)
    score = "accuracy" if hasattr(model, "classes_") else "R²"
    table = Table(
        f"Permutation importance: the loss of {score} when a column is shuffled, on {len(rows):,} of the "
        f"rows given (mean ± standard deviation of {REPEATS} shuffles)",
        ["column", "importance"],
        [[names[j], f"{found.importances_mean[j]:.4f} ± {found.importances_std[j]:.4f}"] for j in order],
    )
    return [table, *_dependences(model, part, [names[j] for j in order], order)]


def _dependences(model: Any, X: Any, names: Sequence[str], order: np.ndarray) -> list[Picture]:
    """Partial dependence of the most important columns of numbers."""
    numeric = {column.name for column in model.schema_.columns if column.role == "number"}
    is_frame = hasattr(X, "columns")
    pictures: list[Picture] = []
    for name, j in zip(names, order, strict=True):
        if name not in numeric or len(pictures) == MAX_DEPENDENCES:
            continue
        column = X[name] if is_frame else X[:, j]
        if np.asarray(column).dtype.kind not in "iuf" or np.isnan(np.asarray(column, float)).any():
            continue
        rows = X.head(200) if is_frame else X[:200]
        if is_frame and hasattr(rows, "astype"):
            rows = rows.astype({name: float})
        found = partial_dependence(
            model, rows, [name if is_frame else j], kind="average", grid_resolution=20
        )
        grid, average = found["grid_values"][0], found["average"]
        labels = [str(c) for c in getattr(model, "classes_", ())]
        if len(labels) == 2:
            labels = labels[1:]

        def draw(
            ax: Any, grid: Any = grid, average: Any = average, labels: Any = labels, name: str = name
        ) -> None:
            for i, values in enumerate(average[:8]):
                style = {"color": _canvas.colour(i), "linestyle": _canvas.line(i)}
                ax.plot(grid, values, label=labels[i] if labels else None, **style)
            ax.locator_params(axis="x", nbins=5)
            _canvas.finish(ax, name, "probability" if labels else "prediction")

        caption = f"Partial dependence on {name}: the mean prediction if all rows had this value"
        pictures.append(_picture(draw, caption))
    return pictures


def _training(model: Any) -> list[Text | Table | Picture]:
    history = {
        name: np.nanmean(values[:, : model.n_iter_], axis=0)
        for name, values in model.history_.items()
        if np.isfinite(values).any()
    }

    def draw(ax: Any) -> None:
        styles = {
            "loss": ("training", _canvas.BLUE, "-"),
            "val_loss": ("held out", _canvas.VERMILLION, "--"),
        }
        for name, values in history.items():
            label, color, line = styles[name]
            ax.plot(np.arange(1, len(values) + 1), values, label=label, color=color, linestyle=line)
        _canvas.finish(ax, "epoch", "loss, mean of the networks")

    return [_picture(draw, "Loss by epoch, on training and on held-out rows")]


def _schema(schema: Any) -> Table:
    rows = [[c.name, c.role, c.read_as, f"{c.missing:,}", c.why] for c in schema.columns]
    return Table("How each column is read", ["column", "role", "read as", "missing", "why"], rows)


def _choices(model: Any) -> Table:
    rows = [[name, str(value), why] for name, (value, why) in model.chosen_.items()]
    return Table("Settings of the training", ["setting", "value", "why"], rows)


def _usage(model: Any) -> str:
    name = type(model).__name__
    return (
        f"from funcnet.sklearn import {name}\n\n"
        f'model = {name}.load("PATH")  # the folder in which it was saved\n'
        "model.predict(new_rows)  # a frame with the columns above\n\n"
        "# on the command line\n"
        "funcnet predict PATH new.csv"
    )


def _picture(draw: Any, caption: str, description: str = "", heights: Sequence[float] = (1.0,)) -> Picture:
    return Picture(_canvas.png(draw, heights=heights), caption, description or caption)
