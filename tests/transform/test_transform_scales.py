"""Transformations over scales and dtypes: no square overflows, vanishes or loses digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn

T = fn.transform
ROWS = np.array([9.0, 10.0, 11.0], np.float32)
SCALES = [1e-30, 1e-20, 1.0, 1e15, 1e20, 1e36]
# Each program is compiled once for all scales.
noise_scale = jax.jit(T.gradient_noise_scale(lambda w, e: w * e[0].astype(w.dtype) * e[1].astype(w.dtype)))


@pytest.mark.parametrize("scale", SCALES)
def test_the_noise_scale_has_no_unit(scale):
    value = noise_scale(np.float32(1), (ROWS, np.full(3, scale, np.float32)))
    assert float(value) == pytest.approx(1 / (100 - 1 / 3), rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_noise_scale_of_half_precision(dtype):
    value = noise_scale(jnp.dtype(dtype).type(1), (ROWS, np.full(3, 64, np.float32)))
    assert float(value) == pytest.approx(1 / (100 - 1 / 3), rel=1e-2)


def test_the_noise_scale_of_nan_is_nan_and_of_no_gradient_infinite():
    ones = np.ones(3, np.float32)
    assert np.isnan(noise_scale(np.float32(1), (np.float32([1, np.nan, 2]), ones)))
    assert np.isinf(noise_scale(np.float32(1), (0 * ones, ones)))
    with pytest.raises(ValueError, match="examples must be at least 2"):
        T.gradient_noise_scale(lambda w, e: w * e)(1.0, np.ones(1))


clipped = jax.jit(lambda x, rows: T.clipped_mean_grad(lambda w, e: jnp.sum(w) * e, 1.0)(x, rows))


@pytest.mark.parametrize("scale", SCALES[1:])
def test_clipped_means_and_norms(scale):
    s = np.float32(scale)
    mean, norms = clipped(np.ones(2, np.float32), ROWS * s)
    expected = ROWS.astype(float) * s * 2**0.5
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    each = np.minimum(expected, 1) / 2**0.5
    np.testing.assert_allclose(mean, [each.mean()] * 2, rtol=1e-5)


def test_clipped_means_of_a_leaf_without_entries():
    loss = lambda m, e: (jnp.sum(m["w"]) + jnp.sum(m["empty"])) * e.astype("float16")  # noqa: E731
    model = {"w": jnp.float16([1, 2]), "empty": jnp.zeros(0, jnp.float16)}
    mean, norms = T.clipped_mean_grad(loss, 1.0)(model, np.float32([0.1, 0.2]))
    assert mean["empty"].shape == (0,)
    np.testing.assert_allclose(norms, np.sqrt(2) * np.float32([0.1, 0.2]), rtol=1e-3)


# What half precision keeps, float32 keeps.
HALF = ["float16", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("bfloat16", "float32"))]


@pytest.mark.parametrize("dtype", HALF)
def test_clipped_means_of_many_rows_keep_their_digits(dtype):
    rows = np.ones(70001, np.float32)
    clipped = jax.jit(T.clipped_mean_grad(lambda w, e: w * e.astype(w.dtype), 0.5))
    mean, norms = clipped(jnp.dtype(dtype).type(1), rows)
    assert float(mean) == pytest.approx(0.5, rel=1e-5)
    assert mean.dtype == dtype
    assert float(norms[0]) == 1.0


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("size", [1024, 70001])
def test_microbatches_of_many_rows_keep_their_digits(dtype, size):
    rows = np.ones(70001, np.float32)
    value_and_grad = jax.jit(T.microbatched_value_and_grad(lambda w, e: w * e.astype(w.dtype), size))
    for weight in (None, np.ones(70001, dtype)):
        value, gradient = value_and_grad(jnp.dtype(dtype).type(3), rows, weight)
        assert (float(value), float(gradient), gradient.dtype) == (3.0, 1.0, dtype)


clipped_gradient = jax.jit(jax.grad(lambda x, s: s * jnp.sum(T.clip_gradient(x, 1.0))))


@pytest.mark.parametrize("scale", [*SCALES, 3e38])
def test_gradients_are_clipped_to_a_norm_of_one(scale):
    gradient = clipped_gradient(np.zeros(100, np.float32), np.float32(scale))
    expected = np.full(100, min(scale, 0.1))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_half_precision_gradients_are_clipped_to_small_norms():
    scaled = lambda x: jnp.sum(T.clip_gradient(x, 1e-3) * jnp.float16(60000)).astype(float)  # noqa: E731
    gradient = jax.jit(jax.grad(scaled))(np.zeros(4, np.float16))
    np.testing.assert_allclose(gradient.astype(float), 5e-4, rtol=1e-3)


def test_a_small_scale_of_a_reversed_half_precision_gradient_is_not_zero():
    of_x = jax.jit(jax.grad(lambda x: (T.reverse_gradient(x, 1e-8) * jnp.float16(60000)).astype(float)))
    assert float(of_x(np.float16(1))) == pytest.approx(-6e-4, rel=1e-3)


@jax.jit
def implicit_derivative(s):
    minimum = T.implicit_minimum(
        lambda x, h: h / 2 * jnp.ones_like(x), lambda x, h: s * jnp.sum((x - h) ** 2 + x**2) * 0.01
    )
    return jax.grad(lambda h: minimum(jnp.zeros(3), h).sum())(3.0)


@pytest.mark.parametrize("scale", SCALES)
def test_implicit_derivatives_do_not_depend_on_the_scale_of_the_objective(scale):
    assert float(implicit_derivative(np.float32(scale))) == pytest.approx(1.5, rel=1e-4)


@jax.jit
def eigenpairs(diagonal):
    count = 1 if diagonal.dtype == jnp.bfloat16 else 3
    return T.eigenpairs(lambda v: diagonal * v, diagonal, jax.random.key(0), count=count)


@pytest.mark.parametrize("scale", SCALES)
def test_eigenpairs_at_any_scale(scale):
    values, _ = eigenpairs(np.float32([1, -5, 2]) * np.float32(scale))
    np.testing.assert_allclose(values, np.array([-5.0, 2.0, 1.0]) * scale, rtol=1e-4)


def test_eigenpairs_of_half_precision_and_of_one_entry():
    values, vectors = eigenpairs(np.array([1, -5, 2], jnp.bfloat16))
    np.testing.assert_allclose(values, [-5.0], rtol=1e-2)
    assert vectors.dtype == "bfloat16"
    values, _ = jax.jit(lambda x: T.eigenpairs(lambda v: 3 * v, x, jax.random.key(0)))(0.0)
    assert float(values[0]) == pytest.approx(3.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e200])
def test_wrong_gradients_are_found_at_any_scale(scale):
    def f(x):
        return scale * (jnp.sum(x["a"] ** 2) + jax.lax.stop_gradient(x["b"]))

    x = {"a": np.ones(3), "b": np.float64(2)}
    assert T.check_grads(f)(x).wrong == ["['b']"]


@jax.jit
def hessian_products(x, v, s):
    of_exp = T.ggnvp(jnp.exp, lambda y: jnp.sum(y**2) * s)
    return T.hvp(lambda x: jnp.sum(x**3) * s)(x, v), of_exp(x, v)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_hessian_products_at_any_scale(scale):
    x, v = np.float32([1, 2]), np.float32([1, 10])
    of_cubes, of_exp = hessian_products(x, v, np.float32(scale))
    np.testing.assert_allclose(of_cubes, 6 * x * v * scale, rtol=1e-6)
    np.testing.assert_allclose(of_exp, np.exp(x) ** 2 * 2 * v * scale, rtol=1e-6)


@pytest.mark.parametrize("length", [0, 1])
def test_empty_and_single_outputs_of_a_jacobian(length):
    assert T.jacobian(lambda x: x[:length])(jnp.ones(3)).shape == (length, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_over_lanes_in_half_precision_are_those_of_vmap(dtype):
    a, b = np.random.default_rng(0).uniform(size=(2, 5, 4, 8)).astype(dtype)
    product = lambda a, b: a @ b.T  # noqa: E731
    actual, expected = jax.jit(lambda a, b: [over(product)(a, b) for over in (T.vmap_last, jax.vmap)])(a, b)
    np.testing.assert_allclose(actual.astype(float), expected.astype(float), rtol=1e-2)


def test_zeros_and_large_numbers_make_no_nan_on_the_way():
    times = lambda w, e: w * e  # noqa: E731

    @jax.jit
    def computed(rows, x):
        return (
            *(
                T.clipped_mean_grad(times, 1.0)(1.0, rows * 1e30),
                T.clipped_mean_grad(times, 1.0)(1.0, rows * 0),
            ),
            T.gradient_noise_scale(times)(1.0, rows * 0),
            T.microbatched_value_and_grad(times, 2)(1.0, rows, np.array([1, 0, 1])),
            jax.grad(lambda x: jnp.sum(T.clip_gradient(x, 1.0) * 0))(x),
        )

    x = np.float32([0.5, 1])
    with jax.debug_nans(True):
        computed(ROWS, x)
        assert T.check_grads(lambda x: jnp.sum(jnp.sin(x)))(x).right
        T.graph(jnp.sin)(x)(x)
        T.explain_retrace(jnp.sin)(x)
        assert T.find_nan(jnp.log)(-x).operation == "log"
