"""The learning curve of an estimator: would more rows help?"""

import json

import numpy as np
import pytest

from funcnet.sklearn import MLPClassifier, MLPRegressor
from funcnet.sklearn._learning_curve import _order_rows, _summarize, describe, learning_curve
from funcnet.sklearn._scores import row_losses

FEW = {"members": 2, "cv": 2, "max_iter": 30, "hidden_layer_sizes": (16,)}


def plane(rows=240):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (rows, 3))
    return X, X @ [3.0, -2.0, 1.0] + rng.normal(scale=0.2, size=rows)


@pytest.fixture(scope="module")
def regression():
    X, y = plane()
    return MLPRegressor(**FEW).fit(X[:80], y[:80]), X, y


def test_more_rows_help_on_a_plane_and_equal_calls_agree(regression):
    model, X, y = regression
    curve = learning_curve(model, (X[:80], y[:80]), X[80:], y[80:])
    assert curve["score"] == "rmse"
    assert curve["rows"] == [20, 40, 80]
    values = np.array(curve["values"])
    assert values.shape == (3, 2)
    assert (values[-1] < values[0]).all()
    assert curve["change"] == pytest.approx(values[-1].mean() - values[-2].mean())
    assert curve["repeated"] == 0
    again = learning_curve(model, (X[:80], y[:80]), X[80:], y[80:], np.full(160, 3.0))
    assert again["values"][0][0] == pytest.approx(curve["values"][0][0], rel=1e-12)


def test_the_last_point_is_a_network_trained_on_all_rows(regression):
    model, X, y = regression
    alone = MLPRegressor(**FEW | {"members": 1, "cv": None}).fit(X[:80], y[:80])
    rmse = np.sqrt(np.mean((alone.predict(X[80:]) - y[80:]) ** 2))
    curve = learning_curve(model, (X[:80], y[:80]), X[80:], y[80:])
    assert curve["values"][-1][0] == pytest.approx(rmse, rel=1e-9)


def test_a_report_holds_the_curve_if_training_rows_are_given(regression, tmp_path):
    model, X, y = regression
    rows = {"X": X[80:], "y": y[80:], "training": (X[:80], y[:80])}
    scores = model.report(tmp_path / "report.json", **rows)
    assert scores["learning_curve"] == learning_curve(model, rows["training"], X[80:], y[80:])
    assert json.loads((tmp_path / "report.json").read_text()) == scores
    model.report(tmp_path / "report.html", **rows)
    assert "Would more rows help?" in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="training must be given with X and y"):
        model.report(training=(X[:80], y[:80]))


def test_rows_of_weight_zero_do_not_count(regression):
    model, X, y = regression
    weight = np.r_[np.ones(40), np.zeros(40)]
    curve = learning_curve(model, (X[:80], y[:80], weight), X[80:], y[80:])
    assert curve["rows"] == [20, 40]


def test_rows_that_are_scored_and_trained_on_are_counted(regression):
    model, X, y = regression
    curve = learning_curve(model, (X[:80], y[:80]), X[70:100], y[70:100])
    assert curve["repeated"] == 10
    assert any("10 of the rows given are equal to training rows" in text for text in describe(curve))


def test_a_class_that_a_part_lacks_has_a_finite_loss():
    X, y = plane()
    names = np.where(y > 0, "high", "low").astype(object)
    names[[3, 200]] = "rare"
    model = MLPClassifier(**FEW).fit(X[:80], names[:80])
    curve = learning_curve(model, (X[:80], names[:80]), X[80:], names[80:])
    assert curve["score"] == "log_loss"
    assert np.isfinite(curve["values"]).all()


def test_what_can_not_be_read_is_refused(regression):
    model, X, y = regression
    with pytest.raises(TypeError, match=r"training=\(X_train, y_train\)"):
        learning_curve(model, X, X, y)
    with pytest.raises(ValueError, match="at least 40 rows of a weight above 0, got 30"):
        learning_curve(model, (X[:30], y[:30]), X[80:], y[80:])
    with pytest.raises(ValueError, match="features"):
        learning_curve(model, (X[:, :2], y), X[80:], y[80:])


def test_parts_have_the_classes_in_their_shares():
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    order = _order_rows(classes, 100, 0)
    assert sorted(order) == list(range(100))
    for size in (20, 50):
        shares = np.bincount(classes[order[:size]], minlength=3)
        assert np.abs(shares - size * np.array([0.6, 0.3, 0.1])).max() <= 1.5
    assert not np.array_equal(order, _order_rows(classes, 100, 1))


def test_losses_are_those_of_the_scores():
    p = np.array([[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_allclose(row_losses(p, np.array([1, 0]), "classes"), -np.log([0.8, 0.5]))
    labels = -np.log([[0.2, 0.8], [0.5, 0.5]]).mean(axis=1)
    np.testing.assert_allclose(row_losses(p, np.array([[1, 1], [0, 1]]), "labels"), labels)
    np.testing.assert_allclose(row_losses(p, p + 2, "values"), [4.0, 4.0])


@pytest.mark.parametrize("task", ["classes", "values"])
def test_the_standard_error_of_the_change_is_that_of_many_samples(task):
    """Of 2000 samples of rows and runs, as many changes are within two standard errors as should be."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        level = np.array([1.2, 1.0])[:, None] * np.exp(rng.normal(scale=0.05, size=(2, 3)))
        rows = rng.gamma(4.0, 0.25, 200)  # the difficulty of each row
        losses = level[:, :, None] * rows * rng.gamma(9.0, 1 / 9, (2, 1, 200))
        found = _summarize(losses, np.ones(200), task)
        true = np.sqrt(1.0) - np.sqrt(1.2) if task == "values" else -0.2
        inside.append(abs(found["change"] - true) < 2 * found["standard_error"])
    assert 0.9 < np.mean(inside) < 0.99


def test_one_network_for_each_point_gives_no_verdict():
    X, y = plane(120)
    model = MLPRegressor(**FEW | {"members": 1, "cv": None}).fit(X[:80], y[:80])
    curve = learning_curve(model, (X[:80], y[:80]), X[80:], y[80:])
    assert curve["standard_error"] is None
    assert "another draw of the rows may give another curve" in next(describe(curve))


@pytest.mark.parametrize(
    ("change", "said"),
    [(-0.3, "falls by 0.3000 ± 0.1000"), (-0.1, "no clear sign"), (0.3, "no clear sign")],
)
def test_the_verdict_takes_two_standard_errors(change, said):
    curve = {"score": "log_loss", "rows": [20, 40], "values": [[1.0, 1.0], [0.7, 0.7]], "repeated": 0}
    sentences = list(describe(curve | {"change": change, "standard_error": 0.1}))
    assert said in sentences[0]
    assert len(sentences) == 2
