"""Scale features by statistics of the training rows."""

from typing import Literal, TypeVar

import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, Float, PyTree
from funcnet.data._columns import Columns
from funcnet.data._dataset import Dataset, as_dataset

T = TypeVar("T")


@_tree.node
class Scaler:
    """An affine map of features, (x - shift) / scale, fitted to training rows only.

    Args:
        shift: [features], or [] for one number for all features, in the units of x.
        scale: the same shape and units, positive.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> train = fn.data.Dataset((jnp.array([[0.0], [4.0]]), jnp.array([0, 1])))
        >>> scaler = fn.data.Scaler.fit(train, "minmax")
        >>> x, _ = scaler.transform(train)[:]
        >>> x.ravel().tolist(), float(scaler.transform(jnp.array([8.0]))[0])
        ([0.0, 1.0], 2.0)
    """

    shift: Float[Array, "..."]
    scale: Float[Array, "..."]

    @staticmethod
    def fit(
        data: PyTree,
        kind: Literal["standard", "minmax"] = "standard",
        *,
        per_feature: bool = True,
    ) -> "Scaler":
        """Fit a scaler to training rows.

        Args:
            data: a Dataset or tuple (x, ...), or an array x alone: [rows, ..., features].
            kind: "standard" for mean 0 and standard deviation 1 (weighted by the rows' weights),
                "minmax" for the range 0 to 1 (rows of weight zero are ignored).
            per_feature: whether each entry of the last axis has its own shift and scale; if False there is
                one for all.

        Returns:
            A Scaler. A constant feature is shifted but not scaled.

        Raises:
            TypeError: if the data is the raw columns of a table, which an `Encoder` encodes.
            ValueError: if `kind` is neither, or the data is not valid for a Dataset.
        """
        _check.choice("kind", kind, ("standard", "minmax"))
        data = as_dataset(data)
        # In float64 on the host: float32 is not precise enough for sums of squares of 60,000 rows.
        x = np.asarray(_features(data[:]), np.float64)
        weight = np.asarray(data.weights(), np.float64)
        axes = tuple(range(x.ndim - 1)) if per_feature and x.ndim > 1 else tuple(range(x.ndim))
        if kind == "minmax":
            x = x[weight > 0]
            shift, scale = x.min(axes), x.max(axes) - x.min(axes)
        else:
            weight = np.broadcast_to(weight.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
            shift = np.average(x, axes, weight)
            scale = np.sqrt(np.average((x - shift) ** 2, axes, weight))
        # By rounding, a constant column may have a standard deviation of about 1e-16 of its size.
        is_constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
        return Scaler(jnp.asarray(shift, float), jnp.asarray(np.where(is_constant, 1.0, scale), float))

    def transform(self, data: T) -> T:
        """Scale features.

        Args:
            data: an array [..., features], or a Dataset or tuple whose first array is scaled.

        Returns:
            The same type as `data`.
        """
        return self._apply(data, inverse=False)

    def inverse_transform(self, data: T) -> T:
        """Undo `transform`: return features in their original units.

        Args:
            data: as returned by `transform`.

        Returns:
            The same type as `data`.
        """
        return self._apply(data, inverse=True)

    def _apply(self, data: T, *, inverse: bool) -> T:
        if isinstance(data, Dataset):
            return Dataset(self._apply(data.arrays, inverse=inverse), weight=data.weight, rows=data.rows)  # type: ignore[return-value]
        if isinstance(data, tuple):
            return (self._apply(data[0], inverse=inverse), *data[1:])  # type: ignore[return-value]
        x = jnp.asarray(data).astype(float)
        if self.shift.ndim:
            _check.features(self.shift.shape[-1], x)
        shift, scale = jnp.broadcast_to(self.shift, x.shape), jnp.broadcast_to(self.scale, x.shape)
        return x * scale + shift if inverse else (x - shift) / scale  # type: ignore[return-value]


def _features(example: PyTree) -> Array:
    x = example[0] if isinstance(example, tuple | list) else example
    if isinstance(x, Columns):
        raise TypeError(
            "a Scaler expects numbers, got the raw columns of a table with text or gaps. Encode them "
            "first: encoder = Encoder.fit(train); Scaler.fit(encoder.transform(train))."
        )
    return x
