"""The table that a command works on."""

import argparse
from typing import Any

from funcnet.cli._output import print_line

CLASS_METRICS = ("accuracy", "balanced_accuracy", "log_loss", "brier", "calibration_error", "auc")
VALUE_METRICS = ("rmse", "mae", "r2")


def load_table(args: argparse.Namespace) -> Any:
    from funcnet.data import load
    from funcnet.data._load import NAMES

    for flag in ("target", "task", "separator", "encoding", "decimal"):
        if args.table in NAMES and getattr(args, flag):
            raise ValueError(
                f"--{flag} is for files, and {args.table} is a table of funcnet. Leave it out."
            )
    return load(
        args.table,
        -1 if args.target is None else args.target,
        args.task,
        separator=args.separator,
        encoding=args.encoding,
        decimal=args.decimal,
        missing=args.missing or (),
    )


def column_roles(args: argparse.Namespace, table: Any) -> dict[str, str]:
    """The role of each column for which a flag chooses one."""
    from funcnet.data._file import join_names

    chosen: dict[str, str] = {}
    roles = {"number": "number", "category": "category", "date": "date", "drop": "dropped"}
    for flag, role in {**roles, "id": "dropped"}.items():
        for name in getattr(args, flag, None) or ():
            if name not in table.feature_names:
                is_target = name == table.target_name
                what = "is the target" if is_target else "is not a column"
                others = join_names(table.feature_names)
                raise ValueError(f"--{flag} {name}: {name!r} {what}. The columns are {others}.")
            if chosen.setdefault(name, role) != role:
                raise ValueError(f"column {name!r} must have one role, got two: {chosen[name]} and {role}.")
    return chosen


def check_metric(name: str | None, classes: int) -> None:
    """Raise a ValueError if a metric is not one of so many classes, or of numbers if there are none."""
    names: tuple[str, ...] = CLASS_METRICS if classes else VALUE_METRICS
    if classes > 2:
        names = tuple(n for n in names if n != "auc")
    if name is not None and name not in names:
        what = f"{classes} classes" if classes else "numbers"
        raise ValueError(f"--metric must be one of {', '.join(names)} for {what}, got {name}.")


def print_left_out(rows: int) -> None:
    if rows:
        print_line(f"{rows:,} rows without a target are left out")
