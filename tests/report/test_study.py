"""Figures of studies show their results."""

import itertools

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.study import HalvingResult, LearningRateRangeResult, Rung, SweepResult


def swept(scores, mode="min"):
    trials = [{"rate": r, "width": w} for r in (0.1, 1.0) for w in (4, 8)]
    return SweepResult(trials, np.array(scores), mode, [], [])


def test_a_heat_map_writes_each_score_and_marks_the_best():
    ax = fn.report.sweep(swept([0.4, 0.3, np.nan, 0.5]), Figure().subplots())
    assert [text.get_text() for text in ax.texts] == ["0.4", "0.3", "diverged", "0.5"]
    (frame,) = ax.patches
    assert (round(frame.get_x() + 0.48), round(frame.get_y() + 0.48)) == (1, 0)
    assert ax.get_title().startswith("best 0.3: rate=0.1, width=8")
    image = ax.images[0]
    assert image.norm(image.get_array())[0, 1] == 1.0  # the darkest is the best
    highest = fn.report.sweep(swept([0.4, 0.3, 0.1, 0.5], "max"), Figure().subplots()).images[0]
    assert highest.norm(highest.get_array())[1, 1] == 1.0


def halved(first, second, mode="min"):
    """A halving of four trials, of which two continued: the best first."""
    rungs = [Rung(3, np.arange(4), np.array(first)), Rung(9, np.arange(2), np.array(second))]
    trials = [{"learning_rate": 10.0**-i, "activation": np.tanh} for i in range(4)]
    return HalvingResult(trials, np.array([*second, *first[2:]]), mode, [], [], rungs)


def test_trials_of_a_halving_are_lines_as_far_as_they_got():
    result = halved([0.5, 0.4, np.inf, 90.0], [0.1, 0.2])
    ax = fn.report.halving(result, Figure().subplots())
    assert [line.get_label() for line in ax.lines] == [
        *("ended early", "_ended early", "trained to the end", "best")
    ]
    np.testing.assert_array_equal(
        [line.get_ydata() for line in ax.lines], [[np.nan] * 2, [90.0, np.nan], [0.4, 0.2], [0.5, 0.1]]
    )
    low, high = ax.get_ylim()
    assert 0 < low < 0.1
    assert 0.5 < high < 1, "the hopeless trial lies outside"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["3\n4", "9\n2"]
    assert ax.get_title() == "best 0.1: learning_rate=1.0, activation=tanh"


def test_the_best_trial_is_shown_if_all_that_continued_have_diverged():
    ax = fn.report.halving(halved([0.5, 0.4, 5.0, 9.0], [np.nan, np.nan]), Figure().subplots())
    assert [line.get_label() for line in ax.lines] == [
        *("ended early", "_ended early"),
        "_ended early",
        "best",
    ]
    low, high = ax.get_ylim()
    assert low < 5.0 < high


def test_labels_of_many_rungs_do_not_overlap():
    rungs = [Rung(2**i, np.arange(256 >> i), np.linspace(0, 1, 256 >> i)) for i in range(8)]
    result = HalvingResult([{"rate": i} for i in range(256)], np.linspace(0, 1, 256), "min", [], [], rungs)
    figure = Figure((4.2, 3.2))
    ax = fn.report.halving(result, figure.subplots())
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert len(boxes) == 8
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_halving_without_a_finite_score_has_no_best():
    with pytest.raises(ValueError, match="no trial has a finite score"):
        fn.report.halving(halved([np.nan] * 4, [np.inf, np.nan]))


@pytest.mark.parametrize(("values", "scale"), [((1e-3, 1e-2, 1.0), "log"), ((1, 2, 3), "linear")])
def test_one_setting_is_a_line(values, scale):
    result = SweepResult([{"rate": v} for v in values], np.array([3.0, 1.0, 2.0]), "min", [], [])
    ax = fn.report.sweep(result, Figure().subplots())
    assert ax.get_xscale() == scale
    assert ax.lines[0].get_ydata().tolist() == [3.0, 1.0, 2.0]
    assert ax.lines[1].get_xdata() == values[1]


def test_names_and_functions_are_tick_labels():
    trials = [{"activation": f} for f in (np.tanh, np.sin)]
    ax = fn.report.sweep(SweepResult(trials, np.array([1.0, 2.0]), "min", [], []), Figure().subplots())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["tanh", "sin"]


@pytest.mark.parametrize("name", ["sweep", "halving", "folds", "learning_rates"])
def test_anything_but_a_result_raises(name):
    with pytest.raises(TypeError, match=r"result must be a result of fn.study.*, got History"):
        getattr(fn.report, name)(fn.History({}))


def test_three_settings_are_not_drawn():
    trials = [{"a": 1.0, "b": 1.0, "c": 1.0}]
    with pytest.raises(ValueError, match=r"result\.order"):
        fn.report.sweep(SweepResult(trials, np.ones(1), "min", [], []))


def test_rates_show_the_suggestion_and_the_divergence():
    losses = np.array([[0.9, 0.8], [0.5, 0.4], [0.2, 0.1], [np.inf, np.inf]])
    result = LearningRateRangeResult(np.array([0.01, 0.1, 1.0, 2.0]), losses, np.ones(2))
    ax = fn.report.learning_rates(result, Figure().subplots())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["last epoch, 2 starts", "before training", "diverges from 2", "suggestion 0.1"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.85, 0.45, 0.15, np.inf])


def test_a_start_that_diverged_counts_in_the_median():
    losses = np.array([[0.9, 0.8, 0.7], [0.5, 0.4, 0.3], [0.2, 0.1, np.inf], [0.1, np.inf, np.inf]])
    result = LearningRateRangeResult(np.array([0.01, 0.1, 1.0, 2.0]), losses, np.ones(3))
    ax = fn.report.learning_rates(result, Figure().subplots())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), result.median)
    np.testing.assert_allclose(result.median, [0.8, 0.4, 0.2, np.inf])


def test_the_band_is_two_standard_deviations():
    keys = jax.random.split(jax.random.key(0), 5)
    ensemble = fn.study.Ensemble(jax.vmap(fn.MLP((1, 4, "scalar")).init)(keys))
    x = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    ax = fn.report.spread(ensemble, (x, x[:, 0]), Figure().subplots(), margin=0.5)
    places = ax.lines[0].get_xdata()
    assert (places[0], places[-1]) == (-0.5, 1.5)
    each = np.asarray(ensemble.predictions(places[:, None].astype(np.float32)))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), each.mean(0), rtol=1e-4, atol=1e-6)
    corners = ax.collections[0].get_paths()[0].vertices
    highest = (each.mean(0) + 2 * each.std(0)).max()
    assert corners[:, 1].max() == pytest.approx(highest, rel=1e-4)


def test_members_with_several_outputs_raise():
    keys = jax.random.split(jax.random.key(0), 3)
    ensemble = fn.study.Ensemble(jax.vmap(fn.Linear(1, 2).init)(keys))
    x = np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match="one number"):
        fn.report.spread(ensemble, (x, x[:, 0]), Figure().subplots())
