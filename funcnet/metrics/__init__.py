"""Metrics: of one example, `f(prediction, target) -> scalar`, or a `Metric` made of sums over examples.

Both are logged by `supervised(loss, **metrics)`, exactly for every batch size, and both are measured on
whole arrays by `measure`. Rankings (`roc_auc`, `average_precision`) need all rows at once and are functions
of arrays. Log-loss is `fn.losses.cross_entropy` and `fn.losses.binary_cross_entropy`.
"""

from funcnet._compare import absolute_error as absolute_error
from funcnet._metric import Measured as Measured
from funcnet._metric import Metric as Metric
from funcnet.metrics._accuracy import accuracy as accuracy
from funcnet.metrics._accuracy import top_k as top_k
from funcnet.metrics._calibration import brier as brier
from funcnet.metrics._calibration import expected_calibration_error as expected_calibration_error
from funcnet.metrics._counts import confusion_matrix as confusion_matrix
from funcnet.metrics._counts import f1 as f1
from funcnet.metrics._counts import precision as precision
from funcnet.metrics._counts import recall as recall
from funcnet.metrics._measure import measure as measure
from funcnet.metrics._ranking import average_precision as average_precision
from funcnet.metrics._ranking import roc_auc as roc_auc
from funcnet.metrics._regression import r2 as r2
from funcnet.metrics._regression import rmse as rmse
