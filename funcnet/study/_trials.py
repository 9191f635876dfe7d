"""Trials: combinations of settings, those that can be traced in one program, and their results."""

import abc
import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Dataset
from funcnet.study._members import init_if_incomplete, model_of_shapes
from funcnet.study._study import MemberStudy, check_concrete, to_rows
from funcnet.train import Fit, Run
from funcnet.train._epoch import totals_struct
from funcnet.train._evaluate import total
from funcnet.train._result import nan_if_not_finite

Settings: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["min", "max"]


@dataclasses.dataclass(frozen=True)
class TrialsResult(abc.ABC):
    """Trials, their scores and their runs. A subclass is final, and says which trial is better."""

    trials: list[Settings]
    scores: np.ndarray
    mode: Mode
    runs: list[Run]
    run_indices: list[tuple[int, int]]

    def __post_init__(self) -> None:
        scores = np.asarray(_check.array("scores", self.scores), float)
        object.__setattr__(self, "scores", scores)
        _check.choice("mode", self.mode, ("min", "max"))
        if scores.shape != (len(self.trials),):
            raise ValueError(f"scores must hold one number for each trial, got shape {scores.shape}.")

    @property
    @abc.abstractmethod
    def order(self) -> np.ndarray:
        """Trial numbers, the best first."""

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

    def _table(self, **columns: Sequence[Any]) -> str:
        """The trials, the best first, for notebooks; with more columns, a value for each trial."""
        from funcnet._html import MAX_ROWS
        from funcnet.study._notebook import show_table

        names = ["trial", "score", *columns, *(self.trials[0] if self.trials else ())]
        rows = [
            [int(i), self.scores[i], *(column[i] for column in columns.values()), *self.trials[i].values()]
            for i in self.order[:MAX_ROWS]
        ]
        caption = f"{len(self.trials):,} trials, the best first ({self.mode} of the score)"
        return show_table(caption, names, rows, len(self.trials))


def rank(scores: np.ndarray, mode: Mode) -> np.ndarray:
    """Scores as numbers of which the lowest is the best; NaN for those that are not finite."""
    finite = np.where(np.isfinite(scores), scores, np.nan)
    return finite if mode == "min" else -finite


def check_trials(
    make_train: Any, settings: Mapping[str, Sequence[Any]], monitor: str, mode: str, num_samples: int | None
) -> tuple[Settings, int | None]:
    """The values of the settings, hashable, and the number of samples, after checks."""
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
    return values, num_samples


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


class Group(NamedTuple):
    """The trials that one program computes.

    Args:
        fixed: the settings that are not traced: name, value and type of each.
        numbers: the numbers of the trials.
        values: the settings that are traced, arrays [trials] by name.
    """

    fixed: Any
    numbers: list[int]
    values: dict[str, Array]


class Prepared(NamedTuple):
    """A group, checked against the data: the training function of its first trial, a model, and rows."""

    group: Group
    train: Fit
    model: PyTree
    data: Dataset
    valid: Dataset


def run_indices(groups: Sequence[Prepared]) -> list[tuple[int, int]]:
    """For each trial, the number of its group and its index in that group."""
    places = {
        trial: (number, index)
        for number, one in enumerate(groups)
        for index, trial in enumerate(one.group.numbers)
    }
    return [places[trial] for trial in range(len(places))]


