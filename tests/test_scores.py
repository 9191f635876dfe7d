"""Scores of a table's model, and their intervals."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, r2_score, roc_auc_score

from funcnet.sklearn._scores import class_scores, label_scores, value_scores

RNG = np.random.default_rng(0)


def probabilities(rows, classes, sharpness=2.0):
    target = RNG.integers(0, classes, rows)
    logits = RNG.normal(size=(rows, classes)) + sharpness * (target[:, None] == np.arange(classes))
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), target


def plain_bootstrap(rows, score, resamples=2000):
    """The interval of a score of rows that are drawn with replacement, [resamples, rows]."""
    return np.quantile(score(RNG.integers(0, rows, (resamples, rows))), [0.025, 0.975])


def auc(score, target):
    """The area under the ROC curve of each line, from the ranks of its positive rows."""
    positive = target.sum(axis=1)
    ranks = (rankdata(score, axis=1) * target).sum(axis=1)
    return (ranks - positive * (positive + 1) / 2) / (positive * (target.shape[1] - positive))


def balanced_accuracy(right, target):
    recalls = [(right * (target == c)).sum(axis=1) / (target == c).sum(axis=1) for c in (0, 1)]
    return np.mean(recalls, axis=0)


def r2(predicted, target):
    """Of each line, [..., rows, outputs]: the mean over the outputs."""
    error = ((predicted - target) ** 2).sum(axis=-2)
    spread = ((target - target.mean(axis=-2, keepdims=True)) ** 2).sum(axis=-2)
    return (1 - error / spread).mean(axis=-1)


def same_interval(ours, theirs):
    """Bounds agree within a tenth of the width: 400 resamples have quantiles as rough as that."""
    np.testing.assert_allclose(ours, theirs, atol=0.1 * (theirs[1] - theirs[0]))


def test_scores_of_two_classes_are_scikit_learns():
    p, y = probabilities(300, 2)
    weight = RNG.uniform(0.5, 2, 300)
    scores = class_scores(p, y, weight, ("no", "yes"))
    assert scores["brier"] == pytest.approx(brier_score_loss(y, p[:, 1], sample_weight=weight))
    expected = balanced_accuracy_score(y, p.argmax(1), sample_weight=weight)
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    assert np.mean(list(scores["recall"].values())) == pytest.approx(expected)
    assert set(scores["intervals"]) == {"accuracy", "balanced_accuracy", "log_loss", "brier", "auc"}
    for name, (low, high) in scores["intervals"].items():
        assert low < scores[name] < high, name


def test_intervals_are_those_of_a_plain_bootstrap():
    p, y = probabilities(400, 2, sharpness=0.5)
    intervals = class_scores(p, y, np.ones(400), ("a", "b"))["intervals"]
    right = p.argmax(1) == y
    assert auc(p[None, :, 1], y[None]) == pytest.approx(roc_auc_score(y, p[:, 1]))
    assert balanced_accuracy(right[None], y[None]) == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    same_interval(intervals["accuracy"], plain_bootstrap(400, lambda i: right[i].mean(axis=1)))
    same_interval(intervals["auc"], plain_bootstrap(400, lambda i: auc(p[i, 1], y[i])))
    same_interval(
        intervals["balanced_accuracy"], plain_bootstrap(400, lambda i: balanced_accuracy(right[i], y[i]))
    )
    target = RNG.normal(size=(500, 2)) + 1e6
    predicted = target + 0.5 * RNG.normal(size=(500, 2))
    intervals = value_scores(predicted, target, np.ones(500))["intervals"]
    squared = ((predicted - target) ** 2).mean(axis=1)
    assert r2(predicted, target) == pytest.approx(r2_score(target, predicted))
    same_interval(intervals["rmse"], plain_bootstrap(500, lambda i: np.sqrt(squared[i].mean(axis=1))))
    same_interval(intervals["r2"], plain_bootstrap(500, lambda i: r2(predicted[i], target[i])))


def test_equal_scores_count_as_half():
    y = np.array([0, 1] * 50)
    p = np.stack([np.full(100, 0.5)] * 2, axis=1)
    scores = class_scores(p, y, np.ones(100), ("a", "b"))
    assert scores["auc"] == 0.5
    np.testing.assert_allclose(scores["intervals"]["auc"], 0.5)


def test_a_class_that_is_not_there_has_no_recall():
    p, y = probabilities(100, 3)
    y = np.minimum(y, 1)
    scores = class_scores(p, y, np.ones(100), ("a", "b", "c"))
    assert set(scores["recall"]) == {"a", "b"}
    assert np.isfinite(scores["intervals"]["balanced_accuracy"]).all()


def test_few_rows_have_no_intervals():
    p, y = probabilities(9, 2)
    assert class_scores(p, y, np.ones(9), ("a", "b"))["intervals"] == {}
    assert value_scores(np.ones(1), np.ones(1), np.ones(1))["intervals"] == {}


def test_labels_have_intervals_and_a_constant_target_no_r2():
    y = RNG.integers(0, 2, (80, 3))
    p = np.clip(0.2 + 0.6 * y + 0.2 * RNG.normal(size=y.shape), 0.01, 0.99)
    scores = label_scores(p, y, np.ones(80))
    for name, (low, high) in scores["intervals"].items():
        assert low <= scores[name] <= high
    constant = value_scores(RNG.normal(size=50), np.ones(50), np.ones(50))
    assert set(constant["intervals"]) == {"rmse", "mae"}
