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

    with contextlib.suppress(RuntimeError):  # JAX is initialized already: keep its devices
        mesh.cpu_devices()
    if args.kind == "sweep" and args.size is not None:
        raise ValueError(f"--size is for other studies: a sweep always has {num_runs('sweep')} runs.")
    table, source = load_table(args), table_source(args.table)
    folder = args.out or default_folder(f"{table.name}-{args.kind}", source)
    check_folder(folder)
    count, roles = num_runs(args.kind, args.size), column_roles(args, table)
    with show_progress(f"{count} runs on {table.name}", count) as advance:

        def run_study() -> Any:
            with mesh.use():
                return study_table(
                    table,
                    args.kind,
                    size=args.size,
                    roles=roles,
                    missing=args.missing or (),
                    progress=advance,
                    **_settings(args),
                )

        study = run_interruptibly(run_study)
    print_line(f"{table.name}: {study.title}")
    print_table(study.columns, study.rows)
    for note in study.notes:
        print_line(note)
    set_owner(folder, source)
    study.save(folder)
    print_line(f"Wrote {args.kind}.csv and {args.kind}.png to {folder}")
    rows = [dict(zip(study.columns, row, strict=True)) for row in study.rows]
    return {"title": study.title, "rows": rows, "notes": list(study.notes), "folder": str(folder)}


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of `study_table` that are given."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "patience", "seed")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
