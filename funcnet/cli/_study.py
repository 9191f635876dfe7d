"""`funcnet study`."""

import argparse
import contextlib
from typing import Any

from funcnet.cli._output import print_line, run_interruptibly
from funcnet.cli._table import column_roles, load_table


def study(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet import mesh
    from funcnet.report._terminal import print_table, show_progress
    from funcnet.tabular import num_runs, study_table
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source
    from funcnet.train._blocks import FOLDER, discard_members, has_members

    with contextlib.suppress(RuntimeError):  # JAX is initialized already: keep its devices
        mesh.cpu_devices()
    if args.kind == "sweep" and args.size is not None:
        raise ValueError(f"--size is for other studies: a sweep always has {num_runs('sweep')} runs.")
    table, source = load_table(args), table_source(args.table)
    folder = args.out or default_folder(f"{table.name}-{args.kind}", source)
    check_folder(folder)
    if has_members(folder) and not args.resume:
        raise ValueError(
            f"{folder} holds the finished runs of a study that was interrupted. Add --resume to continue "
            f"it, or delete {folder / FOLDER} to start over."
        )
    count, roles = num_runs(args.kind, args.size), column_roles(args, table)
    with show_progress(f"{count} runs on {table.name}", count, is_quiet=args.quiet) as advance:

        def run_study() -> Any:
            with mesh.use():
                return study_table(
                    table,
                    args.kind,
                    size=args.size,
                    roles=roles,
                    missing=args.missing or (),
                    dayfirst=args.day_first,
                    progress=advance,
                    directory=folder,
                    **_settings(args),
                )

        message = f"interrupted. Finished runs are kept in {folder}: add --resume to continue."
        study = run_interruptibly(run_study, message)
    print_line(f"{table.name}: {study.title}")
    print_table(study.columns, study.rows)
    for note in study.notes:
        print_line(note)
    set_owner(folder, source)
    study.save(folder)
    discard_members(folder)
    print_line(f"Wrote {args.kind}.csv and {args.kind}.png to {folder}")
    rows = [dict(zip(study.columns, row, strict=True)) for row in study.rows]
    return {"title": study.title, "rows": rows, "notes": list(study.notes), "folder": str(folder)}


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of `study_table` that are given."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "patience", "seed")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
