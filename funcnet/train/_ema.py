"""Exponential moving averages of weights, as an optimizer that wraps the optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet._types import Array, PyTree
from funcnet.train._optimizer import EmaState, first_state, update_optimizer


def with_ema(
    optimizer: optax.GradientTransformation, decay: float | Array
) -> optax.GradientTransformationExtraArgs:
    """`optimizer`, with a bias-corrected moving average of the parameters in its state.

    average ← average + (parameters - average) · (1 - decay) / (1 - decay^t). After the first update the
    average is equal to the parameters; the untrained initial parameters do not contribute to it. It is kept
    in at least float32: in bfloat16 a change of less than 1/256 would be rounded away.

    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the
    correction is that of Kingma, Ba, "Adam", 2015.
    """

    def init(parameters: PyTree) -> EmaState:
        return EmaState(first_state(optimizer, parameters), to_float32(parameters), jnp.zeros(()))

    def update(updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        updates, inner_state = update_optimizer(optimizer, updates, state.inner, params, extra)
        # One share for both: in float32, 1 - 0.9999 is another number than in Python.
        share = jnp.asarray(1 - decay, state.correction.dtype)
        correction = state.correction + (1 - state.correction) * share
        rate = share / correction
        average = jax.tree.map(
            lambda a, p: a + (p - a) * rate.astype(a.dtype),
            state.average,
            to_float32(optax.apply_updates(params, updates)),
        )
        return updates, EmaState(inner_state, average, correction)

    return optax.GradientTransformationExtraArgs(init, update)


def to_float32(tree: PyTree) -> PyTree:
    """Floating leaves of less than 32 bits as float32; the others as they are."""

    def promote(a: Array) -> Array:
        is_half = jnp.issubdtype(a.dtype, jnp.floating) and a.dtype.itemsize < 4
        return a.astype(jnp.float32) if is_half else a

    return jax.tree.map(promote, tree)
