"""Models of any class whose leaves are not all parameters, such as a module of equinox, as modules."""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from funcnet import _check, _tree
from funcnet._module._class import Module, is_module
from funcnet._module._fields import Buffer
from funcnet._module._model import call
from funcnet._types import Key, PyTree

LIFT = {
    "flax.linen": "fn.interop.from_linen(module, example)",
    "flax.nnx": "fn.interop.from_nnx(lambda rngs: Net(rngs)), or from_nnx(model) for a fixed start",
    "keras": "fn.interop.from_keras(model), or from_keras(build) of a function that builds it",
    "torch": "fn.interop.load_torch(net, model.state_dict()), with a net of funcnet",
}


class BareModel(Module):
    """A pytree of any class as a module: its floating arrays are parameters, and other arrays are carried.

    Args:
        arrays: the pytree with its other arrays in Buffers, and None in place of leaves that aren't arrays.
        fields: those leaves, such as functions, strings and numbers.
    """

    _lifted: ClassVar[bool] = True  # its architecture can't be saved
    arrays: PyTree
    fields: Any

    def restore(self, key: Key | None) -> Any:
        """The model itself; without a key in inference, as `equinox.nn.inference_mode` sets it."""
        arrays = jax.tree.map(_unwrap, self.arrays, is_leaf=_is_node)
        return _tree.combine(arrays, self.fields.tree(key is None))

    def __call__(self, x: Any, key: Key | None = None) -> Any:
        return call(self.restore(key), x, key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "arrays" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.restore(None), name)


@dataclasses.dataclass(frozen=True)
class _Fields:
    """The leaves of a model that are not arrays, and None in place of its arrays.

    Args:
        structure: of the model.
        leaves: each with its type, since True equals 1.
        modes: whether each leaf is a flag for inference.
    """

    structure: Any  # a PyTreeDef
    leaves: tuple[tuple[type, Any], ...]
    modes: tuple[bool, ...]

    def tree(self, inference: bool) -> PyTree:
        values = [
            True if is_mode and inference else value
            for (_, value), is_mode in zip(self.leaves, self.modes, strict=True)
        ]
        return self.structure.unflatten(values)


def as_module(model: PyTree) -> PyTree:
    """The model itself if all of its leaves are floating arrays, or it is a module; else a `BareModel`.

    Raises:
        TypeError: for a model of another library that must be lifted, or a Python float among its leaves.
        ValueError: if running statistics of flax would be trained.
    """
    if isinstance(model, Module):
        return model
    _check_class(model)
    if all(map(_check.is_floating, jax.tree.leaves(model))):
        _check_statistics(model)
        return model
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_node)
    has_structs = any(isinstance(leaf, jax.ShapeDtypeStruct) for _, leaf in paths)
    is_text = any(isinstance(leaf, np.ndarray) and leaf.dtype.kind in "USO" for _, leaf in paths)
    has_parameters = any(_is_node(leaf) or _check.is_floating(leaf) for _, leaf in paths)
    if has_structs or is_text or not has_parameters:
        return model  # refused by the checks of all models
    _check_statistics(model)
    arrays, fields, modes = [], [], []
    for path, leaf in paths:
        is_field = not (_is_node(leaf) or _is_array(leaf))
        if is_field:
            _check_field(path, leaf)
        floating = _is_node(leaf) or _check.is_floating(leaf)
        arrays.append(None if is_field else leaf if floating else Buffer(leaf))
        fields.append((type(leaf), leaf) if is_field else (type(None), None))
        modes.append(isinstance(leaf, bool) and path[-1:] == (GetAttrKey("inference"),))
    return BareModel(structure.unflatten(arrays), _Fields(structure, tuple(fields), tuple(modes)))


def restore(model: PyTree, key: Key | None) -> Any:
    """The model that a user passed: the inverse of `as_module`."""
    return model.restore(key) if isinstance(model, BareModel) else model


def _check_class(model: Any) -> None:
    # Arrays are left out, since this is done in every call.
    leaves = (leaf for leaf in jax.tree.leaves(model) if not _check.is_floating(leaf))
    for leaf in (model, *leaves):
        for base in type(leaf).__mro__[:-1]:
            library = next((name for name in LIFT if f"{base.__module__}.".startswith(f"{name}.")), None)
            library = library if base.__name__ in ("Module", "Model") else None
            if library is not None:
                raise TypeError(
                    f"a model of {library} must be lifted, got {type(leaf).__name__}. Write "
                    f"net = {LIFT[library]}."
                )


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


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _is_node(node: Any) -> bool:
    return is_module(node) or isinstance(node, Buffer)


def _is_statistic(node: Any) -> bool:
    return any(f"{c.__module__}.{c.__name__}".endswith("variablelib.BatchStat") for c in type(node).__mro__)


def _unwrap(node: Any) -> Any:
    return node.value if isinstance(node, Buffer) else node
