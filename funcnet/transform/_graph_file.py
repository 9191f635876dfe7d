"""The file of a saved graph: a header with a checksum, and the program as `jax.export` serializes it."""

import hashlib
import struct
from pathlib import Path

MAGIC, FORMAT = b"\x89funcnet graph\n\0", 1
HEADER = struct.Struct("<16sIQ32s4x")
"""The first 64 bytes of a file: magic, format, length of the program, SHA-256 of these three and it."""


def pack(program: bytes) -> bytes:
    """The content of a file with this program."""
    return HEADER.pack(MAGIC, FORMAT, len(program), _digest(FORMAT, program)) + program


def unpack(place: Path, content: bytes) -> bytearray:
    """The program in the content of a file, once its checksum is verified.

    A program with a flipped bit would crash the interpreter, so it is not even parsed.

    Raises:
        ValueError: if the file was not written by `Graph.save`, is damaged, or has another format.
    """
    advice = "Write it again: graph(f)(*args).save(path)."
    if len(content) < HEADER.size or content[: len(MAGIC)] != MAGIC:
        raise ValueError(f"path must be a file written by Graph.save, got {place}. {advice}")
    _, version, length, digest = HEADER.unpack_from(content)
    header, program = content[: HEADER.size], content[HEADER.size :]
    if len(program) != length or _digest(version, program) != digest or any(header[-4:]):
        raise ValueError(f"{place} is damaged: its checksum does not match its content. {advice}")
    if version != FORMAT:
        raise ValueError(f"{place} has format {version}, this version reads format {FORMAT}. {advice}")
    return bytearray(program)


def _digest(version: int, program: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<16sIQ", MAGIC, version, len(program)) + program).digest()
