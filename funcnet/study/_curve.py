"""Training and validation scores along a setting, each measured several times."""

import dataclasses
from typing import Any

import numpy as np

from funcnet._types import PyTree
from funcnet.data import Dataset
from funcnet.train import Fit
from funcnet.train._evaluate import total


@dataclasses.dataclass(frozen=True)
class Curve:
    """Scores of training and validation rows along a number of rows or a capacity.

    Args:
        over: what changes along the curve: "training rows" or "capacity".
        places: the values of it, one for each point.
        scores: loss and metrics of the final weights, in inference mode: [points, repeats] by name.
            "loss" is that of the training rows, "val_loss" of the validation rows.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> scores = {"loss": np.array([[0.1, 0.3], [0.2, 0.2]]), "val_loss": np.array([[2.0, 4], [1, 1]])}
        >>> curve = fn.study.Curve("training rows", (10, 20), scores)
        >>> curve.mean["val_loss"].tolist(), curve.standard_error["val_loss"].tolist()
        ([3.0, 1.0], [1.0, 0.0])
    """

    over: str
    places: tuple[Any, ...]
    scores: dict[str, np.ndarray]

    @property
    def mean(self) -> dict[str, np.ndarray]:
        """The mean of each score over the repeats, [points]."""
        return {name: score.mean(axis=1) for name, score in self.scores.items()}

    @property
    def standard_error(self) -> dict[str, np.ndarray]:
        """The standard error of each mean, sd / √repeats, [points]; NaN for one repeat."""
        found = {}
        for name, score in self.scores.items():
            repeats = score.shape[1]
            several = repeats > 1
            found[name] = score.std(axis=1, ddof=1) / repeats**0.5 if several else score[:, 0] * np.nan
        return found


def both_scores(train: Fit, model: PyTree, data: Dataset, valid: Dataset) -> dict[str, Any]:
    """Loss and metrics over training rows, and over validation rows under names with "val_"."""
    most = max(1024, train.batch_size)
    seen, held_out = (total(train.loss, model, part, min(most, len(part))) for part in (data, valid))
    return seen.means() | {f"val_{name}": value for name, value in held_out.means().items()}
