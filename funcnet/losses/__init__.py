"""Losses of one example: `f(prediction, target) -> scalar`. `fit` takes weighted means over batches.

Predictions are the output of the last layer, without a sigmoid or a softmax: the losses include it, fused
and numerically stable. Which loss to use for which task:

| task | last layer | target of one example | loss |
|---|---|---|---|
| a number | "scalar" | number | `squared_error`, `absolute_error`, `huber`, `log_cosh` |
| a number and its variance | 2 | number | `gaussian_nll` |
| a quantile | "scalar" | number | `quantile` |
| a count | "scalar" | 0, 1, 2, … | `poisson` |
| yes or no | "scalar" | 0 or 1 | `binary_cross_entropy`, `focal`, `hinge` |
| yes or no, as two classes | 2 | 0 or 1, or one-hot [2] | `cross_entropy` |
| one of k classes, one-hot | k | floats [k] | `cross_entropy`, `kl_divergence` |
| one of k classes, numbered | k | 0 … k-1 | `cross_entropy` |
| any of k labels | k | 0/1 for each [k] | `multilabel_cross_entropy` |

Predictions and targets are whatever holds numbers; all else raises a TypeError that names the argument.
Settings are keyword-only: `functools.partial(fn.losses.huber, delta=2.0)`. They may be traced, so a sweep
over them compiles once. Log-loss is another name for cross-entropy.

    >>> import functools, jax.numpy as jnp, funcnet as fn
    >>> smooth = functools.partial(fn.losses.cross_entropy, smoothing=0.1)
    >>> loss = fn.losses.supervised(smooth, accuracy=fn.metrics.accuracy)
    >>> value, _ = loss(lambda x: x, (jnp.array([0.0, 4.0]), jnp.array(1)), None)
    >>> round(float(value), 4)
    0.2181
"""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
