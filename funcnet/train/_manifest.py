"""The manifest of a checkpoint: what it holds, and checksums to verify that it is intact."""

import contextlib
import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from funcnet.train._weights import write_atomic

FORMAT = 1
PACKAGES = ("funcnet", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")


def places(directory: Path) -> list[Path]:
    """The folders of all checkpoints in a Trainer's directory, sorted by step."""
    return sorted(place for place in (directory / "checkpoints").glob("[0-9]*") if place.is_dir())


def files(folder: Path) -> list[Path]:
    """All files in a folder, recursively."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_manifest(place: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the checkpoint in `place`: facts, versions, a SHA-256 of each file."""
    manifest = {
        "format": FORMAT,
        **facts,
        "versions": _versions(),
        "files": {str(file.relative_to(place)): _sha256(file) for file in files(place)},
    }
    sealed = {"manifest": manifest, "sha256": _sha256_of(manifest)}
    write_atomic(place / "manifest.json", json.dumps(sealed, indent=1).encode())


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is not a manifest, or its format is unknown to this version.
    """
    try:
        sealed = json.loads((place / "manifest.json").read_bytes())
        manifest, digest = sealed["manifest"], sealed["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"manifest.json is not a manifest: {error}") from None
    if _sha256_of(manifest) != digest:
        raise ValueError("the content of manifest.json has changed since it was saved")
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']!r}; this version reads {FORMAT}")
    return manifest


def verify_files(place: Path, manifest: dict[str, Any]) -> None:
    """Raise a ValueError unless every file of a checkpoint is as it was saved."""
    for name, expected in manifest["files"].items():
        if not (place / name).is_file():
            raise ValueError(f"{name} is missing")
        if _sha256(place / name) != expected:
            raise ValueError(f"the content of {name} has changed since it was saved")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sha256_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
