"""BatchNorm: statistics that no padding touches, carried on by a training; PyTorch's numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from tables import assert_close, assert_trained_alike, same_bits

import funcnet as fn

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(37, 4)).astype(np.float32)
Y = np.sin(X[:, 0])
LOSS = fn.losses.supervised(fn.losses.squared_error)
TRAIN = fn.fit(LOSS, optax.sgd(0.05), epochs=2, batch_size=8)


def _net(**settings):
    return fn.Sequential(
        fn.Linear(4, 6, use_bias=False),  # a shift before the norm has no gradient but rounding
        fn.layers.BatchNorm(6, **settings),
        jax.nn.relu,
        fn.Linear(6, "scalar"),
    )


@functools.cache
def _initialised(net, x64):
    return jax.jit(net.init)(cached_key(0))


def _init(net):
    return _initialised(net, jax.config.jax_enable_x64)


@functools.cache
def _run():
    """One run of `TRAIN` for all tests."""
    return TRAIN(_init(_net()), (X, Y), cached_key(0))


def _parameters(model):
    first, norm, _, last = model.layers
    return [first.weight, norm.scale, norm.bias, last.weight, last.bias]


def _by_hand(model, x, y, rate, steps, size, momentum=0.1, eps=1e-5):
    """The same training in numpy with jax.grad over whole batches: the batch axis is written out."""
    parameters = _parameters(model)
    mean, variance = np.zeros(6), np.ones(6)

    def loss(p, x, y):
        h = x @ p[0]
        m, v = h.mean(0), h.var(0)
        h = (h - m[None]) / jnp.sqrt(v + eps)[None] * p[1][None] + p[2][None]
        out = jax.nn.relu(h) @ p[3] + p[4]
        return jnp.mean((out - y) ** 2), (m, v)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for _ in range(steps):
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            (_, (m, v)), grads = step(parameters, x[rows], y[rows])
            n = len(x[rows])
            mean = (1 - momentum) * mean + momentum * np.asarray(m)
            variance = (1 - momentum) * variance + momentum * np.asarray(v) * n / (n - 1)
            parameters = [p - rate * g for p, g in zip(parameters, grads, strict=True)]
    return parameters, mean, variance


def test_a_training_is_that_written_out_with_the_batch_axis_short_batches_too():
    model = _init(_net())
    train = fn.fit(LOSS, optax.sgd(0.05), epochs=20, batch_size=8, shuffle=False)
    trained = train(model, (X, Y), cached_key(0)).model
    parameters, mean, variance = _by_hand(model, X, Y, 0.05, 20, 8)
    for got, want in zip(_parameters(trained), parameters, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trained.layers[1].mean.value, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trained.layers[1].variance.value, variance, rtol=1e-4, atol=1e-5)


WHOLE = fn.fit(LOSS, optax.sgd(0.05), epochs=1, batch_size=64, shuffle=False)


def test_padding_and_rows_of_weight_zero_are_invisible():
    model = _init(_net(momentum=1.0))
    want = WHOLE(model, (X[:20], Y[:20]), cached_key(0))
    weight, wild = np.float32(np.arange(37) < 20), X.copy()
    wild[20:] = 1e30
    got = WHOLE(model, fn.data.Dataset((wild, Y), weight=weight), cached_key(0))
    assert_close(got.model, want.model, factor=5)


def test_a_weight_of_two_is_a_row_that_comes_twice():
    model, rows = _init(_net(momentum=1.0)), [*range(15), *range(5)]
    twice = WHOLE(model, (X[rows], Y[rows]), cached_key(0))
    weight = np.bincount(rows, minlength=37).astype(np.float32)
    weighted = WHOLE(model, fn.data.Dataset((X, Y), weight=weight), cached_key(0))
    assert_close(weighted.model, twice.model, factor=10)


def test_evaluation_uses_the_running_statistics_row_by_row():
    model = _run().model
    call = jax.jit(model)
    alone = np.stack([call(x) for x in X])
    assert_close(fn.predict(model, X, batch_size=5), alone, factor=5)
    assert_close(fn.evaluate(LOSS, model, (X, Y), 4), fn.evaluate(LOSS, model, (X, Y), 37), factor=5)


def test_every_way_to_train_carries_the_statistics():
    data, want = (X, Y), _run()
    assert not np.allclose(want.model.layers[1].mean.value, 0)
    assert_trained_alike(TRAIN, _net(), data, cached_key(0), want)
    state = fn.TrainState.create(_init(_net()), TRAIN.optimizer, cached_key(0))
    step = jax.jit(fn.step(TRAIN.loss, TRAIN.optimizer, accumulate=TRAIN.accumulate))
    for epoch in range(2):
        for batch in fn.data.batches(data, 8, cached_key(0), epoch):
            state, _ = step(state, batch)
    assert_close(state.model, want.model, factor=10)


@pytest.mark.slow
def test_an_ensemble_carries_the_statistics():
    train = fn.fit(LOSS, optax.adam(0.01), epochs=4, batch_size=8)
    many = fn.study.ensemble(train, 3)(_net(), (X, Y), cached_key(0))
    assert np.isfinite(np.asarray(fn.predict(many.model, X))).all()


def test_over_devices_it_is_the_whole_batch():
    with fn.mesh.use(4):
        got = TRAIN(_init(_net()), (X, Y), cached_key(0))
    assert_close(got.model, _run().model, factor=10)


def test_accumulated_parts_are_normalised_and_counted_one_after_another():
    model = _init(_net())
    train = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=8, accumulate=2, shuffle=False)
    run = train(model, (X[:16], Y[:16]), cached_key(0))
    mean = np.zeros(6)
    for part in (X[:8], X[8:16]):
        mean = 0.9 * mean + 0.1 * (part @ np.asarray(model.layers[0].weight)).mean(0)
    np.testing.assert_allclose(run.model.layers[1].mean.value, mean, rtol=1e-5, atol=1e-6)


def test_a_step_that_is_not_finite_leaves_the_statistics():
    loss = lambda model, x, key: jnp.sum(model(x, key=key)) * jnp.log(-1.0)  # noqa: E731
    state = fn.TrainState.create(_init(fn.layers.BatchNorm(4)), optax.sgd(0.1), cached_key(0))
    after, info = jax.jit(fn.step(loss, optax.sgd(0.1)))(
        state, fn.data.Batch(X[:8], np.ones(8, np.float32))
    )
    assert not info.finite
    assert same_bits(after.model, state.model)


def test_images_are_normalised_by_channel():
    norm = _init(fn.layers.BatchNorm(3))
    x = RNG.normal(size=(5, 4, 4, 3)).astype(np.float32)
    y = np.asarray(jax.jit(norm)(x, key=cached_key(0)))
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-3)


def test_one_row_alone_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        _init(fn.layers.BatchNorm(3))(np.ones(3, np.float32), key=cached_key(0))
    with pytest.raises(ValueError, match="momentum"):
        fn.layers.BatchNorm(3, momentum=0.0)


def test_a_model_that_keeps_the_key_from_it_is_refused():
    class Deaf(fn.Module):
        norm: fn.Module = fn.layers.BatchNorm(4)
        out: fn.Module = fn.Linear(4, "scalar")

        def __call__(self, x):
            return self.out(self.norm(x))

    with pytest.raises(TypeError, match=r"must accept a key and pass it on to norm"):
        fn.fit(LOSS, optax.sgd(0.1), epochs=1)(Deaf().init(cached_key(0)), (X, Y), cached_key(0))


def test_weights_below_one_are_of_whole_rows():
    norm = _init(fn.layers.BatchNorm(4))
    loss = lambda model, x, key: jnp.sum(model(x, key=key) ** 2)  # noqa: E731
    step, found = jax.jit(fn.step(loss, optax.sgd(0.0))), []
    for scale in (1.0, 0.01):
        state = fn.TrainState.create(norm, optax.sgd(0.0), cached_key(0))
        found.append(
            step(state, fn.data.Batch(X[:8], np.full(8, scale, np.float32)))[0].model.variance.value
        )
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_a_part_of_a_batch_in_which_no_row_counts_has_seen_nothing():
    norm, moved = _init(fn.layers.BatchNorm(4)), []
    loss = lambda model, x, key: jnp.sum(model(x, key=key) ** 2)  # noqa: E731
    batch = fn.data.Batch(X[:8], np.float32([1] * 4 + [0] * 4))
    for parts in (1, 2):
        state = fn.TrainState.create(norm, optax.sgd(0.0), cached_key(0))
        moved.append(jax.jit(fn.step(loss, optax.sgd(0.0), accumulate=parts))(state, batch)[0].model)
    assert_close(moved[0], moved[1], factor=5)


def test_used_twice_it_moves_twice():
    norm = _init(fn.layers.BatchNorm(4))
    loss = lambda model, x, key: jnp.sum(model(10 + 3 * model(x, key=key), key=key))  # noqa: E731
    run = fn.fit(loss, optax.sgd(0.0), epochs=1, batch_size=37)(norm, X, cached_key(0))
    mean = 0.9 * (0.1 * np.asarray(X).mean(0)) + 0.1 * 10
    np.testing.assert_allclose(run.model.mean.value, mean, rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, x, key: jnp.sum(jax.vmap(lambda v: m(v, key=key))(jnp.stack([x, -x]))),
        lambda m, x, key: jax.lax.cond(x[0] > 0, lambda: jnp.sum(m(x, key=key)), lambda: 0.0),
    ],
)
def test_statistics_that_would_be_each_examples_own_are_refused(loss):
    norm = _init(fn.layers.BatchNorm(4))
    with pytest.raises(ValueError, match=r"mapped within the loss|inside a loop or a branch"):
        fn.fit(loss, optax.sgd(0.1), epochs=1)(norm, X, cached_key(0))


@pytest.mark.slow
def test_hyper_gradients_reach_the_statistics():
    with jax.enable_x64(True):
        x, y = X.astype(float), Y.astype(float)
        model = jax.tree.map(lambda a: a.astype(float), _init(_net()))

        def variance(rate):
            run = fn.fit(LOSS, optax.sgd(rate), epochs=2, batch_size=8)(model, (x, y), cached_key(0))
            return jnp.sum(run.model.layers[1].variance.value)

        value, slope = jax.jit(variance), jax.jit(jax.grad(variance))
        difference = (value(0.05 + 1e-5) - value(0.05 - 1e-5)) / 2e-5
        assert float(slope(0.05)) == pytest.approx(float(difference), rel=1e-4)
