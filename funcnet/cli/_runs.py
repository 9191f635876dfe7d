"""`funcnet runs` and `funcnet show`."""

import argparse
from typing import Any

from funcnet.cli._output import print_error, print_line


def runs(args: argparse.Namespace) -> list[dict[str, Any]]:
    from funcnet.report._runs import COLUMNS, find_runs, row
    from funcnet.report._terminal import print_table

    runs = find_runs(args.folder)
    print_table(COLUMNS, [row(run, args.folder) for run in runs])
    for run in runs:
        _warn_of_damage(run)
    return [{n: v for n, v in run._asdict().items() if n != "history"} for run in runs]


def show(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet.report._runs import draw, find_runs, read_run, summary
    from funcnet.report._terminal import print_table

    run = read_run(args.folder)
    if run is None:
        folders = ", ".join(str(run.folder) for run in find_runs(args.folder))
        raise ValueError(f"{args.folder} is not the directory of a run. Show one of {folders}.")
    if not run.history:
        raise ValueError(f"{run.folder} holds no history: {run.problem or 'it is empty'}.")
    print_line(f"{run.folder}: {run.epochs} epochs, {run.outcome}")
    _warn_of_damage(run)
    print_table(*summary(run))
    print_line(f"Wrote {draw(run)}")
    return run._asdict()


def _warn_of_damage(run: Any) -> None:
    if run.problem:
        print_error(f"{run.folder}: {run.problem}.", 0)
