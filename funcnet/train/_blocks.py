"""Members of a study, kept on disk block by block."""

import abc
import contextlib
import dataclasses
import json
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from funcnet import _files, _processes
from funcnet.train._array_files import storable
from funcnet.train._directory import archive, lock_directory
from funcnet.train._fingerprint import differences
from funcnet.train._manifest import PACKAGES, places, versions
from funcnet.train._safetensors import SEAL, deserialize, seal, serialize

FORMAT = 1
FIELDS = {
    **dict.fromkeys(("format", "first", "stop", "width"), int),
    **{"identity": {str: str}, "versions": {str: str}},
}
FOLDER = "members"
WRITE_SHARE = 0.025
"""The share of the time that may be spent on writing blocks."""
MAX_SECONDS = 60.0
"""Seconds after which a block is written in any case."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Members of one kind, which one program computes.

    Args:
        size: the number of members.
        width: how many of them the program computes at once.
        structs: shapes and dtypes of the results of one member, by name.
        run: the results of `width` members from a number on, arrays [width, ...] by name; with copies of
            the last member beyond the end.
        identify: returns what must be the same when the study resumes, as strings by name.
        progress: called with the number of members just finished, unless it is None.
        is_repeat: whether the members of the stage before are computed again, in another way.
    """

    size: int
    width: int
    structs: dict[str, Any]
    run: Callable[[int, int], dict[str, Any]]
    identify: Callable[[], dict[str, str]]
    progress: Callable[[int], None] | None
    is_repeat: bool


RunStage = Callable[[Stage], dict[str, np.ndarray]]


