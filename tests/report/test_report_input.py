"""What cannot be drawn ends in a sentence; extreme numbers, constants and single points are drawn."""

import functools
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import funcnet as fn

R = fn.report
PACKAGE = str(Path(fn.__file__).parent)
OBJECTS = np.array([1.0, None, "a"], object)
NAN, INF = float("nan"), float("inf")
X, Y = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32), np.array([0, 1, 1])
LINE = (X[:, 0], X[:, 1])
SLOPES = np.array([[1.0], [2.0], [-1.0], [0.5]], np.float32)
SWEEP = fn.study.SweepResult([{"a": 1}, {"a": 2}], np.array([0.1, 0.2]), "min", [], [])
RATES = fn.study.LearningRateRangeResult(
    np.array([0.01, 0.1, 1.0]), np.array([[0.9], [0.5], [INF]]), np.array([1.0])
)
CURVE = fn.study.Curve("training rows", (10, 20), {"loss": [[0.1], [0.2]], "val_loss": [[0.3], [0.2]]})


def classify(x):
    return x[0] - x[1]


@functools.cache
def ensemble():
    return fn.study.Ensemble(fn.Linear(1, "scalar", weight=SLOPES, bias=np.zeros(4, np.float32)))


def three_logits(x):
    return jnp.stack([x[0], x[1], 0 * x[0]])


def double(x):
    return 2 * x


def axes(count: int = 1) -> Any:
    return Figure().subplots(count) if count > 1 else Figure().subplots()


BAD: dict[str, list[Any]] = {
    "data": [None, 3, "a", (OBJECTS, Y), (X,), (X, Y, Y), lambda: 0, {"x": X}, (X[:0], Y[:0])],
    "model": [None, 3, "a"],
    "scaler": [3, "standard", X],
    "axes": [3, "a", [None]],
    "features": [3, "ab", (0, 5), (0.0, 1.0), (0,), [None, None]],
    "names": [3, "ab", ["one"]],
    "logits": [
        None,
        "a",
        OBJECTS,
        np.array(["a"]),
        np.zeros((0, 2)),
        np.zeros((3, 0)),
        np.full((3, 2), NAN),
    ],
    "classes": [
        None,
        "a",
        OBJECTS,
        np.array([0, 1, NAN]),
        np.array([0, 1, INF]),
        np.array([0, 1, -1]),
        np.array([0, 1, 2**31]),
    ],
    "count": [0, -1, True, 1.5, None, "2", 2**40],
    "run": [None, 3, "a", {}, X],
    "result": [None, 3, "a", {}, X],
    "mapping": [None, 3, {}, "a", {"a": OBJECTS}, {"a": "b"}],
    "x": ["a", OBJECTS, np.zeros(7)],
    "losses": [
        None,
        3,
        {},
        {"a": 3},
        {"a": lambda p: p},
        {"a": lambda p, y: "b"},
        {"a": lambda p, y: p * np.ones(2)},
    ],
    "targets": [None, 3, (), (2,), ("a",), (0.5,)],
    "choice": [None, 3, "width", np.ones(2)],
    "margin": [-1.0, NAN, INF, None, "a"],
    "seconds": [-1.0, NAN, None, "a"],
}
# (name, call, number of axes, valid arguments, what they expect)
CALLS: list[tuple[str, Callable[..., Any], int, dict[str, Any], dict[str, str]]] = [
    (
        "scatter",
        R.scatter,
        1,
        {"data": (X, Y)},
        {
            "data": "data",
            "axes": "axes",
            "features": "features",
            "feature_names": "names",
            "class_names": "names",
        },
    ),
    (
        "predictions",
        R.predictions,
        2,
        {"model": classify, "data": (X, Y)},
        {
            "model": "model",
            "data": "data",
            "scaler": "scaler",
            "features": "features",
            "class_names": "names",
        },
    ),
    (
        "decision_surface",
        R.decision_surface,
        1,
        {"model": classify, "data": (X, Y)},
        {"model": "model", "data": "data", "scaler": "scaler", "features": "features"},
    ),
    (
        "separating_line",
        R.separating_line,
        1,
        {"model": classify, "data": (X, Y)},
        {"model": "model", "data": "data", "scaler": "scaler", "feature_names": "names"},
    ),
    (
        "pair_plot",
        R.pair_plot,
        4,
        {"data": (X, Y)},
        {"data": "data", "features": "features", "class_names": "names"},
    ),
    (
        "regression_line",
        R.regression_line,
        1,
        {"model": lambda x: x, "data": LINE},
        {"model": "model", "data": "data", "valid": "data", "scaler": "scaler"},
    ),
    (
        "fitted_curves",
        R.fitted_curves,
        1,
        {"models": {"a": lambda x: x}, "data": LINE},
        {"models": "run", "data": "data"},
    ),
    (
        "spread",
        R.spread,
        1,
        {"ensemble": ensemble, "data": LINE},
        {"ensemble": "result", "data": "data", "margin": "margin", "scaler": "scaler"},
    ),
    (
        "calibration",
        R.calibration,
        2,
        {"logits": X, "targets": Y},
        {"logits": "logits", "targets": "classes", "bins": "count"},
    ),
    (
        "confusion_matrix",
        R.confusion_matrix,
        1,
        {"predictions": X, "targets": Y},
        {"predictions": "logits", "class_names": "names"},
    ),
    ("history", R.history, 1, {}, {"run": "run"}),
    ("layers", R.layers, 1, {}, {"run": "run"}),
    ("diagnosis", R.diagnosis, 1, {}, {"run": "run"}),
    ("curves", R.curves, 1, {"values": {"a": [1.0, 2.0]}}, {"values": "mapping", "x": "x"}),
    (
        "loss_curves",
        R.loss_curves,
        1,
        {"losses": {"a": fn.losses.squared_error}, "over": "probability"},
        {"losses": "losses", "targets": "targets", "over": "choice"},
    ),
    ("learning_rates", R.learning_rates, 1, {}, {"result": "result"}),
    ("sweep", R.sweep, 1, {}, {"result": "result"}),
    ("folds", R.folds, 1, {}, {"result": "result"}),
    ("learning_curve", R.learning_curve, 1, {}, {"curve": "result"}),
    ("bias_variance", R.bias_variance, 1, {}, {"results": "result"}),
    (
        "training_frame",
        R.training_frame,
        2,
        {"model": classify, "history": {"accuracy": [0.5]}, "data": (X, Y)},
        {"model": "model", "history": "run", "metric": "choice"},
    ),
    ("LivePlot", lambda axes, seconds: R.LivePlot(seconds=seconds), 1, {}, {"seconds": "seconds"}),
]
FIRST = {"diagnosis": "diagnosis"}
CASES = [
    pytest.param(name, argument, bad, id=f"{name}-{argument}-{i}")
    for name, *_, kinds in CALLS
    for argument, kind in kinds.items()
    for i, bad in enumerate(BAD[kind])
    if not (name == "confusion_matrix" and argument == "predictions" and i == 5)  # no logits: counts
    if not (argument == "valid" and bad is None)
]


