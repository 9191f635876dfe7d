"""The weights of any model on disk, as safetensors: names, shapes, dtypes and bytes, no code."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _files, _tree
from funcnet._module import as_module, check_complete, is_complete, restore, select, shapes
from funcnet._types import PyTree
from funcnet.train._manifest import places
from funcnet.train._safetensors import check_weight, deserialize, serialize

if TYPE_CHECKING:
    from funcnet.train._checkpoint import Checkpoint

T = TypeVar("T")
Place: TypeAlias = str | os.PathLike[str]
Which: TypeAlias = str | int
Where: TypeAlias = Callable[[str], bool] | str | Iterable[str]

DIGEST = "funcnet.sha256"
"""The field of the file's metadata with a checksum of all arrays and their names."""
EXAMPLE = "model.safetensors"


def save_weights(model: PyTree, path: str | os.PathLike[str]) -> None:
    """Write every array of a model, buffers included, to a safetensors file.

    The write is atomic: the file is written under another name and then renamed. A checksum of all arrays
    is written with them.

    Args:
        model: any pytree of arrays, such as a module after `init`.
        path: the file, which usually ends in ".safetensors". An existing file is replaced.

    Raises:
        TypeError: if a module is not initialised, or `path` is not a path.
        ValueError: if a leaf is not an array of numbers, or two leaves would have the same name.
        OSError: if the file can't be written.

    Example:
        >>> import tempfile, jax, funcnet as fn
        >>> net = fn.MLP((4, 16, 3))
        >>> model = net.init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     fn.load_weights(net, f"{folder}/model.safetensors") == model
        True
    """
    place = _check.path("path", path, EXAMPLE)
    _check.concrete("fn.save_weights", model)
    model = _bare(model)
    check_complete(model)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(model)):
        raise TypeError("model must hold arrays, got the shapes of some. Try model = net.init(key).")
    # The format stores memory as it is: row-major, without gaps.
    arrays = {name: np.array(leaf, order="C") for name, leaf in _arrays_by_name("model", model).items()}
    _files.write(place, serialize(arrays, {DIGEST: _digest(arrays)}))


class LeftOut(NamedTuple):
    """What `load_weights(..., where=...)` left out, by the names of arrays in a file of weights.

    Args:
        kept: the arrays of the model that keep their values.
        unused: the arrays in the file that were not loaded.

    Example:
        >>> import funcnet as fn
        >>> fn.train.LeftOut(kept=["head.bias"], unused=[]).kept
        ['head.bias']
    """

    kept: list[str]
    unused: list[str]


