"""The layers of a model that PyTorch has, too, each with its path here and its name there."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax

from funcnet import _check, _tree
from funcnet._module import Module
from funcnet._module._model import join
from funcnet.interop._torch_layers import SHARED, refusal
from funcnet.layers import Sequential
from funcnet.models import MLP, ConvNet, Transformer
from funcnet.models._block import Block

Rename: TypeAlias = Mapping[str, str] | Callable[[str], str]


class Unit(NamedTuple):
    """One layer, or the arrays that a model holds itself.

    Args:
        path: where it is in the model, `layers[0]`.
        name: the name of PyTorch's module, `0`.
        layer: the layer.
        is_renamed: whether the user chose the name.
    """

    path: str
    name: str
    layer: Any
    is_renamed: bool


def units(model: Module, rename: Rename | None) -> list[Unit]:
    """All layers with arrays, in the order of PyTorch.

    Raises:
        TypeError: if `rename` is neither a dictionary of strings nor a function that returns them.
        ValueError: if a layer has no counterpart, two have the same name, or `rename` has an unknown path.
    """
    names = _Names(rename)
    found = list(_visit(model, "", "", False, names))
    names.check_used(found)
    if refused := [unit for unit in found if _reason(unit)]:
        raise ValueError(_refusal_message(model, refused))
    by_name: dict[str, Unit] = {}
    for unit in found:
        if (other := by_name.setdefault(unit.name, unit)) is not unit:
            raise ValueError(
                f"rename must give each layer a name of its own, got {unit.name!r} for "
                f"{other.path or 'the model'} and for {unit.path or 'the model'}."
            )
    return found


class _Names:
    """The names that a user chose: by the path of a layer, or of a part of the model that holds some."""

    def __init__(self, rename: Rename | None) -> None:
        self.function: Callable[[str], str] | None = None
        self.by_path: dict[str, str] = {}
        if callable(rename):
            self.function = rename
        elif isinstance(rename, Mapping):
            self.by_path = {
                _dotted_path(_check_name(path)): _check_name(name) for path, name in rename.items()
            }
        elif rename is not None:
            raise TypeError(
                "rename must be a dictionary of PyTorch's names by path, such as {'layers[0]': "
                "'features.0'}, a function path -> name, or None, "
                f"got {_check.describe(rename)}."
            )
        self.unused = set(self.by_path)

    def of_part(self, path: str) -> str | None:
        """The name of a layer or a part, if the dictionary has it."""
        self.unused.discard(_dotted_path(path))
        return self.by_path.get(_dotted_path(path))

    def of_layer(self, path: str) -> str | None:
        """The name of a layer, if a function gives it."""
        return None if self.function is None else _check_name(self.function(path))

    def check_used(self, found: list[Unit]) -> None:
        if self.unused:
            raise ValueError(
                f"rename must have paths of the model, and nothing is at {min(self.unused)!r}. Its layers "
                f"are {', '.join(unit.path for unit in found if unit.path)}. Rename an array that the "
                "model itself holds in the state dict: state['position_embedding'] = state.pop('pos')."
            )


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the paths and names of rename must be strings, got {_check.describe(name)}.")
    return name


def _dotted_path(path: str) -> str:
    """`layers.0` for `layers[0]`: both are accepted."""
    return path.replace("['", ".").replace("']", "").replace("[", ".").replace("]", "").removeprefix(".")


def dotted_name(unit: Unit) -> str:
    """The name of a layer in our own files of weights."""
    return _dotted_path(unit.path)


def _visit(node: Any, path: str, name: str, is_renamed: bool, names: _Names) -> Iterator[Unit]:
    """The units of a module, or the arrays that a module without a counterpart holds."""
    if (chosen := names.of_part(path)) is not None:
        name, is_renamed = chosen, True

    def unit(layer: Any) -> Unit:
        chosen = names.of_layer(path)
        return Unit(path, name if chosen is None else chosen, layer, is_renamed or chosen is not None)

    if not isinstance(node, Module) or type(node) in SHARED:
        yield unit(node)
        return
    if type(node) is Transformer and node.position_embedding is not None:
        yield unit(node)
    for field, suffix in _fields(node):
        if field in node._traceable or (type(node) is Transformer and field == "position_embedding"):
            continue
        value, place, part = getattr(node, field), join(path, field), _join(name, suffix)
        if isinstance(value, Module):
            yield from _visit(value, place, part, is_renamed, names)
            continue
        chosen = names.of_part(place)
        part, was_renamed = (part, is_renamed) if chosen is None else (chosen, True)
        leaves = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda leaf: isinstance(leaf, Module))[
            0
        ]
        for keys, leaf in leaves:
            child = _child_suffix(node, field, [_tree.key_name(key) for key in keys])
            at = join(place, jax.tree_util.keystr(keys))
            yield from _visit(leaf, at, _join(part, child), was_renamed, names)


def _fields(module: Module) -> list[tuple[str, str]]:
    """The fields of a module in the order of PyTorch, and their names there."""
    names = {name: name for name in module._children}
    match module:
        case Sequential() | MLP():  # nn.Sequential
            names |= {"layers": ""}
        case ConvNet():
            after = 3 * len(module.convolutions or ()) + 1 + _drops(module.dropout)
            names |= {"convolutions": "", "out": str(after)}
        case Block():  # nn.TransformerEncoderLayer
            parts = {"attention": "self_attn", "expand": "linear1", "contract": "linear2", "norms": ""}
            return list(parts.items())
        case Transformer():  # nn.TransformerEncoder with a norm
            names |= {"blocks": "encoder.layers", "norm": "encoder.norm"}
    return list(names.items())


def _child_suffix(module: Module, field: str, keys: list[str]) -> str:
    """The name of one of several layers in a field; an activation or a pool takes a number, too."""
    if keys and field == "layers" and isinstance(module, MLP):
        return str(int(keys[0]) * (2 + _drops(module.dropout)))
    if keys and field == "convolutions" and isinstance(module, ConvNet):
        return str(int(keys[0]) * 3)
    if keys and field == "norms" and isinstance(module, Block):
        return f"norm{int(keys[0]) + 1}"
    return ".".join(keys)


def _drops(rate: Any) -> bool:
    return not (isinstance(rate, int | float) and rate == 0)


def _join(name: str, suffix: str) -> str:
    return f"{name}.{suffix}" if name and suffix else name or suffix


def _reason(unit: Unit) -> str | None:
    if not isinstance(unit.layer, Module):
        return "an array of a module that PyTorch does not have"
    return None if type(unit.layer) is Transformer else refusal(unit.layer)


def _refusal_message(model: Module, refused: list[Unit]) -> str:
    kinds = {u.path: f" ({type(u.layer).__name__})" if isinstance(u.layer, Module) else "" for u in refused}
    lines = [f"  {unit.path or 'the model'}{kinds[unit.path]}: {_reason(unit)}" for unit in refused]
    return (
        f"this {type(model).__name__} must consist of layers that PyTorch has, too:\n"
        + "\n".join(lines)
        + "\nConvert the other parts one by one: body = fn.interop.load_torch(net.body, state_of_body); "
        "model = net.replace(body=body)."
    )