@pytest.mark.parametrize(("name", "argument", "bad"), CASES)
def test_what_cannot_be_drawn_ends_in_a_sentence_that_names_it(name, argument, bad):
    _, call, count, valid, _ = next(entry for entry in CALLS if entry[0] == name)
    keyword = FIRST.get(name, argument) if argument == "run" else argument
    made = {name: ensemble() if value is ensemble else value for name, value in valid.items()}
    with pytest.raises((TypeError, ValueError)) as error:
        call(**({"axes": axes(count)} | made | {keyword: bad}))
    frame = traceback.extract_tb(error.value.__traceback__)[-1]
    assert frame.filename.startswith(PACKAGE), f"raised in {frame.filename}: {error.value}"
    words = {
        "data": "data|table|arrays|rows|x|y",
        "valid": "valid|data|table|arrays|rows|x|y",
        "metric": "metric|history",
    }
    assert re.search(rf"\b({words.get(argument, argument)})\b", str(error.value)), str(error.value)


POINTS = {
    "nan": np.array([[0.0, 1.0], [NAN, 0.0], [1.0, NAN], [1.0, 2.0]], np.float32),
    "all nan": np.full((4, 2), NAN, np.float32),
    "infinite": np.array([[0.0, 1.0], [INF, 0.0], [1.0, -INF], [1.0, 2.0]], np.float32),
    "huge": np.array([[0.0, 1.0], [3e38, 0.0], [1.0, -3e38], [1.0, 2.0]], np.float32),
    "tiny": np.array([[0.0, 1e-38], [1e-38, 0.0], [1e-38, 1e-38], [0.0, 0.0]], np.float32),
    "constant": np.full((4, 2), 7.0, np.float32),
    "huge constant": np.full((4, 2), 1e38, np.float32),
    "one": np.ones((1, 2), np.float32),
}


@pytest.mark.parametrize("single_class", [False, True])
@pytest.mark.parametrize("points", POINTS)
def test_points_of_any_kind_are_drawn(points, single_class):
    x = POINTS[points]
    y = np.zeros(len(x), int) if single_class else np.arange(len(x)) % 2
    if not np.isfinite(x).all():
        for call in (lambda: R.scatter((x, y), axes()), lambda: R.pair_plot((x, y), axes(4))):
            with pytest.raises(ValueError, match="must be finite"):
                call()
        return
    figures = [
        R.scatter((x, y), axes()),
        R.scatter((x[:, 0], x[:, 1]), axes()),
        R.predictions(classify, (x, y), axes(2))[0],
        R.decision_surface(classify, (x, y), axes()),
        R.decision_surface(three_logits, (x, y), axes()),
        R.pair_plot((x, y), Figure().subplots(2, 2))[0, 0],
        R.regression_line(double, (x[:, 0], x[:, 1]), axes()),
        R.spread(ensemble(), (x[:, :1], x[:, 1]), axes()),
    ]
    for ax in figures:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        ax.figure.canvas.draw()


