"""A sweep over hyper-parameters: what may be traced is one program, what may not is grouped."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _mesh
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Run
from funcnet.train._evaluate import checked_data, total

Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep found, trial by trial.

    Args:
        trials: the settings of each trial.
        scores: the monitored value of each trial's model on the validation rows, float [trials].
        mode: whether "min" or "max" is best.
        runs: the trainings, trials that were one program stacked in one `Run`.
        places: for each trial, in which of `runs` it stands and where.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(learning_rate):
        ...     return fn.fit(loss, optax.sgd(learning_rate), epochs=5, batch_size=8)
        >>> study = fn.study.sweep(make_train, {"learning_rate": [1e-4, 0.1]})
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> found = study(net, data, jax.random.key(0), data)
        >>> found.best, found.run(1).history["loss"].shape
        ({'learning_rate': 0.1}, (5,))
    """

    trials: list[Settings]
    scores: np.ndarray
    mode: Literal["min", "max"]
    runs: list[Run]
    places: list[tuple[int, int]]

    @property
    def order(self) -> np.ndarray:
        """Trial numbers, the best first; those whose score is NaN last."""
        return np.argsort(self.scores if self.mode == "min" else -self.scores, kind="stable")

    @property
    def best(self) -> Settings:
        """The settings of the best trial; ValueError if no trial has a finite score."""
        if not np.isfinite(self.scores).any():
            raise ValueError(
                f"no trial has a finite score: {self.scores.tolist()}. Try smaller learning rates."
            )
        return self.trials[self.order[0]]

    def run(self, trial: int) -> Run:
        """The training of one trial."""
        group, place = self.places[trial]
        return jax.tree.map(lambda a: a[place], self.runs[group])


def sweep(
    make_train: Callable[..., Any],
    settings: Mapping[str, Sequence[Any]],
    *,
    monitor: str = "val_loss",
    mode: Literal["min", "max"] = "min",
    samples: int | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> "Sweep":
    """Train with every combination of settings, judged by validation rows: `study(net, data, key, valid)`.

    Settings of which all values are floats are traced: all their combinations are one program that is
    compiled once. Others (sizes, words, functions) change the program; there is one for each of
    their combinations. All trials have the same start and the same order of rows, so what differs
    between them is the settings' doing.

    Args:
        make_train: called with one value for each setting, by name; returns a training, or a pair
            (training, network) where settings shape the network.
        settings: the values of each setting, by name.
        monitor: the value to judge by: "val_" and the name of loss or metric.
        mode: whether "min" or "max" of it is best.
        samples: how many combinations are tried, drawn without replacement; all when left out.
        block: trials computed side by side; chosen when left out.
        progress: called on the host with how many more trials are done, after each block.

    Returns:
        The study; its result is a `SweepResult`.

    Raises:
        TypeError: if `make_train` is no function.
        ValueError: if a setting has no values, `monitor` is no validation value, an accuracy is to be
            minimised, or there are fewer combinations than `samples`.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> train, valid = fn.data.split(iris, (0.7, 0.3), jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy)
        >>> def make_train(learning_rate, weight_decay, width):
        ...     optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)
        ...     return fn.fit(loss, optimizer, epochs=10, batch_size=16), fn.MLP((4, width, 3))
        >>> rates = {"learning_rate": [1e-4, 1e-2], "weight_decay": [0.0, 0.1], "width": [8]}
        >>> found = fn.study.sweep(make_train, rates)(None, train, jax.random.key(1), valid)
        >>> len(found.trials), found.best["learning_rate"]
        (4, 0.01)

    Source: Bergstra, Bengio, "Random search for hyper-parameter optimization", 2012 (`samples`).
    """
    _check.function("make_train", make_train, "a function of the settings that returns a training")
    _check.settings(settings)
    _check.validation_value(monitor, mode)
    combinations = int(np.prod([len(values) for values in settings.values()]))
    if samples is not None:
        _check.positive("samples", samples)
    if samples is not None and samples > combinations:
        raise ValueError(
            f"samples is at least 1 and at most {combinations}, the combinations; got {samples}."
        )
    check_blocks(block, progress)
    values = {name: _plain(name, choices) for name, choices in settings.items()}
    return Sweep(make_train, values, monitor, mode, samples, block, progress)


def _plain(name: str, choices: Any) -> list[Any]:
    """Values that can be told apart: numbers of numpy and JAX as Python's own."""
    values = [v.item() if hasattr(v, "item") and jnp.ndim(v) == 0 else v for v in choices]
    for value in values:
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"each value of a setting is a float, or something fixed that can be hashed; {name} has "
                f"{_check.describe(value)}. Sizes are tuples: {name}=[(4,), (8, 8)]."
            ) from None
    return values


