"""Bias and variance: what many trainings on other rows have in common, and in what they differ."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _keys, _mesh, _tree
from funcnet._module import Module
from funcnet._types import Array, Int, Key, PyTree
from funcnet.data import Dataset, bootstrap
from funcnet.study._decompose import ErrorLoss, decompose
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Fit, Run, predict
from funcnet.train._evaluate import checked_data

FEWEST = 3
"""Members. Without one of them there is still a variance."""


@_tree.node
class BiasVarianceResult:
    """The parts of a test error, by name: means, their standard errors, and row by row.

    A study with `epochs` has a leading axis [epochs] in every array.

    Args:
        mean: each part's weighted mean over the test rows, a scalar. Of the squared error: "error",
            "variance", and with `truth` "bias_squared" and "noise", without it their sum
            "bias_and_noise". Of the 0-1 loss: "error", "variance", "unbiased_variance",
            "biased_variance", and "bias" and "noise", or "bias_and_noise".
        standard_error: of each mean. For "noise" over test rows; for all others over members, by the
            jackknife, with the test rows as they are: what other training sets would change. For the
            0-1 loss it is rough where two classes have nearly as many votes.
        rows: each part's value at each test row, [n].
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
        >>> found = study(fn.models.LinearRegression(1), draw, jax.random.key(0), test)
        >>> sorted(found.mean), found.rows["variance"].shape, found.predictions.shape
        (['bias_and_noise', 'error', 'variance'], (20,), (8, 20))
    """

    mean: dict[str, Array]
    standard_error: dict[str, Array]
    rows: dict[str, Array]
    predictions: Array
    epochs: Int[Array, " epochs"] | None = None


def bias_variance(
    train: Fit,
    size: int,
    *,
    loss: ErrorLoss = "squared",
    epochs: Sequence[int] | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> "BiasVarianceStudy":
    """Take the test error of a training apart: `study(net, draw_or_data, key, test, truth=None)`.

    `size` models are trained as one program, each on a training set, a start and an order of its own.
    With f̄ the mean prediction for a row, t its noise-free target and y the target measured,

        squared error:  E (f − y)² = (f̄ − t)² + E (f − f̄)² + (y − t)²  =  bias² + variance + noise.

    This holds on average over the noise of the test rows; on the rows at hand, 2·mean((f̄ − t)(t − y))
    is left over. Where no `truth` is given, bias² and noise are one part, "bias_and_noise", and error =
    bias_and_noise + variance to rounding. Both estimates are unbiased: the naive bias², too large by
    variance / size, is corrected, and so may come out slightly negative where there is none.

    For the 0-1 loss the parts are Domingos'. The main prediction is the members' most frequent class;
    bias is 1 where it is not the true class; variance is that of unbiased rows (the share of members that
    are wrong) less that of biased rows (the share that are right all the same); noise is what wrong labels
    add to the error. error = bias + variance + noise to rounding for any number of classes: with two,
    each row's noise is (1 − 2·its error against the truth) where the label is wrong; with more, there is no
    such formula, and it is measured.

    Training sets come from a function `draw(key) -> data`, pure, which is traced into the program: then
    the parts are those of the training on data of that kind. Given data instead, they are bootstrap
    samples of it: the variance is then that over resamples of this one sample, where each holds only some
    63 % of the rows, and the bias is that of the mean over resamples, for this one sample. Both only
    resemble what fresh data would give. Test rows should be none of the data's.

    Args:
        train: a training, as `fit` makes it.
        size: the number of members, at least 3.
        loss: "squared" for numbers, "zero_one" for logits of classes, [n] or [n, classes].
        epochs: rising numbers of epochs, in place of the training's own: the parts after each. Every one
            is a training from the start, so numbers that double cost twice the last.
        block: members computed side by side; chosen when left out.
        progress: called on the host with how many more members are done, after each block.

    Returns:
        The study; its result is a `BiasVarianceResult`.

    Raises:
        TypeError: if `train` is no training.
        ValueError: if `size` is below 3, `block` below 1, `loss` unknown, or `epochs` don't rise.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def draw(key):
        ...     x = jax.random.uniform(key, (20, 1), minval=-1.0)
        ...     return x, x[:, 0] ** 2 + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (20,))
        >>> x, y = draw(jax.random.key(1))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> study = fn.study.bias_variance(fn.fit(loss, optax.adam(0.1), epochs=50, batch_size=20), 20)
        >>> found = study(fn.models.LinearRegression(1), draw, jax.random.key(0), (x, y), x[:, 0] ** 2)
        >>> bool(found.mean["bias_squared"] > 5 * found.mean["variance"])  # a line for a parabola
        True

    Source: Geman, Bienenstock, Doursat, "Neural networks and the bias/variance dilemma", 1992; Domingos,
    "A unified bias-variance decomposition and its applications", 2000.
    """
    _check.train_function(train)
    _check.positive("size", size)
    if size < FEWEST:
        raise ValueError(f"size is at least {FEWEST}, to have a standard error; got {size}. Try size=50.")
    _check.choice("loss", loss, ("squared", "zero_one"))
    if epochs is not None:
        _check.increasing("epochs", epochs)
    check_blocks(block, progress)
    chosen = None if epochs is None else tuple(epochs)
    return BiasVarianceStudy(train, size, loss, chosen, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class BiasVarianceStudy:
    """The study that `bias_variance` made. Call it; its settings are its fields."""

    train: Fit
    size: int
    loss: ErrorLoss
    epochs: tuple[int, ...] | None
    block: int | None
    progress: Progress | None

    def __call__(
        self,
        net: Module,
        data: Callable[[Key], PyTree] | PyTree,
        key: Key,
        test: PyTree,
        truth: Array | None = None,
    ) -> BiasVarianceResult:
        """Train all members, and take their error on the test rows apart.

        Args:
            net: an architecture, before `init`; parameters that it has already are every member's start.
            data: a pure function `draw(key) -> data`; or a Dataset or a tuple of arrays to resample.
            key: a typed key. Member i depends on it and i only.
            test: the rows to predict, (x, y) or a Dataset of such; their weights count.
            truth: the noise-free targets of the test rows, in y's shape.

        Returns:
            A BiasVarianceResult.

        Raises:
            TypeError: if `net` is no module with an `init`, or the key is none.
            ValueError: if data or test rows are unfit, or `truth` has another shape than y.
        """
        _check.architecture(net)
        _check.key(key)
        draw, data = self._source(net, data, key)
        test = checked_data(self.train.loss, start(net, key), test)
        if not (isinstance(test.arrays, tuple | list) and len(test.arrays) == 2):
            raise ValueError("test rows are pairs of features and targets. Pass test=(x, y).")
        if truth is not None:
            truth = jnp.asarray(truth)
            _check.same_shape("truth", truth, "y", test[:][1])
        return self._compiled(draw, net, data, key, test, truth, _mesh.num_devices())

    def member(self, net: Module, data: Callable[[Key], PyTree] | PyTree, key: Key, number: int) -> Run:
        """The training of one member alone, as the study has it; with `epochs`, the longest."""
        _check.architecture(net)
        _check.key(key)
        draw, data = self._source(net, data, key)
        return self._alone(draw, net, data, key, jnp.int32(number))

    def _source(self, net: Module, data: Any, key: Key) -> tuple[Callable[[Key], PyTree] | None, Any]:
        """What training sets come from: a function and no data, or data and no function."""
        if callable(data):
            return data, None
        return None, checked_data(self.train.loss, start(net, key), data)

    @property
    def _trainings(self) -> list[Fit]:
        if self.epochs is None:
            return [self.train]
        return [dataclasses.replace(self.train, epochs=epochs) for epochs in self.epochs]

    def _run(
        self,
        train: Fit,
        draw: Callable[[Key], PyTree] | None,
        net: Module,
        data: Dataset | None,
        key: Key,
        number: Array,
    ) -> Run:
        own = jax.random.fold_in(_keys.named(key, "member"), number)
        sample = (
            bootstrap(data, _keys.named(own, "bootstrap"))
            if draw is None
            else draw(_keys.named(own, "draw"))
        )
        return train(start(net, _keys.named(own, "init")), sample, _keys.named(own, "train"))

    @functools.cached_property
    def _alone(self) -> Any:
        return jax.jit(functools.partial(self._run, self._trainings[-1]), static_argnums=0)

    @functools.cached_property
    def _compiled(self) -> Any:
        trainings = self._trainings

        def study(
            draw: Any, net: Module, data: Any, key: Key, test: Dataset, truth: Any, devices: int
        ) -> BiasVarianceResult:
            del devices  # a part of what is compiled: see `mesh.use`

            def one(shared: tuple[Module, Dataset | None, Key, PyTree], number: Array) -> Array:
                net, data, key, x = shared
                runs = [self._run(train, draw, net, data, key, number) for train in trainings]
                return jnp.stack([predict(run.model, x) for run in runs])

            x, y = test[:]
            small = is_small(jax.eval_shape(start, net, key))
            each = each_member(one, (net, data, key, x), self.size, self.block, small, self.progress)
            found = [decompose(self.loss, f, y, truth, test.weights()) for f in jnp.moveaxis(each, 1, 0)]
            if self.epochs is None:
                return BiasVarianceResult(*found[0], each[:, 0])
            mean, errors, rows = jax.tree.map(lambda *values: jnp.stack(values), *found)
            return BiasVarianceResult(mean, errors, rows, jnp.moveaxis(each, 1, 0), jnp.array(self.epochs))

        return jax.jit(study, static_argnums=(0, 6))
