"""The networks as JAX functions of a list of (kernel, bias), written for this job alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from workloads import Weights, Workload

Layers = list[tuple[jax.Array, jax.Array]]


def start(work: Workload) -> Layers:
    return [(jnp.array(kernel), jnp.array(bias)) for kernel, bias in work.layers]


def weights(layers: Layers) -> Weights:
    return [np.asarray(part) for layer in layers for part in layer]


def optimizer(work: Workload) -> optax.GradientTransformation:
    return {"adam": optax.adam, "sgd": optax.sgd}[work.optimizer](work.learning_rate)


def outputs(layers: Layers, x: jax.Array) -> jax.Array:
    for kernel, bias in layers[:-1]:
        x = jax.nn.relu(_affine(x, kernel, bias))
        x = _pooled(x) if kernel.ndim == 4 else x
    return _affine(x, *layers[-1])


def losses(outputs: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loss and whether the class is right, for each row; for a number the second is the loss again."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        loss = (outputs[:, 0] - y) ** 2
        return loss, loss
    # Compared with an iota and not gathered: the gradient of a gather is a scatter.
    chosen = jnp.where(jnp.arange(outputs.shape[-1])[None, :] == y[:, None], outputs, 0.0).sum(-1)
    return jax.nn.logsumexp(outputs, axis=-1) - chosen, jnp.float32(jnp.argmax(outputs, -1) == y)


def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    if kernel.ndim == 4:
        # Patches times a matrix: on CPUs, and in loops most of all, faster than XLA's convolution.
        for axis in (2, 1):
            places = range(x.shape[axis] - 2)
            shifted = [jax.lax.slice_in_dim(x, i, i + len(places), axis=axis) for i in range(3)]
            x = jnp.concatenate(shifted, axis=-1)
        kernel = kernel.reshape(-1, kernel.shape[-1])
    else:
        x = x.reshape(len(x), -1)
    y = x @ kernel
    return y + jnp.broadcast_to(bias, y.shape)


def _pooled(x: jax.Array) -> jax.Array:
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
