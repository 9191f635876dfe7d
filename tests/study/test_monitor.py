"""What `monitor` measures is what numpy measures of the same weights; the training stays what it was."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, QUICK, assert_close, marked

import funcnet as fn
from funcnet.study._monitor import _ratio

X = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
Y = np.sin(X[:, 0])
LOSS = fn.losses.supervised(fn.losses.squared_error)
NET = fn.MLP((3, 8, 6, "scalar"))


def the_key():
    return jax.random.key(0)


@functools.cache
def initial(net=NET):
    return jax.jit(net.init)(the_key())


def _train(**settings):
    return fn.fit(LOSS, optax.sgd(0.1), **({"epochs": 4, "batch_size": 16, "shuffle": False} | settings))


def _last(run):
    return {name: float(values[-1]) for name, values in run.history.items() if "/" in name}


def test_it_measures_what_numpy_measures():
    run = fn.study.monitor(_train(), rows=24)(initial(), (X, Y), the_key())
    found, x = _last(run), np.asarray(X[:24], float)
    first, second, last = ((np.asarray(m.weight), np.asarray(m.bias)) for m in run.model.layers)
    for i, (weight, bias) in enumerate((first, second), 1):
        z = x @ weight + bias
        x = np.maximum(z, 0)
        assert found[f"activation_mean/layers[{i - 1}]"] == pytest.approx(z.mean(), abs=1e-5)
        assert found[f"activation_std/layers[{i - 1}]"] == pytest.approx(z.std(), rel=1e-4)
        assert found[f"activation_mean/relu {i}"] == pytest.approx(x.mean(), rel=1e-4)
        assert found[f"saturation/relu {i}"] == pytest.approx((z <= 0).mean(), abs=1e-6)
        assert found[f"dead/relu {i}"] == pytest.approx((z <= 0).all(0).mean(), abs=1e-6)
    assert found["activation_mean/layers[2]"] == pytest.approx((x @ last[0] + last[1]).mean(), abs=1e-5)
    mean = lambda model: jnp.mean((jax.vmap(model)(X[:24]) - Y[:24]) ** 2)  # noqa: E731
    slope = jax.jit(jax.grad(mean))(run.model).layers[1].weight
    assert found["gradient/layers[1].weight"] == pytest.approx(np.sqrt(np.mean(slope**2)), rel=1e-4)
    ratio = 0.1 * np.linalg.norm(slope) / np.linalg.norm(second[0])
    assert found["update/layers[1].weight"] == pytest.approx(ratio, rel=1e-4)


def test_the_optimizer_of_a_number_of_steps_is_watched():
    train = fn.fit(LOSS, lambda steps: optax.sgd(1.6 / steps), epochs=4, batch_size=16, shuffle=False)
    steps = 4 * -(-len(X) // 16)
    same = fn.fit(LOSS, optax.sgd(1.6 / steps), epochs=4, batch_size=16, shuffle=False)
    got, want = (fn.study.monitor(t, ["update"])(initial(), (X, Y), the_key()) for t in (train, same))
    assert_close(_arrays(got), _arrays(want))


@pytest.mark.parametrize(("update", "ratio"), [(0.0, 0.0), (1.0, np.inf)])
def test_the_update_of_zeros_is_infinite_and_raises_no_nan(update, ratio):
    with jax.debug_nans(True):
        ratio_to = jax.jit(_ratio)
        assert ratio_to(np.full(3, update), np.zeros(3)) == ratio
        assert ratio_to(np.full(3, update), np.ones(3)) == update


def test_a_unit_that_is_negative_for_every_row_is_dead():
    model = initial()
    layer = model.layers[0].replace(bias=jnp.asarray(np.float32([100] * 2 + [-100] * 6)))
    model = model.replace(layers=(layer, *model.layers[1:]))
    resting = fn.fit(LOSS, optax.sgd(0.0), epochs=1, shuffle=False)
    run = fn.study.monitor(resting, ["dead"])(model, (X, Y), the_key())
    assert float(run.history["dead/relu 1"][0]) == pytest.approx(0.75)


def test_a_unit_that_is_alive_at_one_position_of_a_row_is_not_dead():
    relu = fn.layers.Activation(jax.nn.relu)
    net = fn.Sequential(
        relu, fn.layers.Flatten(2), fn.Linear(6, "scalar")
    )  # on rows [2 positions, 3 units]
    x = np.zeros((5, 2, 3), np.float32) - np.float32([[[1, 1, -1], [1, -1, -1]]])
    resting = fn.fit(LOSS, optax.sgd(0.0), epochs=1, shuffle=False)
    run = fn.study.monitor(resting, ["dead"])(initial(net), (x, x[:, 0, 0]), the_key())
    assert float(run.history["dead/relu 1"][0]) == pytest.approx(1 / 3)


def test_saturation_is_of_the_slope_whatever_the_function():
    net = fn.Sequential(fn.Linear(3, 4), jnp.tanh, fn.Linear(4, 4), jax.nn.softmax, fn.Linear(4, "scalar"))
    run = fn.study.monitor(_train(epochs=1), ["saturation"], rows=40)(initial(net), (10 * X, Y), the_key())
    names = [name for name in run.history if "/" in name]
    assert names == ["saturation/tanh 1"]  # softmax mixes its entries
    h = np.tanh(10 * X @ np.asarray(run.model.layers[0].weight) + np.asarray(run.model.layers[0].bias))
    assert float(run.history[names[0]][0]) == pytest.approx((1 - h**2 < 0.01).mean(), abs=0.01)


def test_rows_of_weight_zero_play_no_part():
    train, model = _train(batch_size=64, shuffle=False), initial()
    counts = np.arange(40) < 30
    wild = fn.data.Dataset((np.where(counts[:, None], X, np.float32(1e6)), Y), weight=np.float32(counts))
    expected = fn.study.monitor(train, rows=30)(model, (X[:30], Y[:30]), the_key())
    got = fn.study.monitor(train)(model, wild, the_key())
    assert_close(_arrays(got), _arrays(expected), factor=10)


def _arrays(run):
    return {name: values for name, values in run.history.items() if "/" in name}


WATCHED = fn.study.monitor(
    _train(stopping=fn.EarlyStopping("loss", patience=2), epochs=6, eval_every=2), ["dead", "gradient"]
)


def test_it_changes_no_training_and_is_mapped_as_one():
    train = _train(stopping=fn.EarlyStopping("loss", patience=2), epochs=6, eval_every=2)
    expected, got = train(initial(), (X, Y), the_key()), WATCHED(initial(), (X, Y), the_key())
    assert_close(got.model, expected.model)
    assert np.isnan(np.asarray(got.history["dead/relu 1"])[::2]).all()
    keys = jax.random.split(the_key(), 3)
    models = jax.jit(jax.vmap(NET.init))(keys)
    many = jax.vmap(WATCHED, in_axes=(0, None, 0))(models, (X, Y), keys)
    one = WATCHED(jax.tree.map(lambda a: a[2], models), (X, Y), keys[2])
    assert_close(jax.tree.map(lambda a: a[2], many.history.arrays), one.history.arrays, factor=20)


@pytest.mark.slow  # a Trainer measures a stream, below
def test_a_trainer_measures_the_same(tmp_path):
    got = WATCHED(initial(), (X, Y), the_key())
    assert_close(
        fn.Trainer(WATCHED, tmp_path)(initial(), (X, Y), the_key()).history.arrays, got.history.arrays
    )


@pytest.mark.slow
def test_members_of_an_ensemble_are_watched():
    watched = fn.study.monitor(_train(stopping=fn.EarlyStopping("loss", patience=2), epochs=6))
    assert fn.study.ensemble(watched, 3)(NET, (X, Y), the_key()).runs.history["dead/relu 1"].shape == (3, 6)


SLOW = ("linear-regression", "mlp", "mlp-dropout")  # NET, above, is an MLP


@pytest.mark.parametrize("name", marked(sorted({*QUICK, *SLOW}), slow=SLOW))
def test_every_model_can_be_watched(name):
    model = MODELS[name]
    train = fn.study.monitor(fn.fit(model.loss(), optax.adam(0.01), epochs=1, batch_size=4, shuffle=False))
    run = train(model.init(), model.rows(8), the_key())
    found = _last(run)
    assert all(np.isfinite(value) or name.startswith("update/") for name, value in found.items())
    assert all(0 <= value <= 1 for name, value in found.items() if name.startswith(("dead", "saturation")))


def test_what_does_not_suit_is_refused():
    with pytest.raises(TypeError, match=r"a training function from fn\.fit"):
        fn.study.monitor(lambda m, d, k: m)
    with pytest.raises(ValueError, match="quantities"):
        fn.study.monitor(_train(), ["gradients"])
    with pytest.raises(ValueError, match="list of names"):
        fn.study.monitor(_train(), "gradient")
    stream = fn.data.Stream.from_batches(lambda: iter([(np.asarray(X), np.asarray(Y))]), 1)
    with pytest.raises(ValueError, match="data is required for a stream"):
        fn.Trainer(fn.study.monitor(_train()))(initial(), stream, the_key())
    watched = fn.study.monitor(_train(), ["dead"], data=(X, Y))
    assert "dead/relu 1" in fn.Trainer(watched)(initial(), stream, the_key()).history


class Mapped(fn.Module):
    """A layer that is called on each part of its example, inside a map and by a keyword."""

    layer: fn.Linear = fn.Linear(1, 4)
    act: fn.layers.Activation = fn.layers.Activation(jax.nn.relu)

    def __call__(self, x, key=None):
        return jnp.sum(jax.vmap(lambda part: self.act(self.layer(x=part)))(x[:, None]))


def test_calls_that_a_model_maps_itself_count_each():
    model = initial(Mapped())
    resting = fn.fit(LOSS, optax.sgd(0.0), epochs=1, shuffle=False)
    found = _last(
        fn.study.monitor(resting, ["activation", "saturation"], rows=40)(model, (X, Y), the_key())
    )
    z = np.asarray(X)[..., None] @ np.asarray(model.layer.weight) + np.asarray(model.layer.bias)
    assert found["activation_mean/layer"] == pytest.approx(z.mean(), abs=1e-5)
    assert found["activation_std/layer"] == pytest.approx(z.std(), rel=1e-4)
    assert found["saturation/relu 1"] == pytest.approx((z <= 0).mean(), abs=1e-6)


def test_small_spreads_and_gradients_are_no_zeros():
    model = initial()
    last = model.layers[-1]
    offset = model.replace(layers=(*model.layers[:-1], last.replace(bias=last.bias + 3e4)))
    resting = fn.fit(lambda m, e, k: 1e-30 * (m(e[0]) - e[1]) ** 2, optax.sgd(0.0), epochs=1, shuffle=False)
    found = _last(fn.study.monitor(resting, ["activation", "gradient"], rows=40)(offset, (X, Y), the_key()))
    spread = np.asarray(jax.jit(model)(X)).std()
    assert found["activation_std/layers[2]"] == pytest.approx(spread, rel=0.02)
    assert found["gradient/layers[0].weight"] > 0


def test_what_cant_be_told_apart_is_said():
    def training():
        inner = jax.jit(lambda layer, x: layer(x))
        return fn.fit(
            lambda m, e, k: jnp.sum(inner(m, inner(m, e))), optax.sgd(0.0), epochs=1, shuffle=False
        )

    model = initial(fn.Linear(3, 3))
    with pytest.raises(ValueError, match="compiled separately"):
        fn.study.monitor(training())(model, X, the_key())
    run = fn.study.monitor(training(), ["gradient"])(model, X, the_key())
    assert "gradient/weight" in run.history
    with pytest.raises(ValueError, match="already monitored"):
        fn.study.monitor(fn.study.monitor(training()))
