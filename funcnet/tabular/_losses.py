"""Losses of rows, and the number by which the best epoch of a run is chosen, for each task."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._types import Array

TASKS = ("classes", "labels", "values")
TEMPERATURES = tuple(float(value) for value in 2.0 ** np.linspace(-2, 2, 17))
"""What logits are multiplied with to find the calibrated loss of an epoch."""


def row_losses(task: str, outputs: Array, targets: Array, smoothing: Array | float = 0.0) -> Array:
    """The loss of each row [rows]: nats, or squared standard deviations of the target.

    Args:
        task: "classes", "labels" or "values".
        outputs: [rows, outputs]: logits, or standardised values.
        targets: classes int32 [rows], 0 or 1 [rows, outputs], or standardised values [rows, outputs].
        smoothing: label smoothing, 0 .. 1.
    """
    if task == "classes":
        log_p = jax.nn.log_softmax(outputs)
        true = jnp.take_along_axis(log_p, targets[:, None], axis=1)[:, 0]
        return -((1 - smoothing) * true + smoothing * log_p.mean(axis=1))
    if task == "labels":
        smooth = (1 - smoothing) * targets + smoothing / 2
        return (jax.nn.softplus(outputs) - smooth * outputs).mean(axis=1)
    return ((outputs - targets) ** 2).mean(axis=1)


def validation_scores(
    task: str, outputs: Array, targets: Array, weights: Array, bounds: Array, loss_share: Array | float
) -> tuple[Array, Array]:
    """The validation loss and the number to minimise over epochs.

    The loss of classes and labels is the one after the best temperature, since outputs are calibrated at
    the end (Berta et al., "Rethinking early stopping: refine, then calibrate", 2025).

    Args:
        task: "classes", "labels" or "values".
        outputs: [rows, outputs].
        targets: as for `row_losses`.
        weights: [rows], zero for padding; their sum may be zero.
        bounds: [2, outputs], the range of the training targets.
        loss_share: the weight of the loss, in nats, beside the error rate. The error alone has many ties on
            few rows; the loss alone prefers epochs that are too early for the error.
    """
    total = jnp.maximum(weights.sum(), jnp.finfo(jnp.float32).tiny)

    def mean(values: Array) -> Array:
        return (values * weights).sum() / total

    if task == "values":
        loss = mean(row_losses(task, jnp.clip(outputs, bounds[:1], bounds[1:]), targets))
        return loss, loss
    temperatures = jnp.array(TEMPERATURES, jnp.float32)
    losses = jax.lax.map(lambda t: mean(row_losses(task, outputs * t, targets)), temperatures)
    if task == "classes":
        wrong = (outputs.argmax(axis=1) != targets).astype(jnp.float32)
    else:
        wrong = ((outputs > 0) != (targets > 0.5)).mean(axis=1, dtype=jnp.float32)
    return losses.min(), mean(wrong) + loss_share * losses.min()
