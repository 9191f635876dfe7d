"""Scale features by statistics of the training rows."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, Float, PyTree
from funcnet.data._dataset import Dataset, host_arrays

T = TypeVar("T")

ADVICE = (
    "Even after scaling they are too close together: drop or clip the values that are far from the others, "
    "or use differences."
)


@_check.usage("fn.data.Scaler.fit(data).transform(data)")
@_tree.node
class Scaler:
    """An affine map of features, (x - shift) / scale, fitted to training rows only.

    NumPy's float64 and integers are scaled in float64 and narrowed to JAX's floats afterwards, so that
    columns whose digits float32 can't hold, such as times in seconds since 1970, keep them:

    >>> import numpy as np, jax.numpy as jnp, funcnet as fn
    >>> seconds = 1.7e9 + np.arange(60.0)[:, None]
    >>> scaled = fn.data.Scaler.fit(seconds).transform(seconds)
    >>> len(np.unique(seconds.astype(np.float32))), len(np.unique(scaled))
    (1, 60)

    Args:
        shift: [features], or [] for one number for all features, in the units of x; float64 of NumPy's if
            it was fitted.
        scale: the same shape and units, positive.

    Raises:
        TypeError: if an argument holds no numbers.
        ValueError: if the shapes differ, `scale` is not positive, or a value is not finite.

    Example:
        >>> train = fn.data.Dataset((jnp.array([[0.0], [4.0]]), jnp.array([0, 1])))
        >>> scaler = fn.data.Scaler.fit(train, "minmax")
        >>> x, _ = scaler.transform(train)[:]
        >>> x.ravel().tolist(), float(scaler.transform(jnp.array([8.0]))[0])
        ([0.0, 1.0], 2.0)
    """

    shift: Float[Array | np.ndarray, "..."]
    scale: Float[Array | np.ndarray, "..."]

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            value = _check.array(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if _tree.is_concrete(value) and not np.isfinite(np.asarray(value)).all():
                raise ValueError(f"{name} must be finite, got {value}.")
        if _tree.is_concrete(self.scale) and not (np.asarray(self.scale) > 0).all():
            raise ValueError(f"scale must be above 0, got {self.scale}.")
        _check.same_shape("scale", self.scale, "shift", self.shift)

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
            TypeError: if the data holds no numbers.
            ValueError: if `kind` is neither, the data is not valid for a Dataset, or a feature, even when
                it is scaled, has more than 1 % of distinct values that would become equal in float32.
        """
        _check.choice("kind", kind, ("standard", "minmax"))
        _check.boolean("per_feature", per_feature)
        return fit_scaler(data, kind, per_feature=per_feature)

    def transform(self, data: T) -> T:
        """Scale features.

        Args:
            data: an array [..., features], or a Dataset or tuple whose first array is scaled.

        Returns:
            The same Dataset or tuple with scaled features, or the features: JAX's floats, float32 unless
            jax_enable_x64 is set.

        Raises:
            TypeError: if the features are not numbers.
            ValueError: if their number is not that of the scaler, or a scaled value does not fit in
                float32.
        """
        return self._apply(data, inverse=False)

    def inverse_transform(self, data: T) -> T:
        """Undo `transform`: return features in their original units.

        Args:
            data: as returned by `transform`. To get the digits that float32 can't hold, pass NumPy's
                float64, `np.asarray(z, np.float64)`.

        Returns:
            The same Dataset or tuple, or the features: JAX's floats, or float64 of NumPy's if `data` is.

        Raises:
            TypeError: if the features are not numbers.
            ValueError: if their number is not that of the scaler, or the digits of the original units don't
                fit in float32: one standard deviation would have fewer than 1024 steps.
        """
        return self._apply(data, inverse=True)

    @property
    def _float32_suffices(self) -> bool:
        """Whether float32 divides each `scale`, in the original units, into at least 1024 steps."""
        if not _tree.is_concrete(self):
            return True
        if not self._is_in_range:
            return False
        step = np.spacing(np.abs(np.asarray(self.shift)).astype(np.float32))
        return bool((step <= np.asarray(self.scale) / 1024).all())

    @property
    def _is_in_range(self) -> bool:
        """Whether float32 holds the shift, and a thousand times the scale or a thousandth of it."""
        low, high = 1024 * float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max) / 1024
        size, scale = np.abs(np.asarray(self.shift)), np.asarray(self.scale)
        return bool(((low <= scale) & (scale <= high) & (size <= high)).all())

    def _apply(self, data: T, *, inverse: bool) -> T:
        if isinstance(data, Dataset):
            return Dataset(self._apply(data.arrays, inverse=inverse), weight=data.weight, rows=data.rows)  # type: ignore[return-value]
        if isinstance(data, tuple) and data:
            return (self._apply(data[0], inverse=inverse), *data[1:])  # type: ignore[return-value]
        x = _check.array("x", data)
        if np.ndim(self.shift):
            _check.features(np.shape(self.shift)[-1], x)
        if _tree.is_concrete((self, x)) and not np.can_cast(x.dtype, np.float32):
            wide = _check.to_float64("x", x)
            return self._apply_in_float64(wide, inverse=inverse)  # type: ignore[return-value]
        if _tree.is_concrete(self) and not (self._float32_suffices if inverse else self._is_in_range):
            raise ValueError(
                "x must be float64 of NumPy's, since float32 can't hold the digits of the original units, "
                f"got {x.dtype}. Try np.asarray(x, np.float64)."
            )
        x = jnp.asarray(x).astype(float)
        high, low = _parts(self.shift)
        high, low, scale = (
            jnp.broadcast_to(jnp.asarray(a, float), x.shape) for a in (high, low, self.scale)
        )
        return x * scale + high if inverse else (x - high - low) / scale  # type: ignore[return-value]

    def _apply_in_float64(self, x: np.ndarray, *, inverse: bool) -> Array | np.ndarray:
        """The same on the host; what is scaled is narrowed afterwards, what is not keeps its digits."""
        shift, scale = np.asarray(self.shift, np.float64), np.asarray(self.scale, np.float64)
        return x * scale + shift if inverse else _check.to_float32("scaled x", (x - shift) / scale)


