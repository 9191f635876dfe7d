"""Every transformation computes what calculus says: with jit and without, from NumPy, on several devices.

Left out are those that run on the host and refuse traced arrays: `check_grads`, `find_nan`, graphs and
`explain_retrace`. Four numbers are the rows, so that four devices hold one each.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tables import assert_close

from funcnet import transform as T

X, V = np.float32([0.4, 2.6, -0.9, 1.3]), np.float32([1, -2, 3, 0.5])
W, ONE = np.float32(1.5), np.float32(1)
MEAN, LAST = X.mean(), 3 * X**2


def cubes(x):
    return jnp.sum(x**3)


def times(w, e):
    return w * e


def halved(x, h):
    return h / 2


def squares(x, h):
    return jnp.sum((x - h) ** 2 + x**2)


def gradient_of(change):
    """The gradient of Σ x³ where it passes through `change`."""
    return jax.grad(lambda x: jnp.sum(change(x) ** 3))


def doubled(x):
    return 2 * T.sow(x**2, "squares")


# What is computed, of which arguments, and the result by hand.
CASES = {
    "hvp": (T.hvp(cubes), (X, V), 6 * X * V),
    "ggnvp": (T.ggnvp(jnp.sin, lambda y: jnp.sum(y**2)), (X, V), 2 * np.cos(X) ** 2 * V),
    "jacobian": (T.jacobian(jnp.sin), (X,), np.diag(np.cos(X))),
    "jacobian_in_chunks": (T.jacobian(jnp.sin, chunk=3), (X,), np.diag(np.cos(X))),
    "hessian_diag": (T.hessian_diag(cubes), (X,), 6 * X),
    "eigenpairs": (
        lambda d: T.eigenpairs(lambda v: d * v, d, jax.random.key(0), count=4, iterations=4)[0],
        (X,),
        X[np.argsort(-np.abs(X))],
    ),
    "per_example_grads": (T.per_example_grads(times), (W, X), X),
    "clipped_mean_grad": (
        lambda w, e: T.clipped_mean_grad(times, 1.0)(w, e),
        (W, X),
        (np.clip(X, -1, 1).mean(), np.abs(X)),
    ),
    "gradient_noise_scale": (
        T.gradient_noise_scale(times),
        (W, X + 1),
        np.var(X, ddof=1) / ((MEAN + 1) ** 2 - np.var(X, ddof=1) / 4),
    ),
    "microbatched_value_and_grad": (
        T.microbatched_value_and_grad(times, 2),
        (W, X, V**2),
        (W * np.average(X, weights=V**2), np.average(X, weights=V**2)),
    ),
    "vmap_last": (
        T.vmap_last(lambda x, w: (x, w * x), (0, None)),
        (X, W),
        (X, W * X),
    ),
    "straight_through": (T.straight_through(jnp.round), (X,), np.round(X)),
    "straight_through_backward": (gradient_of(T.straight_through(jnp.round)), (X,), 3 * np.round(X) ** 2),
    "clip_gradient": (T.clip_gradient, (X, ONE), X),
    "clip_gradient_backward": (
        gradient_of(lambda x: T.clip_gradient(x, 1)),
        (X,),
        LAST / np.linalg.norm(LAST),
    ),
    "reverse_gradient": (T.reverse_gradient, (X, ONE), X),
    "reverse_gradient_backward": (gradient_of(lambda x: T.reverse_gradient(x, 2.0)), (X,), -2 * LAST),
    "implicit_minimum": (
        lambda x, h: jax.jacrev(T.implicit_minimum(halved, squares), 1)(x, h),
        (0 * X, X),
        np.eye(4, dtype=np.float32) / 2,
    ),
    "reap": (T.reap(doubled), (X,), (2 * X**2, {"squares": X**2})),
    "plant": (lambda x, v: T.plant(doubled, {"squares": v})(x), (X, V), 2 * V),
    "decompose_primitives": (T.decompose_primitives(doubled), (X,), 2 * X**2),
}
NAMED = [(name, *case) for name, case in CASES.items()]


def assert_computes(f, arguments, expected):
    with jax.debug_nans(True):  # it makes no NaN on its way, either
        assert_close(f(*arguments), jax.tree.map(np.float32, expected))


class TestOnOneDevice(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    @parameterized.named_parameters(NAMED)
    def test_it_computes_what_calculus_says(self, f, arguments, expected):
        assert_computes(self.variant(f), arguments, expected)


def placed(arguments):
    """The arguments over four devices, a row each; scalars on all."""
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
    return [jax.device_put(a, NamedSharding(mesh, PartitionSpec(*("rows",) * a.ndim))) for a in arguments]


class TestOnSeveralDevices(chex.TestCase):
    @chex.variants(with_jit=True)
    @parameterized.named_parameters(NAMED)
    def test_it_computes_what_calculus_says(self, f, arguments, expected):
        assert_computes(self.variant(f), placed(arguments), expected)


@pytest.mark.slow  # each operation is a program of its own
class TestOperationsOnSeveralDevices(chex.TestCase):
    @chex.variants(without_jit=True)
    @parameterized.named_parameters(NAMED)
    def test_it_computes_what_calculus_says(self, f, arguments, expected):
        assert_computes(self.variant(f), placed(arguments), expected)


def test_every_transformation_is_here():
    functions = {name for name in T.__all__ if not isinstance(getattr(T, name), type)}
    on_the_host = {"check_grads", "find_nan", "graph", "load_graph", "explain_retrace"}
    tested = {name.removesuffix("_backward").removesuffix("_in_chunks") for name in CASES}
    assert tested == functions - on_the_host - {"sow"}  # sow is a part of reap
