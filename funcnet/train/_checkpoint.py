"""Checkpoints, written atomically and with checksums."""

import ast
import contextlib
import datetime
import math
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _files, _tree
from funcnet._types import PyTree
from funcnet.train._directory import archive, lock_directory
from funcnet.train._fingerprint import differences
from funcnet.train._manifest import FORMAT, places, read_manifest, verify_files, write_manifest
from funcnet.train._safetensors import DTYPES, deserialize, serialize

ARRAYS = "arrays.safetensors"


class Checkpoints:
    """The checkpoints of one run in one folder, of which this process is the only writer.

    A background thread writes the arrays, as safetensors, and a manifest of SHA-256 sums, versions,
    settings and the run's identity to a hidden directory, calls fsync, and renames it to
    `directory/checkpoints/0000000120`, after its step. A numbered directory is therefore always complete.

    Args:
        directory: created if it does not exist.
        keep: how many of the newest checkpoints are kept.
        keep_best: a name in the history whose best checkpoint is kept, too; with a leading "-", the largest
            value is the best.
        identity: the arguments of the run, as `fingerprint` returns them.
    """

    def __init__(self, directory: Path, keep: int, keep_best: str | None, identity: dict[str, str]) -> None:
        self.directory, self.keep, self.keep_best, self.identity = directory, keep, keep_best, identity
        self.folder = directory / "checkpoints"
        self._worker: threading.Thread | None = None
        self._failed: BaseException | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Checkpoints"]:
        """Lock the folder for this process; on leaving, wait for the checkpoint that is being written."""
        with lock_directory(self.directory, self.folder):
            for part in self.folder.glob(
                ".*"
            ):  # left by a process that was killed while writing or removing
                whole = self.folder / part.name.removeprefix(".").removesuffix(".before")
                if part.name.endswith(".before") and not whole.exists():
                    part.rename(whole)
                else:
                    shutil.rmtree(part, ignore_errors=True)
            try:
                yield self
            except BaseException:
                with contextlib.suppress(OSError):  # the first error is the one to raise
                    self.wait()
                raise
            self.wait()

    def newest(self, force: bool) -> "Checkpoint | None":
        """The newest valid checkpoint; None if there is none.

        Raises:
            ValueError: if it belongs to another run, unless `force`, or has another format.
        """
        advice = "Resume with that version, or choose another directory. In code, "
        advice += 'fn.Trainer(..., resume="never") starts over.'
        checkpoint = newest_checkpoint(self.directory, advice)
        if checkpoint is not None and not force:
            self._check_identity(checkpoint.place, checkpoint.manifest)
        return checkpoint

    def save(self, tree: PyTree, step: int, facts: Mapping[str, Any]) -> None:
        """Write a checkpoint in the background: arrays are copied now, and written by a thread."""
        self.wait()
        arrays = {path: _copy_to_host(leaf) for path, leaf in _tree.paths(tree).items()}
        for path, array in arrays.items():
            if not _is_number(array.dtype):
                raise TypeError(
                    f"a checkpoint can hold arrays of numbers only, got {array.dtype} for {path}."
                )
        facts = {
            "step": step,
            "keep_best": self.keep_best,
            **facts,
            "arrays": {p: {"dtype": a.dtype.name, "shape": list(a.shape)} for p, a in arrays.items()},
            "identity": self.identity,
            "saved": datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(),
        }
        self._worker = threading.Thread(target=self._write, args=(arrays, step, facts), name="checkpoint")
        self._worker.start()

    def archive(self) -> None:
        """Rename the folder with the checkpoints of another run, and start an empty one."""
        if self.places():
            archive(self.folder)

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk; raise if it could not be written."""
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        if self._failed is not None:
            failed, self._failed = self._failed, None
            number = getattr(failed, "errno", None)
            raise OSError(
                number,
                f"a checkpoint could not be written ({failed}). The earlier ones are intact. Free disk "
                "space, and run the same command again to resume from them",
                str(self.folder),
            ) from failed

    def places(self) -> list[Path]:
        """The folders of all checkpoints, sorted by step."""
        return places(self.directory)

    def _write(self, arrays: dict[str, np.ndarray], step: int, facts: dict[str, Any]) -> None:
        part = self.folder / f".{step:010d}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _files.write(part / ARRAYS, serialize({p: storable(a) for p, a in arrays.items()}, {}))
            write_manifest(part, facts)
            _files.sync(part)
            place, before = self.folder / f"{step:010d}", self.folder / f".{step:010d}.before"
            if place.exists():
                os.replace(place, before)
            os.replace(part, place)
            shutil.rmtree(before, ignore_errors=True)
            _files.sync(self.folder)
            self._prune()
        except BaseException as error:  # raised by the next `wait`
            shutil.rmtree(part, ignore_errors=True)
            self._failed = error

    def _prune(self) -> None:
        places = self.places()
        keep = {*places[-self.keep :], self.best_place(places)}
        for place in places:
            if place not in keep:
                self._remove(place)

    def _remove(self, place: Path) -> None:
        # Rename first, so that if this process is killed, the remaining files are not read as a checkpoint.
        away = self.folder / f".{place.name}.old"
        shutil.rmtree(away, ignore_errors=True)
        os.replace(place, away)
        shutil.rmtree(away, ignore_errors=True)

    def best_place(self, places: list[Path]) -> Path | None:
        """The checkpoint with the best monitored value; None if no checkpoint has one."""
        if self.keep_best is None:
            return None
        sign, name = (-1, self.keep_best[1:]) if self.keep_best.startswith("-") else (1, self.keep_best)
        values = {}
        for place in places:
            with contextlib.suppress(OSError, ValueError):
                value = read_manifest(place)["values"].get(name)
                if value is not None:
                    values[place] = sign * value
        return min(values, key=lambda place: values[place]) if values else None

    def _check_identity(self, place: Path, manifest: dict[str, Any]) -> None:
        saved, current = dict(manifest["identity"]), dict(self.identity)
        if manifest["versions"].get("jax") != metadata.version("jax"):
            for entries in (saved, current):  # another version of JAX prints programs differently
                entries.pop("program of a step", None)
        if lines := differences(saved, current):
            changed = {line.split(":")[0] for line in lines}
            # The history in the state has an entry for each epoch, so the program of a step changes, too.
            of_epochs = "setting epochs" in changed and changed <= {"setting epochs", "program of a step"}
            advice = (
                'If only epochs has changed, fn.Trainer(..., resume="force") continues the run to that '
                'number; resume="never" starts over.'
                if of_epochs
                else 'Choose another directory. In code, fn.Trainer(..., resume="force") resumes from it '
                'anyway, and resume="never" starts over.'
            )
            raise ValueError(
                f"{place} belongs to a different run:\n  " + "\n  ".join(lines) + f"\n{advice}"
            )


def newest_checkpoint(directory: Path, advice: str) -> "Checkpoint | None":
    """The newest valid checkpoint in a Trainer's directory; None if there is none.

    Raises:
        ValueError: if another version of funcnet wrote it; it ends with `advice`.
    """
    for place in reversed(places(directory)):
        try:
            return read_checkpoint(place)
        except _files.OtherFormatError:
            raise ValueError(
                f"{place} must have format {FORMAT}, got another one: another version of funcnet wrote it. "
                f"{advice}"
            ) from None
        except (OSError, ValueError) as error:
            warnings.warn(f"the checkpoint {place} is damaged and is skipped: {error}", stacklevel=4)
    return None


def read_checkpoint(place: Path) -> "Checkpoint":
    """The checkpoint in a folder.

    Raises:
        OSError: if it can't be read.
        OtherFormatError: if another version of funcnet wrote it.
        ValueError: if it is damaged.
    """
    manifest = read_manifest(place)
    verify_files(place, manifest)
    return Checkpoint(place, _read_arrays(place / ARRAYS, manifest["arrays"]), manifest)


class Checkpoint:
    """A checkpoint in memory: arrays by their path in the saved tree, and its manifest."""

    def __init__(self, place: Path, arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
        self.place, self.arrays, self.manifest = place, arrays, manifest

    def has(self, name: str) -> bool:
        """Whether the saved dictionary has this key."""
        return any(path.startswith(f"[{name!r}]") for path in self.arrays)

    def dictionary(self, name: str) -> dict[str, np.ndarray]:
        """A saved value that is a dictionary of arrays by any names; an empty one if it was not saved."""
        prefix = f"[{name!r}]["
        saved = {path: array for path, array in self.arrays.items() if path.startswith(prefix)}
        return {ast.literal_eval(path[len(prefix) : -1]): array for path, array in saved.items()}

    def model(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays of the model at `prefix` by their path in it; none if there is no model."""
        arrays = {
            path.removeprefix(prefix): a for path, a in self.arrays.items() if path.startswith(prefix)
        }
        return {path.removeprefix("."): array for path, array in arrays.items()}

    def lengthen(self, prefix: str, length: int) -> None:
        """Pad the vectors whose path starts with `prefix` with zeros to this length."""
        for path, array in self.arrays.items():
            if path.startswith(prefix) and array.ndim == 1 and len(array) < length:
                self.arrays[path] = np.pad(array, (0, length - len(array)))

    def part(self, name: str, template: PyTree, *, same_shapes: bool = True) -> PyTree:
        """One value of the saved dictionary, in the structure of `template`.

        Raises:
            ValueError: if its leaves are not those of `template`, or with `same_shapes` have other shapes.
        """
        prefix = f"[{name!r}]"
        arrays = {p.removeprefix(prefix): a for p, a in self.arrays.items() if p.startswith(prefix)}
        leaves = {p.removeprefix(prefix): a for p, a in _tree.paths({name: template}).items()}
        saved, expected = (
            {path: _tree.dtype_and_shape(_tree.to_numpy(leaf)) for path, leaf in tree.items()}
            for tree in (arrays, leaves)
        )
        wrong = [
            f"{path.removeprefix('.')}: {saved.get(path, 'none')} saved, {expected.get(path, 'none')} "
            "expected"
            for path in sorted(expected.keys() | saved.keys())
            if saved.get(path) != expected.get(path)
            and (same_shapes or path not in saved or path not in expected)
        ]
        if wrong:
            raise ValueError(
                f"{self.place} holds a different {name} than this run's:\n  " + "\n  ".join(wrong)
            )
        restored = [_like(arrays[path], leaf) for path, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(template), restored)


