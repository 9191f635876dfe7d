"""What all estimators share: scikit-learn's checks of rows and weights, and columns read by a schema."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted, validate_data

from funcnet import _check
from funcnet.data import Dataset, Table
from funcnet.data._rows import named_rows
from funcnet.tabular import Features, Schema, _frame
from funcnet.tabular._schema import check_not_empty

EXPONENT = 500
"""Numbers up to 2^500, and from 2^-500, have squares and sums within float64."""


def settings_in_constructor(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `fit`, so that a setting passed to it is answered by where settings belong."""

    @functools.wraps(fit)
    def checked_fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        for name in kwargs.keys() - inspect.signature(fit).parameters.keys():
            estimator = type(self).__name__
            raise TypeError(
                f"{estimator}.fit has no setting {name!r}. Settings are those of the constructor: "
                f"{estimator}({', '.join(self.get_params(deep=False))})."
            )
        return fit(self, *args, **kwargs)

    return checked_fit


class TableEstimator(BaseEstimator):
    """Reads tables for an estimator; the parameters belong to its subclasses."""

    preprocessing: Any
    random_state: Any
    _fitted_name = "schema_"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = False
        tags.target_tags.required = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted_name in vars(self)

    def _forget(self) -> None:
        """Forget what an earlier fit has learned: if the next one fails, the estimator is not fitted."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _check_X(self, X: Any, reset: bool) -> Any:
        """X, checked by scikit-learn's rules: a frame as it is, everything else as an array.

        Raises:
            TypeError: if it is sparse.
            ValueError: if it has no rows, or other columns than in `fit`.
        """
        if isinstance(X, str | os.PathLike):
            raise TypeError(
                f"X must be a frame or an array, got a path. Try X=pandas.read_csv({str(X)!r})."
            )
        if isinstance(X, Table):
            parts = "X" if X.target_name is None else "X, y"
            code = "table.arrays.arrays" if isinstance(X.arrays, Dataset) else "table.arrays"
            raise TypeError(f"X must be a frame or an array, got a Table. Write {parts} = {code}.")
        if (frame := named_rows(X)) is not X:  # a dictionary has its columns in any order
            names = [n for n in getattr(self, "feature_names_in_", ()) if not reset and n in frame.columns]
            X = frame[[*names, *(n for n in frame.columns if n not in names)]]
        if _frame.is_frame(X):
            _frame.check_names(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            for size, what in zip(X.shape, ("sample", "feature"), strict=True):
                if not size:
                    raise ValueError(
                        f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required."
                    )
            return X
        if isinstance(X, list | tuple | np.ma.MaskedArray):
            X = _frame.to_array(X)
        return validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)

    def _fit_schema(self, X: Any) -> Any:
        """Decide how columns are read; returns X as `_encode` reads it."""
        preprocessing = self.preprocessing
        if hasattr(preprocessing, "fit_transform"):
            self.preprocessing_ = clone(preprocessing)
            X = self.preprocessing_.fit_transform(X)
            _frame.check_dense(X)
            self.schema_ = Schema.fit(X)
        elif isinstance(preprocessing, Schema):
            self.schema_ = preprocessing
        elif isinstance(preprocessing, Mapping):
            self.schema_ = Schema.fit(X, roles=preprocessing)
        elif isinstance(preprocessing, str) and preprocessing == "auto":
            self.schema_ = Schema.fit(X)
        else:
            raise TypeError(
                "preprocessing must be 'auto', a fn.tabular.Schema, a dictionary of roles by column, or a "
                f"transformer of scikit-learn, got {_check.describe(preprocessing)}. Try "
                "preprocessing='auto'."
            )
        return X

    def _encode(self, X: Any) -> Features:
        """Read checked rows as the schema prescribes."""
        check_not_empty(self.schema_)
        return self.schema_.encode(X)

    def _read(self, X: Any) -> Features:
        """New rows, read as those of `fit`."""
        return self._encode(self._new_rows(X))

    def _new_rows(self, X: Any) -> Any:
        """New rows, checked and transformed by a `preprocessing` of scikit-learn."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        return self.preprocessing_.transform(X) if hasattr(self, "preprocessing_") else X

    def _check_loaded(self) -> None:
        """Check that the attributes of a file fit together.

        Raises:
            AttributeError: if one is missing.
            TypeError: if one has the wrong type.
            ValueError: if they do not fit.
        """
        schema, count = getattr(self, "schema_", None), self.n_features_in_
        names = getattr(self, "feature_names_in_", None)
        if not isinstance(schema, Schema | None):
            raise TypeError(f"schema_ must be a Schema, got {_check.describe(schema)}")
        if schema is not None and len(schema.columns) != count:
            raise ValueError(f"schema_ must have {count} columns, got {len(schema.columns)}")
        if names is not None and names.shape != (count,):
            raise ValueError(f"feature_names_in_ must hold {count} names, got {_check.describe(names)}")
        _check.positive("n_iter_", self.n_iter_)

    def _seed(self) -> int:
        """The seed of all random numbers; 0 if `random_state` is None, so that equal calls agree."""
        state = self.random_state
        if state is None:
            return 0
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if not isinstance(state, int | np.integer) or isinstance(state, bool):
            raise TypeError(
                "random_state must be an integer, a numpy.random.RandomState or None, got "
                f"{_check.describe(state)}. Try random_state=0."
            )
        if not 0 <= state < 2**32:
            raise ValueError(f"random_state must be at least 0 and below 2**32, got {state}.")
        return int(state)

    def _key(self, seed: int) -> Any:
        return jax.random.key(np.uint32(seed))


def check_weight(sample_weight: Any, rows: int) -> np.ndarray:
    """The weight of each row as float64 [rows], 1 each if None, in units in which their sum is finite.

    Raises:
        ValueError: if there is not one for each row, one is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return np.ones(rows)
    weight = np.asarray(_check.array("sample_weight", sample_weight), np.float64)
    if weight.ndim == 0:
        weight = np.full(rows, float(weight))
    if weight.shape != (rows,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {rows} rows of X, got shape {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"sample_weight must be finite and at least 0, got {weight.min()}.")
    if not weight.any():
        raise ValueError("sample_weight must be above zero in at least one row: all weights are zero.")
    exponent = np.frexp(weight.max())[1]  # exact, and only ratios of weights matter
    return np.ldexp(weight, -exponent) if abs(exponent) > EXPONENT else weight


def fraction(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    _check.number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}.")
    return float(value)


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Some rows of a frame or an array."""
    return X if len(rows) == len(X) else _safe_indexing(X, rows)
