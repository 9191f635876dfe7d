"""Curves by epoch show the recorded values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import funcnet as fn
from funcnet.report import curves, history
from funcnet.report._epochs import history_png
from funcnet.train import EarlyStoppingState, Run

nan = float("nan")


def make_run(history, best_epoch=-1):
    """A run with this history."""
    model = fn.Linear(1, 1).init(jax.random.key(0))
    state = fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(1))
    stop = EarlyStoppingState(
        jnp.int32(1), jnp.int32(0), jnp.array(0.0), jnp.asarray(best_epoch, jnp.int32)
    )
    arrays = {name: jnp.array(values) for name, values in history.items()}
    state = fn.TrainState(
        model, state.opt_state, state.step, state.epoch, state.key, stop, fn.History(arrays)
    )
    return Run(model, state)


@pytest.fixture
def run():
    return make_run(
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


def drawn_curves(ax):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in ax.lines}


def test_history_draws_each_value_at_its_epoch(run):
    loss, accuracy = history(run)
    assert [ax.get_ylabel() for ax in (loss, accuracy)] == ["loss", "accuracy"]
    drawn = drawn_curves(loss)
    x, y = drawn["training, during the epoch"]
    assert x.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(y, [1.0, 0.5, 0.4, 0.3])
    x, y = drawn["validation"]
    assert x.tolist() == [2, 4]
    np.testing.assert_allclose(y, [0.6, 0.7])
    x, y = drawn["training, after the epoch"]
    assert x.tolist() == [2, 4]
    np.testing.assert_allclose(y, [0.45, 0.25])
    np.testing.assert_allclose(drawn_curves(accuracy)["validation"][1], [0.5, 0.6])


def test_history_marks_the_best_epoch_counted_from_one(run):
    for ax in history(run):
        assert np.all(np.asarray(drawn_curves(ax)["best epoch: 2"][0]) == 2)
        assert "best epoch: 2" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_history_without_early_stopping_marks_no_epoch():
    (ax,) = history(make_run({"loss": [1.0, 0.5]}))
    assert list(drawn_curves(ax)) == ["training, during the epoch"]


def test_curves_differ_in_colour_and_in_line(run):
    lines = history(run)[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 4


def test_run_plot_draws_into_the_given_axes(run):
    axes = Figure().subplots(1, 2)
    assert run.plot(axes).tolist() == axes.tolist()
    assert len(axes[0].lines) == 4


def test_wrong_number_of_axes(run):
    with pytest.raises(ValueError, match=r"2 axes \(loss, accuracy\), got 1\."):
        run.plot(Figure().subplots())


def test_a_vmapped_run_is_a_median_and_a_band():
    values = np.arange(101.0)[:, None] + np.array([0.0, 1000.0, 2000.0, 3000.0])
    values[:40, 2] = nan  # 61 of 101 measured the third epoch,
    values[:60, 3] = nan  # and fewer than half the fourth
    many = make_run({"loss": values}, best_epoch=np.arange(101))
    (ax,) = history(many, Figure().subplots())
    x, y = drawn_curves(ax)["training, during the epoch"]
    assert x.tolist() == [1, 2, 3]
    np.testing.assert_allclose(y, [50, 1050, 2070])
    (band,) = ax.collections
    ends = band.get_paths()[0].vertices
    np.testing.assert_allclose(
        [ends[ends[:, 0] == 1][:, 1].min(), ends[ends[:, 0] == 1][:, 1].max()], [5, 95]
    )
    assert np.all(np.asarray(drawn_curves(ax)["best epoch, median: 51"][0]) == 51)
    assert ax.get_legend().get_title().get_text() == "101 runs: median, 5–95 %"


def test_a_member_of_a_vmapped_run_is_drawn_as_one_run(run):
    members = jax.tree.map(lambda a: jnp.stack([a, a]), run)
    loss, _ = history(jax.tree.map(lambda a: a[1], members))
    assert not loss.collections
    assert "best epoch: 2" in drawn_curves(loss)


def test_one_epoch_is_a_point_or_a_bar_for_many_runs():
    (ax,) = history(make_run({"loss": [[1.0], [3.0]]}, best_epoch=np.array([-1, -1])), Figure().subplots())
    assert ax.lines[0].get_marker() == "o"
    assert ax.lines[0].get_ydata().tolist() == [2.0]
    assert [type(c).__name__ for c in ax.collections][-1] == "LineCollection"
    ax.figure.canvas.draw()
    left, right = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if left <= tick <= right] == [1]


def test_a_history_without_finite_values_shows_a_message():
    (ax,) = history(make_run({"loss": [nan, nan]}), Figure().subplots())
    assert ax.texts[0].get_text() == "no finite values"
    assert ax.lines[0].get_label() == "training, during the epoch (no values)"


def test_infinite_values_leave_a_gap_and_no_warning():
    many = make_run({"loss": [[1.0, np.inf], [2.0, np.inf]]}, best_epoch=np.array([-1, -1]))
    (ax,) = history(many, Figure().subplots())
    assert not np.isfinite(ax.lines[0].get_ydata()[1])


def test_panels_are_arranged_in_rows_of_three():
    axes = history(make_run({name: [1.0, 2.0] for name in ("loss", "a", "b", "c")}))
    assert len(axes) == len(axes[0].figure.axes) == 4


@pytest.mark.parametrize("wrong", [{"loss": [1.0]}, None])
def test_anything_but_a_run_raises(wrong):
    with pytest.raises(TypeError, match="run must be a Run, as returned by a training function, got"):
        history(wrong)


def test_anything_but_axes_raises(run):
    with pytest.raises(TypeError, match="must be matplotlib axes, got Figure"):
        history(run, Figure())
    assert not pyplot.get_fignums()


def test_history_png_leaves_no_figure_behind(run):
    assert history_png(run).startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


def test_curves_differ_in_colour_and_in_line_style():
    ax = curves({str(i): [1.0, 2.0] for i in range(20)}, Figure().subplots())
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 20
    for a, b in zip(ax.lines[:-1], ax.lines[1:], strict=True):
        assert a.get_color() != b.get_color()
        assert a.get_linestyle() != b.get_linestyle()


def test_curves_of_different_lengths_and_coordinates():
    ax = curves({"a": [3.0, nan, 1.0], "b": jnp.array([2.0])}, Figure().subplots(), ylabel="loss (nats)")
    assert ax.lines[0].get_xdata().tolist() == [1, 3]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss (nats)")
    ax = curves({"a": np.ones((4, 2))}, Figure().subplots(), x=[0.1, 10.0], xlabel="learning rate")
    assert ax.lines[0].get_xdata().tolist() == [0.1, 10.0]
    assert len(ax.collections) == 1


@pytest.mark.parametrize(
    ("values", "x", "error", "message"),
    [
        ([1.0, 2.0], None, TypeError, "a mapping from names to arrays"),
        ({}, None, ValueError, "1 to 20 curves, got 0"),
        ({i: [1.0] for i in range(21)}, None, ValueError, "got 21"),
        ({"a": 1.0}, None, ValueError, r"curve 'a' must have shape .*, got \(\)"),
        ({"a": [1.0, 2.0]}, [1.0], ValueError, r"for x of shape \(1,\)"),
    ],
)
def test_wrong_curves_raise(values, x, error, message):
    with pytest.raises(error, match=message):
        curves(values, x=x)
    assert not pyplot.get_fignums()
