"""The architecture of a model as JSON: classes and functions by name, arrays by their names in a file."""

import functools
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._module import Buffer, Module
from funcnet._module._class import check_shapes
from funcnet._precision import Precision
from funcnet.train import _registry
from funcnet.train._safetensors import check_weight

CUSTOM = "custom."
"""Before the names of the user's classes and functions, which `custom_objects` of `fn.load` holds."""

NODES: dict[str, dict[str, type]] = {
    "array": {"name": str},
    "buffer": {"value": object},
    "dict": {"items": list},
    "dtype": {"name": str},
    "float": {"value": str},
    "function": {"name": str},
    "initializer": {"name": str, "settings": dict},
    "module": {"name": str, "fields": dict, "frozen": list},
    "namedtuple": {"name": str, "fields": dict},
    "numpy": {"name": str},
    "partial": {"function": object, "args": list, "keywords": dict},
    "precision": {"param": str, "compute": str, "output": str},
    "tuple": {"items": list},
}
"""The kinds of JSON objects and their fields. None, booleans, integers, finite floats, strings and lists
are JSON's own."""

WIDE = ("int64", "uint64", "float64")
"""Dtypes that JAX holds only in its 64-bit mode."""


def encode(model: Any) -> tuple[Any, dict[str, Any]]:
    """A model as JSON, and its arrays by name.

    Raises:
        TypeError: if it holds something else than modules, containers, arrays, settings and functions.
        ValueError: if a function has no name, or two have the same.
    """
    encoder = _Encoder()
    architecture = encoder.encode(model, "")
    # What can't be loaded must not be saved.
    try:
        decode(architecture, encoder.arrays, encoder.custom)
    except ValueError as error:
        raise ValueError(
            f"this {type(model).__name__} could not be loaded again: {error}. Save its arrays alone: "
            "fn.save_weights(model, path), and fn.load_weights(net, path)."
        ) from None
    return architecture, encoder.arrays


