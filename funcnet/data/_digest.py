"""The SHA-256 of a file's bytes, remembered as long as the file is untouched."""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from funcnet._cache import user_cache

BLOCK_BYTES = 2**22
SETTLED_NS = 2 * 10**9
"""A file that changed more recently may change again within the resolution of its file system's clock."""


def file_digest(descriptor: int, path: Path) -> str:
    """The SHA-256 of all bytes of an open file, in hexadecimal.

    It is kept in the user's cache directory together with the file's inode, size and times, so that a later
    process does not read the file again. The time of the last change of the inode (ctime) is among them: no
    program can set it back, so a file that was replaced by another of the same size and date is read.

    Args:
        descriptor: of the open file.
        path: of the file, under which the digest is kept.
    """
    stat = _identify(descriptor)
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    entry = user_cache() / "digests" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no entry, or a damaged one
        saved = json.loads(entry.read_bytes())
        if saved["file"] == stat and len(saved["sha256"]) == 64:
            return str(saved["sha256"])
    digest = _read(descriptor, stat[2])
    if stat != _identify(descriptor):
        raise ValueError(f"{path} changed while it was read. Wait until it is complete.")
    if time.time_ns() - max(stat[3:]) > SETTLED_NS:
        with contextlib.suppress(OSError):  # a cache that can't be written costs time only
            _write(entry, json.dumps({"file": stat, "sha256": digest, "path": str(path.absolute())}))
    return digest


def _identify(descriptor: int) -> list[int]:
    stat = os.fstat(descriptor)
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(descriptor: int, size: int) -> str:
    sha = hashlib.sha256()
    for start in range(0, size, BLOCK_BYTES):
        sha.update(os.pread(descriptor, BLOCK_BYTES, start))
    return sha.hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, path)
