"""Which tensors of a state dict belong to which layer: by name, else by kind and shape."""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet._tree import dtype_and_shape
from funcnet.interop._torch_layers import COUNTER, Tensors
from funcnet.interop._torch_names import Unit, dotted_name

Modules: TypeAlias = dict[str, Tensors]
"""The tensors of a state dict by module, and by their name in it."""

GATES = re.compile(r"(.*?)((?:weight|bias)_(?:ih|hh|hr)_l)(\d+)(_reverse)?")
LAYER = re.compile(r"(.*)\[(\d+)\]")


class Match(NamedTuple):
    """Which module of the state dict is which layer.

    Args:
        pairs: the name of the module by the path of the layer.
        advice: why layers could not be told apart, and what to pass; "" if they could.
    """

    pairs: dict[str, str]
    advice: str = ""


def by_module(state: Mapping[str, np.ndarray]) -> Modules:
    """A state dict by modules. The layers of a recurrent network of several are `rnn[0]`, `rnn[1]`, …"""
    attention = {name.rpartition(".")[0] for name in state if name.endswith("in_proj_weight")}
    stacked = {match[1] for name in state if (match := GATES.fullmatch(name)) and int(match[3])}
    modules: Modules = defaultdict(dict)
    for key, tensor in state.items():
        module, _, name = key.rpartition(".")
        outer, _, last = module.rpartition(".")
        if match := GATES.fullmatch(key):
            prefix = match[1].rstrip(".")
            module = f"{prefix}[{match[3]}]" if match[1] in stacked else prefix
            name = f"{match[2]}0{match[4] or ''}"
        elif last == "out_proj" and outer in attention:
            module, name = outer, f"{last}.{name}"
        elif match := re.fullmatch(r"(.*?)\.?(parametrizations\..*)", key):
            module, name = match[1], match[2]
        modules[module][name] = tensor
    for tensors in modules.values():
        if "running_mean" in tensors:
            tensors.pop(COUNTER, None)
    return dict(modules)


def key_of(module: str, name: str) -> str:
    """The name of a tensor in the state dict."""
    if (match := LAYER.fullmatch(module)) and (gate := GATES.fullmatch(name)):
        module, name = match[1], f"{gate[2]}{match[2]}{gate[4] or ''}"
    return f"{module}.{name}" if module else name


def match_layers(units: Sequence[Unit], expected: Mapping[str, Tensors], modules: Modules) -> Match:
    """The module of each layer: of its name in PyTorch or here, else the one of its kind and shapes."""
    schemes = [
        {unit.path: unit.name if unit.is_renamed else name(unit) for unit in units}
        for name in (lambda unit: unit.name, dotted_name)
    ]
    for names in schemes:
        if all(name in modules for name in names.values()):
            return Match(names)
    renamed = {u.path: u.name for u in units if u.is_renamed and u.name in modules}
    others = {u.path: expected[u.path] for u in units if not u.is_renamed}
    free = {name: tensors for name, tensors in modules.items() if name not in renamed.values()}
    pairs, advice = _match_kinds(others, free)
    if len(pairs) == len(others):
        return Match(renamed | pairs, advice)
    best = max(schemes, key=lambda names: len(modules.keys() & names.values()))
    named = {path: name for path, name in best.items() if name in modules}
    if len(named) < len(pairs) + len(renamed):
        named = renamed | pairs
    return Match(_pair_rest(named, units, expected, modules))


def differences(
    units: Sequence[Unit], expected: Mapping[str, Tensors], modules: Modules, pairs: Mapping[str, str]
) -> list[str]:
    """A line for each tensor that is missing, unused, or has another shape."""
    lines = []
    for unit in units:
        name = pairs.get(unit.path)
        tensors = {} if name is None else modules[name]
        for tensor, like in expected[unit.path].items():
            key = key_of(unit.name if name is None else name, tensor)
            place = f"for {unit.path} ({type(unit.layer).__name__})" if unit.path else "by the model"
            if tensor not in tensors:
                lines.append(f"{key}: missing in the state dict, {dtype_and_shape(like)} expected {place}")
            elif tensors[tensor].shape != like.shape:
                given = tensors[tensor]
                hint = "; its transpose would fit" if given.shape[::-1] == like.shape else ""
                lines.append(
                    f"{key}: {dtype_and_shape(given)} in the state dict, {dtype_and_shape(like)} expected "
                    f"{place}{hint}"
                )
        lines += [_unused_line(name, tensor) for tensor in tensors if tensor not in expected[unit.path]]  # type: ignore[arg-type]
    unused = [name for name in modules if name not in pairs.values()]
    return lines + [_unused_line(name, tensor) for name in unused for tensor in modules[name]]


def _unused_line(module: str, name: str) -> str:
    key = key_of(module, name)
    reason = {
        "in_proj_bias": ": MultiHeadAttention and Transformer have it with qkv_bias=True",
        "weight_orig": ": register it by torch.nn.utils.parametrizations.spectral_norm",
    }.get(name, "")
    return f"{key}: unused{reason}"


def _match_kinds(layers: Mapping[str, Tensors], modules: Modules) -> tuple[dict[str, str], str]:
    """Layers and modules with tensors of the same names and shapes, those of one kind by their numbers.

    Returns:
        The pairs, and advice if they had to be guessed. If the kinds are not the same, only some pairs.
    """
    kinds: dict[Any, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, named in enumerate((layers, modules)):
        for name, tensors in named.items():
            kinds[tuple(sorted((n, a.shape) for n, a in tensors.items()))][side].append(name)
    pairs: dict[str, str] = {}
    unclear: dict[str, str] = {}
    for paths, names in kinds.values():
        if len(paths) != len(names):
            continue
        ordered = _by_numbers(paths), _by_numbers(names)
        if None in ordered:
            unclear |= dict(zip(paths, names, strict=True))
        pairs |= dict(zip(ordered[0] or paths, ordered[1] or names, strict=True))
    if not unclear:
        return pairs, ""
    return pairs, (
        f"layers of the same shapes, such as {' and '.join(list(unclear)[:2])}, can't be told apart by the "
        f"names {' and '.join(map(repr, list(unclear.values())[:2]))}. Pass PyTorch's names by our paths, "
        f"such as this guess, in the right order: rename={unclear}"
    )


def _by_numbers(names: Sequence[str]) -> list[str] | None:
    """Names that differ in numbers first of all, in their order; None if they differ in other ways."""

    def parts(name: str) -> list[Any]:  # text and numbers take turns
        return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]

    ordered = sorted(names, key=parts)
    for first, second in itertools.pairwise(ordered):
        unequal = [(a, b) for a, b in zip(parts(first), parts(second), strict=False) if a != b]
        if not unequal or not isinstance(unequal[0][0], int):
            return None
    return ordered


def _pair_rest(
    pairs: dict[str, str], units: Sequence[Unit], expected: Mapping[str, Tensors], modules: Modules
) -> dict[str, str]:
    """Pairs for a report: what is left over, in order, if the tensors have the same names."""
    rest = [unit.path for unit in units if unit.path not in pairs]
    free = [name for name in modules if name not in pairs.values()]
    if len(rest) != len(free):
        return pairs
    if any(expected[path].keys() != modules[name].keys() for path, name in zip(rest, free, strict=True)):
        return pairs
    return pairs | dict(zip(rest, free, strict=True))
