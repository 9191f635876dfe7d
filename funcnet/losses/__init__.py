"""Losses of one example: `f(prediction, target) -> scalar`. Batches, weights and means are `fit`'s.

Predictions are what the last layer gives, without a sigmoid or a softmax: the losses hold it, fused and
stable. Which loss belongs to which task:

| task | last layer | target of one example | loss |
|---|---|---|---|
| a number | "scalar" | number | squared_error, absolute_error, huber, log_cosh |
| a number and its spread | 2 | number | gaussian_nll |
| a quantile | "scalar" | number | quantile |
| a count | "scalar" | 0, 1, 2, … | poisson |
| yes or no | "scalar" | 0 or 1 | binary_cross_entropy, focal, hinge |
| yes or no, as two classes | 2 | 0 or 1, or one-hot [2] | cross_entropy |
| one of k classes, one-hot | k | floats [k] | cross_entropy, kl_divergence |
| one of k classes, numbered | k | 0 … k-1 | cross_entropy |
| any of k labels | k | 0/1 for each [k] | multilabel_cross_entropy |

Settings are keyword-only: `functools.partial(fn.losses.huber, delta=2.0)`. They may be traced, so a sweep
over them compiles once. Log-loss is the cross-entropies' other name.

    >>> import functools, jax.numpy as jnp, funcnet as fn
    >>> smooth = functools.partial(fn.losses.cross_entropy, smoothing=0.1)
    >>> loss = fn.losses.supervised(smooth, accuracy=fn.metrics.accuracy)
    >>> value, _ = loss(lambda x: x, (jnp.array([0.0, 4.0]), jnp.array(1)), None)
    >>> round(float(value), 4)
    0.2181
"""

from funcnet._compare import absolute_error as absolute_error
from funcnet.losses._batchwise import batchwise as batchwise
from funcnet.losses._classification import binary_cross_entropy as binary_cross_entropy
from funcnet.losses._classification import cross_entropy as cross_entropy
from funcnet.losses._classification import multilabel_cross_entropy as multilabel_cross_entropy
from funcnet.losses._likelihood import gaussian_nll as gaussian_nll
from funcnet.losses._likelihood import kl_divergence as kl_divergence
from funcnet.losses._likelihood import poisson as poisson
from funcnet.losses._margin import focal as focal
from funcnet.losses._margin import hinge as hinge
from funcnet.losses._margin import zero_one as zero_one
from funcnet.losses._penalized import penalized as penalized
from funcnet.losses._regression import huber as huber
from funcnet.losses._regression import log_cosh as log_cosh
from funcnet.losses._regression import quantile as quantile
from funcnet.losses._regression import squared_error as squared_error
from funcnet.losses._supervised import supervised as supervised
