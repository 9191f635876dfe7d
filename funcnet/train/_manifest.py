"""The manifest of a checkpoint: what it holds, and checksums to verify that it is intact."""

import contextlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from funcnet import _files

FORMAT = 3
MANIFEST = "manifest.json"
PACKAGES = ("funcnet", "jax", "jaxlib", "numpy", "optax", "safetensors")
FIELDS = {
    "step": int,
    "epoch": int,
    "epochs": int,
    "values": {str: float},
    "history": {str: [(float, None)]},
    "outcome": str,
    "keep_best": (str, None),
    "seconds": float,
    "arrays": {str: {"dtype": str, "shape": [int]}},
    "identity": {str: str},
    "saved": str,
    "versions": {str: str},
    "files": {str: str},
}


def places(directory: Path) -> list[Path]:
    """The folders of all checkpoints in a Trainer's directory, sorted by step."""
    folders = (place for place in (directory / "checkpoints").glob("[0-9]*") if place.name.isdecimal())
    return sorted((place for place in folders if place.is_dir()), key=lambda place: int(place.name))


def write_manifest(place: Path, facts: dict[str, Any], known: Mapping[str, str]) -> None:
    """Write the manifest of the checkpoint in `place`: facts, versions, a SHA-256 of each file.

    Those that are `known`, by the names of files, are not computed again.
    """
    files = sorted(place.iterdir())
    sums = {file.name: known.get(file.name) or _files.sha256(file) for file in files}
    manifest = {
        "format": FORMAT,
        **facts,
        "versions": {"python": platform.python_version(), **versions(*PACKAGES)},
        "files": sums,
    }
    _files.write_sealed(place / MANIFEST, manifest)


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        OSError: if it can't be read.
        OtherFormatError: if another version of funcnet wrote it.
        ValueError: if it is damaged.
    """
    manifest = _files.read_sealed(place / MANIFEST, FORMAT, FIELDS)
    if manifest["step"] != int(place.name):
        raise ValueError(f"{MANIFEST} belongs to the checkpoint of step {manifest['step']}")
    for name in manifest["files"]:
        if not _files.is_plain_name(name):
            raise ValueError(f"{MANIFEST} names a file outside of the folder, {name!r}")
    return manifest


def verify_files(place: Path, manifest: dict[str, Any]) -> None:
    """Raise a ValueError unless every file of a checkpoint is as it was saved."""
    if not manifest["files"]:
        raise ValueError(f"{MANIFEST} names no files")
    for name, expected in manifest["files"].items():
        if not (place / name).is_file():
            problem = "is not a regular file" if (place / name).exists() else "is missing"
            raise ValueError(f"{name!r} {problem}")
        if _files.sha256(place / name) != expected:
            raise ValueError(f"the content of {name} has changed since it was saved")


def versions(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
