"""What the predictions of an estimator depend on: permutation importance and partial dependence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.inspection import partial_dependence, permutation_importance

from funcnet._html import Picture, Table, Text
from funcnet.report import _canvas

REPEATS, MAX_ROWS, MAX_COLUMNS = 5, 1000, 40
"""Repeats, rows and columns of the permutation importance."""
MAX_LISTED = 20
"""Columns in the table of importances."""
MAX_DEPENDENCES, MAX_CURVES, GRID_ROWS = 3, 4, 200
"""Pictures of partial dependence, classes in each, and rows that are averaged over."""


def dependence(model: Any, X: Any, y: Any) -> list[Text | Table | Picture]:
    """A table of importances and pictures of the partial dependence on the most important numbers.

    Args:
        model: a fitted MLPClassifier or MLPRegressor.
        X: rows.
        y: their targets.
    """
    rows = np.random.default_rng(0).permutation(len(X))[:MAX_ROWS]
    part = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    if part.shape[1] > MAX_COLUMNS or len(rows) < 10:
        return [Text(f"It is computed for 10 rows or more, and up to {MAX_COLUMNS} columns.")]
    found = permutation_importance(model, part, np.asarray(y)[rows], n_repeats=REPEATS, random_state=0)
    names = list(getattr(model, "feature_names_in_", [f"x{j}" for j in range(part.shape[1])]))
    order = np.argsort(-found.importances_mean)
    mean, spread = (np.round(a, 4) + 0.0 for a in (found.importances_mean, found.importances_std))
    table = [[names[j], f"{mean[j]:.4f} ± {spread[j]:.4f}"] for j in order[:MAX_LISTED]]
    if others := order[MAX_LISTED:].tolist():
        table.append([f"{len(others)} other columns", f"at most {mean[others[0]]:.4f}"])
    score = "accuracy" if hasattr(model, "classes_") else "R²"
    caption = (
        f"Permutation importance: how much {score} is lost when a column is shuffled, on {len(rows):,} of "
        f"the rows given (mean ± standard deviation of {REPEATS} shuffles)"
    )
    importances = Table(caption, ["column", "importance"], table)
    return [importances, *_dependences(model, part, [names[j] for j in order], order)]


def _dependences(model: Any, X: Any, names: Sequence[str], order: np.ndarray) -> list[Picture]:
    numeric = {column.name for column in model.schema_.columns if column.role == "number"}
    is_frame = hasattr(X, "columns")
    pictures: list[Picture] = []
    for name, j in zip(names, order, strict=True):
        if name not in numeric or len(pictures) == MAX_DEPENDENCES:
            continue
        column = X[name] if is_frame else X[:, j]
        if np.asarray(column).dtype.kind not in "iuf" or np.isnan(np.asarray(column, float)).any():
            continue
        rows = X.head(GRID_ROWS) if is_frame else X[:GRID_ROWS]
        if is_frame and hasattr(rows, "astype"):
            rows = rows.astype({name: float})
        found = partial_dependence(
            model, rows, [name if is_frame else j], kind="average", grid_resolution=20
        )
        labels = [str(c) for c in getattr(model, "classes_", ())]
        labels = labels[1:] if len(labels) == 2 else labels
        pictures.append(_draw_dependence(name, found["grid_values"][0], found["average"], labels))
    return pictures


def _draw_dependence(name: str, grid: np.ndarray, average: np.ndarray, labels: Sequence[str]) -> Picture:
    """A curve [grid] for each output; of many classes, those whose probability changes the most."""
    spans = average.max(axis=1) - average.min(axis=1)
    drawn = np.sort(np.argsort(-spans, kind="stable")[:MAX_CURVES])
    short, what = short_names(labels), "probability" if labels else "prediction"

    def draw(ax: Any) -> None:
        for i, j in enumerate(drawn):
            style = {"color": _canvas.colour(i), "linestyle": _canvas.line(i)}
            ax.plot(grid, average[j], label=short[j] if labels else None, **style)
        _canvas.use_plain_numbers(ax)
        _canvas.finish(ax, _canvas.truncate(name, 40), f"mean {what}")

    which = ""
    if len(average) > MAX_CURVES:
        kind = "classes" if labels else "outputs"
        which = f"; of {len(average)} {kind}, the {MAX_CURVES} that change the most"
    caption = f"Partial dependence on {name}: the mean {what} if all rows had this value{which}"
    ends = [
        f"{f'of {labels[j]} ' if labels else ''}from {average[j, 0]:.4g} to {average[j, -1]:.4g}"
        for j in drawn
    ]
    description = (
        f"Line chart: the mean {what} {', '.join(ends)} as {name} goes from {grid[0]:.4g} to "
        f"{grid[-1]:.4g}."
    )
    return Picture(_canvas.png(draw), caption, description)


def short_names(names: Sequence[str], width: int = 20) -> list[str]:
    """Names of at most `width` characters; the middle is left out where only the ends differ."""
    short = [_canvas.truncate(name, width) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    half = width // 2
    return [name if len(name) <= width else f"{name[: half - 1]}…{name[-half:]}" for name in names]
