"""The lesson's variables, tapes and pipelines (rows T1 to T11), with plain JAX and funcnet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import BINARY, CLASSES, SQUARED, assert_in_band, d1, d2, d3, evaluate_all, twenty, unit_normal

import funcnet as fn


def line(slope):
    weight, bias = map(jnp.asarray, (np.float32([slope]), np.float32(0)))
    linear = fn.Linear(1, "scalar", weight=weight, bias=bias)
    return fn.models.LinearRegression(1, linear=linear)


def test_t1_constants_random_tensors_and_numpy():
    a = jax.random.normal(cached_key(0), (10, 3))
    np.testing.assert_allclose(np.asarray(jnp.exp(a - a[:1].repeat(10, axis=0)))[0], np.ones(3))
    assert jnp.array([[1, 2], [3, 4]]).shape == (2, 2)


def test_t2_rows_summed_into_an_array_and_by_a_reduction():
    a = jax.random.normal(cached_key(0), (10, 3))
    total = jnp.zeros(3)
    for row in a:
        total = total.at[:].add(row)
    np.testing.assert_allclose(total, a.sum(axis=0), rtol=1e-5)


def test_t3_the_gradient_of_a_tensor_is_that_of_its_sum():
    a, b = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[2.0, 1.0], [0.5, 3.0]])
    roots, vjp = jax.vjp(lambda a: jnp.sqrt(a**2 + b**2), a)
    np.testing.assert_allclose(vjp(jnp.ones_like(roots))[0], a / jnp.sqrt(a**2 + b**2), rtol=1e-6)


@pytest.mark.slow
def test_t4_gradients_of_two_variables_end_at_the_printed_line():
    """And T5: the compiled step gives the same result as the uncompiled one."""

    def loss(parameters, x, y):
        w, b = parameters
        return jnp.mean((jnp.squeeze(x @ w, 1) + jnp.broadcast_to(b, y.shape) - y) ** 2)

    def step(parameters, x, y):
        return jax.tree.map(lambda a, g: a - 0.1 * g, parameters, jax.grad(loss)(parameters, x, y))

    compiled = jax.jit(step)
    parameters = [jnp.array([[100.0]]), jnp.array(0.0)]
    np.testing.assert_allclose(
        compiled(parameters, *d1()[:4])[0], step(parameters, *d1()[:4])[0], rtol=1e-6
    )
    for _ in range(10):
        for start in range(0, 120, 4):
            parameters = compiled(parameters, *d1()[start : start + 4])
    w, b = parameters
    # The lesson prints 1.8616779 and 1.0710956; the last digit is within float32 rounding.
    np.testing.assert_allclose([w[0, 0], b], [1.8616779, 1.0710956], atol=3e-7)
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=10, batch_size=4, shuffle=False)
    fitted = train(line(100.0), d1(), cached_key(0)).model.linear
    np.testing.assert_allclose([fitted.weight[0], fitted.bias], [1.8616779, 1.0710956], atol=3e-7)


def test_t6_a_batch_larger_than_the_data_is_full_descent():
    x, y = (np.asarray(a, np.float64) for a in d1()[:])
    w, b, losses = 10.0, 0.0, []
    for _ in range(10):
        residual = x[:, 0] * w + b - y
        losses.append(np.mean(residual**2))
        w, b = w - 0.2 * np.mean(residual * x[:, 0]), b - 0.2 * np.mean(residual)
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=10, batch_size=256)
    run = train(line(10.0), d1(), cached_key(0))
    np.testing.assert_allclose(run.history["loss"], losses, rtol=2e-5)
    np.testing.assert_allclose([run.model.linear.weight[0], run.model.linear.bias], [w, b], rtol=2e-5)


def test_t7_scaled_by_the_training_rows_and_one_range_for_all():
    train, *later = (part[:][0] for part in d3())
    assert float(train.min()) == 0.0
    assert float(train.max()) == 1.0
    assert min(float(x.min()) for x in later) >= -0.5
    assert max(float(x.max()) for x in later) <= 1.5
    raw = fn.data.two_classes(flip_y=0.05).data[:70][0]
    np.testing.assert_allclose(train, (raw - raw.min()) / (raw.max() - raw.min()), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_t8_and_t10_the_perceptron_by_batches_of_two():
    """And T9 in its correct version: predictions and targets of rows scaled like the training rows."""
    net = fn.models.Perceptron(2, weight_init=unit_normal)
    runs = twenty(fn.fit(BINARY, optax.sgd(0.1), epochs=10, batch_size=2), net, d3()[0])
    assert_in_band(evaluate_all(BINARY, runs.model, d3()[0])["loss"], 0.48, 0.60)
    x, y = d3()[2][:]
    logits = np.asarray(jax.jit(jax.vmap(lambda model: model(x)))(runs.model))
    right = ((logits > 0) == (np.asarray(y) == 1)).mean(axis=1)
    np.testing.assert_allclose(evaluate_all(BINARY, runs.model, d3()[2])["accuracy"], right, rtol=1e-6)

    runs = twenty(fn.fit(BINARY, optax.adam(0.01), epochs=20, batch_size=2), net, d3()[0])
    scores = evaluate_all(BINARY, runs.model, d3()[0])
    assert_in_band(scores["loss"], 0.48, 0.63)
    assert_in_band(scores["accuracy"], 0.81, 0.96)


def test_t11_one_hot_and_integer_classes_are_one_loss():
    model = fn.models.Perceptron(2, 2).init(cached_key(0))
    x, y = d2()[0][:]
    integer = fn.evaluate(CLASSES, model, (x, y))["loss"]
    one_hot = fn.evaluate(CLASSES, model, (x, jnp.eye(2)[y]))["loss"]
    np.testing.assert_allclose(integer, one_hot, rtol=1e-6)
