"""Checkpoints: whole or not there, summed, found again by themselves. The only file that names orbax."""

import contextlib
import itertools
import math
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _tree
from funcnet._types import PyTree
from funcnet.train._fingerprint import differences
from funcnet.train._manifest import check_sums, files, places, read_manifest, write_manifest


class Checkpoints:
    """The checkpoints of one training in one folder, of which this process is the only writer.

    `directory/checkpoints/00000120/` holds what was saved after step 120: the arrays as orbax writes them,
    and `manifest.json` with their sums, versions, settings and what the training was called with. The
    folder gets that name when everything in it is on the disk; what a killed process left has another.

    Args:
        directory: made if it is not there.
        keep: how many of the newest stay.
        best: a name in the history whose best checkpoint stays too; with a "-" in front the largest
            is best.
        identity: what the training is called with, as `fingerprint` makes it.
    """

    def __init__(self, directory: Path, keep: int, best: str | None, identity: dict[str, str]) -> None:
        self.directory, self.keep, self.best, self.identity = directory, keep, best, identity
        self.folder = directory / "checkpoints"
        self._worker: threading.Thread | None = None
        self._failed: BaseException | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator["Checkpoints"]:
        """The folder, locked for this process; at the end what is being saved is waited for."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.directory / "lock", "a+")  # noqa: SIM115  (open as long as it is held)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}. A Trainer writes to its directory; choose another",
                str(self.directory),
            ) from None
        with lock:
            _hold(lock, self.directory)
            for part in self.folder.glob(".*"):  # what a killed process was writing, or was removing
                whole = self.folder / part.name.removeprefix(".").removesuffix(".before")
                if part.name.endswith(".before") and not whole.exists():
                    part.rename(whole)
                else:
                    shutil.rmtree(part, ignore_errors=True)
            try:
                yield self
            except BaseException:
                with contextlib.suppress(OSError):  # what is raised already comes first
                    self.wait()
                raise
            self.wait()

    def newest(self, anyway: bool) -> "Checkpoint | None":
        """The newest whole checkpoint; None if there is none.

        Raises:
            ValueError: if it belongs to another training, unless `anyway`.
        """
        for place in reversed(self.places()):
            try:
                manifest = read_manifest(place)
                check_sums(place, manifest)
                arrays = _restored(place / "arrays", manifest["arrays"])
            except (OSError, ValueError, KeyError) as error:
                warnings.warn(
                    f"the checkpoint {place} is damaged and is passed over: {error}", stacklevel=4
                )
                continue
            self._check_identity(place, manifest, anyway)
            return Checkpoint(place, arrays)
        return None

    def save(self, tree: PyTree, step: int, facts: Mapping[str, Any]) -> None:
        """Write a checkpoint beside the training: arrays are copied now, and written by a thread."""
        self.wait()
        arrays = {path: np.array(_tree.to_numpy(leaf)) for path, leaf in _tree.paths(tree).items()}
        for path, array in arrays.items():
            if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
                raise TypeError(f"a checkpoint holds arrays of numbers; {path} is {array.dtype}.")
        facts = {
            "step": step,
            **facts,
            "arrays": {path: [array.dtype.name, array.shape] for path, array in arrays.items()},
            "identity": self.identity,
            "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._worker = threading.Thread(target=self._write, args=(arrays, step, facts), name="checkpoint")
        self._worker.start()

    def put_aside(self) -> None:
        """Keep the checkpoints of another training beside the folder, which is empty then."""
        number = next(i for i in itertools.count(1) if not (self.directory / f"checkpoints.{i}").exists())
        if self.places():
            self.folder.rename(self.directory / f"checkpoints.{number}")
            self.folder.mkdir()

    def wait(self) -> None:
        """Until what was saved last is on the disk; raise if it could not be written."""
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        if self._failed is not None:
            failed, self._failed = self._failed, None
            number = getattr(failed, "errno", None)
            raise OSError(
                number,
                f"a checkpoint could not be written ({failed}). The ones before it are whole; make room "
                "and run the same again to go on from there",
                str(self.folder),
            ) from failed

    def places(self) -> list[Path]:
        """The folders of all checkpoints, by their step."""
        return places(self.directory)

    def _write(self, arrays: dict[str, np.ndarray], step: int, facts: dict[str, Any]) -> None:
        part = self.folder / f".{step:010d}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _stored(part / "arrays", arrays.values())
            write_manifest(part, facts)
            for file in files(part):
                _on_disk(file)
            place, before = self.folder / f"{step:010d}", self.folder / f".{step:010d}.before"
            if place.exists():
                os.replace(place, before)
            os.replace(part, place)
            shutil.rmtree(before, ignore_errors=True)
            _on_disk(self.folder)
            self._prune()
        except BaseException as error:  # told to the training at its next visit
            shutil.rmtree(part, ignore_errors=True)
            self._failed = error

    def _prune(self) -> None:
        found = self.places()
        spared = {*found[-self.keep :], self.best_place(found)}
        for place in found:
            if place not in spared:
                self._remove(place)

    def _remove(self, place: Path) -> None:
        # Under another name first: killed in the middle of it, nobody takes the rest for a checkpoint.
        away = self.folder / f".{place.name}.old"
        shutil.rmtree(away, ignore_errors=True)
        os.replace(place, away)
        shutil.rmtree(away, ignore_errors=True)

    def best_place(self, found: list[Path]) -> Path | None:
        """The checkpoint with the best monitored value, the newest of those before it that have one."""
        if self.best is None:
            return None
        sign, name = (-1, self.best[1:]) if self.best.startswith("-") else (1, self.best)
        values = {}
        for place in found:
            with contextlib.suppress(OSError, ValueError):
                value = read_manifest(place)["values"].get(name)
                if value is not None:
                    values[place] = sign * value
        return min(values, key=lambda place: values[place]) if values else None

    def _check_identity(self, place: Path, manifest: dict[str, Any], anyway: bool) -> None:
        saved, wanted = dict(manifest["identity"]), dict(self.identity)
        if manifest["versions"].get("jax") != metadata.version("jax"):
            for entries in (saved, wanted):  # another version of JAX writes programs differently
                entries.pop("program of a step", None)
        if (lines := differences(saved, wanted)) and not anyway:
            raise ValueError(
                f"{place} belongs to another training than this one:\n  "
                + "\n  ".join(lines)
                + '\nChoose another directory. In code, fn.Trainer(..., resume="force") goes on from it '
                'all the same, and resume="never" begins anew.'
            )


class Checkpoint:
    """A checkpoint that has been read: arrays by their path in what was saved."""

    def __init__(self, place: Path, arrays: dict[str, np.ndarray]) -> None:
        self.place, self.arrays = place, arrays

    def holds(self, name: str) -> bool:
        """Whether there is such an entry."""
        return any(path.startswith(f"[{name!r}]") for path in self.arrays)

    def lengthen(self, prefix: str, length: int) -> None:
        """Give the arrays whose path begins like this another length, with NaN at their end."""
        for path, array in self.arrays.items():
            if path.startswith(prefix) and array.ndim == 1 and len(array) < length:
                self.arrays[path] = np.pad(array, (0, length - len(array)), constant_values=np.nan)

    def part(self, name: str, template: PyTree, *, same_shapes: bool = True) -> PyTree:
        """One entry of what was saved, a dictionary, in the structure of `template`.

        Raises:
            ValueError: if it holds other leaves than `template`, or with `same_shapes` other shapes.
        """
        prefix = f"[{name!r}]"
        found = {p.removeprefix(prefix): a for p, a in self.arrays.items() if p.startswith(prefix)}
        wanted = {p.removeprefix(prefix): a for p, a in _tree.paths({name: template}).items()}
        saved, ours = (
            {path: _tree.dtype_and_shape(_tree.to_numpy(leaf)) for path, leaf in tree.items()}
            for tree in (found, wanted)
        )
        wrong = [
            f"{path.removeprefix('.')}: {saved.get(path, 'none')} saved, {ours.get(path, 'none')} wanted"
            for path in sorted(ours.keys() | saved.keys())
            if saved.get(path) != ours.get(path) and (same_shapes or path not in saved or path not in ours)
        ]
        if wrong:
            raise ValueError(
                f"{self.place} holds another {name} than this training's:\n  " + "\n  ".join(wrong)
            )
        leaves = [_like(found[path], leaf) for path, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _hold(lock: Any, directory: Path) -> None:
    """Lock a file for as long as this process lives."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        raise OSError(
            f"{directory} is in use by process {lock.read().strip() or 'unknown'}: one training a "
            "directory. Wait for it, or choose another directory."
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()


def _stored(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """All arrays as one row of bytes: hundreds of small ones would be hundreds of files' worth of work."""
    import orbax.checkpoint as ocp

    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path.absolute(), {"bytes": np.concatenate(parts)})


def _restored(path: Path, kinds: Mapping[str, tuple[str, list[int]]]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        content = np.asarray(checkpointer.restore(path.absolute())["bytes"])
    arrays, place = {}, 0
    for name, (dtype, shape) in kinds.items():
        size = math.prod(shape) * jnp.dtype(dtype).itemsize
        arrays[name] = content[place : place + size].view(jnp.dtype(dtype)).reshape(shape)
        place += size
    return arrays


def _like(array: np.ndarray, leaf: Any) -> Any:
    if _tree.is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jax.device_put(array, leaf.sharding)
    return array if isinstance(leaf, np.ndarray) else array.item()


def _on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
