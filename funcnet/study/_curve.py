"""Training and validation scores along a setting, each from several runs."""

import dataclasses
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Dataset
from funcnet.train import Fit, Run
from funcnet.train._evaluate import total
from funcnet.train._result import nan_if_not_finite


@dataclasses.dataclass(frozen=True)
class Curve:
    """Training and validation scores along a number of training rows or a capacity.

    Args:
        x_name: what varies along the curve: "training rows" or "capacity".
        x: its values, one for each point.
        scores: loss and metrics of the final weights, in inference mode: [points, repeats] by name.
            "loss" is measured on the training rows, "val_loss" on the validation rows.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> scores = {"loss": np.array([[0.1, 0.3], [0.2, 0.2]]), "val_loss": np.array([[2.0, 4], [1, 1]])}
        >>> curve = fn.study.Curve("training rows", (10, 20), scores)
        >>> curve.mean["val_loss"].tolist(), curve.standard_error["val_loss"].tolist()
        ([3.0, 1.0], [1.0, 0.0])
    """

    x_name: str
    x: tuple[Any, ...]
    scores: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        scores = {
            name: np.asarray(_check.array(f"scores[{name!r}]", score), float)
            for name, score in self.scores.items()
        }
        object.__setattr__(self, "scores", scores)
        for name, score in scores.items():
            if score.ndim != 2 or len(score) != len(self.x) or not score.shape[1]:
                raise ValueError(
                    f"scores[{name!r}] must have shape [points, repeats] with {len(self.x)} points, got "
                    f"{score.shape}."
                )

    def _repr_html_(self) -> str:
        """The means of the scores, for notebooks."""
        from funcnet.study._notebook import show_scores

        repeats = next((score.shape[1] for score in self.scores.values()), 0)
        caption = f"Mean ± standard error of {repeats} runs"
        return show_scores(caption, self.x_name, self.x, self.mean, self.standard_error)

    @property
    def mean(self) -> dict[str, np.ndarray]:
        """The mean of each score over the repeats, [points]."""
        return {name: score.mean(axis=1) for name, score in self.scores.items()}

    @property
    def standard_error(self) -> dict[str, np.ndarray]:
        """The standard error of each mean, sd / √repeats, [points]; NaN for one repeat."""
        errors = {}
        for name, score in self.scores.items():
            repeats = score.shape[1]
            several = repeats > 1
            with np.errstate(invalid="ignore"):  # NaN where a score is infinite
                errors[name] = score.std(axis=1, ddof=1) / repeats**0.5 if several else score[:, 0] * np.nan
        return errors


def train_and_val_scores(train: Fit, run: Run, data: Dataset, valid: Dataset) -> dict[str, Any]:
    """Loss and metrics on training rows, and on validation rows under names that start with "val_".

    They are NaN if the run ended at a loss or gradient that is not finite.
    """
    batch_size = max(1024, train.batch_size)
    scores, val_scores = (
        total(train.loss, run.model, part, min(batch_size, len(part))).means() for part in (data, valid)
    )
    scores |= {f"val_{name}": value for name, value in val_scores.items()}
    return nan_if_not_finite(run.state, scores)
