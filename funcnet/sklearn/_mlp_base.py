"""Fitting of the members of an MLP estimator, whatever its target is."""

import abc
import contextlib
import dataclasses
import warnings
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from funcnet import _check
from funcnet.sklearn._base import check_weight, settings_in_constructor, take_rows
from funcnet.sklearn._folds import Splits, held_out_table, is_explicit, make_folds, parts_of_rows
from funcnet.sklearn._mlp_fitted import FittedMLP
from funcnet.sklearn._warnings import first_is_best
from funcnet.tabular._choices import Recipe, Settings
from funcnet.tabular._drift import Distribution
from funcnet.tabular._features import Features
from funcnet.tabular._merge import merge_equal_rows
from funcnet.tabular._recipe import DEFAULT, PASS, train_members


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The training rows of positive weight.

    Args:
        features: [rows].
        target: [rows, ...].
        weight: [rows], as given.
        class_weight: [rows], that of each row's class, or one number; it is trained with, not scored with.
        numbers: their numbers among all rows given.
        count: the number of all rows given.
    """

    features: Features
    target: np.ndarray
    weight: np.ndarray
    class_weight: Any
    numbers: np.ndarray
    count: int


class MLPBase(FittedMLP):
    """Fits members; what the target is belongs to the subclass."""

    _advance: Any = None
    """Called with the numbers of networks finished and of all."""

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "auto",
        *,
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = "auto",
        max_iter: Any = "auto",
        early_stopping: Any = "auto",
        validation_fraction: Any = "auto",
        n_iter_no_change: Any = "auto",
        members: Any = "auto",
        cv: Any = "auto",
        calibrate: Any = "auto",
        preprocessing: Any = "auto",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.members = members
        self.cv = cv
        self.calibrate = calibrate
        self.preprocessing = preprocessing
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    @settings_in_constructor
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table.

        Args:
            X: a frame of pandas or polars with numbers, text, booleans, dates and gaps, or an array
                [rows, columns].
            y: the target [rows], or [rows, outputs].
            sample_weight: the weight of each row [rows], at least 0; 1 each by default.

        Returns:
            The estimator.

        Raises:
            TypeError: if X is sparse, or a parameter has the wrong type.
            ValueError: if X and y do not match, a target is missing, or a parameter is out of range.
        """
        settings, seed = self._settings(), self._seed()
        _check.boolean("warm_start", self.warm_start)
        is_first = not (self.warm_start and self.__sklearn_is_fitted__())
        if is_first:
            self._forget()
        X, rows = self._prepare(X, y, sample_weight, is_first)
        if self.verbose:
            print(self.schema_)
        splits, start = self._make_splits(X, rows, seed), None if is_first else self.members_
        self._train(rows, splits, settings, start, seed, self._merges(splits, settings))
        self.warnings_ = self._find_warnings(rows) + first_is_best(self.members_.best_epoch, self.n_iter_)
        if self.verbose:
            print("\n".join(f"{name}: {value} ({why})" for name, (value, why) in self.chosen_.items()))
            print("\n".join(f"warning: {sentence}" for sentence in self.warnings_))
        return self

    def _pass(self, X: Any, y: Any, sample_weight: Any, is_first: bool) -> Self:
        settings = dataclasses.replace(self._settings(), max_iter=1, early_stopping=False)
        passes = 0 if is_first else self.n_iter_
        _, rows = self._prepare(X, y, sample_weight, is_first)
        start, seed = None if is_first else self.members_, self._seed() + passes
        self._train(rows, None, settings, start, seed, recipe=PASS)
        self.n_iter_ = passes + 1
        return self

    def _settings(self) -> Settings:
        names = [field.name for field in dataclasses.fields(Settings)]
        return Settings(**{name: getattr(self, name) for name in names})

    def _prepare(self, X: Any, y: Any, sample_weight: Any, is_first: bool) -> tuple[Any, Rows]:
        """X and its training rows; the first time, decide how columns and classes are read."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        X = self._check_X(X, reset=is_first)
        weight = check_weight(sample_weight, len(X))
        numbers = np.flatnonzero(weight > 0)
        if is_first and len(numbers) < 2:
            raise ValueError(
                "X must have at least 2 rows of a weight above 0 to train on, got n_samples = 1."
            )
        target = self._encode_y(y, len(X), numbers, is_first)
        class_weight = self._weigh(target)
        used = take_rows(X, numbers)
        if is_first:
            used = self._fit_schema(used)
            if self.schema_.target is None and isinstance(name := getattr(y, "name", None), str):
                self.schema_ = dataclasses.replace(self.schema_, target=name)
        elif hasattr(self, "preprocessing_"):
            used = self.preprocessing_.transform(used)
        return used, Rows(self._encode(used), target, weight[numbers], class_weight, numbers, len(X))

    @abc.abstractmethod
    def _find_warnings(self, rows: Rows) -> list[str]:
        """What is doubtful about the training rows and the held-out predictions, a sentence each."""

    def _make_splits(self, X: Any, rows: Rows, seed: int) -> Splits | None:
        strata = rows.target if self._recipe_task()["task"] == "classes" else None
        if not is_explicit(self.cv):
            return make_folds(self.cv, X, rows.target, strata, seed)
        every = np.zeros(rows.count)
        place = np.full(rows.count, -1)  # of a row among those of positive weight
        place[rows.numbers] = np.arange(len(rows.numbers))
        splits = make_folds(self.cv, every, every, None, seed) or []
        return [(place[a][place[a] >= 0], place[b][place[b] >= 0]) for a, b in splits]

    def _merges(self, splits: Splits | None, settings: Settings) -> bool:
        """Whether equal rows become one, so that a weight of 2 and a repeated row are the same training.

        Not where rows are held out at random, which depends on their number, nor where a fold repeats
        rows, as a bootstrap does.
        """
        if is_explicit(self.cv):
            return all(len(np.unique(part)) == len(part) for pair in splits or () for part in pair)
        return splits is None and settings.early_stopping is False

    def _train(
        self,
        rows: Rows,
        splits: Splits | None,
        settings: Settings,
        start: Any,
        seed: int,
        is_merged: bool = False,
        recipe: Recipe = DEFAULT,
    ) -> None:
        features, target, weight = rows.features, rows.target, rows.weight * rows.class_weight
        distribution = Distribution.fit(features)
        if start is not None and recipe is PASS:
            distribution = self._distribution.merge(distribution)
        source = np.arange(len(target))
        if is_merged:
            first, weight, source = merge_equal_rows(
                features, target, weight, parts_of_rows(splits, len(target))
            )
            features, target = features.rows(first), target[first]
            splits = splits and [(np.unique(source[a]), np.unique(source[b])) for a, b in splits]
        with self._show_progress() as progress:
            self.members_ = train_members(
                features,
                target,
                weight=weight,
                folds=splits,
                settings=settings,
                recipe=recipe,
                start=start,
                progress=progress,
                key=self._key(seed),
                **self._recipe_task(),
            )
        self._distribution: Distribution = distribution
        self._keep_results(rows, splits, source)

    def _show_progress(self) -> Any:
        """A context with a function that is told how many networks are finished, or None."""
        if self._advance is not None or not self.verbose:
            return contextlib.nullcontext(self._advance)
        from funcnet.report._terminal import show_progress

        return show_progress(f"{type(self).__name__}: networks")

    def _keep_results(self, rows: Rows, splits: Splits | None, source: np.ndarray) -> None:
        """Set the attributes that users read. Training row i was row `source[i]` for the recipe."""
        members = self.members_
        self.chosen_, self.history_ = members.chosen, members.history
        losses = np.asarray(members.history["loss"])
        epochs = (~np.isnan(losses)).sum(axis=1)
        self.n_iter_ = max(1, int(epochs.max()))
        max_epochs = members.chosen["max_iter"][0]
        if "n_iter_no_change" not in members.chosen and (ended := epochs < max_epochs).any():
            warnings.warn(
                f"the loss of {ended.sum()} of {len(epochs)} networks is not finite after epoch "
                f"{epochs.min()} of {max_epochs}, and the best epoch before is kept. Try a smaller "
                "learning_rate_init.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.loss_curve_ = np.nanmean(losses[:, : self.n_iter_], axis=0).tolist()
        self.loss_ = self.loss_curve_[-1]
        out_of_fold = members.out_of_fold[source].reshape(len(source), *self._output_shape())
        is_known = ~np.isnan(out_of_fold.reshape(len(source), -1)).any(axis=1)
        held_out = (
            is_known[:, None] if splits is None else held_out_table(splits, int(source.max()) + 1)[source]
        )
        self.out_of_fold_ = np.full((rows.count, *out_of_fold.shape[1:]), np.nan)
        self.out_of_fold_[rows.numbers] = out_of_fold
        # What intervals and reports need of the rows that were held out.
        self._rows = rows.numbers[is_known]
        self._target, self._weight = rows.target[is_known], rows.weight[is_known]
        self._patterns, self._pattern = np.unique(held_out[is_known], axis=0, return_inverse=True)
        self._pattern = self._pattern.reshape(-1)


def has_no_folds(estimator: Any) -> bool:
    """Whether an estimator is trained without folds, so that it can continue on new rows."""
    return estimator.cv is None or (isinstance(estimator.cv, str) and estimator.cv == "auto")