class BlockStudy(abc.ABC):
    """A study whose members a Trainer can compute block by block."""

    @property
    @abc.abstractmethod
    def num_members(self) -> int:
        """The number of runs of the study."""

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the study."""

    @abc.abstractmethod
    def run_in_blocks(self, run_stage: RunStage, *args: Any, **kwargs: Any) -> Any:
        """Call the study; `run_stage` computes the results of all members of a stage, by name."""


def to_host(results: dict[str, Any]) -> dict[str, np.ndarray]:
    """The results of a block, which all devices computed, on this host: here they are waited for."""
    host: dict[str, np.ndarray] = jax.device_get(results)
    return host


class MemberResults:
    """The results of the members of one stage: in memory, and in a folder unless it is None.

    A file holds consecutive members: arrays, and as metadata the identity of the study, sealed by a SHA-256
    of all bytes. It is written to a hidden file, synced and renamed, so it is complete if it exists.

    Args:
        folder: where the files are.
        number: the number of the stage in the study.
        stage: the members.
    """

    def __init__(self, folder: Path | None, number: int, stage: Stage) -> None:
        self.folder, self.number, self.stage = folder, number, stage
        self.width = stage.width
        self.identity = {} if folder is None else stage.identify()
        self.versions = {} if folder is None else versions(*PACKAGES)
        self.arrays = {
            name: np.empty((stage.size, *struct.shape), struct.dtype)
            for name, struct in stage.structs.items()
        }
        self.done = np.zeros(stage.size, bool)
        self._unwritten: list[tuple[int, int]] = []
        self._began = self._written_at = time.monotonic()
        self._write_seconds = 0.0

    def restore(self, *, force: bool) -> None:
        """Read the files of this stage.

        Raises:
            ValueError: if they belong to another study, unless `force`, or have another format.
        """
        if self.folder is None:
            return
        with _processes.together():
            self._read_files(force)
        advice = {"": "All processes must see the same files."}
        _processes.check_equal(
            {"members in the directory": str(np.flatnonzero(self.done).tolist())}, advice
        )

    def _read_files(self, force: bool) -> None:
        assert self.folder is not None
        for file in sorted(self.folder.glob(f"{self.number:03d}-*.safetensors")):
            try:
                arrays, facts = _read(file)
            except _files.OtherFormatError as error:
                raise ValueError(
                    f"{error} another version of funcnet wrote it. Resume with that version, or choose "
                    'another directory. In code, fn.Trainer(..., resume="never") starts over.'
                ) from None
            except (OSError, ValueError) as error:
                warnings.warn(
                    f"the block {file} is damaged, and its members are trained again: {error}", stacklevel=6
                )
                if _processes.is_first():
                    with contextlib.suppress(OSError):
                        file.unlink()
                continue
            first, stop = facts["first"], min(facts["stop"], self.stage.size)
            if first >= stop:  # of a larger study
                continue
            if not force:
                self._check_identity(file, facts)
            self._fill(file, first, stop, arrays, facts["stop"] - first)
            if facts["identity"] == self.identity:
                self.width = facts["width"]  # also on another number of devices
            elif self._write(first, stop) != file and _processes.is_first():
                file.unlink()

    def add(self, first: int, results: dict[str, np.ndarray]) -> int:
        """Add the results of a block; return how many members it finished."""
        stop = min(first + self.width, self.stage.size)
        finished = stop - first - int(np.sum(self.done[first:stop]))
        for name, array in results.items():
            self.arrays[name][first:stop] = array[: stop - first]
        self.done[first:stop] = True
        if self._unwritten and self._unwritten[-1][1] == first:
            first = self._unwritten.pop()[0]
        self._unwritten.append((first, stop))
        return finished

    def write_if_due(self) -> bool:
        """Write what is not written if writing has taken a small share of the time; whether it was."""
        now = time.monotonic()
        is_due = self._write_seconds <= WRITE_SHARE * (now - self._began)
        return (is_due or now - self._written_at >= MAX_SECONDS) and self.write()

    def write(self) -> bool:
        """Write the members that are not written; whether there were any."""
        if self.folder is None or not self._unwritten:
            return False
        began = time.monotonic()
        for first, stop in self._unwritten:
            self._write(first, stop)
        self._unwritten.clear()
        self._written_at = time.monotonic()
        self._write_seconds += self._written_at - began
        return True

    def _write(self, first: int, stop: int) -> Path:
        """Write members; return the file."""
        assert self.folder is not None
        place = self.folder / f"{self.number:03d}-{first:010d}-{stop:010d}.safetensors"
        if not _processes.is_first():
            return place
        facts = {
            **{"format": FORMAT, "first": first, "stop": stop, "width": self.width},
            **{"identity": self.identity, "versions": self.versions},
        }
        arrays = {name: storable(array[first:stop]) for name, array in self.arrays.items()}
        try:
            _files.write(place, seal(serialize(arrays, {"block": json.dumps(facts)})))
            _files.sync(self.folder)
        except OSError as error:
            raise OSError(
                error.errno,
                f"a block of members could not be written ({error}). The earlier ones are intact. Free "
                "disk space, and run the same command again to resume from them",
                str(self.folder),
            ) from error
        return place

    def _fill(self, file: Path, first: int, stop: int, arrays: dict[str, np.ndarray], count: int) -> None:
        """Take members from the results of `count` in a file.

        Raises:
            ValueError: if they have results of other names, shapes or dtypes.
        """
        structs = self.stage.structs
        expected = {
            name: count * math.prod(struct.shape) * struct.dtype.itemsize
            for name, struct in structs.items()
        }
        sizes = {name: array.nbytes for name, array in arrays.items()}
        if sizes != expected:
            name = next(n for n in sorted({**sizes, **expected}) if sizes.get(n) != expected.get(n))
            raise ValueError(
                f"{file} holds {sizes.get(name, 0)} bytes of {name}, and this study's members have "
                f"{expected.get(name, 0)}. Choose another directory."
            )
        for name, struct in structs.items():
            stored = arrays[name].reshape(-1).view(np.uint8).view(struct.dtype)
            self.arrays[name][first:stop] = stored.reshape(count, *struct.shape)[: stop - first]
        self.done[first:stop] = True

    def _check_identity(self, file: Path, facts: dict[str, Any]) -> None:
        saved, current = dict(facts["identity"]), dict(self.identity)
        if facts["versions"].get("jax") != self.versions["jax"]:
            for entries in (saved, current):  # another version of JAX prints programs differently
                entries.pop("program of a member", None)
        if lines := differences(saved, current):
            raise ValueError(
                f"{file} belongs to a different study:\n  " + "\n  ".join(lines) + "\nChoose another "
                'directory. In code, fn.Trainer(..., resume="force") resumes from it anyway, and '
                'resume="never" starts over.'
            )


def has_members(directory: Path) -> bool:
    """Whether a directory holds members of a study."""
    return any((directory / FOLDER).glob("*.safetensors"))


def discard_members(directory: Path) -> None:
    """Remove the members of a study from a directory, once its result is somewhere else."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
    (directory / "lock").unlink(missing_ok=True)


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a block, and the facts about it.

    Raises:
        OSError: if it can't be read.
        OtherFormatError: if another version of funcnet wrote it.
        ValueError: if it is damaged.
    """
    arrays, metadata = deserialize(file.read_bytes(), file.name)
    if SEAL not in metadata:
        raise ValueError("it has no checksum")
    facts = json.loads(metadata.get("block", "{}"))
    if isinstance(facts, dict) and facts.get("format", FORMAT) != FORMAT:
        raise _files.OtherFormatError(f"{file} must have format {FORMAT}, got {facts['format']}:")
    if not (_files.has_kind(facts, FIELDS) and 0 <= facts["first"] < facts["stop"] and facts["width"] > 0):
        raise ValueError("it does not say which members it holds")
    return arrays, facts


@contextlib.contextmanager
def open_folder(directory: Path | None, *, start_over: bool) -> Iterator[Path | None]:
    """Lock a Trainer's directory, and yield the folder of its members; None without a directory.

    Raises:
        OSError: if it can't be written, or another process has locked it.
        ValueError: if it holds the checkpoints of a run.
    """
    if directory is None:
        yield None
        return
    if places(directory):
        raise ValueError(f"{directory} holds the checkpoints of a run. Choose another one for the study.")
    folder = directory / FOLDER

    def tidy_up() -> None:
        for part in folder.glob(".*"):  # left by a process that was killed while writing
            part.unlink(missing_ok=True)
        if start_over and any(folder.iterdir()):
            archive(folder)

    with lock_directory(directory, folder, tidy_up):
        yield folder
