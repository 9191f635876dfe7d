"""A sweep over hyperparameters: those that can be traced share one program, the others one per value."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._members import ProgressCallback, init_if_incomplete
from funcnet.study._study import MemberStudy, check_concrete, to_rows
from funcnet.train import Fit, Run
from funcnet.train._epoch import totals_struct
from funcnet.train._evaluate import total

Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SweepResult:
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

    trials: list[Settings]
    scores: np.ndarray
    mode: Literal["min", "max"]
    runs: list[Run]
    run_indices: list[tuple[int, int]]

    def __post_init__(self) -> None:
        scores = np.asarray(_check.array("scores", self.scores), float)
        object.__setattr__(self, "scores", scores)
        _check.choice("mode", self.mode, ("min", "max"))
        if scores.shape != (len(self.trials),):
            raise ValueError(f"scores must hold one number for each trial, got shape {scores.shape}.")

    def _repr_html_(self) -> str:
        """The trials, the best first, for notebooks."""
        from funcnet._html import MAX_ROWS
        from funcnet.study._notebook import show_table

        columns = ["trial", "score", *(self.trials[0] if self.trials else ())]
        rows = [[int(i), self.scores[i], *self.trials[i].values()] for i in self.order[:MAX_ROWS]]
        caption = f"{len(self.trials):,} trials, the best first ({self.mode} of the score)"
        return show_table(caption, columns, rows, len(self.trials))

    @property
    def order(self) -> np.ndarray:
        """Trial numbers, the best first; those whose score is not finite last."""
        scores = np.where(np.isfinite(self.scores), self.scores, np.nan)
        return np.argsort(scores if self.mode == "min" else -scores, kind="stable")

    @property
    def best(self) -> Settings:
        """The settings of the best trial; ValueError if no trial has a finite score."""
        if not np.isfinite(self.scores).any():
            raise ValueError(
                f"no trial has a finite score, got {self.scores.tolist()}. Try smaller learning rates."
            )
        return self.trials[self.order[0]]

    def run(self, trial: int) -> Run:
        """The run of one trial."""
        trial = _check.not_negative("trial", trial)
        if trial >= len(self.run_indices):
            raise ValueError(f"trial must be below {len(self.run_indices)}, got {trial}.")
        group, index = self.run_indices[trial]
        return jax.tree.map(lambda a: a[index], self.runs[group])


def sweep(
    make_train: Callable[..., Any],
    settings: Mapping[str, Sequence[Any]],
    *,
    monitor: str = "val_loss",
    mode: Literal["min", "max"] = "min",
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
    _check.settings(settings)
    _check.validation_value(monitor, mode)
    combinations = math.prod(len(values) for values in settings.values())
    if combinations > _check.INT32_MAX:
        raise ValueError(f"settings must have at most 2**31 - 1 combinations, got {combinations}.")
    if num_samples is not None:
        num_samples = _check.repeats("num_samples", num_samples)
    if num_samples is not None and num_samples > combinations:
        raise ValueError(
            f"num_samples must be at most {combinations}, the number of combinations, got {num_samples}."
        )
    values = {name: _to_hashable(name, choices) for name, choices in settings.items()}
    expected = "a function of the settings that returns a training function"
    _check.train_factory(make_train, expected, **dict.fromkeys(settings))
    return SweepStudy(make_train, values, monitor, mode, num_samples, block=block, progress=progress)


def _to_hashable(name: str, choices: Any) -> list[Any]:
    """Values that can be compared: scalars of NumPy and JAX become Python numbers."""
    values = [v.item() if hasattr(v, "item") and jnp.ndim(v) == 0 else v for v in choices]
    for value in values:
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"each value of settings must be a float or hashable, got {_check.describe(value)} for "
                f"{name}. Write sizes as tuples: {name}=[(4,), (8, 8)]."
            ) from None
    return values


def _are_floats(values: Sequence[Any]) -> bool:
    """Whether values are traced: numbers, of which at least one is a float."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and any(isinstance(v, float) for v in values)