def fit_scaler(
    data: PyTree,
    kind: Literal["standard", "minmax"] = "standard",
    *,
    per_feature: bool = True,
    name: str = "x",
    columns: Sequence[str] = (),
) -> Scaler:
    """`Scaler.fit`, whose messages name the features by `name` and `columns`."""
    _check.concrete("Scaler.fit", data)
    given = _features(host_arrays(data))
    x = _check.to_float64(name, given)
    if not x.size:
        raise ValueError(f"{name} of the data must have at least one feature, got shape {x.shape}.")
    weight = np.asarray(data.weights(), np.float64) if isinstance(data, Dataset) else np.ones(len(x))
    axes = tuple(range(x.ndim - 1)) if per_feature and x.ndim > 1 else tuple(range(x.ndim))
    counted = x[weight > 0]
    size = _power_of_two(np.abs(counted).max(axes))  # so that no sum or square overflows or vanishes
    if kind == "minmax":
        shift = counted.min(axes)
        scale = size * (counted.max(axes) / size - shift / size)
    else:
        weight = np.broadcast_to(weight.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
        shift = size * np.average(x / size, axes, weight)
        # In two passes: the difference of a mean square and a squared mean has no digits left.
        size = _power_of_two(np.abs(counted - shift).max(axes))
        scale = size * np.sqrt(np.average(((x - shift) / size) ** 2, axes, weight))
    # By rounding, a constant column may have a standard deviation of about 1e-16 of its size.
    is_constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(shift)
    scaler = Scaler(shift, np.where(is_constant, 1.0, scale))
    if not isinstance(given, jax.Array):
        _check.keeps_digits(name, (x - shift) / scaler.scale, columns, ADVICE)
    return scaler


def _parts(shift: Any) -> tuple[Any, Any]:
    """A shift in JAX's floats, and what rounding it took away: the half of a unit in the last place of a
    mean of 10,000 is 0.0005, which is many digits of features that differ by 1."""
    if not isinstance(shift, np.ndarray):
        return shift, 0.0
    high = shift.astype(jax.dtypes.canonicalize_dtype(float))
    return high, shift - high


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """A power of two near each number, or 1 for 0: dividing by it rounds nothing."""
    return np.ldexp(1.0, np.where(size > 0, np.frexp(size)[1] - 1, 0))


def _features(example: PyTree) -> Any:
    x = example[0] if isinstance(example, tuple | list) else example
    if not hasattr(x, "dtype"):
        raise TypeError(
            "data of a Scaler must be an array of features, or a Dataset or tuple that begins with one, "
            f"got {_check.describe(x)}. Try Scaler.fit((x, y))."
        )
    return x
