"""Figures show the numbers they are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.report import decision_surface, history
from funcnet.report._epochs import history_png
from funcnet.train import Run, Stop

nan = float("nan")


def made_run(measured, best_epoch=-1):
    """A run that measured these numbers."""
    model = fn.Linear(1, 1).init(jax.random.key(0))
    state = fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(1))
    stop = Stop(jnp.int32(1), jnp.int32(0), jnp.array(0.0), jnp.int32(best_epoch))
    arrays = {name: jnp.array(values) for name, values in measured.items()}
    state = fn.TrainState(
        model, state.opt_state, state.step, state.epoch, state.key, stop, fn.History(arrays)
    )
    return Run(model, state)


@pytest.fixture
def run():
    return made_run(
        {
            "loss": [1.0, 0.5, 0.4, 0.3, nan],
            "accuracy": [0.1, 0.2, 0.3, 0.4, nan],
            "train_loss": [nan, 0.45, nan, 0.25, nan],
            "val_loss": [nan, 0.6, nan, 0.7, nan],
            "val_accuracy": [nan, 0.5, nan, 0.6, nan],
        },
        best_epoch=1,
    )


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def curves(ax):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in ax.lines}


def test_history_draws_what_was_measured_where_it_was_measured(run):
    loss, accuracy = history(run)
    assert [ax.get_ylabel() for ax in (loss, accuracy)] == ["loss", "accuracy"]
    drawn = curves(loss)
    x, y = drawn["training, during the epoch"]
    assert x.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(y, [1.0, 0.5, 0.4, 0.3])
    x, y = drawn["validation"]
    assert x.tolist() == [2, 4]
    np.testing.assert_allclose(y, [0.6, 0.7])
    x, y = drawn["training, after the epoch"]
    assert x.tolist() == [2, 4]
    np.testing.assert_allclose(y, [0.45, 0.25])
    np.testing.assert_allclose(curves(accuracy)["validation"][1], [0.5, 0.6])


def test_history_marks_the_best_epoch_counted_from_one(run):
    for ax in history(run):
        assert np.all(np.asarray(curves(ax)["best epoch: 2"][0]) == 2)
        assert "best epoch: 2" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_history_without_early_stopping_marks_none():
    (ax,) = history(made_run({"loss": [1.0, 0.5]}))
    assert list(curves(ax)) == ["training, during the epoch"]


def test_curves_differ_in_colour_and_in_line(run):
    lines = history(run)[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4


def test_run_plot_draws_into_the_given_axes(run):
    axes = Figure().subplots(1, 2)
    assert run.plot(axes).tolist() == axes.tolist()
    assert len(axes[0].lines) == 4


def test_wrong_number_of_axes(run):
    with pytest.raises(ValueError, match=r"2 panels \(loss, accuracy\); got 1 axes"):
        run.plot(Figure().subplots())


def test_a_run_made_by_vmap_is_refused_and_its_member_is_not(run):
    members = jax.tree.map(lambda a: jnp.stack([a, a]), run)
    with pytest.raises(ValueError, match=r"jax.tree.map\(lambda a: a\[0\], run\)"):
        history(members)
    assert len(history(jax.tree.map(lambda a: a[0], members))) == 2


def test_history_png_leaves_no_figure_behind(run):
    assert history_png(run).startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]], np.float32)
Y = np.array([0, 1, 1, 1], np.int32)


def boundaries(ax):
    """The vertices of the black lines."""
    found = [
        path.vertices
        for collection in ax.collections
        if type(collection).__name__ == "QuadContourSet" and len(collection.levels) == 1
        for path in collection.get_paths()
    ]
    return np.concatenate(found)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_boundary_of_one_logit_is_probability_one_half(shape):
    model = jax.tree_util.Partial(lambda x: jnp.reshape(4 * (x[0] - 1), shape))
    ax = decision_surface(model, (X, Y), Figure().subplots(), class_names=["no", "yes"])
    np.testing.assert_allclose(boundaries(ax)[:, 0], 1.0, atol=1e-5)
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "probability of yes"
    assert bar.get_ylim() == (0, 1)


def test_the_boundary_of_several_logits_is_where_the_class_changes():
    weights = jnp.array([[0.0, 2.0, -50.0], [0.0, 0.0, 0.0]])
    ax = decision_surface(lambda x: (x - 1) @ weights - jnp.array([0.0, 0.0, 99.0]), (X, Y))
    np.testing.assert_allclose(boundaries(ax)[:, 0], 1.0, atol=1e-5)
    image = np.asarray(ax.images[0].get_array())
    # Left is class 0 and bluer, right is class 1 and redder; in between nobody is sure.
    middle = image.shape[1] // 2
    assert image[0, 0, 2] > image[0, 0, 0]
    assert image[0, -1, 0] > image[0, -1, 2]
    assert image[0, middle].min() > image[0, 0].min()
    assert len(ax.figure.axes) == 1


def test_examples_stand_where_they_are_by_class():
    ax = decision_surface(
        lambda x: x[0] - 1,
        (X, Y),
        Figure().subplots(),
        feature_names=("width", "height"),
        class_names=("small", "large"),
    )
    small, large = (c for c in ax.collections if c.get_label() in ("small", "large"))
    np.testing.assert_array_equal(small.get_offsets(), X[:1])
    np.testing.assert_array_equal(large.get_offsets(), X[1:])
    assert not np.array_equal(small.get_paths()[0].vertices, large.get_paths()[0].vertices)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["small", "large"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "height")


@pytest.mark.parametrize(
    ("data", "names", "message"),
    [
        ((np.ones((3, 4), np.float32), np.array([0, 1, 0])), None, r"two features; x has shape \(3, 4\)"),
        ((X, np.array([0.5, 1, 0, 0], np.float32)), None, "one class number for each row"),
        ((X, np.eye(4, dtype=np.float32)), None, "argmax"),
        (X, None, r"data \(x, y\)"),
        ((X, Y), ["only"], "class_names holds 1 names and 2 are wanted"),
    ],
)
def test_what_cannot_be_drawn_is_refused(data, names, message):
    with pytest.raises(ValueError, match=message):
        decision_surface(lambda x: x[0] - x[1], data, class_names=names)
    assert not pyplot.get_fignums()
