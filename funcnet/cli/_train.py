"""`funcnet train`."""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from funcnet.cli._output import print_error, print_line, run_interruptibly
from funcnet.cli._table import column_roles, load_table


def train(args: argparse.Namespace) -> None:
    from funcnet.report._runs import draw, read_run, write_csv
    from funcnet.report._terminal import print_summary, print_table, show_status
    from funcnet.sklearn._save import report_path
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source

    table, source = load_table(args), table_source(args.table)
    folder = args.out or default_folder(table.name, source)
    check_folder(folder)
    if args.report is not None:
        report_path(args.report)
    X, y, test = _split(table, args)
    model = _estimator(args, table, X)
    if source != table.name:  # a file
        _print_schema(table, model.preprocessing)
    if test is not None:
        model.preprocessing.encode(test[0])  # if it can't be read, say so before the training
    start = time.perf_counter()
    with show_status(f"training on {table.name}"):
        run_interruptibly(lambda: model.fit(X, y))
    seconds = time.perf_counter() - start
    print_summary(f"{table.name}: {table.task} of {table.target_name!r}", _summary(model, len(y), seconds))
    print_table(*_scores(model, test, table.target_name, args.report))
    for sentence in model.warnings_:
        print_error(f"warning: {sentence}", 0)
    set_owner(folder, source)
    model.save(folder)
    run = read_run(folder)
    assert run is not None
    for write in (write_csv, draw):
        write(run)
    print_line(f"Wrote estimator.json, schema.json, arrays, history.csv and curves.png to {folder}")
    if args.report is not None:
        print_line(f"Wrote {args.report}")
    print_line(f"Predict with: funcnet predict {folder} NEW.csv")


def _print_schema(table: Any, schema: Any) -> None:
    """How the columns of a file are read, and what is wrong is overruled with."""
    print_line(str(schema))
    other = "regression" if table.class_names else "classification"
    print_line(f"{table.target_name}: {table.task}, since {table.why} (--task {other} overrules it)")
    if table.rows_without_target:
        print_line(f"{table.rows_without_target:,} rows without a target are left out")


def _schema(args: argparse.Namespace, table: Any, X: Any) -> Any:
    """How the columns of the training rows are read, if the flags do not overrule it."""
    import dataclasses

    from funcnet.tabular import Schema

    schema = Schema.fit(X, roles=column_roles(args, table), missing=args.missing or ())
    left_out = table.rows_without_target
    return dataclasses.replace(
        schema, target=table.target_name, task=table.task, rows_without_target=left_out
    )


def _split(table: Any, args: argparse.Namespace) -> tuple[Any, Any, tuple[Any, Any] | None]:
    """Training rows and their targets, and those for testing."""
    import jax
    import numpy as np

    from funcnet import _keys
    from funcnet.tabular._prepare import split_table

    frame = table.to_pandas()
    X, y = frame.drop(columns=table.target_name), frame[table.target_name].to_numpy()
    if args.test_size == 0:
        return X, y, None
    key = _keys.fold_in_name(jax.random.key(np.uint32(args.seed or 0)), "test")
    rows, held_out = split_table(table, args.test_size, key)
    test = (X.iloc[held_out], y[held_out]) if len(held_out) else None
    return X.iloc[rows].reset_index(drop=True), y[rows], test


def _estimator(args: argparse.Namespace, table: Any, X: Any) -> Any:
    """The estimator with the settings that are given, and the schema of its columns."""
    from funcnet.sklearn import MLPClassifier, MLPRegressor

    parameters = {
        **{"hidden": "hidden_layer_sizes", "epochs": "max_iter", "batch_size": "batch_size"},
        **{"learning_rate": "learning_rate_init", "patience": "n_iter_no_change", "members": "members"},
    }
    given = {
        name: getattr(args, flag) for flag, name in parameters.items() if getattr(args, flag) is not None
    }
    if args.folds is not None:
        given["cv"] = None if args.folds == 1 else args.folds
    if args.patience is not None:
        given["early_stopping"] = True
    estimator: Any = MLPClassifier if table.class_names else MLPRegressor
    schema = _schema(args, table, X)
    return estimator(preprocessing=schema, random_state=args.seed or 0, **given)


def _summary(model: Any, rows: int, seconds: float) -> dict[str, str]:
    """What was trained, by name."""
    dropped = [column.name for column in model.schema_.columns if column.role == "dropped"]
    classes = [str(name) for name in getattr(model, "classes_", ())]
    sizes, members = (model.chosen_[name][0] for name in ("hidden_layer_sizes", "members"))
    return {
        "rows": f"{rows:,}",
        "columns": f"{len(model.schema_.columns):,}",
        **({"dropped": _join(dropped)} if dropped else {}),
        **({"classes": f"{len(classes)}: {_join(classes)}"} if classes else {}),
        "networks": f"{len(model.members_)}, {members} for each fold",
        "hidden units": " - ".join(map(str, sizes)),
        "epochs": f"{model.n_iter_}",
        "time to train": f"{seconds:.2f} s",
    }


def _join(names: Sequence[str], limit: int = 12) -> str:
    return " | ".join(names[:limit]) + (" | …" if len(names) > limit else "")


MAX_RECALLS = 12


def _scores(
    model: Any, test: tuple[Any, Any] | None, target: str, path: Any
) -> tuple[list[str], list[list[str]]]:
    """Scores of held-out rows beside those of the best constant: the columns of a table, and its rows.

    They are also written as a report if there is a path.
    """
    import numpy as np

    from funcnet.sklearn._scores import recall_table, score_table

    reports = {}
    if not np.isnan(model.out_of_fold_).all():
        reports["out-of-fold"] = model.report(path if test is None else None)
    if test is not None:
        reports["test"] = model.report(path, X=test[0], y=test[1])
    if not reports:
        return ["scores"], [["none: no rows are held out"]]
    columns, rows = score_table(reports, target)
    _, recalls = recall_table(reports)
    return columns, rows + [[f"recall of {name}", *cells, ""] for name, *cells in recalls[:MAX_RECALLS]]
