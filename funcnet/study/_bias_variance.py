"""Bias and variance: what runs on different training rows have in common, and how they differ."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._module import Module
from funcnet._types import Array, Int, Key, PyTree
from funcnet.data import Dataset, bootstrap
from funcnet.study._decompose import ErrorLoss, decompose
from funcnet.study._members import (
    ProgressCallback,
    check_start_is_drawn,
    init_if_incomplete,
    model_of_shapes,
)
from funcnet.study._study import MemberStudy, to_rows
from funcnet.train import Fit, Run, predict
from funcnet.train._result import nan_if_not_finite

Draw: TypeAlias = Callable[[Key], PyTree]

MIN_MEMBERS = 3
"""The jackknife omits one member, and the variance of the rest needs two."""


@_tree.node
class BiasVarianceResult:
    """The parts of a test error, by name: their means, standard errors and values for each test row.

    If the study has `epochs`, every array has a leading axis [epochs].

    Args:
        mean: the weighted mean of each part over the test rows, a scalar. For the squared error: "error",
            "variance", and with `truth` "bias_squared" and "noise", without it their sum
            "bias_and_noise". For the 0-1 loss: "error", "variance", "unbiased_variance",
            "biased_variance", and "bias" and "noise", or "bias_and_noise".
        standard_error: the standard error of each mean. For "noise" over test rows; for all other parts
            over members, by the jackknife, with the test rows fixed: the effect of other training sets. For
            the 0-1 loss it is rough where two classes have nearly the same number of votes.
        per_row: the value of each part for each test row, [n].
        predictions: [members, n, ...].
        epochs: the numbers of epochs, [epochs]; None without them.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> def draw(key):
        ...     x = jax.random.uniform(key, (20, 1))
        ...     return x, 2 * x[:, 0] + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (20,))
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.1), epochs=9)
        >>> study = fn.study.bias_variance(train, 8)
        >>> test = draw(jax.random.key(1))
        >>> result = study(fn.models.LinearRegression(1), draw, jax.random.key(0), test)
        >>> sorted(result.mean), result.per_row["variance"].shape, result.predictions.shape
        (['bias_and_noise', 'error', 'variance'], (20,), (8, 20))
    """

    mean: dict[str, Array]
    standard_error: dict[str, Array]
    per_row: dict[str, Array]
    predictions: Array
    epochs: Int[Array, " epochs"] | None = None

    def _repr_html_(self) -> str:
        """The parts of the error, by epoch if there are any, for notebooks."""
        from funcnet import _html
        from funcnet.study._notebook import is_shown, show_scores, show_table

        has_epochs = self.epochs is not None
        if not is_shown(self, int(has_epochs), *self.mean.values()):
            return _html.plain(self)
        if self.epochs is not None:
            epochs = np.asarray(self.epochs).tolist()
            return show_scores("Parts of the error", "epochs", epochs, self.mean, self.standard_error)
        rows = [[name, self.mean[name], self.standard_error[name]] for name in self.mean]
        return show_table("Parts of the error", ["part", "mean", "standard error"], rows)


def bias_variance(
    train: Fit,
    size: int,
    *,
    loss: ErrorLoss = "squared",
    epochs: Sequence[int] | None = None,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "BiasVarianceStudy":
    """Decompose a test error into bias and variance: `study(net, draw_or_data, key, test, truth=None)`.

    `size` models are trained as one program, each with its own training set, initialization and order of
    rows. With the mean prediction f̄ for a row, its noise-free target t and its observed target y,

        squared error:  E (f − y)² = (f̄ − t)² + E (f − f̄)² + (y − t)²  =  bias² + variance + noise.

    This holds on average over the noise of the test rows; on the given rows, 2·mean((f̄ − t)(t − y))
    remains. Without `truth`, bias² and noise are one part, "bias_and_noise", and error =
    bias_and_noise + variance up to rounding. Both estimates are unbiased: the naive bias² is too large by
    variance / size and is corrected, so it can be slightly negative where there is no bias.

    The parts of the 0-1 loss are those of Domingos. The main prediction is the most frequent class among
    the members; bias is 1 where it is not the true class; variance is that of unbiased rows (the share of
    members that are wrong) minus that of biased rows (the share that are nevertheless right); noise is
    the error added by wrong labels. error = bias + variance + noise up to rounding for any number of
    classes. With two classes, the noise of a row with a wrong label is (1 − 2·its error against the truth);
    with more classes there is no such formula, and noise is measured.

    Training sets come from a function `draw(key) -> data`, which is pure and traced into the program: then
    the parts refer to training on data from that distribution. If data is given instead, training sets are
    bootstrap samples of it: the variance is then over resamples of this one sample, each of which holds
    about 63 % of the rows, and the bias is that of the mean over resamples. Both only approximate what new
    data would give. Test rows should not be part of the data.

    Args:
        train: a training function, from `fn.fit`.
        size: the number of members, at least 3.
        loss: "squared" for numbers, "zero_one" for logits of classes, [n] or [n, classes].
        epochs: increasing numbers of epochs, which replace the epochs of `train`; the parts are computed
            after each. Each number is a run from the start: if they double, all cost twice the last one.
        block: the number of members computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of members it finished.

    Returns:
        The study; its result is a `BiasVarianceResult`.

    Raises:
        TypeError: if `train` is not a training function.
        ValueError: if `size` is below 3, `block` below 1, `loss` unknown, or `epochs` do not increase.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def draw(key):
        ...     x = jax.random.uniform(key, (20, 1), minval=-1.0)
        ...     return x, x[:, 0] ** 2 + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (20,))
        >>> x, y = draw(jax.random.key(1))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> study = fn.study.bias_variance(fn.fit(loss, optax.adam(0.1), epochs=50, batch_size=20), 20)
        >>> result = study(fn.models.LinearRegression(1), draw, jax.random.key(0), (x, y), x[:, 0] ** 2)
        >>> bool(result.mean["bias_squared"] > 5 * result.mean["variance"])  # a line for a parabola
        True

    Source: Geman, Bienenstock, Doursat, "Neural networks and the bias/variance dilemma", 1992; Domingos,
    "A unified bias-variance decomposition and its applications", 2000.
    """
    _check.train_function(train)
    size = _check.repeats("size", size)
    if size < MIN_MEMBERS:
        raise ValueError(
            f"size must be at least {MIN_MEMBERS} for a standard error, got {size}. Try size=50."
        )
    _check.choice("loss", loss, ("squared", "zero_one"))
    if epochs is not None:
        _check.increasing("epochs", epochs)
        epochs = tuple(epochs)
    return BiasVarianceStudy(train, size, loss, epochs, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class BiasVarianceStudy(MemberStudy):
    """The study returned by `bias_variance`. Call it; its settings are its fields."""

    SHARED = ("net", "data", "key", "test", "truth")

    train: Fit
    size: int
    loss: ErrorLoss
    epochs: tuple[int, ...] | None

    @property
    def num_members(self) -> int:
        return self.size

    def __call__(
        self, net: Module, data: Draw | PyTree, key: Key, test: PyTree, truth: Array | None = None
    ) -> BiasVarianceResult:
        """Train all members, and decompose their error on the test rows.

        Args:
            net: an architecture, before `init`; if it has parameters, every member starts from them.
            data: a pure function `draw(key) -> data`; or a Dataset or a tuple of arrays to resample.
            key: a typed key. Member i depends on it and i only.
            test: the rows to predict, (x, y) or a Dataset of such; their weights are used.
            truth: the noise-free targets of the test rows, in the shape of y.

        Returns:
            A BiasVarianceResult.

        Raises:
            TypeError: if `net` is not a module with an `init`, or `key` is not a PRNG key.
            ValueError: if data or test rows are unfit, or `truth` does not have the shape of y.
            FloatingPointError: if a member diverged, so that no part is finite; not checked under tracing.
        """
        model, draw, data = self._check_arguments(net, data, key)
        test = to_rows("test", test, self.train.loss, model)
        if not (isinstance(test.arrays, tuple | list) and len(test.arrays) == 2):
            raise ValueError("test must hold pairs of features and targets. Pass test=(x, y).")
        if truth is not None:
            truth = _check.jax_array("truth", truth)
            _check.same_shape("truth", truth, "y", test[:][1])
        result = self._run_members(model, self.size, (net, data, key, test, truth), static=draw)
        _check_finite(result)
        return result

    def member(self, net: Module, data: Draw | PyTree, key: Key, number: int) -> Run:
        """The run of one member, computed alone; with `epochs`, the longest."""
        _, draw, data = self._check_arguments(net, data, key)
        return self._run_member(number, (net, data, key, None, None), static=draw)

    def _check_arguments(
        self, net: Module, data: Draw | PyTree, key: Key
    ) -> tuple[PyTree, Draw | None, Dataset | None]:
        """A model, and the source of training sets: either a function or data."""
        _check.architecture(net)
        check_start_is_drawn(net)
        _check.key(key)
        model = model_of_shapes(net, key)
        if callable(data):
            _check.takes("data", data, "rows, or a function draw(key) -> rows", key)
            return model, data, None
        return model, None, to_rows("data", data, self.train.loss, model)

    def _member(self, static: Draw | None, shared: Any, number: Array) -> Any:
        """The predictions [epochs, n, ...] for the test rows; without test rows, the longest run."""
        net, data, key, test, _ = shared
        own = jax.random.fold_in(_keys.fold_in_name(key, "member"), number)
        if static is None:
            sample = bootstrap(data, _keys.fold_in_name(own, "bootstrap"))
        else:
            sample = static(_keys.fold_in_name(own, "draw"))

        def run(train: Fit) -> Run:
            model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
            return train(model, sample, _keys.fold_in_name(own, "train"))

        trains = [self.train]
        if self.epochs is not None:
            trains = [dataclasses.replace(self.train, epochs=epochs) for epochs in self.epochs]
        if test is None:
            return run(trains[-1])
        x, _ = test[:]
        return jnp.stack([self._predict(run(train), x) for train in trains])

    def _predict(self, run: Run, x: PyTree) -> Array:
        """The predictions of a run; NaN if it ended at a loss or gradient that is not finite."""
        predictions: Array = nan_if_not_finite(run.state, predict(run.model, x))
        return predictions

    def _combine(self, static: Draw | None, shared: Any, results: Array) -> BiasVarianceResult:
        *_, test, truth = shared
        _, y = test[:]
        predictions = jnp.moveaxis(results, 1, 0)
        parts = [decompose(self.loss, each, y, truth, test.weights()) for each in predictions]
        if self.epochs is None:
            return BiasVarianceResult(*parts[0], results[:, 0])
        mean, errors, per_row = jax.tree.map(lambda *values: jnp.stack(values), *parts)
        return BiasVarianceResult(mean, errors, per_row, predictions, jnp.array(self.epochs))


def _check_finite(result: BiasVarianceResult) -> None:
    """Raise if a concrete mean is not finite, with the members whose predictions are the largest."""
    if not _tree.is_concrete(result.mean) or bool(_tree.all_finite(result.mean)):
        return
    predictions = np.abs(np.asarray(result.predictions, np.float64))
    members = np.moveaxis(predictions, 0 if result.epochs is None else 1, 0)
    largest = members.reshape(len(members), -1).max(axis=1)
    worst = int(largest.argmax())  # the first NaN, if there is one
    size = float(largest[worst])
    reason = "ended at a non-finite loss or gradient" if np.isnan(size) else f"predicts up to {size:.3g}"
    raise FloatingPointError(
        f"the errors of the models that `train` returned are not finite: member {worst} {reason}. Use "
        "a lower learning rate, or scale the data."
    )