@pytest.mark.parametrize(
    "values", [[NAN] * 3, [INF] * 3, [1.0, NAN, INF], [3e38, -3e38, 0.0], [5.0], [0.0, 0.0], []]
)
def test_curves_of_any_numbers_are_drawn(values):
    array = np.array(values, np.float32)
    figures = [
        R.curves({"a": array}, axes()),
        R.curves({"a": np.stack([array] * 3)}, axes()),
        R.training_frame(classify, {"accuracy": array}, (X, Y), axes(2))[0] if len(array) else axes(),
    ]
    if len(array):
        scores = {"loss": array[:, None], "val_loss": np.stack([array, array], 1)}
        scores["loss"] = np.stack([array, array], 1)
        figures.append(
            R.learning_curve(fn.study.Curve("n", tuple(range(1, len(array) + 1)), scores), axes())[0]
        )
        mean = dict.fromkeys(("error", "variance", "bias_and_noise"), jnp.asarray(array[-1]))
        result = fn.study.BiasVarianceResult(
            mean, mean | {"error": jnp.abs(mean["error"])}, {}, jnp.zeros((3, 1))
        )
        figures.append(R.bias_variance({1: result, 2: result}, axes()))
        figures.append(R.diagnosis({"loss": array, "val_loss": array}, axes()))
    for ax in figures:
        ax.figure.canvas.draw()


def test_figures_of_extreme_results_are_drawn():
    init = np.array([1.0])
    for losses in ([[NAN], [0.5], [INF]], [[0.5]] * 3, [[-1e38], [0.0], [1e38]]):
        rates = fn.study.LearningRateRangeResult(np.array([0.01, 0.1, 1.0]), np.array(losses), init)
        if np.isfinite(rates.median).any() and (rates.rates <= rates.min_diverging_rate / 3).any():
            R.learning_rates(rates, axes()).figure.canvas.draw()
    for init in (0.0, INF, NAN):
        rates = fn.study.LearningRateRangeResult(np.array([0.01, 0.1]), np.zeros((2, 1)), np.array([init]))
        if (rates.rates <= rates.min_diverging_rate / 3).any():
            R.learning_rates(rates, axes()).figure.canvas.draw()
    for scores in ([0.0, 0.0], [NAN, 1.0], [1e38, -1e38], [-INF, 2.0]):
        result = fn.study.SweepResult([{"a": 1}, {"a": 2}], np.array(scores), "min", [], [])
        R.sweep(result, axes()).figure.canvas.draw()
    assert fn.study.SweepResult([{"a": 1}, {"a": 2}], [-INF, 2.0], "min", [], []).best == {"a": 2}


def test_infinite_logits_are_certain():
    logits = np.array([[INF, 0.0], [0.0, INF], [-INF, 1.0]])
    upper, lower = R.calibration(logits, np.array([0, 1, 1]), axes(2))
    assert upper.lines[1].get_xydata().tolist() == [[1.0, 1.0]]
    assert lower.patches[-1].get_height() == 3
    R.calibration(np.array([INF, -INF]), np.array([1, 0]), axes(2))
    R.confusion_matrix(logits, np.array([0, 1, 1]), axes())


@pytest.mark.parametrize(
    "kind", [pd.DataFrame, lambda a: a.astype(">f8"), jnp.asarray, lambda a: a.tolist()]
)
def test_arrays_of_any_library_are_drawn(kind):
    logits = kind(X)
    expected = R.confusion_matrix(X, Y, axes())
    ax = R.confusion_matrix(logits, Y.tolist(), axes())
    assert [t.get_text() for t in ax.texts] == [t.get_text() for t in expected.texts]
    R.calibration(logits, pd.Series(Y), axes(2))
    R.curves({"a": pd.Series([1.0, 2.0]), "b": [1, 2]}, axes(), x=np.array([1, 2], ">i4"))


def test_traced_arguments_are_named():
    for call in (lambda x: R.calibration(x, Y, axes(2)), lambda x: R.curves({"a": x}, axes())):
        with pytest.raises(TypeError, match="concrete to be drawn"):
            jax.jit(call)(X)
    with pytest.raises(TypeError, match="data must not be traced"):
        jax.jit(lambda x: R.scatter((x, Y), axes()))(X)
