"""SpectralNorm: PyTorch's numbers written out, and numpy's singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from tables import assert_close, assert_trained_alike, marked, same_bits

import funcnet as fn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(37, 4)).astype(np.float32)
Y = np.sin(X[:, 0])
LOSS = fn.losses.supervised(fn.losses.squared_error)
LAYERS = {
    "linear": (fn.Linear(4, 6), (4,)),
    "linear-scalar": (fn.Linear(4, "scalar"), (4,)),
    "conv-1d": (fn.layers.Conv1d(2, 5, 3), (4, 2)),
    "conv-2d": (fn.layers.Conv2d(4, 6, 3, groups=2), (5, 5, 4)),
    "conv-transpose-2d": (fn.layers.ConvTranspose2d(2, 3, 2), (3, 3, 2)),
}


def _net():
    return fn.Sequential(
        fn.layers.SpectralNorm(fn.Linear(4, 6)),
        jax.nn.tanh,
        fn.layers.SpectralNorm(fn.Linear(6, "scalar"), iterations=2),
    )


def _init(net):
    return jax.jit(net.init)(cached_key(0))


def _matrix(weight):
    return np.asarray(weight).reshape(-1, weight.shape[-1] if weight.ndim > 1 else 1)


def _stepped(model, x, times):
    """The model after training steps that leave its weights."""
    optimizer = optax.sgd(0.0)
    step = jax.jit(fn.step(lambda m, e, key: jnp.sum(m(e, key=key)), optimizer))
    state = fn.TrainState.create(model, optimizer, cached_key(0))
    for _ in range(times):
        state, _ = step(state, x)
    return state.model


def _power(matrix, u, v, steps):
    """PyTorch 2.13, `torch.nn.utils.parametrizations._SpectralNorm`, of the weight's transpose."""
    for _ in range(steps):
        u = matrix.T @ v
        u = u / max(np.linalg.norm(u), 1e-12)
        v = matrix @ u
        v = v / max(np.linalg.norm(v), 1e-12)
    return u, v


# In the quick suite the convolution with groups; two products are trained below.
SOME = marked(LAYERS, slow=LAYERS.keys() - {"conv-2d"})


@pytest.mark.parametrize("name", SOME)
def test_sigma_becomes_the_largest_singular_value(name):
    layer, shape = LAYERS[name]
    x = RNG.normal(size=(2, *shape)).astype(np.float32)
    model = _stepped(_init(fn.layers.SpectralNorm(layer, iterations=5)), x, 60)
    largest = np.linalg.svd(_matrix(model.layer.weight), compute_uv=False)[0]
    divided = model.layer.replace(weight=jnp.asarray(np.asarray(model.layer.weight) / largest))
    assert_close(*jax.jit(lambda x: (model(x), divided(x)))(x), factor=5)
    assert abs(largest - 1) > 0.05  # else nothing was divided


@pytest.mark.parametrize("name", SOME)
def test_init_draws_the_layers_own_weights_and_vectors_of_length_one(name):
    layer, _ = LAYERS[name]
    model = _init(fn.layers.SpectralNorm(layer))
    matrix, (u, v) = _matrix(model.layer.weight), map(np.asarray, (model.u.value, model.v.value))
    np.testing.assert_allclose([np.linalg.norm(u), np.linalg.norm(v)], 1, rtol=1e-5)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    assert 0.9 * largest < v @ matrix @ u <= 1.00001 * largest
    assert fn.count(model) == fn.count(layer)
    kept = jax.jit(fn.layers.SpectralNorm(model.layer).init)(jax.random.key(1))
    assert same_bits(kept.layer, model.layer)


