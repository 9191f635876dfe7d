"""How uncertain a prediction is, and for which reason."""

from typing import NamedTuple

import numpy as np


class Uncertainty(NamedTuple):
    """The uncertainty of predictions, and its parts: total = aleatoric + epistemic.

    Args:
        total: [rows]: the entropy of the prediction in nats, or the variance in squared units of the
            target; for several targets [rows, outputs].
        aleatoric: the part that more training rows would not reduce, as far as the runs can tell.
        epistemic: the part in which the runs disagree.

    Example:
        >>> import numpy as np
        >>> from funcnet.tabular import Uncertainty
        >>> Uncertainty(np.array([0.7]), np.array([0.5]), np.array([0.2])).total.tolist()
        [0.7]
    """

    total: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def of_probabilities(probabilities: np.ndarray, is_multilabel: bool) -> Uncertainty:
    """Entropy of the mean, mean entropy, and their difference, in nats.

    Args:
        probabilities: [runs, rows, classes], or [runs, rows, labels], whose entropies are summed.
        is_multilabel: whether the last axis holds labels that do not exclude each other.

    Source: Depeweg, Hernández-Lobato, Doshi-Velez, Udluft, "Decomposition of uncertainty in Bayesian deep
    learning for efficient and risk-sensitive learning", 2018.
    """
    total = _entropy(probabilities.mean(axis=0), is_multilabel)
    aleatoric = _entropy(probabilities, is_multilabel).mean(axis=0)
    return Uncertainty(total, aleatoric, np.maximum(total - aleatoric, 0.0))


def of_values(predictions: np.ndarray, residuals: np.ndarray, weight: np.ndarray) -> Uncertainty:
    """The variance between runs, and the mean squared out-of-fold error, which is the same for all rows.

    Args:
        predictions: [runs, rows, ...].
        residuals: out-of-fold errors of the training rows, [rows, ...].
        weight: of these rows, [rows].
    """
    epistemic = predictions.var(axis=0)
    aleatoric = np.broadcast_to(np.average(residuals**2, axis=0, weights=weight), epistemic.shape).copy()
    return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)


def _entropy(p: np.ndarray, is_multilabel: bool) -> np.ndarray:
    parts = [p, 1 - p] if is_multilabel else [p]
    return np.sum([-(q * np.log(np.maximum(q, 1e-300))).sum(axis=-1) for q in parts], axis=0)
