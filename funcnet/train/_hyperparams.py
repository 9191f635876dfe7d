"""Settings of an optimizer that `optax.inject_hyperparams` made part of its state, by their path."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnet._types import PyTree

SCALED = "optax.chain(optimizer, optax.inject_hyperparams(optax.scale)(step_size=1.0))"


class Hyperparam(NamedTuple):
    """A setting in the optimizer's state.

    Args:
        name: the name of the argument, such as "learning_rate".
        value: its present value.
        is_scheduled: whether a schedule computes it anew in every step.
    """

    name: str
    value: Any
    is_scheduled: bool


def hyperparams(opt_state: PyTree, where: str = "") -> dict[str, Hyperparam]:
    """All settings by their path from the optimizer's state: "inner_states['a'].hyperparams['b1']"."""
    found: dict[str, Hyperparam] = {}
    for path, part in jax.tree_util.tree_flatten_with_path(opt_state, is_leaf=_is_injected)[0]:
        if not _is_injected(part):
            continue
        place = where + jax.tree_util.keystr(path)
        scheduled = getattr(part, "hyperparams_states", {})
        for name, value in part.hyperparams.items():
            setting = Hyperparam(name, value, name in scheduled)
            found[f"{place}.hyperparams[{name!r}]".removeprefix(".")] = setting
        found |= hyperparams(part.inner_state, f"{place}.inner_state")
    return found


def labels(settings: Mapping[str, Hyperparam]) -> dict[str, str]:
    """For each path the name to show: that of the argument if it is the only one, else the path."""
    names = [setting.name for setting in settings.values()]
    return {path: one.name if names.count(one.name) == 1 else path for path, one in settings.items()}


def find(
    settings: Mapping[str, Hyperparam], name: str, what: str = "each name in hyperparams"
) -> list[str]:
    """The paths of a setting, which is given by its path, or by a name that several may have.

    Raises:
        ValueError: if there is none, or a schedule computes one of them, so that writing has no effect.
    """
    paths = [name] if name in settings else [p for p, setting in settings.items() if setting.name == name]
    if not paths:
        argument = name if name.isidentifier() else "learning_rate"
        raise ValueError(
            f"{what} must be that of a hyperparameter in the optimizer's state "
            f"({', '.join(sorted(labels(settings).values())) or 'none'}), got {name!r}. Make it a part of "
            f"the state: optax.inject_hyperparams(optax.adam)({argument}=1e-3)."
        )
    if scheduled := [path for path in paths if settings[path].is_scheduled]:
        raise ValueError(
            f"hyperparameter {labels(settings)[scheduled[0]]!r} can't be set, since a schedule computes it "
            f"anew in every step. Scale the updates instead: {SCALED}, and set 'step_size'."
        )
    return paths


def set_hyperparams(opt_state: PyTree, values: Mapping[str, Any]) -> PyTree:
    """The optimizer's state with new values, by path or unique name, of the same dtypes and shapes."""
    settings, new = hyperparams(opt_state), {}
    for name, value in values.items():
        paths = find(settings, name)
        if len(paths) > 1:
            raise ValueError(
                f"hyperparams[{name!r}] occurs {len(paths)} times in the optimizer's state. Set each by "
                f"its path: hyperparams={{{paths[0]!r}: 1e-3}}; the paths are {', '.join(paths)}."
            )
        new[paths[0]] = _as_array(name, value, settings[paths[0]].value)
    return _replace(opt_state, new, "")


def _replace(opt_state: PyTree, new: Mapping[str, Any], where: str) -> PyTree:
    def replace_part(path: Any, part: Any) -> Any:
        if not _is_injected(part):
            return part
        place = where + jax.tree_util.keystr(path)
        paths = {name: f"{place}.hyperparams[{name!r}]".removeprefix(".") for name in part.hyperparams}
        values = {name: new.get(paths[name], old) for name, old in part.hyperparams.items()}
        inner = _replace(part.inner_state, new, f"{place}.inner_state")
        return part._replace(hyperparams=jax.tree.map(jax.numpy.asarray, values), inner_state=inner)

    return jax.tree_util.tree_map_with_path(replace_part, opt_state, is_leaf=_is_injected)


def _as_array(name: str, value: Any, old: Any) -> np.ndarray:
    try:
        number = np.asarray(value, float)
    except (TypeError, ValueError):
        number = np.array(np.nan)
    with np.errstate(over="ignore"):
        new = number.astype(old.dtype)
    if not (np.isfinite(number).all() and np.isfinite(np.asarray(new, float)).all()):
        raise ValueError(f"hyperparams[{name!r}] must be a finite number, got {value!r}.")
    if not jax.numpy.issubdtype(old.dtype, jax.numpy.floating) and (new != number).any():
        raise ValueError(
            f"hyperparams[{name!r}] must be an integer, since it was one, got {value!r}. Start with a "
            f"float: optax.inject_hyperparams(optax.sgd)({name}=1.0)."
        )
    if new.ndim > old.ndim or new.shape not in ((), old.shape):
        raise ValueError(f"hyperparams[{name!r}] must have shape {old.shape}, got {new.shape}.")
    return np.broadcast_to(new, old.shape)


def _is_injected(part: Any) -> bool:
    return hasattr(part, "hyperparams") and hasattr(part, "_replace")
