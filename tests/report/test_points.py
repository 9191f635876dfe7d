"""Points, lines through them and lines between them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.report import fitted_curves, pair_plot, predictions, regression_line, scatter, separating_line

X = np.array([[0.0, 10.0], [2.0, 10.0], [0.0, 50.0], [2.0, 50.0], [1.0, 20.0]], np.float32)
Y = np.array([0, 1, 0, 1, 1], np.int32)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def perceptron(weight, bias, outputs="scalar"):
    linear = fn.Linear(2, outputs, weight=np.asarray(weight, np.float32), bias=np.asarray(bias, np.float32))
    return fn.models.Perceptron(2, outputs, linear=linear)


def test_classes_differ_in_colour_and_marker_and_all_are_drawn():
    ax = scatter((X, Y), title="training data", class_names=["no", "yes"])
    no, yes = ax.collections
    np.testing.assert_array_equal(no.get_offsets(), X[Y == 0])
    np.testing.assert_array_equal(yes.get_offsets(), X[Y == 1])
    assert not np.array_equal(no.get_facecolor(), yes.get_facecolor())
    assert not np.array_equal(no.get_paths()[0].vertices, yes.get_paths()[0].vertices)
    assert ax.get_title() == "training data"
    assert len(pyplot.get_fignums()) == 1  # shown in a notebook


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_feature_is_drawn_against_its_target(shape):
    y = np.array([1.5, 0.0, -2.0, 4.0, 1.0], np.float32)
    ax = scatter((X[:, 0].reshape(shape), y), Figure().subplots(), feature_names=["time (s)"])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.stack([X[:, 0], y], axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "target")


def test_wrong_predictions_have_rings():
    left, right = predictions(perceptron([1.0, 0.0], -1.5), (X, Y), Figure().subplots(1, 2))
    assert left.get_title() == "predicted: 1 of 5 wrong"
    for ax in (left, right):
        (rings,) = (c for c in ax.collections if c.get_label() == "wrong")
        np.testing.assert_array_equal(rings.get_offsets(), X[4:])
    of_class_1 = next(c for c in left.collections if c.get_label() == "class 1")
    np.testing.assert_array_equal(of_class_1.get_offsets(), X[[1, 3]])


@pytest.mark.parametrize(
    "model",
    [
        perceptron([3.0, -0.1], 1.0),
        perceptron([[3.0], [-0.1]], [1.0], 1),
        perceptron([[1.0, 4.0], [0.0, -0.1]], [0.0, 1.0], 2),
    ],
)
def test_the_line_is_where_the_probability_is_one_half(model):
    ax = separating_line(model, (X, Y), Figure().subplots())
    ends = np.stack(ax.lines[0].get_data(), axis=1)
    logits = np.asarray(fn.predict(model, ends.astype(np.float32))).reshape(2, -1)
    logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(jax.nn.sigmoid(logit), 0.5, atol=1e-5)
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert ((ends[0] - low) * (ends[0] - high)).max() > 0  # both ends lie beyond the picture
    assert ((ends[1] - low) * (ends[1] - high)).max() > 0


def test_the_line_of_scaled_features_is_in_the_units_of_the_data():
    scaler = fn.data.Scaler.fit((X, Y), "minmax")  # 0 .. 2 and 10 .. 50
    ax = separating_line(perceptron([0.0, 4.0], -1.0), (X, Y), Figure().subplots(), scaler=scaler)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 20.0, rtol=1e-5)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), X[Y == 0])


def test_a_line_outside_the_axes_is_labelled():
    ax = separating_line(perceptron([1.0, 0.0], 99.0), (X, Y), Figure().subplots())
    assert ax.lines[0].get_label() == "probability 1/2 (outside)"


def test_the_line_of_a_trained_perceptron_separates_its_predictions():
    loss = fn.losses.supervised(fn.losses.binary_cross_entropy)
    scaler = fn.data.Scaler.fit((X, Y))
    start = fn.models.Perceptron(2).init(jax.random.key(0))
    run = fn.fit(loss, optax.sgd(0.5), epochs=30, batch_size=5)(
        start, scaler.transform((X, Y)), jax.random.key(1)
    )
    ax = separating_line(run.model, (X, Y), Figure().subplots(), scaler=scaler)
    a, b = np.stack(ax.lines[0].get_data(), axis=1)
    side = (b - a)[0] * (X - a)[:, 1] - (b - a)[1] * (X - a)[:, 0]
    predicted = np.asarray(fn.predict(run.model, scaler.transform(X))) > 0
    assert len({bool(s > 0) == p for s, p in zip(side, predicted.tolist(), strict=True)}) == 1


def test_a_regression_line_spans_the_range_of_the_feature():
    x = np.array([[4.0], [1.0], [2.0]], np.float32)
    scaler = fn.data.Scaler.fit((x, x[:, 0]), "minmax")
    ax = regression_line(lambda x: 3 * x, (x, x[:, 0]), Figure().subplots(), scaler=scaler)
    places, values = ax.lines[0].get_data()
    assert (places[0], places[-1]) == (1.0, 4.0)
    np.testing.assert_allclose(values, places - 1.0, atol=1e-5)


def test_fitted_curves_share_the_range_of_the_data():
    x = np.arange(5, dtype=np.float32)
    models = {"flat": lambda x: 0 * x, "wild": lambda x: 1e6 * (x - 2)}
    axes = fitted_curves(models, (x, x), Figure().subplots(1, 2), valid=(x + 0.5, x))
    assert [ax.get_title() for ax in axes] == ["flat", "wild"]
    assert axes[0].get_ylim() == axes[1].get_ylim()
    np.testing.assert_allclose(axes[1].get_ylim(), (-1.8, 5.8))  # the targets, 5 and 40 % of their range
    assert [len(c.get_offsets()) for c in axes[0].collections] == [5, 5]
    assert axes[0].lines[0].get_xdata()[-1] == 4.5


def test_pairs_share_axes_and_histograms_are_on_the_diagonal():
    axes = pair_plot((X, Y), features=(1, 0), feature_names=["width (m)", "mass (kg)"])
    assert axes.shape == (2, 2)
    assert axes[1, 0].get_xlim() == axes[0, 0].get_xlim() == axes[0, 0].get_ylim() == axes[0, 1].get_ylim()
    np.testing.assert_array_equal(axes[1, 0].collections[0].get_offsets(), X[Y == 0][:, ::-1])
    assert (axes[1, 0].get_xlabel(), axes[1, 0].get_ylabel()) == ("mass (kg)", "width (m)")
    assert not axes[0, 0].collections
    heights = axes[0, 0].patches[0].get_data().values - axes[0, 0].get_ylim()[0]
    counts, _ = np.histogram(X[Y == 0, 1], axes[0, 0].patches[0].get_data().edges)
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-9)


WIDE = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: scatter((WIDE, Y)), r"draws two features, got x of shape \(5, 30\)"),
        (lambda: scatter((X, Y + 0.5)), "one class number for each row"),
        (lambda: scatter((X, Y + 1000)), "must be below 1000, the most that a figure shows"),
        (lambda: scatter((X, Y), class_names=["no"]), "class_names must hold 2 names, got 1"),
        (lambda: scatter((X, Y), feature_names=["a"]), "feature_names must hold 2 names, got 1"),
        (lambda: scatter((X[:, :1], np.eye(5, dtype=np.float32))), "one number for each row"),
        (lambda: scatter((np.ones((5, 2, 2), np.float32), Y)), r"must have shape \[n, features\]"),
        (lambda: predictions(perceptron([1.0, 0.0], 0.0), X), r"must be a pair \(x, y\)"),
        (lambda: separating_line(lambda x: x[0], (WIDE, Y)), "decision_surface"),
        (lambda: separating_line(lambda x: x[0] * x[1], (X, Y)), "not linear in x"),
        (lambda: separating_line(lambda x: 0 * x[0], (X, Y)), "the same logit everywhere"),
        (lambda: separating_line(lambda x: jnp.ones(3), (X, Y)), "must return one or two logits, got 3"),
        (lambda: separating_line(perceptron([0.0, 0.0], 1.0), (X, Y)), "the same logit everywhere"),
        (
            lambda: separating_line(perceptron([1.0, 0.0], 1.0), (X, Y), class_names=["a"]),
            "must hold 2 names, got 1",
        ),
        (lambda: regression_line(lambda x: x[0], (WIDE[:, :3], WIDE[:, 0])), "must have one feature"),
        (
            lambda: regression_line(lambda x: jnp.ones(2), (X[:, 0], X[:, 1])),
            "one number for each example, got 2",
        ),
        (lambda: pair_plot((WIDE, Y)), "got 30, which would be 900 panels"),
        (lambda: pair_plot((WIDE, Y), features=(0, 0)), "2 different column numbers from 0 to 29"),
        (lambda: pair_plot((X[:, :1], Y)), "at least 2 features"),
    ],
)
def test_wrong_arguments_raise_and_leave_no_figure(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
    assert not pyplot.get_fignums()


def test_fitted_curves_need_a_mapping():
    with pytest.raises(TypeError, match="a mapping from titles to models"):
        fitted_curves([lambda x: x], (X[:, 0], X[:, 1]))