def test_a_training_is_pytorchs_written_out():
    with jax.enable_x64(True):
        x, y = X.astype(float), Y.astype(float)
        model = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, float)), _init(_net()))
        train = fn.fit(LOSS, optax.sgd(0.1), epochs=10, batch_size=8, shuffle=False)
        run = train(model, (x, y), cached_key(0))

        first, last = model.layers[0], model.layers[2]
        weights = [first.layer.weight, first.layer.bias, last.layer.weight, last.layer.bias]
        vectors = [(np.asarray(a.u.value), np.asarray(a.v.value)) for a in (first, last)]

        def loss(weights, vectors, x, y):
            (u, v), (s, t) = vectors
            sigma = v @ weights[0] @ u
            hidden = jnp.tanh(x @ (weights[0] / sigma) + weights[1][None])
            out = hidden @ (weights[2] / (t @ weights[2][:, None] @ s)) + weights[3]
            return jnp.mean((out - y) ** 2)

        @jax.jit
        def moved(weights, vectors, x, y):
            grads = jax.grad(loss)(weights, vectors, x, y)
            return [a - 0.1 * g for a, g in zip(weights, grads, strict=True)]

        for _ in range(10):
            for start in range(0, 37, 8):
                rows = slice(start, start + 8)
                matrices = _matrix(weights[0]), _matrix(weights[2])
                vectors = [
                    _power(m, *pair, n) for m, pair, n in zip(matrices, vectors, (1, 2), strict=True)
                ]
                weights = moved(weights, vectors, x[rows], y[rows])

        got = run.model.layers
        assert_close([got[0].layer.weight, got[0].layer.bias], weights[:2])
        assert_close([got[2].layer.weight, got[2].layer.bias], weights[2:])
        assert_close([(a.u.value, a.v.value) for a in (got[0], got[2])], vectors)
        # The last one stays in inference: PyTorch's eval() uses the vectors as they are.
        (u, v), (s, t), weights = *vectors, list(map(np.asarray, weights))
        hidden = np.tanh(x @ (weights[0] / (v @ weights[0] @ u)) + weights[1][None])
        want = hidden @ (weights[2] / (t @ weights[2][:, None] @ s)) + weights[3]
        assert_close(jax.jit(run.model)(x), want)


@pytest.mark.slow
def test_a_trained_layer_has_a_spectral_norm_of_one():
    model = _init(_net())
    run = fn.fit(LOSS, optax.adam(1e-2), epochs=20, batch_size=8)(model, (X, 5 * Y), cached_key(0))
    start, end = (np.asarray(one.layers[0].layer.weight) for one in (model, run.model))
    assert np.abs(end - start).max() > 0.05
    matrix = jax.jit(lambda layer: layer(jnp.eye(4)) - layer(jnp.zeros((1, 4))))
    trained = matrix(_stepped(run.model, X, 300).layers[0])
    np.testing.assert_allclose(np.linalg.svd(trained, compute_uv=False)[0], 1, rtol=1e-4)
    other = matrix(run.model.layers[0])  # and nearly so after a last step of Adam
    np.testing.assert_allclose(np.linalg.svd(other, compute_uv=False)[0], 1, rtol=0.02)


@pytest.mark.slow
def test_at_rest_the_slope_is_that_of_differences():
    with jax.enable_x64(True):
        layer = _init(fn.layers.SpectralNorm(fn.Linear(3, 2), iterations=300))
        layer = jax.tree.map(lambda a: a.astype(float), layer)
        x, weight = jnp.asarray(RNG.normal(size=(5, 3))), layer.layer.weight
        direction = jnp.asarray(RNG.normal(size=weight.shape))

        def value(weight):
            moved = layer.replace(layer=layer.layer.replace(weight=weight))
            return jnp.sum(jnp.sin(moved(x, key=cached_key(0))))

        want = (value(weight + 1e-6 * direction) - value(weight - 1e-6 * direction)) / 2e-6
        slope = jax.jit(jax.grad(value))(weight)
        assert float(jnp.sum(slope * direction)) == pytest.approx(float(want), rel=1e-6)
        assert float(jnp.sum(slope * weight)) == pytest.approx(0, abs=1e-12)  # its length plays no part


@pytest.mark.slow  # as batch norm's statistics are carried
def test_every_way_to_train_carries_the_vectors():
    model, data = _init(_net()), (X, Y)
    train = fn.fit(LOSS, optax.adam(0.01), epochs=4, batch_size=8)
    want = train(model, data, cached_key(0))
    assert not same_bits(want.model.layers[0].u, model.layers[0].u)
    assert_trained_alike(train, _net(), data, cached_key(0), want)


