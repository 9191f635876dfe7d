"""Cross-validation: one run for each held-out fold, all runs as one program."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Folds
from funcnet.study._members import (
    ProgressCallback,
    check_equal_sizes,
    check_start_is_drawn,
    init_if_incomplete,
    model_of_shapes,
)
from funcnet.study._study import MemberStudy, to_rows
from funcnet.train import Fit, Run, predict
from funcnet.train._evaluate import total
from funcnet.train._result import nan_if_not_finite


@_tree.node
class CrossValidationResult:
    """The runs of a cross-validation and their scores on the held-out rows.

    Args:
        runs: a `Run` whose arrays have a leading axis [folds, ...].
        scores: loss and metrics on the held-out rows, by name: [folds], in units of the loss.
        predictions: the predictions for the held-out rows, [folds, k, ...].
        folds: the folds.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 30)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.1), epochs=40, batch_size=10)
        >>> folds = fn.data.kfold((x, 2 * x[:, 0]), 5, jax.random.key(0))
        >>> result = fn.study.cross_validate(train, folds)(fn.models.LinearRegression(1), jax.random.key(1))
        >>> result.scores["loss"].shape, bool(result.mean["loss"] < 0.01)
        ((5,), True)
        >>> rows, predictions = result.out_of_fold()
        >>> rows.tolist() == list(range(30)), predictions.shape
        (True, (30,))
    """

    runs: Run
    scores: dict[str, Array]
    predictions: PyTree
    folds: Folds

    def _repr_html_(self) -> str:
        """The scores of each fold, and their means, for notebooks."""
        from funcnet import _html
        from funcnet.study._notebook import is_shown, show_table

        if not is_shown(self, 1, *self.scores.values()):
            return _html.plain(self)
        mean, error = self.mean, self.standard_error
        summary = [f"{float(mean[name]):.4g} ± {float(error[name]):.4g}" for name in self.scores]
        rows = zip(range(1, len(self.folds) + 1), *self.scores.values(), strict=True)
        return show_table(
            f"Scores of {len(self.folds)} folds on the rows that each holds out",
            ["fold", *self.scores],
            [["mean ± standard error", *summary], *rows],
        )

    @property
    def mean(self) -> dict[str, Array]:
        """The mean of each score over the folds."""
        return {name: jnp.mean(score) for name, score in self.scores.items()}

    @property
    def standard_error(self) -> dict[str, Array]:
        """The standard error of each mean, sd / √folds; approximate, since folds share training rows."""
        root = len(self.folds) ** 0.5
        return {name: jnp.std(score, ddof=1) / root for name, score in self.scores.items()}

    def out_of_fold(self) -> tuple[np.ndarray, PyTree]:
        """Sorted row numbers, and for each row the prediction of the model that was not trained on it.

        Rows of weight zero are omitted. For a view, row numbers refer to the underlying arrays, and are
        repeated where the view repeats them.
        """
        valid = self.folds.valid
        rows = np.asarray(valid.rows).ravel()
        weighted = np.ones(len(rows), bool) if valid.weight is None else np.asarray(valid.weight)[rows] > 0
        order = np.flatnonzero(weighted)[np.argsort(rows[weighted], kind="stable")]
        flat = jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:])[order], self.predictions)
        return rows[order], flat


def cross_validate(
    train: Fit, folds: Folds, *, block: int | None = None, progress: ProgressCallback | None = None
) -> "CrossValidationStudy":
    """One run for each fold, trained on the other folds and evaluated on this one: `study(net, key)`.

    All runs are one program, mapped over row numbers, so the data is stored once. Each run has its own
    initialization and order of rows. The held-out rows are its validation rows, so its history contains
    `val_loss`. With early stopping they also choose the epoch, and the scores are optimistic.

    Args:
        train: a training function, from `fn.fit`.
        folds: from `fn.data.kfold`, which can stratify and keep groups together.
        block: the number of folds computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of folds it finished.

    Returns:
        The study; its result is a `CrossValidationResult`.

    Raises:
        TypeError: if `train` is not a training function, or `folds` is not a `Folds`.
        ValueError: if `block` is below 1.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> folds = fn.data.kfold(iris, 5, jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=40, batch_size=16)
        >>> result = fn.study.cross_validate(train, folds)(fn.MLP((4, 16, 3)), jax.random.key(1))
        >>> bool(result.mean["accuracy"] > 0.9)
        True

    Source: Stone, "Cross-validatory choice and assessment of statistical predictions", 1974.
    """
    _check.train_function(train)
    if not isinstance(folds, Folds):
        raise TypeError(
            f"folds must be a Folds, got {_check.describe(folds)}. Try folds=fn.data.kfold(data, 5, key)."
        )
    return CrossValidationStudy(train, folds, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class CrossValidationStudy(MemberStudy):
    """The study returned by `cross_validate`. Call it; its settings are its fields."""

    SHARED = ("net", "key", "folds")

    train: Fit
    folds: Folds

    @property
    def num_members(self) -> int:
        return len(self.folds)

    def __call__(self, net: Module, key: Key) -> CrossValidationResult:
        """Train and evaluate on every fold.

        Args:
            net: an architecture, before `init`; if it has parameters, every run starts from them.
            key: a typed key.

        Returns:
            A CrossValidationResult.

        Raises:
            TypeError: if `net` is not a module with an `init`, or `key` is not a PRNG key.
            ValueError: if the data is unfit.
        """
        _check.architecture(net)
        check_start_is_drawn(net)
        _check.key(key)
        model = model_of_shapes(net, key)
        to_rows("folds", self.folds[0][1], self.train.loss, model)
        weights = self.folds.train.weight
        padded = weights is not None and not np.all(np.asarray(weights)[np.asarray(self.folds.train.rows)])
        advice = f"Choose a number of rows that {len(self.folds)} divides, without groups."
        check_equal_sizes(model, padded, "folds of unequal size", advice)
        shared = net, key, self.folds
        runs, scores, predictions = self._run_members(model, len(self.folds), shared)
        return CrossValidationResult(runs, scores, predictions, self.folds)

    def _member(
        self, static: None, shared: tuple[Module, Key, Folds], number: Array
    ) -> tuple[Run, dict[str, Array], Any]:
        net, key, folds = shared
        train, valid = (
            _tree.replace(part, rows=part.rows[number])  # type: ignore[index]
            for part in (folds.train, folds.valid)
        )
        own = jax.random.fold_in(_keys.fold_in_name(key, "fold"), number)
        model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
        run = self.train(model, train, _keys.fold_in_name(own, "train"), valid)
        scores = nan_if_not_finite(run.state, total(self.train.loss, run.model, valid, len(valid)).means())
        return run, scores, predict(run.model, valid)

    def _combine(self, static: None, shared: Any, results: Any) -> Any:
        return results
