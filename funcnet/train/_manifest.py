"""What a checkpoint says of itself: where it lies, what it holds, and whether that is whole."""

import contextlib
import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from funcnet.train._weights import write_whole

FORMAT = 1
PACKAGES = ("funcnet", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")


def places(directory: Path) -> list[Path]:
    """The folders of all checkpoints in a Trainer's directory, by their step."""
    return sorted(place for place in (directory / "checkpoints").glob("[0-9]*") if place.is_dir())


def files(folder: Path) -> list[Path]:
    """All files within a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_manifest(place: Path, facts: dict[str, Any]) -> None:
    """Seal a checkpoint that lies in `place`: facts, versions, and a sum of each of its files."""
    manifest = {
        "format": FORMAT,
        **facts,
        "versions": _versions(),
        "files": {str(file.relative_to(place)): _sum(file) for file in files(place)},
    }
    sealed = {"manifest": manifest, "sha256": _sum_of(manifest)}
    write_whole(place / "manifest.json", json.dumps(sealed, indent=1).encode())


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is none, or of a format that this version does not know.
    """
    try:
        sealed = json.loads((place / "manifest.json").read_bytes())
        manifest, digest = sealed["manifest"], sealed["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"manifest.json is no manifest: {error}") from None
    if _sum_of(manifest) != digest:
        raise ValueError("manifest.json has another content than when it was saved")
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']!r}; this version reads {FORMAT}")
    return manifest


def check_sums(place: Path, manifest: dict[str, Any]) -> None:
    """Raise a ValueError unless every file of a checkpoint holds what it held when it was saved."""
    for name, expected in manifest["files"].items():
        if not (place / name).is_file():
            raise ValueError(f"{name} is missing")
        if _sum(place / name) != expected:
            raise ValueError(f"{name} has another content than when it was saved")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sum_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
