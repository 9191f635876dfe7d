"""Files: one function that writes to a path of the user, and JSON files with a checksum."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

STREAMS = (stat.S_IFIFO, stat.S_IFCHR)
"""Kinds of files that are written to and never replaced: pipes, and devices such as a terminal."""


class OtherFormatError(ValueError):
    """An intact file, written by a version of funcnet with another format."""


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees all of it or the previous file, never a part.

    A regular file is replaced by a new one with its owner and permissions; a symbolic link stays, and the
    file it points to is replaced. A pipe or a character device, such as /dev/stdout, is written to.

    Raises:
        OSError: if the file can't be written; it names `path`.
    """
    with _raise_for(path), _open(Path(path), durable=True) as file:
        file.write(content)


def move(source: Path, path: Path) -> None:
    """Move a file to where `write` would write its content, in the same file system.

    Raises:
        OSError: if it can't be moved; it names `path`.
    """
    status = check_target(path)
    if path.is_symlink() or (status is not None and stat.S_IFMT(status.st_mode) in STREAMS):
        write(path, source.read_bytes())
        source.unlink()
        return
    with _raise_for(path):
        if status is not None:
            with source.open("rb") as file:
                _copy_permissions(file.fileno(), status)
        os.replace(source, path)


def check_target(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Raise an OSError if `write` can't write to a path; returns the status of what is there, if anything.

    Raises:
        OSError: it names `path`.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise OSError(errno.EISDIR, "is a folder, expected the path of a file", str(path))
    if kind not in (stat.S_IFREG, *STREAMS):
        reason = "is not a regular file, a pipe or a terminal, and can't be written"
        raise OSError(errno.EINVAL, reason, str(path))
    if kind == stat.S_IFREG and not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, "Permission denied: the file is read-only", str(path))
    return status


def open_log(path: str | os.PathLike[str]) -> IO[str]:
    """An empty text file to which lines are appended, at the paths and with the permissions of `write`."""
    with _raise_for(path):
        # A new file that takes the place of the old one: emptying that would take a millisecond.
        with _open(Path(path), durable=False) as file:
            descriptor = os.dup(file.fileno())
        return open(descriptor, "w", newline="", encoding="utf-8")


def read(path: str | os.PathLike[str], expected: str, *, is_stream_allowed: bool = False) -> bytes:
    """The content of a regular file: reading a pipe could wait for ever.

    Args:
        path: the file.
        expected: what it should be, for errors.
        is_stream_allowed: read pipes as well, and stdin if the path is "-".

    Raises:
        OSError: if it can't be read; it names `path` and what is `expected` there.
    """
    if is_stream_allowed and str(path) == "-":
        if sys.stdin is None:
            raise OSError(errno.EBADF, f"it is closed, expected {expected}", str(path))
        return sys.stdin.buffer.read()
    try:
        kinds = (stat.S_IFREG, stat.S_IFDIR, *([stat.S_IFIFO] if is_stream_allowed else []))
        if stat.S_IFMT(os.stat(path).st_mode) not in kinds:
            raise OSError(errno.EINVAL, "Not a regular file")
        return Path(path).read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: expected {expected}", str(path)) from None


def make_folder(path: str | os.PathLike[str], advice: str = "Choose another one") -> Path:
    """Create a folder and its parents, unless it exists.

    Raises:
        OSError: if it can't be created; it names `path`.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has this name" if isinstance(error, FileExistsError) else error.strerror
        raise OSError(error.errno, f"can't be created as a folder, {reason}. {advice}", str(path)) from None
    return folder


def sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a SHA-256 of its content as the field "sha256"."""
    write(path, _encode({**content, "sha256": _digest(content)}))


