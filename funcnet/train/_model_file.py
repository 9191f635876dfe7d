"""Whole models on disk: architecture and arrays in one safetensors file, and no code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from funcnet import _check, _files
from funcnet._text import printable
from funcnet._types import PyTree
from funcnet.train._architecture import custom_names, decode, encode
from funcnet.train._manifest import versions
from funcnet.train._safetensors import SEAL, deserialize, seal, serialize

MODEL = "funcnet.model"
"""The field of the file's metadata with the architecture."""
FORMAT = 1
EXAMPLE = "model.safetensors"
FIELDS = {"format": int, "versions": {str: str}}


@_check.usage('fn.save(model, "model.safetensors")')
def save(model: PyTree, path: str | os.PathLike[str]) -> None:
    """Write a model, its architecture and arrays, to a safetensors file.

    Classes and functions are written by name, settings as JSON: nothing in a file is code. Funcnet's layers
    and models, the functions of `jax.nn`, `jax.numpy`, `jax.lax` and `jax.scipy.special` that serve as
    activations, and the initializers of `jax.nn` are found again by `fn.load`; a class or function of your
    own is passed to it. The write is atomic. The file has a SHA-256 of all of its bytes, and other tools
    read its arrays; `fn.load_weights` does, too.

    Args:
        model: a module, before or after `init`, stacked or frozen; or tuples, lists and dicts of modules
            and arrays.
        path: the file, which usually ends in ".safetensors". An existing file is replaced.

    Raises:
        TypeError: if it holds something else, such as a network of another library or an optimizer's
            state, or is called in a traced function; `fn.save_weights` writes the arrays of any model.
        ValueError: if a function has no name, such as a lambda, or an array is not of numbers.
        OSError: if the file can't be written.

    Example:
        >>> import tempfile, jax, funcnet as fn
        >>> model = fn.MLP((4, 16, 3), activation=jax.nn.gelu).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save(model, f"{folder}/model.safetensors")
        ...     fn.load(f"{folder}/model.safetensors") == model
        True
    """
    place = _check.path("path", path, EXAMPLE)
    _check.concrete("fn.save", model)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(model)):
        raise TypeError("model must hold arrays, got the shapes of some. Try model = net.init(key).")
    try:
        architecture, arrays = encode(model)
        described = {"format": FORMAT, "versions": versions("funcnet", "jax"), "model": architecture}
        text = json.dumps(described, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ValueError("model must not contain itself, or be nested hundreds of levels deep.") from None
    # The format stores memory as it is: row-major, without gaps.
    values = {name: np.array(leaf, order="C") for name, leaf in arrays.items()}
    _files.write(place, seal(serialize(values, {MODEL: text, SEAL: ""})))


@_check.usage('fn.load("model.safetensors", custom_objects={"MyLayer": MyLayer})')
def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model in a file that `fn.save` wrote.

    Args:
        path: the file.
        custom_objects: classes and functions of your own that the model uses, by name:
            `{"MyLayer": MyLayer}`. Nothing is imported by a name in the file.

    Returns:
        The model, equal to the saved one, with its arrays on the default device: a module before `init` if
        one was saved. Functions with bound arguments (`functools.partial`) are new ones, which Python
        does not compare as equal.

    Raises:
        FileNotFoundError: if the file does not exist.
        TypeError: if `custom_objects` is not a dictionary of classes and functions.
        ValueError: if `fn.save` did not write the file, it is damaged, or a newer version wrote it; if it
            uses a class or function that is not in `custom_objects`, or whose fields have changed.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, funcnet as fn
        >>> class Scale(fn.Module):
        ...     factor: jax.Array | None = None
        ...     def parameters(self, key):
        ...         return {"factor": jnp.ones(())}
        ...     def __call__(self, x, key=None):
        ...         return self.factor * x
        >>> model = fn.Sequential(fn.Linear(2, 3), Scale()).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save(model, f"{folder}/model.safetensors")
        ...     fn.load(f"{folder}/model.safetensors", custom_objects={"Scale": Scale}) == model
        True
    """
    place = _check.path("path", path, EXAMPLE)
    custom = _check_custom(custom_objects)
    arrays, metadata = deserialize(_files.read(place, "a file that fn.save wrote"), str(place))
    if MODEL not in metadata:
        raise ValueError(
            f"{place} holds arrays without an architecture: fn.save did not write it. Load them into a "
            f"network: model = fn.load_weights(net, {str(place)!r})."
        )
    if SEAL not in metadata:
        raise ValueError(f"{place} is damaged: it has lost its checksum.")
    try:
        architecture = _architecture(place, json.loads(metadata[MODEL]))
        missing = sorted(set(custom_names(architecture)) - custom.keys())
        if missing:
            listed = ", ".join(f"{name!r}: {name}" for name in missing)
            raise ValueError(
                f"it uses {' and '.join(missing)}, which funcnet and JAX don't have. Pass what it was "
                f"saved with: fn.load({str(place)!r}, custom_objects={{{listed}}})"
            )
        return decode(architecture, arrays, custom)
    except RecursionError:
        raise ValueError(f"{place} can't be loaded: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(printable(f"{place} can't be loaded: {str(error)[:1000]}.")) from None


def _architecture(place: Path, described: Any) -> Any:
    """The architecture, once its format is one that this version reads."""
    if not _files.has_kind(described, FIELDS) or "model" not in described:
        raise ValueError("its architecture is not one that fn.save writes")
    if described["format"] != FORMAT:
        version = described["versions"].get("funcnet", "another version")
        raise ValueError(
            f"it has format {described['format']}, written by funcnet {version}, and this version reads "
            f"format {FORMAT}. Update funcnet"
        )
    return described["model"]


def _check_custom(custom_objects: Any) -> Mapping[str, Any]:
    if custom_objects is None:
        return {}
    if not isinstance(custom_objects, Mapping) or not all(
        isinstance(name, str) and callable(value) for name, value in custom_objects.items()
    ):
        raise TypeError(
            "custom_objects must be a dictionary of classes and functions by name, got "
            f'{_check.describe(custom_objects)}. Try fn.load(path, custom_objects={{"MyLayer": MyLayer}}).'
        )
    return custom_objects
