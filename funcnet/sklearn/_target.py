"""Targets: classes that survive to the letter, labels, and numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from funcnet import _check
from funcnet.tabular import _frame
from funcnet.tabular._targets import LARGEST_TARGET


@dataclasses.dataclass(frozen=True, eq=False)
class ClassTarget:
    """Classes or labels as numbers.

    Args:
        task: "classes", or "labels" for several that do not exclude each other.
        classes: the classes as they came, sorted; of labels their numbers.
        numbers: int32 [rows], or 0 and 1 [rows, labels].
    """

    task: Literal["classes", "labels"]
    classes: np.ndarray
    numbers: np.ndarray


def encode_classes(y: Any, count: int, rows: np.ndarray, classes: np.ndarray | None = None) -> ClassTarget:
    """Number the classes of a target.

    Args:
        y: labels [rows], or 0 and 1 [rows, labels].
        count: the number of rows of X.
        rows: the numbers of the rows that are used.
        classes: the classes, if they are known; they may include some that are not in y.

    Raises:
        ValueError: if y is missing somewhere, continuous, a date, or has only one class.
    """
    y = _to_array(y, count)
    if y.dtype.kind in "Mm" or (
        y.dtype == object and isinstance(next(iter(y.ravel()), None), _frame.DATES)
    ):
        raise ValueError(
            "Unknown label type: y must hold classes, got dates. Predict numbers with a regressor, such as "
            "days since the first date."
        )
    if y.dtype == object:
        y = _of_one_kind(y)
    if y.dtype.kind == "f":
        _check_finite(y)
    check_classification_targets(y)
    if type_of_target(y, input_name="y") == "multilabel-indicator":
        return ClassTarget("labels", np.arange(y.shape[1]), y[rows].astype(np.int32))
    present, numbers = np.unique(column_or_1d(y, warn=True)[rows], return_inverse=True)
    if classes is None:
        if len(present) < 2:
            only = present.tolist()[0]
            raise ValueError(f"y must hold at least two classes, got only one class: {only!r}.")
        return ClassTarget("classes", present, numbers.astype(np.int32))
    place = np.searchsorted(classes, present)
    is_known = (place < len(classes)) & (classes[np.minimum(place, len(classes) - 1)] == present)
    if not is_known.all():
        raise ValueError(
            f"y must hold only the classes of the first call, {classes.tolist()}, got "
            f"{present[~is_known].tolist()}."
        )
    return ClassTarget("classes", classes, place[numbers].astype(np.int32))


def check_classes(estimator: Any, classes: Any, is_first: bool) -> np.ndarray:
    """The classes of a `partial_fit`, which its first call must name.

    Raises:
        ValueError: if it does not, or a later call names others.
    """
    if is_first and classes is None:
        raise ValueError("classes must be passed on the first call to partial_fit. Try np.unique(y).")
    known = estimator.classes_ if classes is None else np.unique(_to_classes(classes))
    if len(known) < 2:
        raise ValueError(f"classes must be at least two, got {known.tolist()}. Try np.unique(y).")
    if not is_first and not np.array_equal(known, estimator.classes_):
        raise ValueError(
            f"classes must be those of the first call, {estimator.classes_.tolist()}, got {known.tolist()}."
        )
    return known


def check_not_balanced(class_weight: Any) -> None:
    """Raise a ValueError if the rows of one call of `partial_fit` would decide the weights of classes."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            "class_weight must be a dictionary or None for partial_fit, got 'balanced': each call would "
            "weigh classes by its own rows. Try dict(zip(classes, compute_class_weight('balanced', "
            "classes=classes, y=y_of_all_rows)))."
        )


def _to_classes(classes: Any) -> np.ndarray:
    values = np.asarray(_values(classes))
    if values.ndim != 1:
        raise ValueError(f"classes must be a list of classes, got {_check.describe(classes)}.")
    if isinstance(classes, list | tuple) and values.dtype.kind == "U":  # some may be numbers
        values = np.array(classes, object)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"classes must be finite, got {values.tolist()}.")
    return _of_one_kind(values, "classes") if values.dtype == object else values


def weigh_classes(class_weight: Any, classes: np.ndarray, numbers: np.ndarray) -> Any:
    """What the weight of each row is multiplied by: 1.0, or float64 [rows].

    Args:
        class_weight: "balanced", for rows / (classes · rows of the class); a dictionary {class: weight}, in
            which others have weight 1; or None for 1.0.
        classes: all classes, also those of which there is no row.
        numbers: the class of each row, counted from 0.

    Raises:
        TypeError: if it is something else, or a weight is not a number.
        ValueError: if a weight is out of range, a class is missing while another is unknown, or all rows
            would have weight 0.
    """
    if class_weight is None:
        return 1.0
    if isinstance(class_weight, Mapping):
        for label, weight in class_weight.items():
            _check.between(f"class_weight[{label!r}]", weight, 0.0, np.inf)
    elif not isinstance(class_weight, str) or class_weight != "balanced":
        raise TypeError(
            "class_weight must be 'balanced', a dictionary {class: weight} or None, got "
            f"{_check.describe(class_weight)}. Try class_weight='balanced'."
        )
    names = classes.tolist()
    if isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in names]
        if unknown and not set(names) <= set(class_weight):
            raise ValueError(
                f"class_weight must be of classes of y, {_check.describe(names)}, got a weight of "
                f"{unknown[0]!r}."
            )
        weights = np.array([float(class_weight.get(name, 1.0)) for name in names])
    else:
        rows = np.bincount(numbers, minlength=len(names))
        weights = len(numbers) / (np.count_nonzero(rows) * np.maximum(rows, 1))
    of_rows: np.ndarray = weights[numbers]
    if not of_rows.any():
        raise ValueError("class_weight must be above 0 for a class of y: all rows would have weight 0.")
    return of_rows


