"""What lies in folders of runs: how far they are, what they measured, their curves."""

import csv
import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnet.report._epochs import history_png
from funcnet.train import History, Run, TrainState
from funcnet.train._early_stopping import initial_state
from funcnet.train._manifest import places, read_manifest
from funcnet.train._weights import write_whole

HEAD = ("run", "epochs", "loss", "best val_loss", "outcome", "saved")


class Found(NamedTuple):
    """A run on disk: what was measured by name and epoch, NaN where nothing was, and how it stands."""

    folder: Path
    history: dict[str, list[float]]
    epochs: str
    outcome: str
    saved: str


def find_runs(folder: Path) -> list[Found]:
    """The runs in a folder and in the folders below it, by name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no run in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(folder))
    inside = sorted({path.parent for path in folder.rglob("checkpoints")} | _tables(folder))
    found = [run for place in inside if (run := read_run(place)) is not None]
    if not found:
        raise ValueError(f"{folder} holds no run: neither a Trainer nor `funcnet train` wrote to it.")
    return found


def read_run(folder: Path) -> Found | None:
    """The run in one folder; None if there is none, or none that can be read."""
    for place in reversed(places(folder)):
        try:
            manifest = read_manifest(place)
        except (OSError, ValueError):
            continue
        history = {n: [math.nan if v is None else v for v in vs] for n, vs in manifest["history"].items()}
        epochs = f"{manifest['epoch']} of {manifest['epochs']}"
        return Found(
            folder, history, epochs, manifest["outcome"].lower().replace("_", " "), manifest["saved"]
        )
    try:
        settings = json.loads((folder / "model.json").read_bytes())["settings"]
        with (folder / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = [name for name in rows[0] if name != "epoch"] if rows else []
    history = {name: [float(row[name] or "nan") for row in rows] for name in names}
    return Found(folder, history, f"{len(rows)} of {settings.get('epochs', '?')}", "finished", "")


def row(run: Found, below: Path) -> list[str]:
    """A line of the table of runs."""
    name = str(run.folder.relative_to(below)) if run.folder != below else run.folder.name
    loss, best = _seen(run.history.get("loss", [])), _seen(run.history.get("val_loss", []))
    told = [f"{loss[-1]:.4g}" if loss else "", f"{min(best):.4g}" if best else ""]
    return [name, run.epochs, *told, run.outcome, run.saved]


def summary(run: Found) -> tuple[list[str], list[list[str]]]:
    """First, last, least and largest value of everything that was measured."""
    lines = []
    for name, values in run.history.items():
        if seen := _seen(values):
            lines.append([name, *(f"{value:.4g}" for value in (seen[0], seen[-1], min(seen), max(seen)))])
    return ["", "first", "last", "least", "largest"], lines


def draw(run: Found) -> Path:
    """Write the curves as `curves.png` into the run's folder."""
    arrays = {name: jnp.asarray(values) for name, values in run.history.items()}
    zero = jnp.int32(0)
    state = TrainState(None, None, zero, zero, jax.random.key(0), initial_state(), History(arrays))
    write_whole(run.folder / "curves.png", history_png(Run(None, state)))
    return run.folder / "curves.png"


def _seen(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _tables(folder: Path) -> set[Path]:
    return {path.parent for path in folder.rglob("model.json")}
