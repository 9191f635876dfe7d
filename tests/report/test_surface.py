"""A decision surface shows the prediction of the model at each point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.report import decision_surface, training_frame


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]], np.float32)
Y = np.array([0, 1, 1, 1], np.int32)


def boundaries(ax):
    """The vertices of the black lines."""
    points = [
        path.vertices
        for collection in ax.collections
        if type(collection).__name__ == "QuadContourSet" and len(collection.levels) == 1
        for path in collection.get_paths()
    ]
    return np.concatenate(points)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_boundary_of_one_logit_is_probability_one_half(shape):
    model = jax.tree_util.Partial(lambda x: jnp.reshape(4 * (x[0] - 1), shape))
    ax = decision_surface(model, (X, Y), Figure().subplots(), class_names=["no", "yes"])
    np.testing.assert_allclose(boundaries(ax)[:, 0], 1.0, atol=1e-5)
    (bar,) = ax.child_axes
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
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "probability of the predicted class"


def test_examples_are_drawn_by_class():
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
        (
            (np.ones((3, 4), np.float32), np.array([0, 1, 0])),
            None,
            r"two features, got x of shape \(3, 4\). Choose columns: features=\(0, 1\)",
        ),
        ((X, np.array([0.5, 1, 0, 0], np.float32)), None, "one class number for each row"),
        ((X, np.eye(4, dtype=np.float32)), None, "argmax"),
        (X, None, r"must be a pair \(x, y\)"),
        ((X, Y), ["only"], "class_names must hold 2 names, got 1"),
    ],
)
def test_wrong_arguments_raise(data, names, message):
    with pytest.raises(ValueError, match=message):
        decision_surface(lambda x: x[0] - x[1], data, class_names=names)
    assert not pyplot.get_fignums()


def test_other_features_are_fixed_at_their_mean():
    x = np.array([[0.0, 3.0, 0.0], [2.0, 3.0, 0.0], [0.0, 5.0, 4.0], [2.0, 5.0, 4.0]], np.float32)
    # At the mean of column 1, which is 4, this is zero where column 0 is 1.
    ax = decision_surface(lambda x: x[0] - 1 + 9 * (x[1] - 4), (x, Y), Figure().subplots(), features=(2, 0))
    np.testing.assert_allclose(boundaries(ax)[:, 1], 1.0, atol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 3", "feature 1")


def test_with_a_scaler_the_figure_is_in_the_units_of_the_data():
    scaler = fn.data.Scaler.fit((X, Y), "minmax")
    ax = decision_surface(lambda x: x[1] - 0.25, (X, Y), Figure().subplots(), scaler=scaler)
    np.testing.assert_allclose(boundaries(ax)[:, 1], 1.0, atol=1e-4)  # a quarter of 0 .. 4


def test_ten_classes_and_one_class():
    y = np.arange(10)
    x = np.stack([np.cos(y), np.sin(y)], axis=1).astype(np.float32)
    ax = decision_surface(lambda p: jnp.asarray(x) @ p, (x, y), Figure().subplots())
    points = [c for c in ax.collections if str(c.get_label()).startswith("class")]
    assert len(points) == 10
    assert len({tuple(map(tuple, c.get_paths()[0].vertices.round(3))) for c in points}) == 10
    ax = decision_surface(lambda p: p[0] + 9, (X, 0 * Y), Figure().subplots())  # and no line to be drawn
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class 0"]


def test_vmapped_models_and_runs_raise():
    models = jax.vmap(fn.models.Perceptron(2).init)(jax.random.split(jax.random.key(0), 5))
    with pytest.raises(ValueError, match=r"a vmapped one: (weight|bias) of .*linear has shape \(5,"):
        decision_surface(models, (X, Y))
    with pytest.raises(ValueError, match="a number or a vector of logits"):
        decision_surface(lambda x: jnp.ones((3, 2)), (X, Y))
    state = fn.TrainState(None, None, 0, 0, jax.random.key(0), None)
    with pytest.raises(TypeError, match=r"pass run\.model"):
        decision_surface(fn.Run(lambda x: x[0], state), (X, Y))
    with pytest.raises(ValueError, match=r"2 different column numbers from 0 to 1, got \(0, 2\)"):
        decision_surface(lambda x: x[0], (X, Y), features=(0, 2))
    assert not pyplot.get_fignums()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_model_of_another_precision_is_drawn(dtype):
    linear = fn.Linear(2, "scalar", weight=jnp.array([1.0, 0.0], dtype), bias=jnp.array(-1.0, dtype))
    ax = decision_surface(linear, (X.astype(dtype), Y), Figure().subplots())
    np.testing.assert_allclose(boundaries(ax)[:, 0], 1.0, atol=2e-2)


class Shifted(fn.Module):
    start: fn.Buffer = fn.Buffer(jnp.array(1))

    def __call__(self, x, key=None):
        return x[0] - self.start.value


def test_inputs_of_a_model_of_integers_keep_their_digits():
    with jax.numpy_dtype_promotion("standard"):
        ax = decision_surface(Shifted(), (X, Y), Figure().subplots())
    np.testing.assert_allclose(boundaries(ax)[:, 0], 1.0, atol=1e-5)


def test_frames_replace_each_other():
    axes = Figure().subplots(2)
    nan = float("nan")
    history = fn.History(
        {"accuracy": jnp.array([0.5, nan, nan]), "val_accuracy": jnp.array([0.4, nan, nan])}
    )
    for _ in range(2):
        upper, lower = training_frame(lambda x: x[0] - 1, history, (X, Y), axes)
    assert [line.get_ydata().tolist() for line in upper.lines] == [[0.5], [np.float32(0.4)]]
    assert upper.get_xlim() == (0.5, 3.5)  # wide enough for the epochs to come
    assert len(lower.child_axes) == 1
    assert len(lower.figure.axes) == 2


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [1.0]}, "must have the metric 'accuracy', got loss"),
        ({"accuracy": np.ones((5, 3))}, r"one number for each epoch, got shape \(5, 3\)"),
    ],
)
def test_a_frame_of_a_wrong_history_raises(history, message):
    with pytest.raises(ValueError, match=message):
        training_frame(lambda x: x[0], history, (X, Y))
    assert not pyplot.get_fignums()


def test_an_ensemble_is_one_model():
    members = jax.vmap(fn.MLP((2, 3, "scalar")).init)(jax.random.split(jax.random.key(0), 4))
    ax = decision_surface(fn.study.Ensemble(members, "binary"), (X, Y))
    expected = decision_surface(lambda x: fn.study.Ensemble(members, "binary")(x), (X, Y))
    assert [line.tolist() for line in boundaries(ax)] == [line.tolist() for line in boundaries(expected)]
    with pytest.raises(ValueError, match="draws one model, got a vmapped one"):
        decision_surface(members, (X, Y))
