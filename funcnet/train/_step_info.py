"""What a step returns beside the state."""

import jax

from funcnet import _tree
from funcnet._types import Array
from funcnet.transform._objective import Totals


@_tree.node
class StepInfo:
    """Loss and metrics of one step, which are not part of the state; of several steps, after a `scan`.

    Args:
        totals: weighted sums over the batch, before the update.
        finite: whether loss and gradient were finite, bool [].

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def loss(model, example, key):
        ...     return (model - example) ** 2
        >>> state = fn.TrainState.create(jnp.array(0.0), optax.sgd(0.1), jax.random.key(0))
        >>> _, info = fn.step(loss, optax.sgd(0.1))(state, jnp.array([1.0, 3.0]))
        >>> float(info.loss), float(info.weight), bool(info.finite)
        (5.0, 2.0, True)
    """

    totals: Totals
    finite: Array

    @property
    def loss(self) -> Array:
        """The batch's mean loss, in the loss's units; NaN if all weights are zero."""
        return self.metrics["loss"]

    @property
    def metrics(self) -> dict[str, Array]:
        """The batch's mean loss and metrics, by name; NaN if all weights are zero."""
        means = Totals.means
        for _ in range(self.weight.ndim):  # infos of several steps, as scan and vmap stack them
            means = jax.vmap(means)
        return means(self.totals)

    @property
    def weight(self) -> Array:
        """The sum of the batch's weights."""
        return self.totals.weight
