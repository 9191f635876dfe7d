"""Products, Jacobians, eigenpairs, per-example gradients: against dense float64 oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close, marked

import funcnet as fn
from funcnet import transform as T


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def the_key():
    return jax.random.key(0)


def _random(number):
    """A smooth function of a tree, the tree, and a direction: another one for each number."""
    rng = np.random.default_rng(number)
    inner, outer = rng.normal(size=(5, 4)), rng.normal(size=(3, 5))
    bend = [jnp.tanh, jnp.sin, jax.nn.softplus, lambda a: a**3 / 3][number % 4]

    def outputs(x):
        hidden = bend(inner @ x["a"] + x["b"]["c"].sum())
        return outer @ hidden + x["b"]["c"].ravel()[:3]

    def draw():
        return {"a": rng.normal(size=4), "b": {"c": rng.normal(size=(2, 2))}}

    return outputs, lambda x: jnp.sum(jax.nn.logsumexp(outputs(x)) ** 2), draw(), draw()


def _flat(x):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)])


def _back(flat):
    return {"a": flat[:4], "b": {"c": flat[4:].reshape(2, 2)}}


def _dense(f, x):
    return np.asarray(jax.jit(jax.hessian(lambda v: f(_back(v))))(_flat(x)))


# Eight random functions, two of each bend; one of them in the quick suite.
NUMBERS = marked(range(8), slow=range(1, 8))


@pytest.mark.parametrize("number", NUMBERS)
def test_products_and_diagonals_are_those_of_dense_matrices(number):
    outputs, f, x, v = _random(number)
    along = _flat(v)
    loss = lambda y: jax.nn.logsumexp(y) ** 2  # noqa: E731
    tall = lambda x: {"many": jnp.outer(jnp.arange(1.0, 9.0), x["a"]).ravel() ** 2}  # noqa: E731

    @jax.jit
    def computed(x, v):
        return (
            *(T.hvp(f)(x, v), T.hessian_diag(f, chunk=3)(x), T.ggnvp(outputs, loss)(x, v)),
            T.eigenpairs(functools.partial(T.hvp(f), x), x, the_key(), count=3, iterations=8),
            [T.jacobian(outputs, chunk=chunk)(x) for chunk in (None, 2)],
            T.jacobian(tall, chunk=3)(x),
        )

    @jax.jit
    def expected(x):
        flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(x)])
        jac = jax.jacrev(lambda v: outputs(_back(v)))(flat)
        matrix = jac.T @ jax.hessian(loss)(outputs(x)) @ jac
        dense = jax.hessian(lambda v: f(_back(v)))(flat)
        return dense, _back(matrix @ along), jax.jacrev(outputs)(x), jax.jacfwd(tall)(x)

    product, diagonal, gauss_newton, (values, vectors), jacobians, of_tall = computed(x, v)
    dense, by_matrix, whole, whole_of_tall = expected(x)
    dense = np.asarray(dense)
    assert_close(product, _back(dense @ along), factor=100)
    assert_close(diagonal, _back(np.diag(dense)), factor=100)
    eigenvalues = np.linalg.eigvalsh(dense)
    largest = eigenvalues[np.argsort(-np.abs(eigenvalues))][:3]
    np.testing.assert_allclose(values, largest, rtol=1e-6, atol=1e-8)
    for i, value in enumerate(np.asarray(values)):
        one = _flat(jax.tree.map(lambda a, i=i: np.asarray(a)[i], vectors))
        np.testing.assert_allclose(dense @ one, value * one, rtol=1e-5, atol=1e-6)
    assert_close(gauss_newton, by_matrix, factor=100)
    for jacobian in jacobians:
        assert_close(jacobian, whole, factor=100)
    assert_close(of_tall, whole_of_tall, factor=100)


def test_they_compose_with_vmap_and_grad():
    _, f, x, v = _random(1)
    computed = {
        "diagonal": T.hessian_diag(f),
        "jacobian": T.jacobian(f),
        "product": lambda x: T.hvp(f)(x, v),
    }

    def total(x):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves({n: c(x) for n, c in computed.items()}))

    @jax.jit
    def composed(x, v, both):
        alone = [{name: compute(x) for name, compute in computed.items()} for x in (x, v)]
        mapped = {name: jax.vmap(compute)(both) for name, compute in computed.items()}
        return mapped, alone, jax.grad(total)(x), jax.jvp(total, (x,), (v,))[1]

    both = jax.tree.map(lambda a, b: np.stack([a, b]), x, v)
    mapped, alone, gradient, slope = composed(x, v, both)
    assert_close(mapped, jax.tree.map(lambda a, b: np.stack([a, b]), *alone), factor=100)
    np.testing.assert_allclose(_flat(gradient) @ _flat(v), slope, rtol=1e-9)


def test_hutchinsons_diagonal_is_right_within_its_error():
    _, f, x, _ = _random(2)
    dense = _dense(f, x)
    off = dense - np.diag(np.diag(dense))
    error = np.sqrt((off**2).sum(1) / 2000)
    actual = _flat(jax.jit(T.hessian_diag(f, key=the_key(), samples=2000))(x))
    assert (np.abs(actual - np.diag(dense)) <= 5 * error + 1e-9).all()


def test_eigenpairs_where_the_space_is_exhausted():
    values, vectors = jax.jit(lambda x: T.eigenpairs(lambda v: 3 * v, x, the_key(), count=4))(np.zeros(6))
    vectors = np.asarray(vectors)
    np.testing.assert_allclose(values, 3, rtol=1e-6)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-6)


def test_eigenpairs_of_maps_of_low_rank():
    pairs = jax.jit(lambda d: T.eigenpairs(lambda v: d * v, d, the_key(), count=3))
    for diagonal in ([5.0] + [0.0] * 29, [3.0, -3.0] + [0.0] * 28, [0.0] * 30):
        values, _ = pairs(np.array(diagonal))
        np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(diagonal))[-3:], atol=1e-8)


SLOW = ["linear-regression", "mlp", "mlp-dropout"]


# A convolution and a loop over products; the others are slow.
@pytest.mark.parametrize("name", [*("conv-2d", "gru"), *marked(SLOW, slow=SLOW)])
def test_they_work_on_every_quick_model(name):
    case = MODELS[name]
    model = jax.jit(case.net.init)(the_key())
    x = np.random.default_rng(0).normal(size=case.shape)
    parameters, rest = fn._tree.partition(model, fn.trainable(model))

    def f(p):
        return jnp.sum(jnp.sin(fn._tree.combine(p, rest)(x)))

    @jax.jit
    def computed(parameters):
        v, step = jax.tree.map(jnp.ones_like, parameters), 1e-4
        ahead, behind = (
            jax.grad(f)(jax.tree.map(lambda a, b: a + by * b, parameters, v))  # noqa: B023
            for by in (step, -step)
        )
        differences = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
        return T.hvp(f)(parameters, v), differences

    for a, b in zip(*map(jax.tree.leaves, computed(parameters)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 * max(1.0, float(np.abs(b).max())))


def _examples():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(13, 3)), rng.normal(size=13)
    model = {"w": rng.normal(size=3), "b": np.float64(0.5)}

    def f(model, example):
        return (example[0] @ model["w"] + model["b"] - example[1]) ** 2

    return f, model, (x, y)


def _gradients():
    """The gradient of each of the examples, by hand."""
    _, model, (x, y) = _examples()
    slope = 2 * (x @ model["w"] + model["b"] - y)
    return {"w": slope[:, None] * x, "b": slope}


def test_examples_one_by_one_clipped_and_accumulated():
    f, model, data = _examples()
    stacked, weight = _gradients(), np.arange(13.0)

    @jax.jit
    def computed(model, data, weight):
        parts = [T.microbatched_value_and_grad(f, size)(model, data, weight) for size in (4, 20)]
        return (
            *(T.per_example_grads(f)(model, data), T.clipped_mean_grad(f, 2.0)(model, data), parts),
            T.gradient_noise_scale(f)(model, data),
        )

    each, (mean, norms), parts, noise = computed(model, data, weight)
    assert_close(each, stacked)
    lengths = np.sqrt((stacked["w"] ** 2).sum(1) + stacked["b"] ** 2)
    np.testing.assert_allclose(norms, lengths, rtol=1e-9)
    factor = np.minimum(1, 2.0 / lengths)
    assert_close(mean, jax.tree.map(lambda g: np.tensordot(factor, g, 1) / 13, stacked))
    gradient = jax.tree.map(lambda g: np.tensordot(weight, g, 1) / weight.sum(), stacked)
    value = np.sum(weight * stacked["b"] ** 2 / 4) / weight.sum()
    for part in parts:
        assert_close(part, (value, gradient), factor=10)
    matrix = np.concatenate([stacked["w"], stacked["b"][:, None]], 1)
    spread = np.trace(np.cov(matrix.T))
    scale = spread / ((matrix.mean(0) ** 2).sum() - spread / 13)
    assert float(noise) == pytest.approx(scale, rel=1e-9) if scale > 0 else np.isinf(noise)


@pytest.mark.parametrize("bend", [None, 0.3])
def test_a_clipped_mean_is_that_of_the_gradients_whatever_their_derivatives_are(bend):
    f, model, data = _examples()
    bent = f if bend is None else lambda m, e: f(T.clip_gradient(m, bend), e)

    @jax.jit
    def computed(model, data):
        each = T.per_example_grads(bent)(model, data)
        factor = jnp.minimum(1, 0.2 / jax.vmap(optax.tree.norm)(each))
        expected = jax.tree.map(lambda g: jnp.tensordot(factor, g, 1) / 13, each)
        return factor, T.clipped_mean_grad(bent, 0.2)(model, data)[0], expected

    factor, mean, expected = computed(model, data)
    assert 0 < float(factor.min()) < 0.9
    assert_close(mean, expected)
    assert np.linalg.norm(_flat(mean)) <= 0.2


def test_a_gradient_whose_square_overflows_is_clipped_to_the_same_norm():
    rows = np.float32([[3e30, -4e30], [0.0, 0.5]])
    mean, _ = jax.jit(T.clipped_mean_grad(lambda w, x: w @ x, 1.0))(np.zeros(2, np.float32), rows)
    np.testing.assert_allclose(mean, [0.3, (-0.8 + 0.5) / 2], rtol=1e-6)


def test_per_example_gradients_are_computed_in_the_layout_of_the_parameters():
    x, model = np.ones((7, 3)), jax.eval_shape(fn.Linear(3, 4).init, the_key())
    grads = T.per_example_grads(lambda m, x: jnp.sum(m(x) ** 2))
    text = jax.jit(grads).lower(model, x).as_text()
    assert "tensor<7x3x4xf" in text
    assert "tensor<7x4x3xf" not in text


def test_a_minimum_is_differentiated_as_one():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 4)), rng.normal(size=20)

    def objective(w, log_decay):
        return jnp.sum((a @ w - b) ** 2) / 2 + jnp.exp(log_decay) * jnp.sum(w**2) / 2

    def solve(start, log_decay):
        step = 1 / (np.linalg.norm(a, 2) ** 2 + 10)
        return jax.lax.fori_loop(0, 3000, lambda i, w: w - step * jax.grad(objective)(w, log_decay), start)

    def closed(log_decay):
        return jnp.linalg.solve(a.T @ a + jnp.exp(log_decay) * jnp.eye(4), a.T @ b)

    @jax.jit
    def computed(log_decay):
        minimum = functools.partial(T.implicit_minimum(solve, objective), jnp.zeros(4))
        found = minimum(log_decay), jax.jacrev(minimum)(log_decay), jax.jacfwd(minimum)(log_decay)
        return found, closed(log_decay), jax.jacfwd(closed)(log_decay)

    (found, *derivatives), expected, derivative = computed(0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for actual in derivatives:
        np.testing.assert_allclose(actual, derivative, rtol=1e-5)


@jax.custom_vjp
def doubled_wrongly(x):
    return 2 * x


doubled_wrongly.defvjp(lambda x: (2 * x, None), lambda _, cotangent: (3 * cotangent,))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_gradient_is_located_in_its_leaf(number):
    _, f, x, _ = _random(number)
    assert T.check_grads(f)(x).right
    check = T.check_grads(lambda x: f({"a": doubled_wrongly(x["a"]), "b": x["b"]}))(x)
    assert check.wrong == ["['a']"]
    assert "wrong in ['a']" in str(check)


def test_nan_is_not_a_right_gradient():
    assert not T.check_grads(lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0)))(jnp.zeros(3)).right
    assert T.check_grads(lambda x: jnp.sum(jnp.sin(1e7 * x)))(jnp.array([1e-8])).right


def test_rows_of_weight_zero_may_hold_anything_and_sums_are_wide():
    value, gradient = jax.jit(T.microbatched_value_and_grad(lambda w, x: w * jnp.log(x), 2))(
        1.0, np.array([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.0])
    )
    assert float(value) == float(gradient) == pytest.approx(np.log(2) / 2)
    half = jnp.bfloat16
    value, gradient = jax.jit(T.microbatched_value_and_grad(lambda w, x: w * x, 1))(
        half(1), np.ones(1000, half)
    )
    assert (float(value), float(gradient), gradient.dtype) == (1.0, 1.0, half)


def test_a_nan_made_of_infinities_is_found():
    masked = jnp.full(3, -jnp.inf)
    assert T.find_nan(jax.nn.softmax)(masked).operation in ("sub", "div")
    assert T.find_nan(lambda x: x + 1)(jnp.array([1.0, jnp.nan])).operation == "argument"
    assert (
        T.find_nan(lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)))(jnp.array([1.0, -1.0])) is None
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: T.hvp(lambda x: x)(jnp.ones(2), jnp.ones(2)), "must return a scalar, got"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2, int), jnp.ones(2)), "must be floating to be differentiated"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), jnp.ones(3)), "v must have the shapes of x"),
        (lambda: T.hvp(jnp.sum)(jnp.ones(2), (jnp.ones(2),)), "v must have the structure of x"),
        (lambda: T.jacobian(jnp.sin)(jnp.ones(2, int)), "must be floating to be differentiated"),
        (lambda: T.jacobian(lambda x: x > 0)(jnp.ones(2)), "the result of f must be floating"),
        (lambda: T.jacobian(3), "function of arrays"),
        (
            lambda: T.per_example_grads(lambda w, x: w * x)(jnp.ones(2), jnp.ones((3, 2))),
            "must return a scalar",
        ),
        (lambda: T.check_grads(lambda x: x)(jnp.ones(2)), "must return a scalar"),
        (
            lambda: T.eigenpairs(lambda v: v, jnp.ones(2, int), the_key()),
            "must be floating to be differentiated",
        ),
    ],
)
def test_functions_without_a_derivative_raise(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_half_precision_is_clipped_by_lengths_that_do_not_vanish():
    w, rows = np.zeros(10_000, np.float16), np.full((1, 10_000), 1e-4, np.float16)
    mean, lengths = jax.jit(T.clipped_mean_grad(lambda w, x: jnp.sum(w * x), 0.005))(w, rows)
    assert float(lengths[0]) == pytest.approx(0.01, rel=1e-2)
    assert np.linalg.norm(np.asarray(mean, float)) <= 0.0051


def test_an_infinite_second_derivative_leaves_the_others_alone():
    diagonal = fn.transform.hessian_diag(lambda x: jnp.sum(x**1.5))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(diagonal, [np.inf, 0.75], rtol=1e-6)


def test_a_nan_is_found_where_rows_of_a_vmap_end_apart():
    def f(n, x):
        return jax.lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * x), (0, 1.0))[1]

    n = jnp.array([1, 3])
    assert fn.transform.find_nan(jax.vmap(f))(n, jnp.array([2.0, 3.0])) is None
    found = fn.transform.find_nan(jax.vmap(lambda n, x: jnp.log(f(n, x))))(n, jnp.array([2.0, -3.0]))
    assert found.operation == "log"