def read_sealed(path: Path, version: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object that `write_sealed` wrote, once its content is verified.

    Args:
        path: the file.
        version: the value of its field "format" that the caller can read.
        fields: the fields it must have and their kinds, as `has_kind` defines them.

    Raises:
        OSError: if the file can't be read.
        OtherFormatError: if it has another format.
        ValueError: if it is damaged; the message names the file without its folder.
    """
    try:
        encoded = read(path, "a file written by funcnet")
        content = json.loads(encoded.decode(errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} does not contain a JSON object")
    if "manifest" in content:  # the layout of format 1
        raise OtherFormatError(f"{path.name} must have format {version} for this version of funcnet, got 1")
    digest = content.pop("sha256", None)
    is_intact = digest == _digest(content) and encoded == _encode({**content, "sha256": digest})
    saved_version = content.get("format")
    if saved_version != version and (is_intact or digest is None) and isinstance(saved_version, int):
        raise OtherFormatError(
            f"{path.name} must have format {version} for this version of funcnet, got {saved_version}"
        )
    if not is_intact:
        raise ValueError(f"the content of {path.name} has changed since it was saved")
    for name, kind in {"format": int, **fields}.items():
        if name not in content:
            raise ValueError(f"the field {name!r} of {path.name} is missing")
        if not has_kind(content[name], kind):
            raise ValueError(f"the field {name!r} of {path.name} has an unexpected type or value")
    return content


def has_kind(value: Any, kind: Any) -> bool:
    """Whether a value from a JSON file has the expected kind.

    A kind is a type; None; a tuple of kinds, one of which must match; [kind], a list; {str: kind}, an
    object with any names; {"name": kind}, an object with at least these names. Integers must fit in 64
    bits.
    """
    if kind is None or kind is bool:
        return value is None if kind is None else isinstance(value, bool)
    if kind is str:  # half of a surrogate pair can't be printed
        return isinstance(value, str) and value == value.encode(errors="replace").decode()
    if kind is int or kind is float:
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        return fits or (kind is float and isinstance(value, float))
    if isinstance(kind, tuple):
        return any(has_kind(value, one) for one in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(has_kind(entry, kind[0]) for entry in value)
    if not isinstance(value, dict):
        return False
    if str in kind:
        return all(has_kind(entry, kind[str]) for entry in value.values())
    return all(name in value and has_kind(value[name], one) for name, one in kind.items())


def is_plain_name(name: str) -> bool:
    """Whether this is the name of a file in a folder, and not a path that leads elsewhere."""
    return name not in ("", ".", "..") and not any(c in name for c in "/\\:\0")


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode(errors="surrogatepass")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_encode(content)).hexdigest()


@contextlib.contextmanager
def _raise_for(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file that was asked for in an OSError, not a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def _open(path: Path, durable: bool) -> Iterator[IO[bytes]]:
    """A file to write to: a stream itself, or else a new file that takes the place of `path` at the end."""
    if (descriptor := _own_descriptor(path)) is not None:
        for stream in (sys.stdout, sys.stderr):  # what was printed before comes first
            if stream is not None:
                stream.flush()
        with os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
        return
    status = check_target(path)
    if status is not None and stat.S_IFMT(status.st_mode) in STREAMS:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Nobody else may read it before it has the permissions of the file that it replaces.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(beside, flags, 0o666 if status is None else 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if status is not None:
                _copy_permissions(file.fileno(), status)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _copy_permissions(descriptor: int, status: os.stat_result) -> None:
    if hasattr(os, "fchown"):
        with contextlib.suppress(PermissionError):  # only root may give a file to another user
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _own_descriptor(path: Path) -> int | None:
    """The descriptor of this process for which a path such as /dev/stdout stands on Linux, or None.

    Opening such a path would open its file a second time, from the beginning.
    """
    place = os.fspath(path)
    for _ in range(40):  # links that Linux follows
        folder, name = os.path.split(os.path.abspath(place))
        if os.path.realpath(folder) == f"/proc/{os.getpid()}/fd" and name.isdecimal():
            return int(name)
        if not os.path.islink(place):
            return None
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    return None
