"""How modules are pickled: their functions by a name under which a Python module holds them.

JAX's activations are objects (`jax.nn.relu` is a `custom_jvp`, `jnp.tanh` a compiled function) that pickle
refuses: it looks for them where they were defined, and finds another object there.
"""

import functools
import importlib
import sys
import types
from pickle import PicklingError  # nothing is ever unpickled here
from typing import Any

PUBLIC = ("jax.nn", "jax.numpy", "jax.lax", "jax.scipy.special")
"""Where a function of JAX is looked for first: the modules that define them are private and move."""


class Deferred:
    """An object that is pickled as a call, `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def reduce(module: Any, fields: tuple[str, ...]) -> Any:
    """What pickle needs to rebuild a module: its class and the values of the named fields.

    Raises:
        PicklingError: if the class, or a function in a field, can't be found by a name.
    """
    cls, by_code = type(module), _is_cloudpickle()
    # A class can't be stored by its code: it is registered with JAX when it is defined.
    is_main = by_code and cls.__module__ == "__main__"
    if is_main or find(cls.__module__, cls.__qualname__) is not cls:
        raise PicklingError(
            f"{cls.__qualname__} must be defined at the top of a Python module to be pickled, so that it "
            f"can be imported again, got a class of {cls.__module__}. Move it to a file that you import."
        )
    values = {name: getattr(module, name) for name in fields}
    return rebuild, (cls, {n: _by_name(f"{cls.__name__}.{n}", v, by_code) for n, v in values.items()})


def _is_cloudpickle() -> bool:
    """Whether cloudpickle is pickling, which stores functions without a name by their code.

    joblib sends work to other processes with it. A pickler can't be asked, so its frame is looked for.
    """
    frame: Any = sys._getframe()
    while frame is not None:
        if "cloudpickle" in str(frame.f_globals.get("__name__")).split("."):
            return True
        frame = frame.f_back
    return False


def rebuild(cls: type, values: dict[str, Any]) -> Any:
    """The module with these fields; runs no constructor."""
    module: Any = object.__new__(cls)
    module.__dict__.update(values)
    return module


def find(module: str, name: str) -> Any:
    """The object of this dotted name in a Python module; None if there is none."""
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


def _by_name(owner: str, value: Any, by_code: bool) -> Any:
    """A field's value, with calls of `find` in place of the functions that pickle refuses."""
    if type(value) in (tuple, list):
        return type(value)(_by_name(owner, entry, by_code) for entry in value)
    if type(value) is dict:
        return {key: _by_name(owner, entry, by_code) for key, entry in value.items()}
    if type(value) is functools.partial:
        args = _by_name(owner, (value.func, value.args, value.keywords), by_code)
        return Deferred(_partial, *args)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not callable(value) or name is None or isinstance(value, type | types.MethodType):
        return value
    place: str | None = next(
        (module for module in (*PUBLIC, value.__module__) if module and find(module, name) is value), None
    )
    if place is None and not by_code:
        raise PicklingError(
            f"{owner} must be a function that can be imported by its name to be pickled, got {name}: a "
            "lambda, or a function defined inside another. Define it at the top of a Python module, def "
            "activation(x): ..., and bind settings by functools.partial(activation, scale=2)."
        )
    # Plain functions stay: pickle stores their names, cloudpickle those of a script by their code.
    return value if place is None or type(value) is types.FunctionType else Deferred(find, place, name)


def _partial(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return functools.partial(function, *args, **keywords)
