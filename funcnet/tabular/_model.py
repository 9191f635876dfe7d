"""A network with its preprocessing and the meaning of its outputs."""

import dataclasses
from typing import Any

import jax
import numpy as np

from funcnet import _check
from funcnet.data import Dataset, Encoder, Scaler
from funcnet.data._dataset import host_arrays
from funcnet.models import MLP
from funcnet.train import predict


@dataclasses.dataclass(frozen=True)
class TableModel:
    """A network with its preprocessing and the meaning of its outputs.

    Args:
        model: maps scaled features [features] to logits [classes], or to a scaled target [].
        scaler: scaler of the features, fitted on the training rows.
        feature_names: names of the columns, in the order of the features.
        target_name: name of the predicted column.
        class_names: the name of class 0, 1, …; empty for a regression.
        target_scaler: scaler of the target of a regression.
        encoder: encoder of columns with text or missing values, fitted on the training rows; None if there
            are no such columns.
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
        """The predicted class or target value of each row.

        Args:
            features: [rows, features], in the units of the table; with an encoder, the Columns returned
                by `encoder.read(path)`.

        Returns:
            Class names [rows], or float32 [rows] in the target's units; float64 if the target has digits
            that float32 can't hold.

        Raises:
            ValueError: if there are no rows, the number of features is wrong, or a value is not finite.
        """
        outputs = self._outputs(features)
        if self.target_scaler is not None:
            needs_float64 = not self.target_scaler._float32_suffices
            outputs = outputs.astype(np.float64) if needs_float64 else outputs
            return np.asarray(self.target_scaler.inverse_transform(outputs))
        return np.asarray(self.class_names, object)[np.argmax(outputs, axis=-1)]

    def predict_proba(self, features: Any) -> np.ndarray:
        """The predicted probability of each class.

        Args:
            features: as for `predict`.

        Returns:
            float32 [rows, classes]; each row sums to 1.

        Raises:
            ValueError: if the task is a regression, or as for `predict`.
        """
        if not self.class_names:
            raise ValueError(
                f"the target must be a class to have probabilities, got the numeric target "
                f"{self.target_name}. Use predict(features)."
            )
        return np.asarray(jax.nn.softmax(self._outputs(features)))

    def _outputs(self, features: Any) -> np.ndarray:
        if self.encoder is not None:
            x = self.encoder.transform(features)
        else:
            x = _check.array("features", features)
            if x.ndim != 2 or x.shape[1] != len(self.feature_names):
                raise ValueError(
                    f"features must have shape [rows, {len(self.feature_names)}], one column for each of "
                    f"{', '.join(self.feature_names)}, got shape {x.shape}."
                )
        x = host_arrays(x)
        if np.can_cast(x.dtype, np.float32) and not self.scaler._float32_suffices:
            raise ValueError(
                "features must be float64, since float32 can't hold the digits of a column that this model "
                f"was trained on, got {x.dtype}. Pass NumPy's float64, or the rows of a file."
            )
        return np.asarray(predict(self.model, Dataset(self.scaler.transform(x))))