@overload
def load_weights(net: T, path: Place, which: Which | None = None, where: None = None) -> T: ...
@overload
def load_weights(net: T, path: Place, which: Which | None = None, *, where: Where) -> tuple[T, LeftOut]: ...
@_check.usage('fn.load_weights(net, "model.safetensors")')
def load_weights(
    net: T, path: Place, which: Which | None = None, where: Where | None = None
) -> T | tuple[T, LeftOut]:
    """A model with the arrays of a file that `save_weights` wrote, or of a Trainer's checkpoint.

    Args:
        net: the architecture before `init`, or a model of the same shapes, whose values are ignored.
        path: the safetensors file, or the directory of a Trainer.
        which: in a directory, the model to load: "best", of the best epoch by the Trainer's `keep_best`,
            else as early stopping keeps it; "last", of the newest checkpoint; or the step of a checkpoint.
            If None, `run.model`: the best one if early stopping restores it, else the last. The model is
            the one that is evaluated, with averaged weights if the run averages them.
        where: which arrays to load: a function of their path, such as
            `lambda path: path.startswith("backbone")`, or paths as for `fn.freeze`. The others keep their
            values in `net`, which must be initialized. All if None.

    Returns:
        The same type as `net`, with the arrays on the default device. With `where`, a pair: this model, and
        what was left out, a `fn.train.LeftOut`.

    Raises:
        FileNotFoundError: if the file does not exist, or the directory holds no checkpoint.
        TypeError: if `which` or `where` is none of these, or `net` is not initialized and `where` is given.
        ValueError: if it is not a safetensors file; if it has changed since `save_weights` wrote it, whose
            checksum files of other tools don't have; if there is no such checkpoint, or the run kept no
            best model; if `where` selects nothing; or if the arrays are not those of `net`: the message
            lists each one that is missing, unexpected, or has another shape or dtype.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     fn.load_weights(fn.MLP((4, 8, 3)), f"{folder}/model.safetensors")
        Traceback (most recent call last):
        ValueError: .../model.safetensors does not hold the weights of this MLP:
          layers.0.bias: float32[16] in the file, float32[8] expected
          layers.0.weight: float32[4,16] in the file, float32[4,8] expected
          layers.1.weight: float32[16,3] in the file, float32[8,3] expected
        >>> other = fn.MLP((4, 16, 2)).init(jax.random.key(1))  # another head
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.save_weights(model, f"{folder}/model.safetensors")
        ...     other, left_out = fn.load_weights(
        ...         other, f"{folder}/model.safetensors", where=lambda path: path.startswith("layers[0]")
        ...     )
        >>> left_out.kept, bool((other.layers[0].weight == model.layers[0].weight).all())
        (['layers.1.weight', 'layers.1.bias'], True)
    """
    place = _check.path("path", path, EXAMPLE)
    if where is not None and not is_complete(net):
        raise TypeError(
            "net must be initialized to keep the arrays that where does not select. Try "
            "model, left_out = fn.load_weights(net.init(key), path, where=...)."
        )
    template = shapes(_bare(net))
    expected, names = _arrays_by_name("net", template), _tree.names(template)
    if place.is_dir():
        arrays = _arrays_of_directory(place, which)
        saved = {names.get(at, at): array for at, array in arrays.items()}
    else:
        saved = _arrays_of_file(place, which)
    selected = saved.keys() | expected.keys()
    if where is not None:
        selected = _select_names(where, {name: at for at, name in names.items()}, saved, expected)
    expected_part = {name: leaf for name, leaf in expected.items() if name in selected}
    if lines := _differences({name: saved[name] for name in saved if name in selected}, expected_part):
        raise ValueError(
            f"{path} does not hold the weights of this {type(net).__name__}:\n  " + "\n  ".join(lines)
        )
    leaves = [jnp.asarray(saved[name]) if name in selected else leaf for name, leaf in expected.items()]
    model: T = restore(jax.tree.unflatten(jax.tree.structure(template), leaves))
    if where is None:
        return model
    return model, LeftOut(*([name for name in part if name not in selected] for part in (expected, saved)))


def _bare(model: Any) -> Any:
    """The model, as a module if it has functions or strings among its leaves."""
    has_fields = any(callable(leaf) or isinstance(leaf, str) for leaf in jax.tree.leaves(model))
    return as_module(model) if has_fields else model


def _select_names(
    where: Where, paths: Mapping[str, str], saved: Mapping[str, Any], expected: Mapping[str, Any]
) -> set[str]:
    """The names of the arrays that `where` selects, in the file or the model."""
    rule: Any = where
    if callable(where):
        _check.takes("where", where, "a function path -> bool", "layers[0].weight")
        rule = lambda path, leaf: where(path)  # noqa: E731
    by_path = {paths.get(name, _as_path(name)): name for name in (*expected, *saved)}
    leaves = {path: expected.get(name, saved.get(name)) for path, name in by_path.items()}
    return {by_path[path] for path in select("where", leaves, by_path, rule)}


