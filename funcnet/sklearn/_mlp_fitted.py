"""What a fitted MLP estimator answers: predictions, drift, a report; and its folder on disk."""

import abc
import math
import os
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from funcnet import _files
from funcnet.data._rows import named_rows
from funcnet.sklearn import _save
from funcnet.sklearn._base import TableEstimator, check_weight
from funcnet.sklearn._learning_curve import learning_curve
from funcnet.sklearn._saved import check_parts
from funcnet.tabular._members import Members


class FittedMLP(TableEstimator, abc.ABC):
    """The members of an MLP estimator and what is computed from them, whatever its target is."""

    members_: Members
    n_iter_: int
    _fitted_name = "members_"

    @abc.abstractmethod
    def _encode_y(self, y: Any, count: int, numbers: np.ndarray, is_first: bool) -> np.ndarray:
        """The target of some rows."""

    @abc.abstractmethod
    def _weigh(self, target: np.ndarray) -> Any:
        """What the weight of each training row is multiplied by."""

    @abc.abstractmethod
    def _recipe_task(self) -> dict[str, Any]:
        """The task, and the number of classes, for `train_members`."""

    @abc.abstractmethod
    def _scores(self, predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
        """Scores of predictions by name, those of the best constant prediction as "baseline"."""

    @abc.abstractmethod
    def _output_shape(self) -> tuple[int, ...]:
        """The shape of the prediction for one row."""

    def _predict_mean(self, X: Any) -> np.ndarray:
        features = self._read(X)
        return self.members_.predict(features).reshape(len(features), *self._output_shape())

    def _predict_runs(self, X: Any) -> np.ndarray:
        features = self._read(X)
        return self.members_.predictions(features).reshape(-1, len(features), *self._output_shape())

    def drift(self, X: Any) -> list[str]:
        """Where new rows differ from the training rows.

        Told are numbers outside of the range of the training rows, categories that they do not hold,
        columns that are distributed differently (shares that differ by more than 20 %, and by more than
        chance explains: Kolmogorov and Smirnov's test at 1 %), and columns that were dropped as constants
        and hold other values now.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            A sentence for each such column; empty if there are none.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.

        Example:
            >>> import numpy as np
            >>> from funcnet.sklearn import MLPRegressor
            >>> x = np.linspace(-1, 1, 100)[:, None]
            >>> model = MLPRegressor(max_iter=2, cv=None).fit(x, x[:, 0])
            >>> model.drift(x[::2]), len(model.drift(x[::2] + 5))
            ([], 1)
        """
        X = self._new_rows(X)
        return self._distribution.differences(self.schema_, X, self._encode(X))

    def _check_held_out(self, purpose: str) -> None:
        check_is_fitted(self)
        if not len(self._rows):
            raise ValueError(f"{purpose} needs predictions of held-out rows, and there are none. Try cv=5.")

    def report(
        self,
        path: Any = None,
        *,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        training: Any = None,
    ) -> dict[str, Any]:
        """Scores, beside those of the best constant prediction.

        Args:
            path: a .json file to write the scores to, an .html file for a page with them, pictures, what
                the predictions depend on (if rows are given), and how columns are read; or None.
            X: rows to predict; by default the out-of-fold predictions of the training rows are scored.
            y: their targets.
            sample_weight: their weights.
            training: the training rows and their targets, (X, y) or (X, y, sample_weight), for a learning
                curve: the score on X by number of training rows. Networks are trained for it on an eighth,
                a quarter, half and all of them, which takes about as long as the fit.

        Returns:
            Scores by name; as "intervals" their 95 % intervals by name, from a bootstrap over the rows; as
            "baseline" the scores of the constant prediction; as "warnings" what is doubtful about the
            training rows; and with `training` a "learning_curve": "score" (its name), "rows" [points],
            "values" [points, repeats], "change" from half of the rows to all of them with its
            "standard_error", and "repeated", the number of rows of X that are training rows, too.

        Raises:
            TypeError: if `training` is not a tuple of rows and targets.
            ValueError: if X, y and weights are not given together, or `training` without them; if there are
                no out-of-fold predictions, or fewer than 40 rows for a learning curve; or if the path ends
                otherwise.
            OSError: if the file can't be written.
        """
        if (X is None) != (y is None):
            raise ValueError(f"X and y must be given together, got only {'y' if X is None else 'X'}.")
        if X is None and sample_weight is not None:
            raise ValueError("sample_weight must be given with X and y; that of fit holds otherwise.")
        if X is None and training is not None:
            raise ValueError(
                "training must be given with X and y, rows to score on that were not trained on. Try "
                "model.report(path, X=X_test, y=y_test, training=(X_train, y_train))."
            )
        place = None if path is None else _save.report_path(path)
        if X is None:
            self._check_held_out("report")
            drawn, weight = (self.out_of_fold_[self._rows], self._target), self._weight
            scores = self._scores_of(*drawn, weight, "out-of-fold rows")
        else:
            X = named_rows(X)
            predictions = self._predict_mean(X)
            weight = check_weight(sample_weight, len(predictions))
            target = self._encode_y(y, len(predictions), np.arange(len(predictions)), False)
            drawn = predictions, target
            scores = self._scores_of(*drawn, weight, "the rows given")
            if training is not None:
                scores["learning_curve"] = learning_curve(self, training, X, y, sample_weight)
        if place is not None and place.suffix == ".json":
            _save.write_json(place, scores)
        elif place is not None:
            from funcnet.sklearn._page import report_page

            reports = [scores]
            if X is not None and len(self._rows):
                reports.insert(0, self.report())
            is_weighted = bool((weight != weight[:1]).any())
            _files.write(place, report_page(self, reports, drawn, X, y, is_weighted).encode())
        return scores

    def _scores_of(
        self, predictions: np.ndarray, target: np.ndarray, weight: np.ndarray, on: str
    ) -> dict[str, Any]:
        scores = {"on": on, **self._scores(predictions, target, weight)}
        return scores | {"warnings": list(getattr(self, "warnings_", ()))}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a folder, as JSON and safetensors; nothing in it is pickled.

        Args:
            path: the folder, created if missing.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if a parameter can't be written as JSON, such as a transformer or a splitter.
            OSError: if the folder can't be written.
        """
        check_is_fitted(self)
        members = self.members_
        history = {}
        for name, losses in members.history.items():  # the mean of the runs that have not ended
            losses = losses[:, : self.n_iter_]
            known = ~np.isnan(losses)
            total = np.where(known, losses, 0.0).sum(axis=0)
            history[name] = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
        max_epochs = int(members.chosen["max_iter"][0])
        omit = ("chosen_", "history_")  # parts of the members
        _save.save(self, path, history=history, max_epochs=max_epochs, omit=omit)

    def _check_loaded(self) -> None:
        super()._check_loaded()
        members, classes = self.members_, getattr(self, "classes_", None)
        check_parts(self.schema_, members, classes, self._distribution)
        if self._recipe_task()["task"] != members.task or members.network.outputs != math.prod(
            self._output_shape()
        ):
            raise ValueError("members_ must have the task and the outputs of the estimator")
        rows = len(self._rows)
        for name, kind in (("_rows", "iu"), ("_target", "biuf"), ("_weight", "f"), ("_pattern", "iu")):
            array = getattr(self, name)
            if len(array) != rows or array.dtype.kind not in kind:
                raise ValueError(f"{name} must have an entry for each of {rows} rows")
        for name, largest, limit in (
            ("_rows", self._rows.max(initial=0), len(self.out_of_fold_) + (not rows)),
            ("_pattern", self._pattern.max(initial=0), len(self._patterns) + (not rows)),
        ):
            if largest >= limit or getattr(self, name).min(initial=0) < 0:
                raise ValueError(f"{name} must be from 0 to {limit - 1}, got {largest}")
        if self.out_of_fold_.shape[1:] != self._output_shape() or self._patterns.ndim != 2:
            raise ValueError("out_of_fold_ must have the outputs of the estimator")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load an estimator that `save` wrote.

        Args:
            path: the folder.

        Returns:
            The fitted estimator.

        Raises:
            FileNotFoundError: if there is no estimator in the folder.
            ValueError: if a file has changed since it was saved, or holds an estimator of another class.
        """
        estimator: Self = _save.load(cls, path)
        estimator.chosen_, estimator.history_ = estimator.members_.chosen, estimator.members_.history
        return estimator
