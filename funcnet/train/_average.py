"""Exponential moving averages of weights, as an optimizer around the optimizer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcnet._types import Array, PyTree


class Averaged(NamedTuple):
    """The state of `averaging`: the inner optimizer's state, the average and 1 - decay^updates."""

    inner: PyTree
    average: PyTree
    mass: Array


def averaging(
    optimizer: optax.GradientTransformation, decay: float | Array
) -> optax.GradientTransformationExtraArgs:
    """`optimizer`, with a bias-corrected moving average of the parameters in its state.

    average ← average + (parameters - average) · (1 - decay) / (1 - decay^t): after one update it is
    the parameters themselves, and the start, which was never trained, has no part in it.

    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the
    correction is that of Kingma, Ba, "Adam", 2015.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(parameters: PyTree) -> Averaged:
        return Averaged(inner.init(parameters), parameters, jnp.zeros(()))

    def update(updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        mass = state.mass + (1 - state.mass) * (1 - jnp.asarray(decay, state.mass.dtype))
        rate = (1 - decay) / mass
        average = jax.tree.map(
            lambda a, p: a + (p - a) * rate.astype(a.dtype),
            state.average,
            optax.apply_updates(params, updates),
        )
        return updates, Averaged(inner_state, average, mass)

    return optax.GradientTransformationExtraArgs(init, update)