def _as_path(name: str) -> str:
    """The path of an array that only a file holds: `layers[0].weight` for `layers.0.weight`."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", name)


def _arrays_of_file(place: Path, which: Any) -> dict[str, np.ndarray]:
    if which is not None:
        raise ValueError(
            f"which must be None for a file, got {_check.describe(which)} for {place}: it chooses among "
            "the models in the directory of a Trainer."
        )
    saved, metadata = deserialize(_files.read(place, "a safetensors file"), str(place))
    if metadata.get(DIGEST, _digest(saved)) != _digest(saved):
        raise ValueError(f"{place} is damaged: its content has changed since it was saved.")
    return saved


def _arrays_of_directory(directory: Path, which: Any) -> dict[str, np.ndarray]:
    """The arrays of a model in a Trainer's directory, by their path in it."""
    is_step = isinstance(which, int | np.integer) and not isinstance(which, bool)
    if not (is_step or which is None or isinstance(which, str)):
        raise TypeError(
            "which must be 'best', 'last', the step of a checkpoint, or None, got "
            f"{_check.describe(which)}."
        )
    if isinstance(which, str):
        _check.choice("which", which, ("best", "last"))
    checkpoint = _checkpoint(directory, int(which) if is_step else None)
    is_restored = np.all(checkpoint.arrays.get("['state'].state.stopping.best_epoch", -1) >= 0)
    restored = checkpoint.model("['state'].state.stopping.model") if is_restored else {}
    if which is None and restored:
        return restored
    if which != "best":
        return checkpoint.model("['model']") or checkpoint.model("['state'].state.model")
    if best := checkpoint.model("['best'].model") or restored:
        return best
    if (name := checkpoint.manifest["keep_best"]) is not None:
        raise ValueError(f"{checkpoint.place} has no best model yet: no epoch has a finite {name!r}.")
    raise ValueError(
        f"the run in {directory} kept no best model, only the last: which='last'. To keep it, name the "
        "value that decides: fn.Trainer(train, directory, keep_best='val_loss')."
    )


def _checkpoint(directory: Path, step: int | None) -> "Checkpoint":
    """The checkpoint of a step in a Trainer's directory, or the newest valid one."""
    from funcnet.train._checkpoint import newest_checkpoint, read_checkpoint  # imports optax

    by_step = {int(place.name): place for place in places(directory)}
    if step is not None and by_step and step not in by_step:
        raise ValueError(
            f"which must be the step of a checkpoint in {directory}, {', '.join(map(str, by_step))}, "
            f"got {step}."
        )
    if step in by_step:
        try:
            return read_checkpoint(by_step[step])
        except (OSError, ValueError) as error:
            raise ValueError(f"the checkpoint {by_step[step]} can't be read: {error}") from None
    checkpoint = newest_checkpoint(directory, "Load it with that version.")
    if checkpoint is None:
        raise FileNotFoundError(
            errno.ENOENT,
            "no valid checkpoint in this directory. Pass the directory of a Trainer, or the file that "
            "fn.save_weights wrote",
            str(directory),
        )
    return checkpoint


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A SHA-256 of the names, dtypes, shapes and bytes of row-major arrays, in the order of the names."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _arrays_by_name(argument: str, model: PyTree) -> dict[str, Any]:
    """Leaves by dotted path, `layers.0.weight`, in the order of the tree."""
    arrays: dict[str, Any] = {}
    for name, leaf in zip(_tree.names(model).values(), jax.tree.leaves(model), strict=True):
        name = name or "model"
        check_weight(argument, name, leaf, arrays)
        arrays[name] = leaf
    return arrays


def _differences(saved: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    in_file, in_model = (
        {name: _tree.dtype_and_shape(array) for name, array in arrays.items()}
        for arrays in (saved, expected)
    )
    lines = []
    for name in sorted(in_file.keys() | in_model.keys()):
        if in_file.get(name) != in_model.get(name):
            kind = f"{in_file[name]} in the file" if name in in_file else "missing in the file"
            lines.append(
                f"{name}: {kind}, {f'{in_model[name]} expected' if name in in_model else 'unexpected'}"
            )
    return lines
