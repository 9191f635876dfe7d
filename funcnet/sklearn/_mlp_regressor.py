"""The best MLP on a table by default, for numbers."""

from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if

from funcnet.sklearn import _scores
from funcnet.sklearn._base import fraction
from funcnet.sklearn._mlp_base import MLPBase, Rows, has_no_folds
from funcnet.sklearn._target import ValueTargets
from funcnet.sklearn._warnings import find_warnings
from funcnet.tabular import Uncertainty
from funcnet.tabular._interval import cv_plus
from funcnet.tabular._uncertainty import of_values


class MLPRegressor(ValueTargets, MLPBase):
    """A multilayer perceptron for numbers, the best on a table that we know by default.

    It reads the columns of a table, trains several networks on several folds as one program, and averages
    their predictions. Intervals come from the rows that were held out.

    Args:
        hidden_layer_sizes: units in each hidden layer. This and each parameter up to `calibrate` is "auto",
            which lets the recipe choose, or a value with scikit-learn's meaning.
        activation: "identity", "logistic", "tanh", "relu", or another one of the recipe.
        alpha: strength of the weight decay, at least 0.
        batch_size: rows in a batch.
        learning_rate_init: the learning rate.
        max_iter: passes over the training rows, at most.
        early_stopping: whether held-out rows choose the epoch; with folds they do in any case, since their
            rows are held out anyway. True ends a run early, False holds out none if there are no folds.
        validation_fraction: fraction of the rows that is held out for it if there are no folds.
        n_iter_no_change: epochs without improvement after which a run stops.
        members: number of networks for each fold.
        cv: number of folds, a splitter of scikit-learn, an iterable of (training rows, held-out rows), or
            None for one split; "auto" is 5, and None for fewer than 10 rows, more than 100,000, or more
            than 10 million numbers.
        calibrate: has no effect on numbers; as for `MLPClassifier`.
        preprocessing: "auto", which reads columns as `fn.tabular.Schema.fit` does; such a schema; a
            dictionary {column: role}, which overrules its roles; or a transformer of scikit-learn.
        random_state: seed of all random numbers; if None, 0, so that equal calls give equal results.
        warm_start: whether `fit` continues from the weights of the last call. With other rows or another
            `random_state`, rows that are held out now may have been trained on then.
        verbose: whether `fit` prints how columns are read and what was chosen.

    Attributes:
        schema_: how the columns are read.
        out_of_fold_: the prediction for each training row by the networks that were not trained on it,
            [rows] or [rows, outputs], in the target's units; NaN where there is none.
        history_: by name, [runs, epochs]: losses in squared standard deviations of the target.
        loss_curve_: the training loss of each epoch, averaged over the runs.
        n_iter_: the number of epochs of the longest run.
        chosen_: what the recipe chose, and why.
        warnings_: what is doubtful about the training rows, a sentence each.

    Raises:
        TypeError: from `fit`, if a parameter has the wrong type.
        ValueError: from `fit`, if a parameter is out of range or the data is unfit.

    Example:
        >>> import numpy as np
        >>> from funcnet.sklearn import MLPRegressor
        >>> X = np.linspace(-1.0, 1.0, 200)[:, None]
        >>> y = 3 * X[:, 0] + np.random.default_rng(0).normal(scale=0.1, size=200)
        >>> model = MLPRegressor(members=1, cv=3, max_iter=30, random_state=0).fit(X, y)
        >>> lower, upper = model.predict_interval(X, coverage=0.9)
        >>> bool(0.85 < np.mean((lower <= y) & (y <= upper)) < 0.99)
        True
    """

    @available_if(has_no_folds)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one pass over some rows, from where the last call ended, without folds.

        The first call decides how columns are read and scaled. After a `fit`, each of its networks
        continues on all of the rows.

        Args:
            X: as for `fit`.
            y: as for `fit`.
            sample_weight: as for `fit`.

        Returns:
            The estimator.

        Raises:
            TypeError: as for `fit`.
            ValueError: as for `fit`.
        """
        return self._pass(X, y, sample_weight, not self.__sklearn_is_fitted__())

    def predict(self, X: Any) -> np.ndarray:
        """The predicted target of each row.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            float64 [rows], or [rows, outputs], in the target's units.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        return self._predict_mean(X)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Intervals that hold the target of a new row with a given probability: CV+.

        The guarantee is 2 · coverage - 1, less at most √(2 / rows), for rows that are exchangeable with the
        training rows, and the coverage is close to the nominal one in practice. It is approximate here,
        since the held-out rows may also choose the epoch. Each training row counts once, whatever its
        weight. The bounds are infinite for fewer than 1 / (1 - coverage) - 1 rows.

        Args:
            X: rows with the columns of `fit`.
            coverage: the probability, in (0, 1).

        Returns:
            Lower and upper bounds, float64 [rows] or [rows, outputs], in the target's units.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if coverage is out of range, or no rows were held out.

        Source: Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+", 2021.
        """
        fraction("coverage", coverage)
        self._check_held_out("predict_interval")
        runs = self._predict_runs(X)
        runs = runs.reshape(*runs.shape[:2], -1)
        fold = self.members_.fold
        predictions = np.stack(
            [runs[np.isin(fold, np.flatnonzero(p))].mean(axis=0) for p in self._patterns]
        )
        residuals = np.abs(self._target - self.out_of_fold_[self._rows]).reshape(len(self._rows), -1)
        bounds = [
            cv_plus(predictions[:, :, j], residuals[:, j], self._pattern, coverage)
            for j in range(residuals.shape[1])
        ]
        shape = (runs.shape[1], *self._output_shape())
        lower, upper = (np.stack([pair[i] for pair in bounds], axis=1).reshape(shape) for i in range(2))
        return lower, upper

    def uncertainty(self, X: Any) -> Uncertainty:
        """The variance of the predictions, and its parts.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            An `Uncertainty` in squared units of the target, [rows] or [rows, outputs] each: total,
            aleatoric (the weighted mean squared out-of-fold error, the same for all rows; it includes the
            error of the networks, and is an upper bound of the noise) and epistemic (the variance between
            the networks).

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if no rows were held out.
        """
        self._check_held_out("uncertainty")
        residuals = self._target - self.out_of_fold_[self._rows]
        return of_values(self._predict_runs(X), residuals, self._weight)

    def _recipe_task(self) -> dict[str, Any]:
        return {"task": "values"}

    def _output_shape(self) -> tuple[int, ...]:
        return self._shape

    def _scores(self, predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
        return _scores.value_scores(predictions, target, weight)

    def _find_warnings(self, rows: Rows) -> list[str]:
        losses = _scores.row_losses(self.out_of_fold_[rows.numbers], rows.target, "values")
        return find_warnings(self.schema_, rows.features, rows.target, (), losses, rows.numbers)
