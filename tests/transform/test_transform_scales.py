"""Transformations over scales and dtypes: no square overflows, vanishes or loses digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn

T = fn.transform
KEY = jax.random.key(0)
ROWS = np.array([9.0, 10.0, 11.0], np.float32)
SCALES = [1e-30, 1e-20, 1.0, 1e15, 1e20, 1e36]


@pytest.mark.parametrize("scale", SCALES)
def test_the_noise_scale_has_no_unit(scale):
    s = np.float32(scale)
    value = T.gradient_noise_scale(lambda w, e: w * e * s)(jnp.array(1.0), ROWS)
    assert float(value) == pytest.approx(1 / (100 - 1 / 3), rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_noise_scale_of_half_precision(dtype):
    value = T.gradient_noise_scale(lambda w, e: w * e.astype(w.dtype))(jnp.array(1.0, dtype), 64 * ROWS)
    assert float(value) == pytest.approx(1 / (100 - 1 / 3), rel=1e-2)


def test_the_noise_scale_of_nan_is_nan_and_of_no_gradient_infinite():
    scale = T.gradient_noise_scale(lambda w, e: w * e)
    assert np.isnan(scale(1.0, np.array([1.0, np.nan, 2.0])))
    assert np.isinf(scale(1.0, np.zeros(3)))
    with pytest.raises(ValueError, match="examples must be at least 2"):
        scale(1.0, np.ones(1))


@pytest.mark.parametrize("scale", SCALES[1:])
def test_clipped_means_and_norms(scale):
    x, s = jnp.array([1.0, 1.0]), np.float32(scale)
    mean, norms = T.clipped_mean_grad(lambda w, e: jnp.sum(w) * e * s, 1.0)(x, ROWS)
    expected = ROWS.astype(float) * s * 2**0.5
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    each = np.minimum(expected, 1) / 2**0.5
    np.testing.assert_allclose(mean, [each.mean()] * 2, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_clipped_means_of_many_rows_keep_their_digits(dtype):
    rows = np.ones(70001, np.float32)
    mean, norms = T.clipped_mean_grad(lambda w, e: w * e.astype(w.dtype), 0.5)(jnp.array(1.0, dtype), rows)
    assert float(mean) == pytest.approx(0.5, rel=1e-5)
    assert mean.dtype == dtype
    assert float(norms[0]) == 1.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("size", [1024, 70001])
def test_microbatches_of_many_rows_keep_their_digits(dtype, size):
    rows = np.ones(70001, np.float32)
    value_and_grad = T.microbatched_value_and_grad(lambda w, e: w * e.astype(w.dtype), size)
    for weight in (None, np.ones(70001, dtype)):
        value, gradient = value_and_grad(jnp.array(3.0, dtype), rows, weight)
        assert (float(value), float(gradient), gradient.dtype) == (3.0, 1.0, dtype)


@pytest.mark.parametrize("scale", [*SCALES, 3e38])
def test_gradients_are_clipped_to_a_norm_of_one(scale):
    gradient = jax.grad(lambda x: np.float32(scale) * jnp.sum(T.clip_gradient(x, 1.0)))(jnp.zeros(100))
    expected = np.full(100, min(scale, 0.1))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_half_precision_gradients_are_clipped_to_small_norms():
    x = jnp.zeros(4, "float16")
    gradient = jax.grad(lambda x: jnp.sum(T.clip_gradient(x, 1e-3) * jnp.float16(60000)).astype(float))(x)
    np.testing.assert_allclose(gradient.astype(float), 5e-4, rtol=1e-3)


def test_a_small_scale_of_a_reversed_half_precision_gradient_is_not_zero():
    of_x = jax.grad(lambda x: (T.reverse_gradient(x, 1e-8) * jnp.float16(60000)).astype(float))
    assert float(of_x(jnp.float16(1))) == pytest.approx(-6e-4, rel=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_implicit_derivatives_do_not_depend_on_the_scale_of_the_objective(scale):
    s = np.float32(scale)
    minimum = T.implicit_minimum(
        lambda x, h: h / 2 * jnp.ones_like(x), lambda x, h: s * jnp.sum((x - h) ** 2 + x**2) * 0.01
    )
    assert float(jax.grad(lambda h: minimum(jnp.zeros(3), h).sum())(3.0)) == pytest.approx(1.5, rel=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_eigenpairs_at_any_scale(scale):
    diagonal = jnp.array([1.0, -5.0, 2.0]) * np.float32(scale)
    values, _ = T.eigenpairs(lambda v: diagonal * v, jnp.ones(3), KEY, count=3)
    np.testing.assert_allclose(values, np.array([-5.0, 2.0, 1.0]) * scale, rtol=1e-4)


def test_eigenpairs_of_half_precision_and_of_one_entry():
    diagonal = jnp.array([1.0, -5.0, 2.0], "bfloat16")
    values, vectors = T.eigenpairs(lambda v: diagonal * v, diagonal, KEY)
    np.testing.assert_allclose(values, [-5.0], rtol=1e-2)
    assert vectors.dtype == "bfloat16"
    assert float(T.eigenpairs(lambda v: 3 * v, 0.0, KEY)[0][0]) == pytest.approx(3.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e200])
def test_wrong_gradients_are_found_at_any_scale(scale):
    def f(x):
        return scale * (jnp.sum(x["a"] ** 2) + jax.lax.stop_gradient(x["b"]))

    x = {"a": np.ones(3), "b": np.float64(2)}
    assert T.check_grads(f)(x).wrong == ["['b']"]


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_hessian_products_at_any_scale(scale):
    x, v = np.array([1.0, 2.0]), np.array([1.0, 10.0])
    product = T.hvp(lambda x: jnp.sum(x**3) * np.float32(scale))(x, v)
    np.testing.assert_allclose(product, 6 * x * v * scale, rtol=1e-6)
    of_exp = T.ggnvp(lambda w: jnp.exp(w), lambda y: jnp.sum(y**2) * np.float32(scale))
    np.testing.assert_allclose(of_exp(x, v), np.exp(x) ** 2 * 2 * v * scale, rtol=1e-6)


@pytest.mark.parametrize("length", [0, 1])
def test_empty_and_single_outputs_of_a_jacobian(length):
    assert T.jacobian(lambda x: x[:length])(jnp.ones(3)).shape == (length, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_over_lanes_in_half_precision_are_those_of_vmap(dtype):
    a, b = (jax.random.uniform(key, (5, 4, 8), dtype) for key in jax.random.split(KEY))
    actual = T.vmap_last(lambda a, b: a @ b.T)(a, b)
    np.testing.assert_allclose(actual.astype(float), jax.vmap(lambda a, b: a @ b.T)(a, b), rtol=1e-2)


def test_transformations_run_under_debug_nans():
    f = lambda x, *others: jnp.sum(jnp.sin(x))  # noqa: E731
    times = lambda w, e: w * e  # noqa: E731
    x = jnp.array([0.5, 1.0])
    with jax.debug_nans(True):
        T.hvp(f)(x, x)
        T.ggnvp(jnp.sin, jnp.sum)(x, x)
        T.jacobian(jnp.sin)(x)
        T.hessian_diag(f)(x)
        T.eigenpairs(lambda v: 2 * v, x, KEY)
        T.per_example_grads(times)(1.0, ROWS)
        T.clipped_mean_grad(times, 1.0)(1.0, ROWS * 1e30)
        T.clipped_mean_grad(times, 1.0)(1.0, ROWS * 0)
        T.gradient_noise_scale(times)(1.0, ROWS * 0)
        T.microbatched_value_and_grad(times, 2)(1.0, ROWS, np.array([1, 0, 1]))
        jax.grad(lambda x: jnp.sum(T.clip_gradient(x, 1.0) * 0))(x)
        jax.grad(T.implicit_minimum(lambda x, h: h / 2, lambda x, h: (x - h) ** 2 + x**2), 1)(0.0, 1.0)
        assert T.check_grads(f)(x).right
        T.vmap_last(f)(x)
        T.reap(lambda x: T.sow(f(x), "f"))(x)
        T.graph(f)(x)(x)
        T.explain_retrace(f)(x)
        assert T.find_nan(jnp.log)(-x).operation == "log"
