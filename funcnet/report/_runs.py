"""Runs on disk: their progress, metrics and curves."""

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
from funcnet.train._weights import write_atomic

COLUMNS = ("run", "epochs", "loss", "best val_loss", "outcome", "saved")


class SavedRun(NamedTuple):
    """A run on disk: its metrics by name and epoch (NaN if not measured), progress and outcome."""

    folder: Path
    history: dict[str, list[float]]
    epochs: str
    outcome: str
    saved: str


def find_runs(folder: Path) -> list[SavedRun]:
    """The runs in a folder and in the folders below it, by name.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it does not contain a run.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    candidates = sorted({path.parent for path in folder.rglob("checkpoints")} | _model_folders(folder))
    runs = [run for candidate in candidates if (run := read_run(candidate)) is not None]
    if not runs:
        raise ValueError(f"{folder} contains no run of a Trainer or of `funcnet train`.")
    return runs


def read_run(folder: Path) -> SavedRun | None:
    """The run in one folder; None if there is no readable run."""
    for checkpoint in reversed(places(folder)):
        try:
            manifest = read_manifest(checkpoint)
        except (OSError, ValueError):
            continue
        history = {n: [math.nan if v is None else v for v in vs] for n, vs in manifest["history"].items()}
        epochs = f"{manifest['epoch']} of {manifest['epochs']}"
        return SavedRun(
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
    return SavedRun(folder, history, f"{len(rows)} of {settings.get('epochs', '?')}", "finished", "")


def row(run: SavedRun, parent: Path) -> list[str]:
    """A row of the table of runs, with the run's path relative to `parent`."""
    name = str(run.folder.relative_to(parent)) if run.folder != parent else run.folder.name
    loss, val_loss = (_drop_nan(run.history.get(key, [])) for key in ("loss", "val_loss"))
    losses = [f"{loss[-1]:.4g}" if loss else "", f"{min(val_loss):.4g}" if val_loss else ""]
    return [name, run.epochs, *losses, run.outcome, run.saved]


def summary(run: SavedRun) -> tuple[list[str], list[list[str]]]:
    """First, last, smallest and largest value of each metric: the columns and rows of a table."""
    rows = []
    for name, values in run.history.items():
        if finite := _drop_nan(values):
            extremes = finite[0], finite[-1], min(finite), max(finite)
            rows.append([name, *(f"{value:.4g}" for value in extremes)])
    return ["metric", "first", "last", "min", "max"], rows


def draw(run: SavedRun) -> Path:
    """Write the curves to `curves.png` in the run's folder; returns its path."""
    arrays = {name: jnp.asarray(values) for name, values in run.history.items()}
    zero = jnp.int32(0)
    state = TrainState(None, None, zero, zero, jax.random.key(0), initial_state(), History(arrays))
    write_atomic(run.folder / "curves.png", history_png(Run(None, state)))
    return run.folder / "curves.png"


def _drop_nan(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _model_folders(folder: Path) -> set[Path]:
    return {path.parent for path in folder.rglob("model.json")}