@pytest.mark.slow
def test_over_devices_and_in_an_ensemble_the_vectors_are_carried():
    model, data = _init(_net()), (X, Y)
    train = fn.fit(LOSS, optax.adam(0.01), epochs=4, batch_size=8)
    with fn.mesh.use(4):
        spread = train(model, data, cached_key(0))
    assert_close(spread.model, train(model, data, cached_key(0)).model, factor=10)
    many = fn.study.ensemble(train, 3)(_net(), data, cached_key(0))
    assert np.isfinite(np.asarray(fn.predict(many.model, X))).all()


def test_each_accumulated_part_takes_steps_of_its_own():
    model = _init(fn.layers.SpectralNorm(fn.Linear(4, 6)))
    model = model.replace(
        u=fn.Buffer(jnp.asarray(np.eye(6, dtype=np.float32)[0])),
        v=fn.Buffer(jnp.asarray(np.eye(4, dtype=np.float32)[0])),
    )
    loss = lambda m, x, key: jnp.sum(m(x, key=key))  # noqa: E731
    state = fn.TrainState.create(model, optax.sgd(0.0), cached_key(0))
    parts = 4
    after, _ = jax.jit(fn.step(loss, optax.sgd(0.0), accumulate=parts))(state, X[:8])
    u, v = _power(np.asarray(model.layer.weight), np.eye(6)[0], np.eye(4)[0], parts)
    np.testing.assert_allclose(after.model.u.value, u, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.model.v.value, v, rtol=1e-4, atol=1e-5)


def test_called_twice_or_mapped_within_the_loss_it_is_one():
    model = _init(fn.layers.SpectralNorm(fn.Linear(4, 6)))
    losses = [
        lambda m, x, key: jnp.sum(m(x, key=key)),
        lambda m, x, key: jnp.sum(m(x, key=key)) + jnp.sum(m(-x, key=key)),
        lambda m, x, key: jnp.sum(jax.vmap(lambda v: m(v, key=key))(jnp.stack([x, -x]))),
    ]
    state = fn.TrainState.create(model, optax.sgd(0.1), cached_key(0))
    after = [jax.jit(fn.step(loss, optax.sgd(0.1)))(state, X[:8])[0].model for loss in losses]
    assert not same_bits(after[0].u, model.u)
    for one in after[1:]:
        assert_close((one.u, one.v), (after[0].u, after[0].v))


def test_a_weight_of_zeros_stays_finite_and_learns():
    model = _init(fn.layers.SpectralNorm(fn.Linear(4, "scalar", weight_init="zeros")))
    step = jax.jit(fn.step(LOSS, optax.sgd(0.1)))
    state = fn.TrainState.create(model, optax.sgd(0.1), cached_key(0))
    batch = fn.data.Batch((X[:8], Y[:8]), np.ones(8, np.float32))
    after, info = step(state, batch)
    np.testing.assert_allclose(info.loss, np.mean(Y[:8] ** 2), rtol=1e-5)  # all predictions are zero
    for _ in range(2):
        after, info = step(after, batch)
        assert info.finite
    np.testing.assert_allclose(np.linalg.norm(after.model.u.value), 1, rtol=1e-5)
    assert np.any(after.model.layer.weight)


def test_half_precision_iterates_in_float32():
    model = _init(fn.layers.SpectralNorm(fn.Linear(4, "scalar")))
    state = fn.TrainState.create(model, optax.sgd(0.01), cached_key(0))
    step = jax.jit(fn.step(fn.Precision(compute="bfloat16")(LOSS), optax.sgd(0.01)))
    after, _ = step(state, fn.data.Batch((X[:8], Y[:8]), np.ones(8, np.float32)))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(after.model)} == {"float32"}
    for vector in (after.model.u, after.model.v):
        assert abs(np.linalg.norm(vector.value) - 1) < 1e-5  # of bfloat16 it would be 1e-3
    assert not same_bits(after.model.v, model.v)


def test_a_model_that_keeps_the_key_from_it_is_refused():
    class Deaf(fn.Module):
        layer: fn.Module = fn.layers.SpectralNorm(fn.Linear(4, "scalar"))

        def __call__(self, x):
            return self.layer(x)

    with pytest.raises(TypeError, match="must accept a key and pass it on to"):
        fn.fit(LOSS, optax.sgd(0.1), epochs=1)(Deaf().init(cached_key(0)), (X, Y), cached_key(0))
