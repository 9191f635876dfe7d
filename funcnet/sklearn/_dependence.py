"""What the predictions of an estimator depend on: permutation importance and partial dependence."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import r2_score

from funcnet._html import Picture, Table, Text
from funcnet.report import _canvas
from funcnet.tabular import Features

REPEATS, MAX_ROWS, MAX_COLUMNS = 5, 1000, 40
"""Repeats, rows and columns of the permutation importance."""
MAX_LISTED = 20
"""Columns in the table of importances."""
MAX_DEPENDENCES, MAX_CURVES = 3, 4
"""Pictures of partial dependence, and classes in each."""
GRID_ROWS, GRID = 200, 20
"""Rows that are averaged over, and points of the grid."""


def dependence(model: Any, X: Any, y: Any) -> list[Text | Table | Picture]:
    """A table of importances and pictures of the partial dependence on the most important numbers.

    Args:
        model: a fitted MLPClassifier or MLPRegressor.
        X: rows.
        y: their targets.
    """
    features = model._read(X)
    target = model._encode_y(y, len(features), np.arange(len(features)), False)
    rows = np.random.default_rng(0).permutation(len(features))[:MAX_ROWS]
    places = list(_places(model.schema_))
    if len(places) > MAX_COLUMNS or len(rows) < 10:
        return [Text(f"It is computed for 10 rows or more, and up to {MAX_COLUMNS} columns.")]
    features, target = features.rows(rows), target[rows]
    losses = np.array([importance(model, features, target, *place) for _, *place in places])
    mean, spread = losses.mean(axis=1), losses.std(axis=1)
    order = np.argsort(-mean, kind="stable")
    cells = [
        [places[j][0], f"{np.round(mean[j], 4) + 0.0:.4f} ± {spread[j]:.4f}"] for j in order[:MAX_LISTED]
    ]
    if others := order[MAX_LISTED:].tolist():
        cells.append([f"{len(others)} other columns", f"at most {np.round(mean[others[0]], 4) + 0.0:.4f}"])
    score = "accuracy" if hasattr(model, "classes_") else "R²"
    caption = (
        f"Permutation importance: how much {score} is lost when a column is shuffled, on {len(rows):,} of "
        f"the rows given (mean ± standard deviation of {REPEATS} shuffles)"
    )
    numeric = {column.name for column in model.schema_.columns if column.role == "number"}
    drawn = [places[j] for j in order if places[j][0] in numeric]
    pictures: list[Picture] = []
    for name, numbers, _ in drawn:
        if len(grid := make_grid(features.numbers[:, numbers[0]])) > 1 and len(pictures) < MAX_DEPENDENCES:
            average = partial_dependence(model, features, numbers[0], grid)
            pictures.append(_draw_dependence(name, grid, average, _labels(model)))
    return [Table(caption, ["column", "importance"], cells), *pictures]


def _places(schema: Any) -> Iterator[tuple[str, list[int], list[int]]]:
    """The name of each column that is used, and its columns in `Features.numbers` and `Features.codes`."""
    numbers = codes = 0
    for column in schema.columns:
        count, is_category = len(column.number_names), column.role == "category"
        if count or is_category:
            places = list(range(numbers, numbers + count)), [codes] * is_category
            yield column.name, *places
        numbers, codes = numbers + count, codes + is_category


def importance(
    model: Any, features: Features, target: np.ndarray, numbers: list[int], codes: list[int]
) -> np.ndarray:
    """How much of the score is lost when some columns are shuffled together, [repeats].

    Shuffling what a column is read as is shuffling the column: each row is read by itself.

    Source: Breiman, "Random forests", 2001.
    """
    score = _score(model, features, target)
    lost, rng = [], np.random.default_rng(0)
    for _ in range(REPEATS):
        order = rng.permutation(len(features))
        shuffled = [array.copy() for array in (features.numbers, features.codes)]
        for array, columns in zip(shuffled, (numbers, codes), strict=True):
            array[:, columns] = array[order][:, columns]
        part = dataclasses.replace(features, numbers=shuffled[0], codes=shuffled[1])
        lost.append(score - _score(model, part, target))
    return np.array(lost)


def _score(model: Any, features: Features, target: np.ndarray) -> float:
    """The accuracy, or R²."""
    predicted = model.members_.predict(features)
    if not hasattr(model, "classes_"):
        return float(r2_score(target, predicted))
    is_right = (
        predicted.argmax(axis=1) == target if target.ndim == 1 else ((predicted > 0.5) == target).all(1)
    )
    return float(is_right.mean())


def make_grid(values: np.ndarray) -> np.ndarray:
    """The values of a column from its 5 % to its 95 % quantile, without gaps: 20 points at most."""
    known = values[~np.isnan(values)]
    unique = np.unique(known)
    if len(unique) <= GRID:
        return unique
    low, high = np.quantile(known, [0.05, 0.95])
    return np.unique(np.linspace(low, high, GRID))


def partial_dependence(model: Any, features: Features, column: int, grid: np.ndarray) -> np.ndarray:
    """The mean prediction if a column of numbers had the same value in all rows, [outputs, grid].

    Source: Friedman, "Greedy function approximation: a gradient boosting machine", 2001.
    """
    part = features.rows(np.arange(min(len(features), GRID_ROWS)))
    averages = []
    for value in grid:
        numbers = part.numbers.copy()
        numbers[:, column] = value
        predicted = model.members_.predict(dataclasses.replace(part, numbers=numbers))
        averages.append(predicted.reshape(len(part), -1).mean(axis=0))
    average = np.stack(averages, axis=1)
    return average[1:] if len(_labels(model)) == 1 else average


def _labels(model: Any) -> list[str]:
    """The class of each curve; of two classes the second one alone."""
    labels = [str(c) for c in getattr(model, "classes_", ())]
    return labels[1:] if len(labels) == 2 and model._task == "classes" else labels


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
