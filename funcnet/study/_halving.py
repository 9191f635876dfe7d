"""Successive halving: all trials train for a few epochs, and only the best of them continue."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.study._members import SMALL_BLOCK_OF_FEW, ProgressCallback, init_if_incomplete
from funcnet.study._trials import Mode, Prepared, TrialsResult, TrialStudy, check_trials, rank, run_indices
from funcnet.train import Run
from funcnet.train._partial_run import continue_run, result_so_far, start_run


class Rung(NamedTuple):
    """The trials that trained for so many epochs, and their scores.

    Args:
        epochs: the epochs after which this rung ends; a trial that stopped by itself has fewer.
        trials: the numbers of the trials, int [n], increasing.
        scores: their monitored values after these epochs, float [n].

    Example:
        >>> import numpy as np, funcnet as fn
        >>> rung = fn.study.Rung(9, np.array([0, 3]), np.array([0.5, 0.25]))
        >>> int(rung.trials[rung.scores.argmin()])
        3
    """

    epochs: int
    trials: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class HalvingResult(TrialsResult):
    """The trials of successive halving, their scores, and how far each trial got.

    Args:
        trials: the settings of each trial.
        scores: the monitored value of each trial on the validation rows, after its last epoch, [trials].
            Scores of trials that trained for different numbers of epochs can't be compared.
        mode: whether "min" or "max" is best.
        runs: the runs; the trials of one program are stacked in one `Run`. The outcome of a trial that was
            stopped is `fn.Outcome.RUNNING`, and its history ends with NaN.
        run_indices: for each trial, the index of its `Run` in `runs`, and its index in that `Run`.
        rungs: the trials of each rung and their scores, from the first to the last.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(learning_rate):
        ...     return fn.fit(loss, optax.sgd(learning_rate), epochs=4, batch_size=8)
        >>> study = fn.study.halving(make_train, {"learning_rate": [1e-3, 1e-2, 0.1]}, factor=2)
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> result = study(net, data, jax.random.key(0), data)
        >>> result.best, result.epochs.tolist(), [rung.trials.tolist() for rung in result.rungs]
        ({'learning_rate': 0.1}, [1, 2, 4], [[0, 1, 2], [1, 2], [2]])
    """

    rungs: list[Rung]

    def _repr_html_(self) -> str:
        """The trials with their epochs, the best first, for notebooks."""
        return self._table(epochs=self.epochs.tolist())

    @property
    def epochs(self) -> np.ndarray:
        """The number of epochs in which each trial trained, int [trials]."""
        epochs = [np.asarray(run.state.epoch) for run in self.runs]
        return np.array([epochs[group][index] for group, index in self.run_indices], int)

    @property
    def _last_rungs(self) -> np.ndarray:
        """The end of the last rung of each trial, which it may not have reached: it stopped by itself."""
        ends = np.zeros(len(self.trials), int)
        for rung in self.rungs:
            ends[rung.trials] = rung.epochs
        return ends

    @property
    def order(self) -> np.ndarray:
        """Trial numbers, the best first: by rungs, then by score; those whose score is not finite last."""
        return np.lexsort((rank(self.scores, self.mode), -self._last_rungs, ~np.isfinite(self.scores)))


def halving(
    make_train: Callable[..., Any],
    settings: Mapping[str, Sequence[Any]],
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    num_samples: int | None = None,
    factor: int = 3,
    min_epochs: int = 1,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "HalvingStudy":
    """Successive halving: a sweep that stops the worse trials early: `study(net, data, key, valid)`.

    All trials train for a few epochs. Then the best of them, one in `factor`, continue until `factor` times
    as many epochs, and so on; those of the last rung train for all epochs of their training function. A
    trial that continues keeps its state, and its learning rate schedule is that of all epochs, so the run
    of the best trial is the run of `sweep`. Every rung after the first costs the same, so with k cuts the
    training costs about (1 + k·(1 - 1 / factor)) / factorᵏ of that of a sweep: 0.11 for three cuts by 3.

    With E epochs, the rungs end after E, E / factor, E / factor², ... epochs, rounded down, as long as that
    is at least `min_epochs` and more than one trial is left; with `eval_every`, at an evaluation. Of n
    trials, n / factor continue, rounded up. A trial whose score is not finite does not continue. Equal
    scores are ordered by the number of the trial.

    All rungs are one program, compiled once, since the numbers of trials and epochs are its arguments.
    Settings that can't be traced have a program for each of their combinations, as in `sweep`, and all
    trials compete.

    A setting that is best in the end must not be among the worst after few epochs: low learning rates and
    strong regularization start slowly. More `min_epochs` and a smaller `factor` are safer.

    Args:
        make_train: called with one value for each setting, by name; returns a training function, or a pair
            (training function, network) if settings determine the network. All have the same `epochs`.
        settings: the values of each setting, by name.
        monitor: the value that scores a trial: "val_" and the name of the loss or a metric.
        mode: whether "min" or "max" of it is best.
        num_samples: the number of combinations that are tried, drawn without replacement; all if None.
        factor: one in so many trials continues, at least 2.
        min_epochs: the least epochs of any trial.
        block: the number of trials computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of trials it finished, in each rung.

    Returns:
        The study; its result is a `HalvingResult`.

    Raises:
        TypeError: if `make_train` is not a function; when called, before anything is compiled, if it does
            not return a function from `fn.fit`, or a setting whose values are floats can't be traced.
        ValueError: if a setting has no values, `monitor` is not a validation value, an accuracy would be
            minimized, there are fewer combinations than `num_samples` or fewer than two, or `factor` is
            below 2; when called, if the training functions have different epochs, or too few for one cut.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> train, valid = fn.data.split(iris, (0.7, 0.3), jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy)
        >>> def make_train(learning_rate, weight_decay):
        ...     optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)
        ...     return fn.fit(loss, optimizer, epochs=18, batch_size=16)
        >>> settings = {"learning_rate": [1e-4, 1e-3, 1e-2], "weight_decay": [0.0, 0.01, 0.1]}
        >>> study = fn.study.halving(make_train, settings, min_epochs=2)
        >>> result = study(fn.MLP((4, 8, 3)), train, jax.random.key(1), valid)
        >>> [(rung.epochs, len(rung.trials)) for rung in result.rungs], result.best["learning_rate"]
        ([(2, 9), (6, 3), (18, 1)], 0.01)

    Source: Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
    2016; Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", 2018.
    """
    values, num_samples = check_trials(make_train, settings, monitor, mode, num_samples)
    factor = _check.count("factor", factor)
    if factor < 2:
        raise ValueError(f"factor must be at least 2, got {factor}. Try factor=3.")
    min_epochs = _check.count("min_epochs", min_epochs)
    study = HalvingStudy(
        *(make_train, values, monitor, mode, num_samples, factor, min_epochs),
        block=block,
        progress=progress,
    )
    if study.num_trials < 2:
        name = "settings" if num_samples is None else "num_samples"
        raise ValueError(f"{name} must give at least 2 trials, got 1. One run is fn.fit.")
    return study


class _Start(NamedTuple):
    """The trials of a group before their first step: so many, with these fixed settings."""

    fixed: Any
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class HalvingStudy(TrialStudy):
    """The study returned by `halving`. Call it; its settings are its fields."""

    SHARED = ("values of settings", "net", "data", "key", "valid", "runs", "trials", "epochs")
    SMALL_BLOCK: ClassVar[int] = SMALL_BLOCK_OF_FEW

    factor: int
    min_epochs: int

    @property
    def num_members(self) -> int:
        """The number of trials in all rungs together."""
        fixed = {name: values[0] for name, values in self.settings.items()}
        train = self.make_train(**fixed)
        train = train[0] if isinstance(train, tuple) else train
        _check.train_function(train, "the result of make_train")
        return sum(size for _, size in self._rungs(train.epochs, train.eval_every, self.num_trials))

    def __call__(self, net: Module | None, data: PyTree, key: Key, valid: PyTree) -> HalvingResult:
        """Train all trials, and continue with the best.

        Args:
            net: an architecture; None if `make_train` returns one.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key for initialization and order of rows, and to draw combinations.
            valid: the rows that score the trials.

        Returns:
            A HalvingResult.

        Raises:
            TypeError: if `make_train` does not return a training function, or there is no network.
            ValueError: if the data is unfit, the monitored value is not measured, or the epochs of the
                trials differ or are too few for one cut.
        """
        trials, groups = self._prepare("halving", net, data, key, valid)
        sizes = self._rungs(*_epochs(groups), len(trials))
        shared = [(one.group.values, net, one.data, key, one.valid) for one in groups]
        runs = [self._start_runs(one, net, part) for one, part in zip(groups, shared, strict=True)]
        scores, left = np.full(len(trials), np.nan), np.arange(len(trials))
        rungs: list[Rung] = []
        for until, size in sizes:
            if rungs:
                left = self._select(scores, left, size)
                if not len(left):  # all have diverged
                    break
            first = rungs[-1].epochs if rungs else 0
            for number, one in enumerate(groups):
                own = np.flatnonzero(np.isin(one.group.numbers, left))
                if not len(own):
                    continue
                places = np.full(len(one.group.numbers), len(one.group.numbers), np.int32)
                places[: len(own)] = own
                arguments = (*shared[number], runs[number], places, np.array([first, until], np.int32))
                runs[number], score = self._run_trials(one, net, arguments, len(own))
                scores[np.array(one.group.numbers)[own]] = np.asarray(score)[: len(own)]
            rungs.append(Rung(until, left, scores[left]))
        return HalvingResult(trials, scores, self.mode, runs, run_indices(groups), rungs)

    def _rungs(self, epochs: int, eval_every: int, num_trials: int) -> list[tuple[int, int]]:
        """The epoch in which each rung ends, and the number of its trials; from the first rung to the last.

        Raises:
            ValueError: if there is only one.
        """
        # In units of evaluations, so that each rung ends with one.
        evaluations, least = -(-epochs // eval_every), -(-self.min_epochs // eval_every)
        ends, sizes = [evaluations], [num_trials]
        while ends[-1] // self.factor >= least and sizes[-1] > 1:
            ends.append(ends[-1] // self.factor)
            sizes.append(-(-sizes[-1] // self.factor))
        if len(ends) == 1:
            raise ValueError(
                f"epochs must be at least {self.factor * least * eval_every}, factor * min_epochs"
                f"{' in steps of eval_every' if eval_every > 1 else ''}, got {epochs}: no trial would be "
                "stopped early. Train for more epochs, or use fn.study.sweep."
            )
        return [
            (min(end * eval_every, epochs), size) for end, size in zip(reversed(ends), sizes, strict=True)
        ]

    def _select(self, scores: np.ndarray, trials: np.ndarray, size: int) -> np.ndarray:
        """The best `size` of these trials by number; only those with a finite score."""
        finite = trials[np.isfinite(scores[trials])]
        best = np.argsort(rank(scores[finite], self.mode), kind="stable")[:size]
        return np.sort(finite[best])

    def _start_runs(self, prepared: Prepared, net: Module | None, shared: PyTree) -> Run:
        """The runs of a group before the first step, stacked."""
        fixed, size = prepared.group.fixed, len(prepared.group.numbers)
        with self._name_untraceable(fixed, shared):
            self._check_values(prepared, net)
            return self._run_member(0, shared, _Start(fixed, size))

    def _member(self, static: Any, shared: Any, number: int | Array) -> Any:
        """The run after the rung and its score; for `_Start`, the runs of all trials before the first."""
        if isinstance(static, _Start):
            start = functools.partial(self._start, static.fixed, shared)
            return jax.vmap(start)(jnp.arange(static.size))
        values, net, data, key, valid, runs, places, (first, until) = shared
        trial = jnp.minimum(places[number], len(places) - 1)  # after the last one, any trial
        train, _ = self._make_train(static, values, trial, net)
        state = jax.tree.map(lambda a: a[trial], runs.state)
        # All trials have the same key, so that their rows are shuffled once.
        state = _tree.replace(state, key=_keys.fold_in_name(key, "train"))
        run = result_so_far(train, continue_run(train, state, data, valid, first, until), data)
        return run, self._score(train.loss, run, valid)

    def _start(self, fixed: Any, shared: Any, number: Array) -> Run:
        values, net, data, key, valid = shared
        train, net = self._make_train(fixed, values, number, net)
        model = init_if_incomplete(net, _keys.fold_in_name(key, "init"))
        state = start_run(train, model, data, _keys.fold_in_name(key, "train"), valid)
        return result_so_far(train, state, data)

    def _combine(self, static: Any, shared: Any, results: tuple[Run, Array]) -> tuple[Run, Array]:
        """The runs of all trials of the group, with those of this rung replaced; and the scores."""
        runs, places = shared[5], shared[6]
        new, scores = results
        places = places[: len(scores)]  # beyond the end of `runs` for results that are to be ignored
        return jax.tree.map(lambda a, b: a.at[places].set(b, mode="drop"), runs, new), scores


def _epochs(groups: list[Prepared]) -> tuple[int, int]:
    """The epochs of all trials, and those between evaluations.

    Raises:
        ValueError: if they differ.
    """
    for name in ("epochs", "eval_every"):
        values = sorted({getattr(one.train, name) for one in groups})
        if len(values) > 1:
            raise ValueError(
                f"{name} must be the same for all trials, got {' and '.join(map(str, values))}: trials are "
                f"compared after the same number of epochs. Leave {name} out of the settings."
            )
    return groups[0].train.epochs, groups[0].train.eval_every