@dataclasses.dataclass(frozen=True, eq=False)
class TrialStudy(MemberStudy):
    """The base of studies of trials. A subclass implements `_member`, `_combine` and `__call__`.

    What all members share begins with the values of the traced settings, net, data, key and valid.
    """

    make_train: Callable[..., Any]
    settings: Settings
    monitor: str
    mode: Mode
    num_samples: int | None

    @property
    def num_trials(self) -> int:
        return self.num_samples or math.prod(map(len, self.settings.values()))

    def _prepare(
        self, study: str, net: Module | None, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[list[Settings], list[Prepared]]:
        """The trials, and their groups, after checks of the arguments of that study."""
        _check.concrete_key(study, key)
        check_concrete("data", (data, valid))
        trials, prepared = self._trials(key), []
        for group in self._groups(trials):
            train, own_net = self._make_train(group.fixed, group.values, 0, net)
            model = model_of_shapes(own_net, key)
            rows, valid_rows = (
                to_rows(name, part, train.loss, model, concrete=True)
                for name, part in (("data", data), ("valid", valid))
            )
            prepared.append(Prepared(group, train, model, rows, valid_rows))
        return trials, prepared

    def _groups(self, trials: list[Settings]) -> list[Group]:
        traced = [name for name, values in self.settings.items() if _are_floats(values)]
        numbers: dict[Any, list[int]] = {}
        for number, trial in enumerate(trials):
            # The type is included because 1, 1.0 and True are the same dictionary key.
            fixed = tuple((name, value, type(value)) for name, value in trial.items() if name not in traced)
            numbers.setdefault(fixed, []).append(number)
        return [
            Group(fixed, own, {name: jnp.array([trials[n][name] for n in own], float) for name in traced})
            for fixed, own in numbers.items()
        ]

    def _run_trials(
        self, prepared: Prepared, net: Module | None, shared: PyTree, count: int | None = None
    ) -> PyTree:
        """The results of the trials of a group; if a setting can't be traced, the error names it."""
        group = prepared.group
        with self._name_untraceable(group.fixed, shared):
            self._check_values(prepared, net)
            size = len(group.numbers)
            return self._run_members(prepared.model, size, shared, static=group.fixed, count=count)

    @functools.cached_property
    def _checked(self) -> set[Any]:
        """The fixed settings with which the values of the others have been checked."""
        return set()

    def _check_values(self, prepared: Prepared, net: Module | None) -> None:
        """Make the training function of each value as a number, since a traced one is not checked.

        A loss checks its settings when it is called: for the least and the greatest value.
        """
        fixed = prepared.group.fixed
        if fixed in self._checked:  # a second call traces nothing
            return
        settings = {name: self.settings[name] for name in prepared.group.values}
        first = {name: values[0] for name, values in settings.items()}
        for name, values in settings.items():
            for value in values:
                numbers = {n: jnp.array([v], float) for n, v in {**first, name: value}.items()}
                train, _ = self._make_train(fixed, numbers, 0, net)
                if value in (min(values), max(values)):
                    totals_struct(train._plan, prepared.model, prepared.data, None)
        self._checked.add(fixed)

    def _trials(self, key: Key) -> list[Settings]:
        """All combinations of the settings, or a random sample of them."""
        counts = tuple(map(len, self.settings.values()))
        numbers = np.arange(math.prod(counts))
        if self.num_samples is not None:
            order = jax.random.permutation(_keys.fold_in_name(key, "samples"), len(numbers))
            numbers = np.sort(order[: self.num_samples])
        places = np.stack(np.unravel_index(numbers, counts), axis=1).tolist()
        return [
            {name: values[i] for (name, values), i in zip(self.settings.items(), place, strict=True)}
            for place in places
        ]

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

    def _train(self, fixed: Any, shared: Any, number: int | Array) -> tuple[Run, Array]:
        """The run of one trial, and its score."""
        values, net, data, key, valid = shared
        train, net = self._make_train(fixed, values, number, net)
        model = init_if_incomplete(net, _keys.fold_in_name(key, "init"))
        run = train(model, data, _keys.fold_in_name(key, "train"), valid)
        return run, self._score(train.loss, run, valid)

    def _score(self, loss: Loss, run: Run, valid: Dataset) -> Array:
        """The monitored value of the model of a run on the validation rows; NaN if the run failed."""
        scores = nan_if_not_finite(run.state, total(loss, run.model, valid, len(valid)).means())
        _check.monitored_metric(self.monitor, [f"val_{name}" for name in scores], True)
        return scores[self.monitor.removeprefix("val_")]

    @contextlib.contextmanager
    def _name_untraceable(self, fixed: Any, shared: PyTree) -> Iterator[None]:
        """Name the setting with which `make_train` or a run can't be traced, if that is why it failed."""
        try:
            yield
        except TypeError:
            self._raise_untraceable(fixed, shared[:5])
            raise

    def _raise_untraceable(self, fixed: Any, shared: Any) -> None:
        """Raise if `make_train` or its training can't be traced with one of the settings, and name it."""
        values, *rest = shared
        concrete = {name: np.asarray(value) for name, value in values.items()}

        def trace(traced: dict[str, Array]) -> None:
            jax.eval_shape(lambda traced: self._train(fixed, (concrete | traced, *rest), 0), traced)

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