def _are_floats(values: Sequence[Any]) -> bool:
    """Whether values are traced: numbers, and not all of them whole."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and any(isinstance(v, float) for v in values)


def _settings(fixed: Sequence[tuple[str, Any, type]]) -> Settings:
    return {name: value for name, value, _ in fixed}


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The study that `sweep` made. Call it; its settings are its fields."""

    make_train: Callable[..., Any]
    settings: Settings
    monitor: str
    mode: Literal["min", "max"]
    samples: int | None
    block: int | None
    progress: Progress | None

    def __call__(self, net: Module | None, data: PyTree, key: Key, valid: PyTree) -> SweepResult:
        """Train all trials.

        Args:
            net: an architecture; None where `make_train` returns one.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key: start and order of every trial, and which combinations are drawn.
            valid: the rows to judge by.

        Returns:
            A SweepResult.

        Raises:
            TypeError: if `make_train` returns no training, or there is no network.
            ValueError: if the data is unfit, or the monitored value is not measured.
        """
        _check.concrete_key("sweep", key)
        trials = self._trials(key)
        traced = [name for name, values in self.settings.items() if _are_floats(values)]
        groups: dict[Any, list[int]] = {}
        for number, trial in enumerate(trials):
            # With its type, since 1, 1.0 and True are the same key.
            fixed = tuple((name, value, type(value)) for name, value in trial.items() if name not in traced)
            groups.setdefault(fixed, []).append(number)
        runs, scores = [], np.zeros(len(trials))
        places = [(0, 0)] * len(trials)
        for group, (fixed, numbers) in enumerate(groups.items()):
            values = {name: jnp.array([trials[n][name] for n in numbers], float) for name in traced}
            checked = self._checked(_settings(fixed), values, net, data, key, valid)
            run, score = self._compiled(fixed, _mesh.num_devices(), len(numbers), values, net, *checked)
            runs.append(run)
            scores[numbers] = np.asarray(score)
            for place, number in enumerate(numbers):
                places[number] = (group, place)
        return SweepResult(trials, scores, self.mode, runs, places)

    def _trials(self, key: Key) -> list[Settings]:
        all_of_them = [
            dict(zip(self.settings, values, strict=True))
            for values in itertools.product(*self.settings.values())
        ]
        if self.samples is None:
            return all_of_them
        order = jax.random.permutation(_keys.named(key, "samples"), len(all_of_them))
        return [all_of_them[i] for i in sorted(order[: self.samples].tolist())]

    def _made(self, net: Module | None, settings: Settings) -> tuple[Any, Module]:
        """The training of some settings, and its network."""
        made = self.make_train(**settings)
        train, net = made if isinstance(made, tuple) else (made, net)
        _check.train_function(train)
        _check.architecture(net)
        return train, net

    def _checked(
        self,
        fixed: Settings,
        values: dict[str, Array],
        net: Module | None,
        data: PyTree,
        key: Key,
        valid: PyTree,
    ) -> tuple[Dataset, Key, Dataset]:
        """Data, key and validation rows, once they are known to suit the first trial of a group."""
        train, made = self._made(net, fixed | {name: value[0] for name, value in values.items()})
        model = start(made, key)
        return checked_data(train.loss, model, data), key, checked_data(train.loss, model, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        def run(fixed: Any, devices: int, size: int, values: Any, net: Any, *rest: Any) -> Any:
            del devices  # a part of what is compiled: see `mesh.use`
            _, made = self._made(net, _settings(fixed) | {name: v[0] for name, v in values.items()})
            small = is_small(jax.eval_shape(start, made, rest[1]))
            one = functools.partial(self._one, _settings(fixed))
            return each_member(one, (values, net, *rest), size, self.block, small, self.progress)

        return jax.jit(run, static_argnums=(0, 1, 2))

    def _one(self, fixed: Settings, shared: Any, number: Array) -> tuple[Run, Array]:
        values, net, data, key, valid = shared
        train, made = self._made(net, fixed | {name: value[number] for name, value in values.items()})
        run = train(start(made, _keys.named(key, "init")), data, _keys.named(key, "train"), valid)
        measured = total(train.loss, run.model, valid, len(valid)).means()
        _check.monitored_metric(self.monitor, [f"val_{name}" for name in measured], True)
        return run, measured[self.monitor.removeprefix("val_")]
