"""What the picture of a diagnosis shows."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from funcnet.report import diagnosis
from funcnet.study import diagnose

EPOCH = np.arange(60.0)
TRAINING, VALIDATION = np.exp(-EPOCH / 8), np.exp(-EPOCH / 8) + 0.01 * EPOCH
HISTORY = {"train_loss": TRAINING, "val_loss": VALIDATION}


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_measured_and_smoothed_losses_are_drawn():
    result = diagnose(HISTORY)
    ax = diagnosis(result, Figure().subplots())
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("verdict: overfit", "epoch", "loss")
    drawn = labelled(ax)
    best, onset = f"best epoch: {result.best_epoch + 1}", f"validation rises: {result.onset + 1}"
    assert list(drawn) == ["training", "validation", best, onset]
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), result.val_loss_smooth)
    np.testing.assert_array_equal(drawn["training"].get_xdata(), EPOCH + 1)
    assert np.all(np.asarray(drawn[onset].get_xdata()) == result.onset + 1)
    points = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
    np.testing.assert_array_equal(points, [TRAINING, VALIDATION])
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn.values()}) == 4


def test_a_history_is_diagnosed_first():
    ax = diagnosis(HISTORY, Figure().subplots())
    assert ax.get_title() == "verdict: overfit"


def test_for_several_runs_the_mean_is_drawn():
    many = {name: np.stack([values, values + 0.2]) for name, values in HISTORY.items()}
    ax = diagnosis(many, Figure().subplots())
    assert ax.get_legend().get_title().get_text() == "mean of 2 runs"
    points = next(line.get_ydata() for line in ax.lines if line.get_marker() == ".")
    np.testing.assert_allclose(points, TRAINING + 0.1)


def test_without_validation_or_onset_neither_is_drawn():
    assert list(labelled(diagnosis({"loss": TRAINING}, Figure().subplots()))) == [
        "training",
        "best epoch: 60",
    ]


def test_a_diagnosis_without_finite_values_shows_a_message():
    ax = diagnosis({"loss": [np.inf, np.nan], "val_loss": [np.nan, np.nan]}, Figure().subplots())
    assert ax.get_title() == "verdict: diverged"
    assert ax.texts[0].get_text() == "no finite values"


def test_anything_but_a_diagnosis_raises():
    with pytest.raises(TypeError, match="run must be a Run"):
        diagnosis(3.0)
    with pytest.raises(TypeError, match="must be matplotlib axes"):
        diagnosis(HISTORY, Figure())
    assert not pyplot.get_fignums()
