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


def test_it_shows_what_was_measured_smoothed_and_found():
    found = diagnose(HISTORY)
    ax = diagnosis(found, Figure().subplots())
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("overfit", "epoch", "loss")
    drawn = labelled(ax)
    best, turned = f"best epoch: {found.best_epoch + 1}", f"validation turned: {found.onset + 1}"
    assert list(drawn) == ["training", "validation", best, turned]
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), found.val_loss_smooth)
    np.testing.assert_array_equal(drawn["training"].get_xdata(), EPOCH + 1)
    assert np.all(np.asarray(drawn[turned].get_xdata()) == found.onset + 1)
    points = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
    np.testing.assert_array_equal(points, [TRAINING, VALIDATION])
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn.values()}) == 4


def test_a_history_is_diagnosed_first():
    ax = diagnosis(HISTORY, Figure().subplots())
    assert ax.get_title() == "overfit"


def test_of_many_trainings_the_mean_is_drawn():
    many = {name: np.stack([values, values + 0.2]) for name, values in HISTORY.items()}
    ax = diagnosis(many, Figure().subplots())
    assert ax.get_legend().get_title().get_text() == "2 runs: mean"
    points = next(line.get_ydata() for line in ax.lines if line.get_marker() == ".")
    np.testing.assert_allclose(points, TRAINING + 0.1)


def test_without_validation_or_a_turn_nothing_is_invented():
    assert list(labelled(diagnosis({"loss": TRAINING}, Figure().subplots()))) == [
        "training",
        "best epoch: 60",
    ]


def test_a_diagnosis_without_values_says_so():
    ax = diagnosis({"loss": [np.inf, np.nan], "val_loss": [np.nan, np.nan]}, Figure().subplots())
    assert ax.get_title() == "diverged"
    assert ax.texts[0].get_text() == "nothing finite was measured"


def test_what_is_no_diagnosis_is_refused():
    with pytest.raises(TypeError, match="run must be a Run"):
        diagnosis(3.0)
    with pytest.raises(TypeError, match="draws into matplotlib axes"):
        diagnosis(HISTORY, Figure())
    assert not pyplot.get_fignums()
