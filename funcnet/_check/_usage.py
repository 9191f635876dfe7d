"""One sentence with code that works where a name, an attribute or an argument does not exist."""

import contextlib
import difflib
import functools
import importlib.util
import inspect
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never, TypeVar

from funcnet._check import _peers
from funcnet._check._values import function_name

F = TypeVar("F", bound=Callable[..., Any])


def usage(code: str) -> Callable[[F], F]:
    """Decorate a function, or a class, so that a call with other arguments is answered by code that works.

    Nothing is checked before the call, and a call that matches the signature is not changed.
    """

    def decorate(function: Any) -> Any:
        if isinstance(function, type):
            function.__init__ = decorate(function.__init__)  # type: ignore[misc]
            return function

        @functools.wraps(function)
        def checked_call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError:
                explain_mismatch(function, args, kwargs, code)
                raise

        return checked_call

    return decorate


def usage_of_metric(call: str) -> Callable[[F], F]:
    """Decorate a function that makes a metric, and is often called as if it were one."""
    return usage(f"fn.metrics.{call}, as in fn.metrics.measure(fn.metrics.{call}, predictions, targets)")


def explain_mismatch(function: Any, args: Any, kwargs: Mapping[str, Any], code: str = "") -> None:
    """Raise a TypeError with `code` if a function can't be called with these arguments."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = _name_of(function, args)
        code = code or f"{name}({', '.join(_positional_names(signature))})"
        unknown = [setting for setting in kwargs if setting not in signature.parameters]
        if unknown:
            settings = [p.name for p in signature.parameters.values() if p.default is not p.empty]
            raise TypeError(_unknown_setting(name, unknown[0], code, settings)) from None
        verb = "is " if str(error).startswith("missing") else "got "
        raise TypeError(f"{name} {verb}{error}. Write {code}.") from None


def _unknown_setting(function: str, setting: str, code: str, settings: list[str]) -> str:
    """The sentence for a keyword argument that a function does not have."""
    name = _normalize(setting)
    peer = _peers.SETTINGS.get(f"{function}.{name}", _peers.SETTINGS.get(name))
    own = f" Its settings are {', '.join(settings)}." if settings and not peer else ""
    return f"{function} has no setting {setting!r}.{own} Write {peer or code}."


@contextlib.contextmanager
def key_or_none(key: Any) -> Iterator[None]:
    """Explain the error of a loss that draws random numbers from the key it gets, which may be None."""
    try:
        yield
    except TypeError as error:
        if key is not None or "PRNG key type" not in str(error) or "NoneType" not in str(error):
            raise
        raise TypeError(
            "in evaluation a loss and its model get key=None, from which no random numbers can be drawn. "
            "Write what they do without: `if key is None: ...`, as in "
            "noise = 0.0 if key is None else jax.random.normal(key)."
        ) from error


def refuse_settings(function: str, settings: Mapping[str, Never], code: str) -> None:
    """Check that no unknown keyword arguments were given to a function that collects them."""
    if settings:
        raise TypeError(_unknown_setting(function, next(iter(settings)), code, []))


def attributes_of_peers(kind: str) -> Callable[[Any, str], Any]:
    """The `__getattr__` of a class: attributes that only its peers have end in code that works."""

    def __getattr__(self: Any, name: str) -> Any:
        code = None if name.startswith("_") else _peers.ATTRIBUTES[kind].get(_normalize(name))
        if code is None or hasattr(type(self), name):  # a property that failed has an error of its own
            return object.__getattribute__(self, name)
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}. Write {code.format(name=name)}."
        )

    return __getattr__


def missing_name(package: str, name: str, names: list[str]) -> Exception:
    """The error for a name that a package lacks: a name of another room, of a peer, or the nearest one.

    In `from package import name`, Python replaces an AttributeError by its own ImportError, so the names of
    peers raise that.
    """
    advice = _advice(package, name, names)
    sentence = f"{package} has no {name!r}." + (f" Write {advice}." if advice else "")
    is_module = importlib.util.find_spec(f"{package}.{name}") is not None
    if advice and not is_module and _is_read_by_import():
        return ImportError(sentence, name=name, path=package)
    return AttributeError(sentence, name=name, obj=sys.modules[package])


def _is_read_by_import() -> bool:
    names = (frame.f_code.co_name for frame, _ in traceback.walk_stack(None))
    return "_handle_fromlist" in itertools.takewhile(lambda name: name != "<module>", names)


def _advice(package: str, name: str, names: list[str]) -> str | None:
    import funcnet

    rooms = [package, "funcnet", *(f"funcnet.{part}" for part in vars(funcnet)["__all__"])]
    if importlib.util.find_spec(f"{package}.{name}") is not None:
        return f"import {package}.{name}"
    peer = _normalize(name)
    for room in rooms:
        module = sys.modules.get(room) or getattr(funcnet, room.removeprefix("funcnet."), None)
        for other in getattr(module, "__all__", ()):
            if _normalize(other) == peer:
                return f"{room.replace('funcnet', 'fn', 1)}.{other}"
    if peer in _peers.NAMES:
        return _peers.NAMES[peer].format(name=peer)
    nearest = difflib.get_close_matches(name, names, 1)
    return f"{package.replace('funcnet', 'fn', 1)}.{nearest[0]}" if nearest else None


def _positional_names(signature: inspect.Signature) -> list[str]:
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    return [name for name, p in signature.parameters.items() if p.kind in kinds and name != "self"]


def _normalize(name: str) -> str:
    return name.replace("_", "").lower()


def _name_of(function: Any, args: Any) -> str:
    """The name of a function as users know it: of its class, for a constructor and a call."""
    name = function_name(function)
    return type(args[0]).__name__ if name in ("__init__", "__call__") and args else name
