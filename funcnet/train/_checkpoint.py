"""Checkpoints, written atomically and with checksums."""

import ast
import contextlib
import datetime
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
import numpy as np

from funcnet import _files, _parts, _processes, _tree
from funcnet._types import PyTree
from funcnet.train._array_files import (
    as_array,
    copy_to_host,
    file_of,
    is_number,
    like,
    read_arrays,
    write_arrays,
)
from funcnet.train._directory import archive, lock_directory
from funcnet.train._fingerprint import PROGRAM, differences
from funcnet.train._manifest import FORMAT, places, read_manifest, verify_files, write_manifest

PARTS_SECONDS = 600.0
"""Seconds to wait for the parts of other processes."""
LAST_SECONDS = 30.0
"""Seconds to wait for them after an error, which may be one of this process alone."""


class Checkpoints:
    """The checkpoints of one run in one folder, of which this process is the only writer.

    A background thread writes the arrays, as safetensors, and a manifest of SHA-256 sums, versions,
    settings and the run's identity to a hidden directory, calls fsync, and renames it to
    `directory/checkpoints/0000000120`, after its step. A numbered directory is therefore always complete.

    An array in parts on several devices is written in these parts, each by the process that has it;
    process 0 writes the manifest and renames the directory when all parts are there.

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
        self.patience = PARTS_SECONDS

    @contextlib.contextmanager
    def open(self) -> Iterator["Checkpoints"]:
        """Lock the folder for this run; on leaving, wait for the checkpoint that is being written."""
        with lock_directory(self.directory, self.folder, self._tidy_up):
            try:
                yield self
            except BaseException:
                with contextlib.suppress(OSError):  # the first error is the one to raise
                    self.wait()
                raise
            self.wait()

    def _tidy_up(self) -> None:
        """Finish or remove what a process left that was killed while writing or removing."""
        for part in self.folder.glob(".*"):
            whole = self.folder / part.name.removeprefix(".").removesuffix(".before")
            if part.name.endswith(".before") and not whole.exists():
                part.rename(whole)
            else:
                shutil.rmtree(part, ignore_errors=True)

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
        leaves = {path: as_array(leaf) for path, leaf in _tree.paths(tree).items()}
        for path, leaf in leaves.items():
            if not is_number(leaf.dtype):
                raise TypeError(
                    f"a checkpoint can hold arrays of numbers only, got {leaf.dtype} for {path}."
                )
        own: dict[str, Any] = {}
        writers = {0}
        for path, leaf in leaves.items():
            if _parts.is_in_parts(leaf):
                starts, owners = _parts.own_parts(leaf)
                own |= {f"{path}@{','.join(map(str, start))}": part for start, part in starts.items()}
                writers |= owners
            elif _processes.is_first():
                own[path] = leaf
        arrays = {name: copy_to_host(leaf) for name, leaf in own.items()}
        facts = {
            "step": step,
            "keep_best": self.keep_best,
            **facts,
            "arrays": {p: {"dtype": a.dtype.name, "shape": list(a.shape)} for p, a in leaves.items()},
            "identity": self.identity,
            "saved": datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(),
        }
        if _processes.is_first():
            arguments: Any = self._write, (arrays, step, facts, sorted(writers - {0}))
        else:
            arguments = self._write_parts, (arrays, step, _processes.number())
        self._worker = threading.Thread(target=arguments[0], args=arguments[1], name="checkpoint")
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

    def _write_parts(self, arrays: dict[str, np.ndarray], step: int, number: int) -> None:
        """What process `number` writes of a checkpoint, and last a checksum of it, by which it is whole."""
        if not arrays:
            return
        part, name = self.folder / f".{step:010d}.part", file_of(number)
        try:
            part.mkdir(parents=True, exist_ok=True)
            write_arrays(part / name, arrays)
            _files.write(part / f"{name}.sha256", _files.sha256(part / name).encode())
        except BaseException as error:  # raised by the next `wait`
            self._failed = error

    def _write(
        self, arrays: dict[str, np.ndarray], step: int, facts: dict[str, Any], others: list[int]
    ) -> None:
        part = self.folder / f".{step:010d}.part"
        try:
            if not others:
                shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True, exist_ok=True)
            write_arrays(part / file_of(0), arrays)
            write_manifest(part, facts, _wait_for_parts(part, others, self.patience))
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
                entries.pop(PROGRAM, None)
        if lines := differences(saved, current):
            of_epochs = [line.split(":")[0] for line in lines] == ["setting epochs"]
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
    return Checkpoint(place, read_arrays(place, manifest), manifest)


class Checkpoint:
    """A checkpoint in memory: arrays by their path in the saved tree, and its manifest."""

    def __init__(self, place: Path, arrays: dict[str, Any], manifest: dict[str, Any]) -> None:
        self.place, self.arrays, self.manifest = place, arrays, manifest

    def has(self, name: str) -> bool:
        """Whether the saved dictionary has this key."""
        return any(path.startswith(f"[{name!r}]") for path in self.arrays)

    def dictionary(self, name: str) -> dict[str, np.ndarray]:
        """A saved value that is a dictionary of arrays by any names; an empty one if it was not saved."""
        prefix = f"[{name!r}]["
        saved = {path: array for path, array in self.arrays.items() if path.startswith(prefix)}
        return {ast.literal_eval(path[len(prefix) : -1]): np.array(array) for path, array in saved.items()}

    def model(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays of the model at `prefix` by their path in it; none if there is no model."""
        arrays = {
            path.removeprefix(prefix): np.array(a)
            for path, a in self.arrays.items()
            if path.startswith(prefix)
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
            {path: _tree.dtype_and_shape(as_array(leaf)) for path, leaf in tree.items()}
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
        restored = [like(arrays[path], leaf) for path, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(template), restored)


def _wait_for_parts(part: Path, others: list[int], patience: float) -> dict[str, str]:
    """The checksums of the files of other processes, once they are written.

    Raises:
        TimeoutError: if a process does not write its file.
    """
    sums, deadline = {}, time.monotonic() + patience
    for process in others:
        seal = part / f"{file_of(process)}.sha256"
        while not seal.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {process} has not written its part in {patience:g} s")
            time.sleep(0.005)
        sums[file_of(process)] = seal.read_text()
        seal.unlink()
    return sums
