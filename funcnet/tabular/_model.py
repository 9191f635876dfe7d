"""A network with the columns it reads, their scales, and what its outputs mean."""

import dataclasses
from typing import Any

import jax
import numpy as np

from funcnet.data import Dataset, Encoder, Scaler
from funcnet.models import MLP
from funcnet.train import predict


@dataclasses.dataclass(frozen=True)
class TableModel:
    """A network with the columns it reads, their scales, and what its outputs mean.

    Args:
        model: from scaled features [features] to logits [classes], or to a scaled target [].
        scaler: of the features, fitted on the training rows.
        feature_names: the columns, in the order of the features.
        target_name: what is predicted.
        class_names: the name of class 0, 1, …; empty for a regression.
        target_scaler: of the target, in a regression.
        encoder: of columns with text or gaps, fitted on the training rows; None if there were none.
    """

    model: MLP
    scaler: Scaler
    feature_names: tuple[str, ...]
    target_name: str
    class_names: tuple[str, ...] = ()
    target_scaler: Scaler | None = None
    encoder: Encoder | None = None

    @property
    def task(self) -> str:
        """ "classification" or "regression"."""
        return "classification" if self.class_names else "regression"

    def predict(self, features: Any) -> np.ndarray:
        """The class or the target value of each row.

        Args:
            features: [rows, features], in the units of the table; with an encoder, the Columns that
                `encoder.read(path)` gives.

        Returns:
            Class names [rows], or float32 [rows] in the target's units.

        Raises:
            ValueError: if there is no row, another number of features, or a NaN or infinity.
        """
        outputs = self._outputs(features)
        if self.target_scaler is not None:
            return np.asarray(self.target_scaler.inverse_transform(outputs))
        return np.asarray(self.class_names, object)[np.argmax(outputs, axis=-1)]

    def predict_proba(self, features: Any) -> np.ndarray:
        """The probability of each class.

        Args:
            features: as for `predict`.

        Returns:
            float32 [rows, classes]; each row adds up to 1.

        Raises:
            ValueError: for a regression, or as `predict` does.
        """
        if not self.class_names:
            raise ValueError(f"{self.target_name} is a number, not a class, and has no probabilities.")
        return np.asarray(jax.nn.softmax(self._outputs(features)))

    def _outputs(self, features: Any) -> np.ndarray:
        if self.encoder is not None:
            features = self.encoder.transform(features)
            return np.asarray(predict(self.model, self.scaler.transform(Dataset(features))))
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.feature_names):
            raise ValueError(
                f"features are [rows, {len(self.feature_names)}], one column for each of "
                f"{', '.join(self.feature_names)}; got shape {x.shape}."
            )
        return np.asarray(predict(self.model, self.scaler.transform(Dataset(x))))
