"""Exponential moving averages of weights, as an optimizer that wraps the optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcnet._types import Array, PyTree


class EmaState(NamedTuple):
    """The state of `with_ema`: the inner state, the average, and 1 - decay^updates."""

    inner: PyTree
    average: PyTree
    correction: Array


def with_ema(
    optimizer: optax.GradientTransformation, decay: float | Array
) -> optax.GradientTransformationExtraArgs:
    """`optimizer`, with a bias-corrected moving average of the parameters in its state.

    average ← average + (parameters - average) · (1 - decay) / (1 - decay^t). After the first update the
    average is equal to the parameters; the untrained initial parameters do not contribute to it.

    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the
    correction is that of Kingma, Ba, "Adam", 2015.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(parameters: PyTree) -> EmaState:
        return EmaState(inner.init(parameters), parameters, jnp.zeros(()))

    def update(updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        correction = state.correction + (1 - state.correction) * (
            1 - jnp.asarray(decay, state.correction.dtype)
        )
        rate = (1 - decay) / correction
        average = jax.tree.map(
            lambda a, p: a + (p - a) * rate.astype(a.dtype),
            state.average,
            optax.apply_updates(params, updates),
        )
        return updates, EmaState(inner_state, average, correction)

    return optax.GradientTransformationExtraArgs(init, update)
