"""Figures of studies show their means and standard errors."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.report import bias_variance, learning_curve

SCORES = {
    "loss": np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]]),
    "val_loss": np.array([[2.0, 4.0], [1.0, 1.0], [90.0, 110.0]]),
    "accuracy": np.array([[0.9, 0.7], [1.0, 1.0], [0.5, 0.5]]),
    "val_accuracy": np.array([[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]]),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def result(scale=1.0, epochs=None):
    """Parts that add up: 0.2 + 0.3 + 0.1 = 0.6, with or without an axis of epochs."""
    shape = () if epochs is None else (len(epochs),)
    parts = {"bias_squared": 0.2, "variance": 0.3, "noise": 0.1, "error": 0.6}
    mean = {name: jnp.full(shape, scale * value) for name, value in parts.items()}
    error = {name: jnp.full(shape, 0.05 * scale) for name in parts}
    number = None if epochs is None else jnp.array(epochs)
    return fn.study.BiasVarianceResult(mean, error, {}, jnp.zeros((3, 1)), number)


def lines(ax):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata()) for line in ax.lines}


def band(ax, number):
    """The lower and the upper end of a band at its first place."""
    ends = ax.collections[number].get_paths()[0].vertices
    first = ends[ends[:, 0] == ends[:, 0].min()][:, 1]
    return first.min(), first.max()


def test_capacities_are_lines_with_bands_over_a_logarithmic_axis():
    ax = bias_variance(
        {1: result(), 10: result(2.0), 100: result(0.5)}, Figure().subplots(), xlabel="width"
    )
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "width")
    x, y = lines(ax)["variance"]
    assert x == [1, 10, 100]
    np.testing.assert_allclose(y, [0.3, 0.6, 0.15], rtol=1e-6)
    assert list(lines(ax)) == ["error", "bias²", "variance", "noise"]
    np.testing.assert_allclose(band(ax, 0), [0.6 - 1.96 * 0.05, 0.6 + 1.96 * 0.05], rtol=1e-6)
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len({colour for colour, _ in looks}) == len({style for _, style in looks}) == 4


def test_epochs_are_lines_and_one_result_is_bars():
    ax = bias_variance(result(epochs=(1, 2, 4)))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "epochs")
    assert bias_variance(result(epochs=(10, 20, 40))).get_xscale() == "linear"  # 4 times as far
    assert lines(ax)["noise"][0] == [1, 2, 4]
    bars = bias_variance(result())
    heights = [bar.get_height() for bar in bars.patches]
    np.testing.assert_allclose(heights, [0.6, 0.2, 0.3, 0.1], rtol=1e-6)
    assert [text.get_text() for text in bars.get_xticklabels()] == ["error", "bias²", "variance", "noise"]


def test_names_of_capacities_are_tick_labels():
    ax = bias_variance({"line": result(), "parabola": result()})
    assert [text.get_text() for text in ax.get_xticklabels()] == ["line", "parabola"]


def test_a_learning_curve_has_a_panel_for_each_score():
    loss, accuracy = learning_curve(fn.study.Curve("training rows", (5, 50, 500), SCORES))
    assert [ax.get_ylabel() for ax in (loss, accuracy)] == ["loss", "accuracy"]
    np.testing.assert_allclose(lines(loss)["training"][1], [0.2, 0.2, 0.2])
    np.testing.assert_allclose(lines(loss)["validation"][1], [3, 1, 100])
    np.testing.assert_allclose(band(loss, 1), [3 - 1.96, 3 + 1.96])
    assert (loss.get_xscale(), loss.get_yscale()) == ("log", "log")
    assert (accuracy.get_xscale(), accuracy.get_yscale()) == ("log", "linear")


def test_one_repeat_has_no_band_and_a_short_range_no_logarithm():
    scores = {name: score[:2, :1] for name, score in SCORES.items() if "loss" in name}
    (ax,) = learning_curve(fn.study.Curve("capacity", (2, 3), scores))
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    assert lines(ax)["validation"][0] == [2, 3]


WRONG = {
    "a number": (lambda: bias_variance(3), TypeError, "a mapping from capacities to such results, got int"),
    "nothing": (lambda: bias_variance({}), ValueError, "at least one result, got an empty mapping"),
    "epochs for each capacity": (
        lambda: bias_variance({1: result(epochs=(1, 2))}),
        ValueError,
        "must not have epochs",
    ),
    "a run": (lambda: learning_curve(3), TypeError, r"report.history\(run\)"),
    "one panel too few": (
        lambda: learning_curve(fn.study.Curve("capacity", (1, 2, 3), SCORES), Figure().subplots()),
        ValueError,
        r"2 axes \(loss, accuracy\), got 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_raise(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()