@dataclasses.dataclass(frozen=True, eq=False)
class SweepStudy(MemberStudy):
    """The study returned by `sweep`. Call it; its settings are its fields."""

    SHARED = ("values of settings", "net", "data", "key", "valid")

    make_train: Callable[..., Any]
    settings: Settings
    monitor: str
    mode: Literal["min", "max"]
    num_samples: int | None

    @property
    def num_members(self) -> int:
        return self.num_samples or math.prod(map(len, self.settings.values()))

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
        _check.concrete_key("sweep", key)
        check_concrete("data", (data, valid))
        trials = self._trials(key)
        traced = [name for name, values in self.settings.items() if _are_floats(values)]
        groups: dict[Any, list[int]] = {}
        for number, trial in enumerate(trials):
            # The type is included because 1, 1.0 and True are the same dictionary key.
            fixed = tuple((name, value, type(value)) for name, value in trial.items() if name not in traced)
            groups.setdefault(fixed, []).append(number)
        runs, scores = [], np.zeros(len(trials))
        run_indices = [(0, 0)] * len(trials)
        for group, (fixed, numbers) in enumerate(groups.items()):
            values = {name: jnp.array([trials[n][name] for n in numbers], float) for name in traced}
            train, own_net = self._make_train(fixed, values, 0, net)
            model = init_if_incomplete(own_net, key)
            rows, valid_rows = (
                to_rows(name, part, train.loss, model, concrete=True)
                for name, part in (("data", data), ("valid", valid))
            )
            shared = values, net, rows, key, valid_rows
            try:
                if fixed not in self._checked:  # a second call traces nothing
                    self._check_values(
                        fixed, {name: self.settings[name] for name in traced}, net, model, rows
                    )
                    self._checked.add(fixed)
                run, score = self._run_members(model, len(numbers), shared, static=fixed)
            except TypeError:
                self._raise_untraceable(fixed, shared)
                raise
            runs.append(run)
            scores[numbers] = np.asarray(score)
            for index, number in enumerate(numbers):
                run_indices[number] = (group, index)
        return SweepResult(trials, scores, self.mode, runs, run_indices)

    @functools.cached_property
    def _checked(self) -> set[Any]:
        """The fixed settings with which the values of the others have been checked."""
        return set()

    def _check_values(
        self, fixed: Any, settings: Settings, net: Module | None, model: Any, rows: Dataset
    ) -> None:
        """Make the training function of each value as a number, since a traced one is not checked.

        A loss checks its settings when it is called: for the least and the greatest value.
        """
        first = {name: values[0] for name, values in settings.items()}
        for name, values in settings.items():
            for value in values:
                numbers = {n: jnp.array([v], float) for n, v in {**first, name: value}.items()}
                train, _ = self._make_train(fixed, numbers, 0, net)
                if value in (min(values), max(values)):
                    totals_struct(train._plan, model, rows, None)

    def _trials(self, key: Key) -> list[Settings]:
        """All combinations of the settings, or a random sample of them."""
        combinations = [
            dict(zip(self.settings, values, strict=True))
            for values in itertools.product(*self.settings.values())
        ]
        if self.num_samples is None:
            return combinations
        order = jax.random.permutation(_keys.fold_in_name(key, "samples"), len(combinations))
        return [combinations[i] for i in sorted(order[: self.num_samples].tolist())]

    def _make_train(
        self, fixed: Any, values: dict[str, Any], number: int | Array, net: Module | None
    ) -> tuple[Fit, Module]:
        """The training function and the network of one trial, from its fixed and its traced settings."""
        settings = {name: value for name, value, _ in fixed}
        result = self.make_train(**settings, **{name: value[number] for name, value in values.items()})
        if isinstance(result, tuple) and len(result) != 2:
            raise TypeError(
                "make_train must return a training function, or a pair (training function, network), got "
                f"{_check.describe(result)}."
            )
        train, net = result if isinstance(result, tuple) else (result, net)
        _check.train_function(train, "the result of make_train")
        _check.architecture(net)
        return train, net

    def _member(self, static: Any, shared: Any, number: int | Array) -> tuple[Run, Array]:
        values, net, data, key, valid = shared
        train, net = self._make_train(static, values, number, net)
        model = init_if_incomplete(net, _keys.fold_in_name(key, "init"))
        run = train(model, data, _keys.fold_in_name(key, "train"), valid)
        scores = total(train.loss, run.model, valid, len(valid)).means()
        _check.monitored_metric(self.monitor, [f"val_{name}" for name in scores], True)
        return run, scores[self.monitor.removeprefix("val_")]

    def _raise_untraceable(self, static: Any, shared: Any) -> None:
        """Raise if `make_train` or its training can't be traced with one of the settings, and name it."""
        values, *rest = shared
        concrete = {name: np.asarray(value) for name, value in values.items()}

        def trace(traced: dict[str, Array]) -> None:
            jax.eval_shape(lambda traced: self._member(static, (concrete | traced, *rest), 0), traced)

        trace({})  # if this raises, the settings are not the reason
        for name in values:
            try:
                trace({name: values[name]})
            except TypeError as error:
                raise TypeError(
                    f"the setting {name} of make_train must be one that can be traced, since its values "
                    f"are floats, got the error: {str(error).splitlines()[0]} To compile one program for "
                    f"each value, pass strings and convert them: {name}=['0.1', '0.2'], float({name})."
                ) from error

    def _combine(self, static: Any, shared: Any, results: tuple[Run, Array]) -> tuple[Run, Array]:
        return results