def decode(architecture: Any, arrays: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """The model of an architecture and its arrays.

    Raises:
        ValueError: if they don't make a model; the sentence has no end.
    """
    decoder = _Decoder(arrays, custom_objects)
    model = decoder.decode(architecture)
    if unused := sorted(arrays.keys() - decoder.used):
        raise ValueError(f"its architecture has no place for the array {unused[0]}")
    return model


def custom_names(node: Any) -> Iterator[str]:
    """The names of the user's classes and functions in an architecture."""
    if isinstance(node, dict):
        name = node.get("name")
        if node.get("kind") in ("function", "module", "namedtuple") and str(name).startswith(CUSTOM):
            yield str(name).removeprefix(CUSTOM)
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from custom_names(entry)


class _Encoder:
    """Collects the arrays of a model, and its classes and functions that are not funcnet's or JAX's."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.custom: dict[str, Any] = {}

    def encode(self, value: Any, place: str) -> Any:
        """A value as JSON; `place` is the name of an array there, such as `layers.0.weight`."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"kind": "float", "value": str(value)}
        if type(value) is list:
            return self._items(value, place)
        if type(value) is tuple:
            return {"kind": "tuple", "items": self._items(value, place)}
        if type(value) is dict and all(type(key) in (str, int) for key in value):
            items = [[key, self.encode(entry, _join(place, key))] for key, entry in value.items()]
            return {"kind": "dict", "items": items}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            name = CUSTOM + self._name(type(value), place)
            return {"kind": "namedtuple", "name": name, "fields": self._fields(value, value._fields, place)}
        if isinstance(value, Buffer):
            return {"kind": "buffer", "value": self.encode(value.value, _join(place, "value"))}
        if isinstance(value, Module):
            return self._module(value, place)
        if isinstance(value, Precision):
            return {"kind": "precision", **{name: getattr(value, name) for name in NODES["precision"]}}
        if isinstance(value, np.dtype):
            return {"kind": "dtype", "name": value.name}
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            name = place or "model"
            check_weight("model", name, value, self.arrays)
            self.arrays[name] = value
            return {"kind": "array" if isinstance(value, jax.Array) else "numpy", "name": name}
        if callable(value):
            return self._function(value, place)
        _refuse(value, place)

    def _items(self, values: Any, place: str) -> list[Any]:
        return [self.encode(value, _join(place, i)) for i, value in enumerate(values)]

    def _fields(self, owner: Any, names: Any, place: str) -> dict[str, Any]:
        return {name: self.encode(getattr(owner, name), _join(place, name)) for name in names}

    def _module(self, module: Module, place: str) -> Any:
        cls = type(module)
        if getattr(cls, "_lifted", False):
            raise TypeError(
                f"{place or 'model'} must be built of funcnet's layers to be saved with its architecture, "
                "got a network of another library: keep fn.save_weights(model, path) and "
                "fn.load_weights(net, path)."
            )
        name = _registry.class_name(cls) or CUSTOM + self._name(cls, place)
        fields = self._fields(module, (*module._children, *module._static), place)
        return {"kind": "module", "name": name, "fields": fields, "frozen": list(module._frozen)}

    def _function(self, function: Any, place: str) -> Any:
        if name := _registry.function_name(function):
            return {"kind": "function", "name": name}
        if type(function) is functools.partial:
            return {
                "kind": "partial",
                "function": self._function(function.func, place),
                "args": self._items(function.args, place),
                "keywords": {name: self.encode(v, place) for name, v in function.keywords.items()},
            }
        if made := _registry.initializer_settings(function):
            settings = {name: self.encode(value, place) for name, value in made[1].items()}
            return {"kind": "initializer", "name": made[0], "settings": settings}
        return {"kind": "function", "name": CUSTOM + self._name(function, place)}

    def _name(self, value: Any, place: str) -> str:
        """The name under which a class or function of the user is expected in `custom_objects`."""
        name = getattr(value, "__name__", None)
        if isinstance(value, types.MethodType) or not isinstance(name, str):
            _refuse(value, place)
        if not name.isidentifier():
            field = place.rpartition(".")[2]
            raise ValueError(
                f"{place} must be a function with a name to be saved, got {name}. Name it, "
                f"def {field}(x): ..., and pass it to fn.load(path, "
                f"custom_objects={{{field!r}: {field}}})."
            )
        if self.custom.setdefault(name, value) is not value:
            raise ValueError(
                f"the model has two different classes or functions called {name!r}, one of them at "
                f"{place or 'its root'}: rename one, so that custom_objects={{{name!r}: ...}} is clear."
            )
        return name


class _Decoder:
    """Builds a model of arrays, and of the user's classes and functions."""

    def __init__(self, arrays: Mapping[str, Any], custom: Mapping[str, Any]) -> None:
        self.arrays, self.custom, self.used = arrays, custom, set[str]()

    def decode(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.decode(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("kind")
        fields = NODES.get(kind) if isinstance(kind, str) else None
        if (
            fields is None
            or node.keys() != {"kind", *fields}
            or not all(isinstance(node[name], cls) for name, cls in fields.items())
        ):
            raise ValueError(f"its architecture has an unknown node of kind {kind!r}")
        build = getattr(self, f"_{kind}")  # one of the methods below, by the table
        return build(**{name: node[name] for name in fields})

    def _array(self, name: str) -> Any:
        leaf = self._leaf(name)
        if isinstance(leaf, jax.Array):
            return leaf
        if leaf.dtype.name in WIDE and not jax.config.read("jax_enable_x64"):
            raise ValueError(
                f"{name} is {leaf.dtype.name}, which JAX would round. Load it after "
                "jax.config.update('jax_enable_x64', True)"
            )
        return jnp.asarray(leaf)

    def _numpy(self, name: str) -> Any:
        return np.array(self._leaf(name))

    def _leaf(self, name: str) -> Any:
        if name not in self.arrays:
            raise ValueError(f"it lacks the array {name}")
        self.used.add(name)
        return self.arrays[name]

    def _buffer(self, value: Any) -> Any:
        return _tree.replace(Buffer(0), value=self.decode(value))

    def _tuple(self, items: list[Any]) -> Any:
        return tuple(self.decode(items))

    def _dict(self, items: list[Any]) -> Any:
        if not all(isinstance(i, list) and len(i) == 2 and type(i[0]) in (str, int) for i in items):
            raise ValueError("its architecture has an invalid dict")
        return {key: self.decode(value) for key, value in items}

    def _float(self, value: str) -> float:
        return float(value)

    def _dtype(self, name: str) -> Any:
        try:
            return jnp.dtype(name)
        except TypeError:
            raise ValueError(f"the dtype {name!r} is unknown") from None

    def _precision(self, **dtypes: Any) -> Any:
        return _build("Precision", lambda: Precision(**dtypes))

    def _function(self, name: str) -> Any:
        if name.startswith(CUSTOM):
            value = self.custom[name.removeprefix(CUSTOM)]
            return value if callable(value) else _mismatch(name, "a function", value)
        if name not in _registry.functions():
            raise ValueError(f"the function {name!r} is unknown to this version of funcnet or JAX")
        return _registry.functions()[name]

    def _partial(self, function: Any, args: list[Any], keywords: dict[str, Any]) -> Any:
        inner = self.decode(function)
        if not callable(inner):
            raise ValueError("its architecture has an invalid partial")
        return functools.partial(inner, *self.decode(args), **self._values(keywords))

    def _initializer(self, name: str, settings: dict[str, Any]) -> Any:
        values = self._values(settings)
        return _build(f"jax.nn.initializers.{name}", lambda: _registry.initializer(name, values))

    def _namedtuple(self, name: str, fields: dict[str, Any]) -> Any:
        cls, values = self.custom.get(name.removeprefix(CUSTOM)), self._values(fields)
        if not (isinstance(cls, type) and issubclass(cls, tuple)):
            _mismatch(name, "a class of named tuples", cls)
        return _build(cls.__name__, lambda: cls(**values))

    def _module(self, name: str, fields: dict[str, Any], frozen: list[Any]) -> Any:
        is_custom = name.startswith(CUSTOM)
        cls = self.custom[name.removeprefix(CUSTOM)] if is_custom else _registry.find_class(name)
        if cls is None:
            raise ValueError(f"the class {name!r} is unknown to this version of funcnet")
        if not (isinstance(cls, type) and issubclass(cls, Module)):
            _mismatch(name, "a subclass of fn.Module", cls)
        if unknown := fields.keys() - {*cls._children, *cls._static}:
            raise ValueError(f"the class {cls.__name__} has no field {min(unknown)!r}")
        values = self._values(fields)
        checked = _build(cls.__name__, lambda: cls(**values))
        _build(cls.__name__, lambda: check_shapes(checked, stacked=True))
        # Exactly as it was: a constructor may convert a field. It sets those that the file does not have.
        module: Module = object.__new__(cls)
        module.__dict__.update(checked.__dict__ | values | {"_frozen": tuple(frozen)})
        return module

    def _values(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: self.decode(value) for name, value in fields.items()}


def _join(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)


def _refuse(value: Any, place: str) -> NoReturn:
    if hasattr(value, "model") and not place:
        raise TypeError(
            f"model must be a model, got a {type(value).__name__} that has one. Try "
            f"fn.save({type(value).__name__.lower()}.model, path)."
        )
    raise TypeError(
        f"{place or 'model'} must be an array, a module, a number, a string, None, a function with a name, "
        "or a tuple, list or dict of them to be saved with the architecture, got "
        f"{_check.describe(value)}. Save the arrays alone: fn.save_weights(model, path), and "
        "fn.load_weights(net, path)."
    )


def _mismatch(name: str, expected: str, value: Any) -> NoReturn:
    short = name.removeprefix(CUSTOM)
    raise ValueError(f"custom_objects[{short!r}] must be {expected}, got {_check.describe(value)}")


def _build(name: str, make: Any) -> Any:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} refuses its fields: {str(error).rstrip('.')}") from None
