"""Metrics: of one example, `f(prediction, target) -> scalar`, or a `Metric` computed from sums.

Both can be logged by `supervised(loss, **metrics)`, with the same result for every batch size, and computed
from arrays of predictions and targets by `measure`. Ranking metrics (`roc_auc`, `average_precision`) need
all rows at once and are functions of arrays. Log-loss is `fn.losses.cross_entropy` or
`fn.losses.binary_cross_entropy`.
"""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