def _copy_to_host(leaf: Any) -> np.ndarray:
    """A leaf as a row-major array in the byte order of this machine; for a key, its key data."""
    array = _tree.to_numpy(leaf)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "b" or bool(jnp.issubdtype(dtype, jnp.number))


def storable(array: np.ndarray) -> np.ndarray:
    """The array, or its bytes if safetensors lacks its dtype; the manifest has the dtype of every array."""
    return array if array.dtype.name in DTYPES.values() else array.reshape(-1).view(np.uint8)


def _read_arrays(path: Path, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, with the dtypes and shapes of its manifest.

    Raises:
        ValueError: if the file does not hold them.
    """
    stored, _ = deserialize(path.read_bytes(), path.name)
    arrays = {}
    for name, kind in kinds.items():
        try:
            dtype, shape = jnp.dtype(kind["dtype"]), tuple(kind["shape"])
        except TypeError:
            raise ValueError(f"{name} has the unknown dtype {kind['dtype']!r}") from None
        sizes_match = name in stored and stored[name].nbytes == math.prod(shape) * dtype.itemsize
        if not (sizes_match and _is_number(dtype) and all(size >= 0 for size in shape)):
            raise ValueError(f"{path.name} does not hold the array {name} of the manifest")
        arrays[name] = stored[name].reshape(-1).view(np.uint8).view(dtype).reshape(shape)
    return arrays


def _like(array: np.ndarray, leaf: Any) -> Any:
    if _tree.is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jax.device_put(array, leaf.sharding)
    return array.copy() if isinstance(leaf, np.ndarray) else array.item()