def encode_values(y: Any, rows: int) -> np.ndarray:
    """A target of numbers: float64 [rows], or [rows, outputs] for several.

    Raises:
        TypeError: if it holds dates or text.
        ValueError: if a value is missing, infinite or above 1e150.
    """
    y = _to_array(y, rows)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.dtype.kind in "Mm" or (y.dtype == object and any(isinstance(v, _frame.DATES) for v in y.ravel())):
        raise TypeError("y must hold numbers, got dates. Try (y - y.min()) / np.timedelta64(1, 'D').")
    if y.dtype.kind == "c":
        raise ValueError("Complex data not supported: y must be real. Try np.abs(y).")
    try:
        values = y.astype(np.float64)  # of Decimal objects, too
    except (TypeError, ValueError):
        text = next(v for v in y.ravel().tolist() if not _is_number(v))
        raise ValueError(f"y must hold numbers, got {text!r}. Predict text with a classifier.") from None
    _check_finite(values)
    if (np.abs(values) > LARGEST_TARGET).any():
        raise ValueError(
            f"y must be at most {LARGEST_TARGET:.0e} in size, got {np.abs(values).max():.3g}. "
            "Try larger units."
        )
    return values


class ValueTargets(RegressorMixin):
    """An estimator whose target is numbers [rows], or [rows, outputs]."""

    _shape: tuple[int, ...]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _encode_y(self, y: Any, count: int, numbers: np.ndarray, is_first: bool) -> np.ndarray:
        """The target of some rows."""
        target = encode_values(y, count)[numbers]
        if is_first:
            self._shape = target.shape[1:]
        elif self._shape != target.shape[1:]:
            raise ValueError(
                f"y must have shape {('rows', *self._shape)}, as in the first call, got {target.shape}."
            )
        return target

    def _weigh(self, target: np.ndarray) -> Any:
        """What the weight of each training row is multiplied by."""
        return 1.0


def _check_finite(y: np.ndarray) -> None:
    for name, is_bad in (("NaN", np.isnan(y)), ("infinity", np.isinf(y))):
        if is_bad.any():
            raise ValueError(
                f"Input y contains {name}, in row {int(np.argwhere(is_bad)[0][0])}. Leave out rows without "
                "a target."
            )


def _of_one_kind(y: np.ndarray, name: str = "y") -> np.ndarray:
    """Objects that are all text, or all numbers, which become an array of numbers."""
    is_text = [isinstance(v, str) for v in y.ravel().tolist()]
    if all(is_text):
        return y
    if any(is_text):
        raise TypeError(
            f"{name} must be all numbers or all text, got {_check.describe(y.ravel()[:10].tolist())}."
        )
    numbers = np.array(y.tolist())
    return y if numbers.dtype == object or numbers.dtype.kind not in "biuf" else numbers


def _to_array(y: Any, rows: int) -> np.ndarray:
    """The target as a NumPy array without gaps."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    if hasattr(y, "toarray"):
        raise TypeError("Sparse data is not supported: y must be dense. Try y.toarray().")
    if isinstance(y, list | tuple) and len({len(v) for v in y if isinstance(v, list | tuple)}) > 1:
        raise ValueError("y must have as many entries in each row, got rows of different lengths.")
    if isinstance(y, np.ma.MaskedArray):
        y = _frame.fill_mask(y)
    if _frame.is_frame(y):
        columns = [y[name] for name in y.columns]
        values = np.column_stack([np.asarray(_values(column)) for column in columns])
    else:
        values = np.asarray(_values(y))
    if values.ndim not in (1, 2):
        raise ValueError(f"y should be a 1d array, got an array of shape {values.shape} instead.")
    if len(values) != rows:
        raise ValueError(f"y must have one entry for each of the {rows} rows of X, got {len(values)}.")
    if 0 in values.shape[1:]:
        raise ValueError(f"y must have at least one column, got shape {values.shape}.")
    if values.dtype == object:
        gaps = _frame.is_none(_frame.with_none(values.ravel()))
        if gaps.any():
            row = int(np.flatnonzero(gaps)[0]) // (values.size // len(values))
            raise ValueError(f"Input y contains NaN, in row {row}. Leave out rows without a target.")
    return values


def _values(column: Any) -> Any:
    """The values of a column of pandas or polars; text is objects, so that no letter is cut off."""
    if hasattr(column, "to_numpy") and not isinstance(column, np.ndarray):
        kind = getattr(column.dtype, "kind", "")
        if not isinstance(column.dtype, np.dtype) and kind in tuple("biuf") and not column.isna().any():
            return column.to_numpy(dtype=f"{kind}{column.dtype.itemsize}")
        return column.to_numpy()
    return column


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
