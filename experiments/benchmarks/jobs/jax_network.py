"""The networks as JAX functions of a list of (kernel, bias), written for this benchmark."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from workloads import Weights, Workload

Layers = list[tuple[jax.Array, jax.Array]]
IMAGES = ("NHWC", "HWIO", "NHWC")


def start(work: Workload) -> Layers:
    return [(jnp.array(kernel), jnp.array(bias)) for kernel, bias in work.layers]


def weights(layers: Layers) -> Weights:
    return [np.asarray(part) for layer in layers for part in layer]


def optimizer(work: Workload) -> optax.GradientTransformation:
    return {"adam": optax.adam, "sgd": optax.sgd}[work.optimizer](work.learning_rate)


def outputs(layers: Layers, x: jax.Array, native: bool = False) -> jax.Array:
    """Logits or numbers, [rows, outputs]; convolutions as matrix products, or XLA's own if `native`."""
    for kernel, bias in layers[:-1]:
        x = jax.nn.relu(_affine(x, kernel, bias, native))
        x = _pooled(x) if kernel.ndim == 4 else x
    return _affine(x, *layers[-1], native)


def losses(outputs: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The loss of each row and whether its class is right; for numbers the second is the loss, too."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        loss = (outputs[:, 0] - y) ** 2
        return loss, loss
    # A comparison with an iota, not a gather, whose gradient would be a scatter.
    chosen = jnp.where(jnp.arange(outputs.shape[-1])[None, :] == y[:, None], outputs, 0.0).sum(-1)
    return jax.nn.logsumexp(outputs, axis=-1) - chosen, jnp.float32(jnp.argmax(outputs, -1) == y)


def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, native: bool) -> jax.Array:
    if kernel.ndim == 2:
        y = x.reshape(len(x), -1) @ kernel
    elif native:
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=IMAGES)
    else:
        y = _convolved(x, kernel)
    return y + jnp.broadcast_to(bias, y.shape)


def _convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Matrix products: faster than XLA's convolution on CPUs, above all in loops."""
    rows, _, inputs, out = kernel.shape
    if inputs == 1:
        x = _side_by_side(_side_by_side(x, 2), 1)
        return _product(x, kernel.reshape(-1, out))
    # Patches of one row, all kernel rows in one product, then the sum of the shifted parts.
    each = _product(_side_by_side(x, 2), kernel.transpose(1, 2, 0, 3).reshape(-1, rows * out))
    height = x.shape[1] - rows + 1
    return sum(each[:, i : i + height, :, i * out : (i + 1) * out] for i in range(rows))


def _side_by_side(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis] - 2
    return jnp.concatenate([jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(3)], axis=-1)


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # As one matrix, because the gradient of a product over several axes would copy.
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _pooled(x: jax.Array) -> jax.Array:
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
