"""Cross-validation: every fold left out once, all trainings as one program."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _mesh, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Folds
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Fit, Run, predict
from funcnet.train._evaluate import checked_data, total


@_tree.node
class CrossValidationResult:
    """What cross-validation found.

    Args:
        runs: the folds' `Run`s, each array with a leading axis [folds, ...].
        scores: loss and metrics of the rows left out, by name: [folds], in the loss's units.
        predictions: the predictions for the rows left out, [folds, k, ...].
        folds: the folds themselves.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 30)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.1), epochs=40, batch_size=10)
        >>> folds = fn.data.kfold((x, 2 * x[:, 0]), 5, jax.random.key(0))
        >>> found = fn.study.cross_validate(train, folds)(fn.models.LinearRegression(1), jax.random.key(1))
        >>> found.scores["loss"].shape, bool(found.mean["loss"] < 0.01)
        ((5,), True)
        >>> rows, predictions = found.out_of_fold()
        >>> rows.tolist() == list(range(30)), predictions.shape
        (True, (30,))
    """

    runs: Run
    scores: dict[str, Array]
    predictions: PyTree
    folds: Folds

    @property
    def mean(self) -> dict[str, Array]:
        """The mean of each score over the folds."""
        return {name: jnp.mean(score) for name, score in self.scores.items()}

    @property
    def standard_error(self) -> dict[str, Array]:
        """The standard error of each mean, sd / √folds; a guide only, as folds share training rows."""
        root = len(self.folds) ** 0.5
        return {name: jnp.std(score, ddof=1) / root for name, score in self.scores.items()}

    def out_of_fold(self) -> tuple[np.ndarray, PyTree]:
        """Row numbers, rising, and for each the prediction of the model that had not seen it.

        Rows of weight zero are left out: no fold counts them. Of a view they are the numbers of its
        arrays' rows, repeated where the view repeats them.
        """
        valid = self.folds.valid
        rows = np.asarray(valid.rows).ravel()
        counts = np.ones(len(rows), bool) if valid.weight is None else np.asarray(valid.weight)[rows] > 0
        order = np.flatnonzero(counts)[np.argsort(rows[counts], kind="stable")]
        flat = jax.tree.map(lambda a: np.asarray(a).reshape(-1, *a.shape[2:])[order], self.predictions)
        return rows[order], flat


def cross_validate(
    train: Fit, folds: Folds, *, block: int | None = None, progress: Progress | None = None
) -> "CrossValidation":
    """Train once for each fold, on the other folds' rows, and judge by its own: `study(net, key)`.

    All trainings are one program, mapped over the folds' rows while the data is there once. Each has a
    start and an order of its own; the rows left out are its validation rows, so `val_loss` is in its
    history. A training that stops early chooses its epoch by those rows, and its score flatters.

    Args:
        train: a training, as `fit` makes it.
        folds: from `fn.data.kfold`, which stratifies and keeps groups together.
        block: folds computed side by side; chosen when left out.
        progress: called on the host with how many more folds are done, after each block.

    Returns:
        The study; its result is a `CrossValidationResult`.

    Raises:
        TypeError: if `train` is no training, or `folds` no Folds.
        ValueError: if `block` is below 1.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> folds = fn.data.kfold(iris, 5, jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=40, batch_size=16)
        >>> found = fn.study.cross_validate(train, folds)(fn.MLP((4, 16, 3)), jax.random.key(1))
        >>> bool(found.mean["accuracy"] > 0.9)
        True

    Source: Stone, "Cross-validatory choice and assessment of statistical predictions", 1974.
    """
    _check.train_function(train)
    if not isinstance(folds, Folds):
        raise TypeError(
            f"folds come from funcnet.data.kfold; got {_check.describe(folds)}. Try kfold(data, 5, key)."
        )
    check_blocks(block, progress)
    return CrossValidation(train, folds, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class CrossValidation:
    """The study that `cross_validate` made. Call it; its settings are its fields."""

    train: Fit
    folds: Folds
    block: int | None
    progress: Progress | None

    def __call__(self, net: Module, key: Key) -> CrossValidationResult:
        """Train and judge on every fold.

        Args:
            net: an architecture, before `init`; parameters that it has already are every fold's start.
            key: a typed key.

        Returns:
            A CrossValidationResult.

        Raises:
            TypeError: if `net` is no module with an `init`, or the key is none.
            ValueError: if the data is unfit.
        """
        _check.architecture(net)
        _check.key(key)
        checked_data(self.train.loss, start(net, key), self.folds[0][1])
        runs, scores, predictions = self._compiled(net, key, self.folds, _mesh.num_devices())
        return CrossValidationResult(runs, scores, predictions, self.folds)

    def _one(self, shared: tuple[Module, Key, Folds], number: Array) -> tuple[Run, dict[str, Array], Any]:
        net, key, folds = shared
        train, valid = (
            _tree.replace(part, rows=part.rows[number])  # type: ignore[index]
            for part in (folds.train, folds.valid)
        )
        own = jax.random.fold_in(_keys.named(key, "fold"), number)
        model = start(net, _keys.named(own, "init"))
        run = self.train(model, train, _keys.named(own, "train"), valid)
        scores = total(self.train.loss, run.model, valid, len(valid)).means()
        return run, scores, predict(run.model, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        def run(net: Module, key: Key, folds: Folds, devices: int) -> Any:
            del devices  # a part of what is compiled: see `mesh.use`
            small = is_small(jax.eval_shape(start, net, key))
            return each_member(self._one, (net, key, folds), len(folds), self.block, small, self.progress)

        return jax.jit(run, static_argnums=3)
