"""A sweep over hyperparameters: those that can be traced share one program, the others one per value."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.study._members import ProgressCallback
from funcnet.study._trials import Mode, TrialsResult, TrialStudy, check_trials, rank, run_indices
from funcnet.train import Run


@dataclasses.dataclass(frozen=True)
class SweepResult(TrialsResult):
    """The trials of a sweep and their scores.

    Args:
        trials: the settings of each trial.
        scores: the monitored value of each trial's model on the validation rows, float [trials].
        mode: whether "min" or "max" is best.
        runs: the runs; the trials of one program are stacked in one `Run`.
        run_indices: for each trial, the index of its `Run` in `runs`, and its index in that `Run`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(learning_rate):
        ...     return fn.fit(loss, optax.sgd(learning_rate), epochs=5, batch_size=8)
        >>> study = fn.study.sweep(make_train, {"learning_rate": [1e-4, 0.1]})
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> result = study(net, data, jax.random.key(0), data)
        >>> result.best, result.run(1).history["loss"].shape
        ({'learning_rate': 0.1}, (5,))
    """

    def _repr_html_(self) -> str:
        """The trials, the best first, for notebooks."""
        return self._table()

    @property
    def order(self) -> np.ndarray:
        """Trial numbers, the best first; those whose score is not finite last."""
        return np.argsort(rank(self.scores, self.mode), kind="stable")


def sweep(
    make_train: Callable[..., Any],
    settings: Mapping[str, Sequence[Any]],
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    num_samples: int | None = None,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "SweepStudy":
    """Train with every combination of settings, score on validation rows: `study(net, data, key, valid)`.

    Settings whose values are all floats (rates of learning and of dropout, decays) are traced: all their
    combinations are one program, compiled once. Other settings (sizes, strings, functions) change the
    program, and each of their combinations is compiled. All trials have the same initialization and the
    same order of rows, so they differ by their settings only.

    Args:
        make_train: called with one value for each setting, by name; returns a training function, or a pair
            (training function, network) if settings determine the network.
        settings: the values of each setting, by name.
        monitor: the value that scores a trial: "val_" and the name of the loss or a metric.
        mode: whether "min" or "max" of it is best.
        num_samples: the number of combinations that are tried, drawn without replacement; all if None.
        block: the number of trials computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of trials it finished.

    Returns:
        The study; its result is a `SweepResult`.

    Raises:
        TypeError: if `make_train` is not a function; when called, before anything is compiled, if a
            setting whose values are floats can't be traced.
        ValueError: if a setting has no values, `monitor` is not a validation value, an accuracy would be
            minimized, or there are fewer combinations than `num_samples`.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> train, valid = fn.data.split(iris, (0.7, 0.3), jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy)
        >>> def make_train(learning_rate, weight_decay, width):
        ...     optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)
        ...     return fn.fit(loss, optimizer, epochs=10, batch_size=16), fn.MLP((4, width, 3))
        >>> settings = {"learning_rate": [1e-4, 1e-2], "weight_decay": [0.0, 0.1], "width": [8]}
        >>> result = fn.study.sweep(make_train, settings)(None, train, jax.random.key(1), valid)
        >>> len(result.trials), result.best["learning_rate"]
        (4, 0.01)

    Source: Bergstra, Bengio, "Random search for hyper-parameter optimization", 2012 (`num_samples`).
    """
    values, num_samples = check_trials(make_train, settings, monitor, mode, num_samples)
    return SweepStudy(make_train, values, monitor, mode, num_samples, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class SweepStudy(TrialStudy):
    """The study returned by `sweep`. Call it; its settings are its fields."""

    SHARED = ("values of settings", "net", "data", "key", "valid")

    @property
    def num_members(self) -> int:
        return self.num_trials

    def __call__(self, net: Module | None, data: PyTree, key: Key, valid: PyTree) -> SweepResult:
        """Train all trials.

        Args:
            net: an architecture; None if `make_train` returns one.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key for initialization and order of rows, and to draw combinations.
            valid: the rows that score the trials.

        Returns:
            A SweepResult.

        Raises:
            TypeError: if `make_train` does not return a training function, or there is no network.
            ValueError: if the data is unfit, or the monitored value is not measured.
        """
        trials, groups = self._prepare("sweep", net, data, key, valid)
        runs, scores = [], np.zeros(len(trials))
        for one in groups:
            run, score = self._run_trials(one, net, (one.group.values, net, one.data, key, one.valid))
            runs.append(run)
            scores[one.group.numbers] = np.asarray(score)
        return SweepResult(trials, scores, self.mode, runs, run_indices(groups))

    def _member(self, static: Any, shared: Any, number: int | Array) -> tuple[Run, Array]:
        return self._train(static, shared, number)

    def _combine(self, static: Any, shared: Any, results: tuple[Run, Array]) -> tuple[Run, Array]:
        return results
