"""Models of any class whose leaves are not all parameters, such as a module of equinox, as modules."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from funcnet import _check, _tree
from funcnet._module._class import Module, is_module
from funcnet._module._fields import Buffer
from funcnet._module._model import call
from funcnet._types import Key, PyTree


class BareModel(Module):
    """A pytree of any class as a module: its floating arrays are parameters, and other arrays are carried.

    Args:
        arrays: the pytree with its other arrays in Buffers, and None in place of leaves that aren't arrays.
        fields: those leaves, such as functions, strings and numbers.
    """

    _lifted: ClassVar[bool] = True  # its architecture can't be saved
    arrays: PyTree
    fields: Any

    def restore(self, inference: bool = False) -> Any:
        """The model itself; with `inference`, as `equinox.nn.inference_mode` sets it."""
        fields: _Fields = self.fields
        leaves = fields.structure.flatten_up_to(self.arrays)
        pairs = zip(fields.leaves, leaves, strict=True)
        return fields.structure.unflatten([fields.leaf(known, leaf, inference) for known, leaf in pairs])

    def __call__(self, x: Any, key: Key | None = None) -> Any:
        return call(self.restore(key is None), x, key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "arrays" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.restore(), name)


class _Leaf(NamedTuple):
    """What is known of a leaf: its type (True equals 1), its value unless it is an array, and its kind."""

    type: type
    value: Any
    kind: Literal["array", "carried", "field", "inference"]


@dataclasses.dataclass(frozen=True)
class _Fields:
    """The structure of a model, and its leaves without the arrays."""

    structure: Any  # a PyTreeDef
    leaves: tuple[_Leaf, ...]

    @staticmethod
    def leaf(known: _Leaf, array: Any, inference: bool) -> Any:
        """The leaf of the model itself."""
        match known.kind:
            case "array":
                return array
            case "carried":
                return array.value if isinstance(array, Buffer) else array
            case "inference":
                return known.value or inference
        return known.value


def as_module(model: PyTree) -> PyTree:
    """The model itself if all of its leaves are floating arrays, or it is a module; else a `BareModel`.

    Raises:
        TypeError: for a model of another library that must be lifted, or a Python float among its leaves.
        ValueError: if running statistics of flax would be trained.
    """
    if isinstance(model, Module) or type(model).__module__.startswith("funcnet."):  # a Run is refused later
        return model
    _check_class(model)
    if all(map(_check.is_floating, jax.tree.leaves(model))):
        _check_statistics(model)
        return model
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_node)
    leaves = tuple(_leaf_of(path, leaf) for path, leaf in paths)
    kinds = {leaf.kind for leaf in leaves}
    floating = [leaf for _, leaf in paths if _is_node(leaf) or _check.is_floating(leaf)]
    if kinds <= {"array"} or not floating or any(isinstance(a, jax.ShapeDtypeStruct) for a in floating):
        return model  # what it should not hold is refused by the checks of all models
    _check_statistics(model)
    arrays = [
        Buffer(leaf) if known.kind == "carried" else leaf if known.kind == "array" else None
        for (_, leaf), known in zip(paths, leaves, strict=True)
    ]
    for (path, leaf), known in zip(paths, leaves, strict=True):
        if known.kind == "field":
            _check_field(path, leaf)
    return BareModel(structure.unflatten(arrays), _Fields(structure, leaves))


def _leaf_of(path: Any, leaf: Any) -> _Leaf:
    if _is_node(leaf) or _check.is_floating(leaf):
        return _Leaf(type(None), None, "array")
    if _tree.is_array(leaf):
        real = _tree.is_key(leaf) or leaf.dtype.kind in "biu"
        return _Leaf(type(None), None, "carried" if real else "array")
    is_mode = isinstance(leaf, bool) and path[-1:] == (GetAttrKey("inference"),)
    return _Leaf(type(leaf), leaf, "inference" if is_mode else "field")


def restore(model: PyTree, inference: bool = False) -> Any:
    """The model that a user passed: the inverse of `as_module`."""
    return model.restore(inference) if isinstance(model, BareModel) else model


def _check_class(model: Any) -> None:
    """Check that no part of a model must be lifted; a module of equinox need not be."""
    # Arrays are left out, since this is done in every call.
    for part in (model, *(leaf for leaf in jax.tree.leaves(model) if not _check.is_floating(leaf))):
        if _check.library(part) != "equinox":
            _check.not_lifted(part)


def _check_statistics(model: Any) -> None:
    """Check that no running statistics of flax are among the parameters."""
    is_leaf = lambda node: _is_node(node) or _is_statistic(node)  # noqa: E731
    for path, leaf in jax.tree_util.tree_leaves_with_path(model, is_leaf=is_leaf):
        if _is_node(leaf):  # a network that is lifted already
            continue
        if any(getattr(entry, "key", None) == "batch_stats" for entry in path) or _is_statistic(leaf):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} holds running statistics of flax, which must not be trained "
                "as parameters. Lift the network, net = fn.interop.from_linen(module, example) or "
                'from_nnx, or pass variables["params"] alone.'
            )


def _check_field(path: Any, leaf: Any) -> None:
    is_in_object = any(isinstance(entry, GetAttrKey) for entry in path)
    name = jax.tree_util.keystr(path) or "itself"
    if isinstance(leaf, float | complex | np.generic) and not is_in_object:
        raise TypeError(
            f"the leaf {name} of the model must be an array to be trained, got {leaf!r}. Write "
            f"jnp.asarray({leaf!r}), or keep settings in static fields of a funcnet.Module."
        )
    try:
        hash(leaf)
    except TypeError:
        raise TypeError(
            f"the leaf {name} of the model must be an array, or a setting that can be hashed, got "
            f"{_check.describe(leaf)}."
        ) from None


def _is_node(node: Any) -> bool:
    return is_module(node) or isinstance(node, Buffer)


def _is_statistic(node: Any) -> bool:
    return any(f"{c.__module__}.{c.__name__}".endswith("variablelib.BatchStat") for c in type(node).__mro__)
