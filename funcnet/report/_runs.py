"""Runs on disk: their progress, metrics and curves."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _files
from funcnet.report._epochs import history_png
from funcnet.report._model_folder import ARRAYS, EARLIER, NAME, read_arrays, read_description
from funcnet.train import History, Run, TrainState
from funcnet.train._early_stopping import initial_state
from funcnet.train._manifest import places, read_manifest, verify_files

COLUMNS = ("run", "epochs", "loss", "best val_loss", "outcome", "saved")


class SavedRun(NamedTuple):
    """A run on disk: its metrics by name and epoch (NaN if not measured), progress and outcome.

    `problem` is a sentence about what is damaged. `saved` is a time in ISO format.
    """

    folder: Path
    history: dict[str, list[float]]
    epochs: str
    outcome: str
    saved: str
    problem: str = ""


def find_runs(folder: Path) -> list[SavedRun]:
    """The runs in a folder and in the folders below it, by name; damaged ones, too.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it does not contain a run.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    found = (path for name in ("checkpoints", NAME, ARRAYS, EARLIER) for path in folder.rglob(name))
    candidates = sorted({path.parent for path in found})
    runs = [run for candidate in candidates if (run := read_run(candidate)) is not None]
    if not runs:
        raise ValueError(f"{folder} contains no run of a Trainer and no estimator of `funcnet train`.")
    return runs


def read_run(folder: Path) -> SavedRun | None:
    """The run in one folder, the newest if there are two; None if there is none.

    A damaged run has no history, and a `problem`.
    """
    runs, problems = [], []
    for place in reversed(places(folder)):
        try:
            manifest = read_manifest(place)
            verify_files(place, manifest)  # a manifest of another run fits its own files only
            runs.append(_read_checkpoint(folder, manifest))
            break
        except (OSError, ValueError) as error:
            problems.append(f"the checkpoint {place} is damaged: {_reason(error)}")
    if any((folder / name).exists() for name in (NAME, EARLIER)) or any(folder.glob(ARRAYS)):
        try:
            runs.append(_read_estimator(folder))
        except (OSError, ValueError) as error:
            problems.append(_reason(error))
    problem = "; ".join(problems)
    if not runs:
        return SavedRun(folder, {}, "", "damaged", "", problem) if problem else None
    newest = max(runs, key=lambda run: run.saved)
    return newest._replace(problem=problem)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error).rstrip(".")


def _read_checkpoint(folder: Path, manifest: dict[str, Any]) -> SavedRun:
    history = {n: [math.nan if v is None else v for v in vs] for n, vs in manifest["history"].items()}
    epochs = f"{manifest['epoch']} of {manifest['epochs']}"
    return SavedRun(folder, history, epochs, _words(manifest["outcome"]), manifest["saved"])


def _read_estimator(folder: Path) -> SavedRun:
    description = read_description(folder)
    for kind in description["files"]:
        read_arrays(folder, description, kind)  # a description of another run fits its own files only
    run = description["run"]
    history = {n: [math.nan if v is None else v for v in vs] for n, vs in run["history"].items()}
    outcome = "finished" if run["epochs"] == run["max_epochs"] else "stopped early"
    return SavedRun(folder, history, f"{run['epochs']} of {run['max_epochs']}", outcome, run["saved"])


def _words(outcome: str) -> str:
    # A checkpoint does not know whether its process still runs.
    return "unfinished" if outcome == "RUNNING" else outcome.lower().replace("_", " ")


def row(run: SavedRun, parent: Path) -> list[str]:
    """A row of the table of runs, with the run's path relative to `parent`."""
    name = str(run.folder.relative_to(parent)) if run.folder != parent else run.folder.name
    loss, val_loss = (_drop_nan(run.history.get(key, [])) for key in ("loss", "val_loss"))
    losses = [f"{loss[-1]:.4g}" if loss else "", f"{min(val_loss):.4g}" if val_loss else ""]
    is_older = run.problem and run.history  # an older checkpoint, since the newest is damaged
    outcome = f"{run.outcome} (newer files are damaged)" if is_older else run.outcome
    return [name, run.epochs, *losses, outcome, run.saved[: len("2026-01-31T23:59:59")]]


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
    _files.write(run.folder / "curves.png", history_png(Run(None, state)))
    return run.folder / "curves.png"


def _drop_nan(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
