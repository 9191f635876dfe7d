"""What the estimators say of doubtful tables."""

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from funcnet.sklearn import MLPClassifier, MLPRegressor
from funcnet.sklearn._warnings import find_warnings
from funcnet.tabular import Schema

ROWS = 200


def columns(**more):
    rng = np.random.default_rng(0)
    frame = {"a": rng.normal(size=ROWS), "b": rng.choice(["x", "y", "z"], ROWS)}
    return pandas.DataFrame({**frame, **more})


def warn(frame, target, names=(), losses=None):
    schema = Schema.fit(frame)
    return find_warnings(schema, schema.encode(frame), np.asarray(target), names, losses)


def test_a_row_with_much_of_the_loss_is_named_by_its_number():
    losses, frame = np.ones(ROWS), columns()
    losses[70] = 1000
    schema = Schema.fit(frame)
    found = find_warnings(
        schema, schema.encode(frame), some_classes().astype(float), (), losses, 40 + np.arange(ROWS)
    )
    assert found[-1].startswith("training row 110 (counted from 0) holds 83% of the held-out loss")


def some_classes(seed=1):
    return np.random.default_rng(seed).integers(0, 2, ROWS)


def test_ordinary_tables_have_no_warnings():
    for load in (load_iris, load_wine, load_breast_cancer):
        data = load(as_frame=True)
        assert warn(data.data, data.target, tuple(map(str, data.target_names))) == []
    data = load_diabetes(as_frame=True)
    assert warn(data.data, data.target) == []
    assert warn(columns(), some_classes(), ("no", "yes")) == []
    assert warn(columns(), np.random.default_rng(2).normal(size=ROWS), losses=np.ones(ROWS)) == []


def test_rare_classes():
    y = np.zeros(ROWS, int)
    y[:6] = 1
    (sentence,) = warn(columns(), y, ("common", "rare"))
    assert sentence.startswith("class 'rare' has 3.0% of the rows: compare balanced accuracy")
    y[:6] = [1, 2, 0, 0, 0, 0]
    (sentence,) = warn(columns(), y, ("a", "b", "c"))[:1]
    assert (
        sentence
        == "class 'b', 'c' has one row, which can't be trained on and held out. Merge rare classes."
    )


LEAKS = {
    "a copy of the classes": lambda y: y * 1.0,
    "words for the classes": lambda y: np.where(y == 1, "sold", "open"),
    "a number above a threshold": lambda y: y * 10 + np.random.default_rng(3).uniform(size=ROWS),
}


@pytest.mark.parametrize("case", LEAKS)
def test_a_column_that_predicts_classes_alone(case):
    y = some_classes()
    (sentence,) = warn(columns(leak=LEAKS[case](y)), y, ("no", "yes"))
    assert sentence.startswith(
        "column 'leak' alone predicts the target nearly perfectly. If it is not known"
    )


@pytest.mark.parametrize("change", [lambda y: 2 * y + 1, np.exp, lambda y: -(y**3)])
def test_a_column_that_predicts_numbers_alone(change):
    y = np.random.default_rng(4).normal(size=ROWS)
    (sentence,) = warn(columns(leak=change(y)), y)
    assert "column 'leak'" in sentence
    noisy = y + np.random.default_rng(5).normal(scale=0.2, size=ROWS)
    assert warn(columns(good=noisy), y) == []


def test_a_column_of_groups_that_predicts_numbers_alone():
    group = np.arange(ROWS) % 5
    (sentence,) = warn(columns(leak=list(map("g{}".format, group))), group**2 * 10.0)
    assert "column 'leak'" in sentence


def test_one_row_with_most_of_the_loss():
    losses = np.full(ROWS, 0.1)
    losses[17] = 30
    (sentence,) = warn(columns(), some_classes(), ("no", "yes"), losses)
    assert sentence == "training row 17 (counted from 0) holds 60% of the held-out loss: check its target."


def test_estimators_report_their_warnings(tmp_path):
    few = {"members": 1, "cv": 2, "max_iter": 5, "hidden_layer_sizes": (8,)}
    y = np.zeros(ROWS, int)
    y[:6] = 1
    model = MLPClassifier(**few).fit(columns(), y)
    (sentence,) = model.warnings_
    assert sentence.startswith("class '1' has 3.0%")
    assert model.report()["warnings"] == model.warnings_
    model.save(tmp_path)
    assert MLPClassifier.load(tmp_path).warnings_ == model.warnings_
    (sentence,) = MLPRegressor(**few).fit(columns(), np.ones(ROWS)).warnings_
    assert sentence.startswith("the target has the same value in all rows")


def test_a_column_of_mostly_zeros_is_no_leak():
    """Rows of equal values have no order by which they could predict."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=2000)
    zeros = np.where(rng.random(2000) < 0.95, 0.0, rng.random(2000))
    frame = pandas.DataFrame(
        {"a": rng.normal(size=2000), "zeros": zeros, "leak": y + 0.4 * rng.random(2000)}
    )
    model = MLPClassifier(max_iter=1, cv=None, hidden_layer_sizes=4).fit(frame, y)
    assert [w for w in model.warnings_ if "alone" in w] == [w for w in model.warnings_ if "'leak'" in w]
    assert any("'leak'" in w for w in model.warnings_)


def test_networks_that_are_best_after_the_first_epoch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 20)), rng.normal(size=80)
    settings = {"max_iter": 20, "hidden_layer_sizes": (64, 64), "cv": 3, "learning_rate_init": 1.0}
    (sentence,) = (w for w in MLPRegressor(**settings).fit(x, y).warnings_ if "first of" in w)
    assert "networks are best after the first of 20 epochs" in sentence
    fitted = MLPRegressor(**settings | {"learning_rate_init": 0.003}).fit(x, x[:, 0])
    assert not any("first of" in w for w in fitted.warnings_)
