"""What notebooks show of results: well-formed, escaped, short."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
from test_page import Outline

import funcnet as fn
from funcnet import _html
from funcnet._summary import Row, Summary

BAD = "<script>alert(1)</script>"
X = np.linspace(-1.0, 1.0, 40, dtype=np.float32)[:, None]
DATA = (X, 2 * X[:, 0])
NET = fn.models.LinearRegression(1)


def make_train(learning_rate=0.1, **_):
    loss = fn.losses.supervised(fn.losses.squared_error, **{BAD: fn.metrics.absolute_error})
    return fn.fit(loss, optax.sgd(learning_rate), epochs=20, batch_size=8)


@functools.cache
def train():
    return make_train()(NET.init(jax.random.key(0)), DATA, jax.random.key(0), DATA)


def sweep():
    study = fn.study.sweep(make_train, {"learning_rate": [0.01, 0.1], BAD: [1]})
    trials = [{"learning_rate": 0.1, BAD: BAD}] * 20
    assert "0.01" in Outline(study(NET, DATA, jax.random.key(0), DATA)._repr_html_()).text
    return fn.study.SweepResult(trials, np.r_[np.nan, np.arange(19.0)], "min", [], [])


def diagnose():
    history = {"train_loss": np.exp(-np.arange(60) / 8), "val_loss": np.exp(-np.arange(60) / 8) + 0.1}
    return fn.study.diagnose(history)


SCORES = {name: np.arange(40.0).reshape(20, 2) for name in (BAD, f"val_{BAD}")}
PARTS = dict.fromkeys(("error", BAD), np.array(0.5))
RESULTS = {
    "table": lambda: fn.data.Table(
        BAD,
        (
            pandas.DataFrame({BAD: [BAD] * 30, "when": pandas.date_range("2024-01-01", periods=30)}),
            np.ones(30),
        ),
        (BAD, "when"),
        BAD,
    ),
    "iris": lambda: fn.data.load("iris"),
    "images": lambda: fn.data.load("digits"),
    "schema": lambda: fn.tabular.Schema.fit(pandas.DataFrame({BAD: ["a", "b", "a"], "b": [1, 2, 3]})),
    "run": train,
    "history": lambda: train().history,
    "history of runs": lambda: fn.History({BAD: jnp.ones((3, 4))}),
    "summary": lambda: fn.summary(fn.MLP((2, *[4] * 20, 1)), jnp.ones(2)),
    "a class with a bad name": lambda: Summary((Row("", BAD, BAD, 1, 1, 1),)),
    "sweep": sweep,
    "tune": lambda: fn.study.TuneResult({BAD: 1.0}, jnp.array(0.1), {BAD: jnp.ones(30)}, jnp.ones(30)),
    "folds": lambda: fn.study.cross_validate(make_train(), fn.data.kfold(DATA, 4, jax.random.key(0)))(
        NET, jax.random.key(0)
    ),
    "learning rates": lambda: fn.study.LearningRateRangeResult(
        np.array([0.1, 0.2, 3.0]), np.array([[0.5], [0.2], [np.inf]]), np.array([1.0])
    ),
    "curve": lambda: fn.study.Curve(BAD, tuple(range(20)), SCORES),
    "bias and variance": lambda: fn.study.BiasVarianceResult(PARTS, PARTS, {}, jnp.zeros((9, 1))),
    "by epoch": lambda: fn.study.BiasVarianceResult(
        {BAD: jnp.ones(3)}, {BAD: jnp.ones(3)}, {}, jnp.zeros((3, 9, 1)), jnp.arange(3)
    ),
    "diagnosis": diagnose,
    "ensemble": lambda: fn.study.ensemble(make_train(), 3)(NET, DATA, jax.random.key(0)),
}
NO_BAD_NAMES = {"iris", "images", "summary", "learning rates", "diagnosis"}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_as_short_html(name):
    html = RESULTS[name]()._repr_html_()
    outline = Outline(html)
    assert not outline.all("script")
    assert ("script" in "".join(outline.text)) == (name not in NO_BAD_NAMES)
    assert len(html) < 200_000
    for image in outline.all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert image["alt"]
    assert len(outline.all("tr")) <= 2 * (1 + _html.MAX_ROWS + 1)
    assert {box["scope"] for box in outline.all("th")} <= {"col", "row"}


def test_a_table_shows_its_target_and_first_rows():
    cells = [text for text in Outline(fn.data.load("iris")._repr_html_()).text if text.strip()]
    assert "Table('iris', 150 rows, 4 features" in cells[1]
    assert cells[2:8] == ["row", "class", *fn.data.load("iris").feature_names]
    assert cells[8:14] == ["0", "setosa", "5.1", "3.5", "1.4", "0.2"]
    assert cells[-1] == "… 138 more"
    digits = Outline(fn.data.load("digits")._repr_html_())
    assert "… 54 more columns" in digits.text


def test_a_history_shows_its_extremes_with_their_epochs():
    history = fn.History({"loss": jnp.array([3.0, 1.0, 2.0, jnp.nan])})
    text = Outline(history._repr_html_()).text
    assert [t for t in text if t.strip()][-5:] == ["loss", "3", "2", "1 (epoch 2)", "3 (epoch 1)"]


def test_a_sweep_shows_the_best_trial_first_and_a_failed_one_last():
    result = fn.study.SweepResult(
        [{"a": 1}, {"a": 2}, {"a": 3}], np.array([0.5, np.nan, 0.7]), "max", [], []
    )
    text = [t for t in Outline(result._repr_html_()).text if t.strip()]
    assert text[-9:] == ["2", "0.7", "3", "0", "0.5", "1", "1", "nan", "2"]


def test_many_panels_stay_small():
    names = [f"metric_{i}" for i in range(30)]
    loss = fn.losses.supervised(fn.losses.squared_error, **dict.fromkeys(names, fn.metrics.absolute_error))
    run = fn.fit(loss, optax.sgd(0.1), epochs=2)(NET.init(jax.random.key(0)), DATA, jax.random.key(0), DATA)
    assert len(run._repr_html_()) < 200_000


def test_inside_jit_a_run_shows_its_repr():
    shown = []

    def look(model, key):
        run = make_train()(model, DATA, key)
        shown.extend([run._repr_html_(), run.history._repr_html_()])
        return run

    jax.eval_shape(look, NET.init(jax.random.key(0)), jax.random.key(0))
    shown.append(
        jax.eval_shape(make_train(), NET.init(jax.random.key(0)), DATA, jax.random.key(0))._repr_html_()
    )
    for html in shown:
        assert html.startswith("<pre>")
        Outline(html)


def test_importing_funcnet_does_not_import_what_notebooks_need():
    code = "import sys, funcnet; print([m for m in ('funcnet._html', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
