"""Confusion, calibration and the shapes of losses."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from scipy import stats
from sklearn import calibration as sklearn_calibration
from sklearn import metrics

import funcnet as fn
from funcnet.report import _canvas, calibration, confusion_matrix, loss_curves

rng = np.random.default_rng(0)
LOGITS, CLASSES = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def written(ax):
    return [int(text.get_text()) for text in ax.texts]


@pytest.mark.parametrize("predictions", [LOGITS, LOGITS.argmax(axis=1)])
def test_the_confusion_matrix_equals_scikit_learns(predictions):
    ax = confusion_matrix(predictions, CLASSES, Figure().subplots())
    expected = metrics.confusion_matrix(CLASSES, LOGITS.argmax(axis=1))
    assert written(ax) == expected.ravel().tolist()
    assert written(confusion_matrix(expected)) == expected.ravel().tolist()
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown, expected / expected.sum(axis=1, keepdims=True))


def test_one_logit_is_classified_at_zero():
    logits, y = np.array([[-0.1], [0.1], [0.4], [2.0]]), np.array([0, 0, 1, 1])
    ax = confusion_matrix(
        logits, y, Figure().subplots(), class_names=["a class with quite a long name", "b"]
    )
    assert written(ax) == [1, 1, 0, 2]
    assert ax.get_xticklabels()[0].get_text() == "a class with quite …"


def test_a_class_without_rows_and_many_classes():
    ax = confusion_matrix(np.array([[3, 1], [0, 0]]), axes=Figure().subplots())
    assert np.asarray(ax.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]
    assert not confusion_matrix(np.eye(60, dtype=int)).texts


def test_calibration_equals_scikit_learns_with_wilson_intervals():
    logits = LOGITS[:, 0]
    y = (rng.uniform(size=200) < 1 / (1 + np.exp(-logits))).astype(int)
    upper, lower = calibration(logits, y, Figure().subplots(2), bins=8)
    observed, predicted = sklearn_calibration.calibration_curve(y, 1 / (1 + np.exp(-logits)), n_bins=8)
    np.testing.assert_allclose(upper.lines[1].get_xdata(), predicted, rtol=1e-5)
    np.testing.assert_allclose(upper.lines[1].get_ydata(), observed)
    counts = np.array([bar.get_height() for bar in lower.patches], int)
    assert counts.sum() == 200
    bars = [path.vertices[:, 1] for path in upper.collections[0].get_paths()]
    for bar, part, count in zip(bars, observed, counts[counts > 0], strict=True):
        expected = stats.binomtest(round(part * count), count).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(bar, expected, atol=1e-3)


def test_calibration_of_several_classes_is_that_of_the_predicted_one():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.7, 0.1, 0.2], [0.1, 0.9, 0.0 + 1e-9]]))
    upper, _ = calibration(logits, np.array([[0], [1], [1]]), Figure().subplots(2))
    np.testing.assert_allclose(upper.lines[1].get_data(), [[0.7, 0.9], [0.5, 1.0]], rtol=1e-5)
    assert upper.get_ylabel() == "accuracy"


def test_losses_by_residual_and_by_probability():
    errors = {"absolute": fn.metrics.absolute_error, "squared": fn.losses.squared_error}
    ax = loss_curves(errors, Figure().subplots())
    r = ax.lines[0].get_xdata()
    assert (r[0], r[-1]) == (-2, 2)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.abs(r), rtol=1e-5)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), r**2, rtol=1e-5, atol=1e-6)
    entropy = {"cross-entropy": fn.losses.binary_cross_entropy}
    ax = loss_curves(entropy, Figure().subplots(), over="probability", targets=(1, 0))
    p = ax.lines[0].get_xdata()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), -np.log(p), rtol=1e-4)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), -np.log(1 - p), rtol=1e-4)
    assert [line.get_linestyle() for line in ax.lines] == ["--", "-"]


def test_the_0_1_loss_is_wrong_below_one_half():
    wrong = lambda z, t: 1 - fn.metrics.accuracy(z, t)  # noqa: E731
    line = loss_curves({"0-1": wrong}, Figure().subplots(), over="probability").lines[0]
    p, values = line.get_data()
    assert values[p < 0.499].tolist() == [1] * int((p < 0.499).sum())
    assert not values[p > 0.501].any()


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: confusion_matrix(np.ones((2, 3))), ValueError, "square matrix"),
        (lambda: confusion_matrix(-np.eye(2)), ValueError, "counts, finite and not negative"),
        (
            lambda: confusion_matrix(np.eye(3), class_names=["a", "b"]),
            ValueError,
            "must hold 3 names, got 2",
        ),
        (lambda: confusion_matrix(LOGITS, CLASSES[:-1]), ValueError, r"got shapes \(200, 3\) and \(199,\)"),
        (
            lambda: confusion_matrix(LOGITS, CLASSES + 1),
            ValueError,
            "got class 3 and logits of 3 classes",
        ),
        (lambda: calibration(LOGITS * np.nan, CLASSES), ValueError, "NaN in 200 of 200 rows"),
        (lambda: calibration(LOGITS, CLASSES, bins=0), ValueError, "bins must be at least 1"),
        (lambda: calibration(LOGITS, CLASSES + 0.5), ValueError, "one class number for each row"),
        (lambda: loss_curves([fn.losses.squared_error]), TypeError, "a mapping from names to losses"),
        (lambda: loss_curves({"a": 1}), TypeError, "losses.+ must be a function"),
        (
            lambda: loss_curves({"a": fn.losses.squared_error}, over="logit"),
            ValueError,
            "must be one of .*got 'logit'",
        ),
        (
            lambda: loss_curves({"a": fn.losses.squared_error}, over="probability", targets=(2,)),
            ValueError,
            "targets must be 0, 1 or both",
        ),
        (
            lambda: loss_curves({"a": lambda p, t: jnp.stack([p, t])}),
            ValueError,
            r"'a'.* must return a scalar .*, got shape \(2,\)",
        ),
    ],
)
def test_wrong_arguments_raise_and_leave_no_figure(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("labels", "layout"),
    [(["a", "b", "c"], (3, 1)), (["a class of some length"] * 3, (1, 3)), (["of ten"] * 7, (4, 2))],
)
def test_a_legend_has_the_rows_that_its_columns_leave(labels, layout):
    assert _canvas.legend_layout(labels, 4.0) == layout
