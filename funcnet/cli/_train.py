"""`funcnet train`."""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from funcnet.cli._config import write_config
from funcnet.cli._output import print_error, print_line, run_interruptibly
from funcnet.cli._table import check_metric, column_roles, load_table, print_left_out
from funcnet.data._file import join_names
from funcnet.data._parse import is_number

MAX_RECALLS = 12
MIN_CURVE_ROWS = 40
"""Fewer training rows have no learning curve."""


def train(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet.report._terminal import print_summary, print_table, show_progress
    from funcnet.sklearn._save import report_path
    from funcnet.sklearn._scores import recall_table, score_table
    from funcnet.tabular._folder import set_owner, table_source

    source = table_source(args.table)
    if args.out is None and source == "-":
        raise ValueError("a table from stdin has no name for a folder. Choose one with --out runs/NAME.")
    table = load_table(args)
    check_metric(args.metric, len(table.class_names))
    folder = _folder(args, table.name, source)
    if args.report is not None:
        report_path(args.report)
    X, y, test = _split(table, args)
    model = _estimator(args, table, X)
    if source != table.name:  # a file
        _print_schema(table, model.preprocessing)
    if test is not None:
        model.preprocessing.encode(test[0])  # if it can't be read, say so before the training
    start = time.perf_counter()
    with show_progress(f"training on {table.name}", is_quiet=args.quiet) as advance:
        model._advance = advance
        run_interruptibly(lambda: model.fit(X, y))
        del model._advance
    seconds = time.perf_counter() - start
    set_owner(folder, source)
    model.save(folder)  # whatever happens to the report, and to those who read what is printed
    write_config(folder, source, args)
    reports = _reports(model, X, y, test, args.report)
    print_summary(f"{table.name}: {table.task} of {table.target_name!r}", _summary(model, len(y), seconds))
    if args.verbose:
        chosen = [[name, str(value), why] for name, (value, why) in model.chosen_.items()]
        print_table(["setting", "value", "why"], chosen)
    if reports:
        columns, rows = score_table(reports, table.target_name, args.metric)
        _, recalls = recall_table(reports)
        recalls = [[f"recall of {name}", *cells, ""] for name, *cells in recalls[:MAX_RECALLS]]
        print_table(columns, rows + recalls)
    else:
        print_line("no rows are held out: no scores")
    for sentence in model.warnings_:
        print_error(f"warning: {sentence}", 0)
    print_line(f"Wrote estimator.json, schema.json, arrays, history.csv and run.toml to {folder}")
    if args.report is not None:
        print_line(f"Wrote {args.report}")
    print_line(f"Predict with: funcnet predict {folder} NEW.csv")
    return {
        "table": source,
        "folder": str(folder),
        "schema": model.schema_.to_dict(),
        "chosen": {name: {"value": value, "why": why} for name, (value, why) in model.chosen_.items()},
        "seconds": seconds,
        "scores": reports,
        "warnings": model.warnings_,
    }


def _folder(args: argparse.Namespace, name: str, source: str) -> Any:
    """The output directory, if the model can be written to it."""
    from funcnet.tabular._folder import check_folder, default_folder

    folder = default_folder(name, source) if args.out is None else args.out
    check_folder(folder)
    return folder


def _print_schema(table: Any, schema: Any) -> None:
    """How the columns of a file are read, and what is wrong is overruled with."""
    print_line(str(schema))
    other = "regression" if table.class_names else "classification"
    print_line(f"{table.target_name}: {table.task}, since {table.why} (--task {other} overrules it)")
    print_left_out(table.rows_without_target)


def _schema(args: argparse.Namespace, table: Any, X: Any) -> Any:
    """How the columns of the training rows are read, if the flags do not overrule it."""
    import dataclasses

    from funcnet.tabular import Schema

    roles, words = column_roles(args, table), args.missing or ()
    schema = Schema.fit(X, roles=roles, missing=words, dayfirst=args.day_first)
    return dataclasses.replace(
        schema,
        target=table.target_name,
        task=table.task,
        rows_without_target=table.rows_without_target,
        target_read_as=table.target_read_as,
    )


def _split(table: Any, args: argparse.Namespace) -> tuple[Any, Any, tuple[Any, Any] | None]:
    """Training rows and their targets, and those for testing."""
    import numpy as np

    from funcnet.tabular._split import split_table

    frame = table.to_pandas()
    X, y = frame.drop(columns=table.target_name), frame[table.target_name].to_numpy()
    if args.test_size == 0:
        return X, y, None
    order = np.random.default_rng(args.seed or 0).permutation(len(table))
    rows, held_out = split_table(table, args.test_size, order)
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
    if (weight := _class_weight(args.class_weight, table.class_names)) is not None:
        given["class_weight"] = weight
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


def _reports(model: Any, X: Any, y: Any, test: tuple[Any, Any] | None, path: Any) -> dict[str, Any]:
    """Scores of held-out rows by their name; also written as a report if there is a path.

    The report has a learning curve if there are enough training rows.
    """
    import numpy as np

    reports = {}
    if not np.isnan(model.out_of_fold_).all():
        reports["out-of-fold"] = model.report(path if test is None else None)
    if test is not None:
        training = None if path is None or len(y) < MIN_CURVE_ROWS else (X, y)
        reports["test"] = model.report(path, X=test[0], y=test[1], training=training)
    return reports


def _class_weight(entries: Sequence[str] | None, classes: Sequence[str]) -> Any:
    """The weights of classes by name, "balanced" or None."""
    if entries is None:
        return None
    if not classes:
        raise ValueError("--class-weight is for classes, and the target is read as numbers.")
    if entries == ["balanced"]:
        return "balanced"
    weights: dict[str, float] = {}
    for entry in entries:
        name, _, weight = entry.rpartition("=")
        if name not in classes or not is_number(weight) or not 0 < float(weight) < float("inf"):
            raise ValueError(
                f"--class-weight must be balanced, or NAME=WEIGHT with a class of the target "
                f"({join_names(classes)}) and a number above 0; got {entry!r}."
            )
        if weights.setdefault(name, float(weight)) != float(weight):
            raise ValueError(f"--class-weight must give the class {name!r} one weight, got two.")
    return dict.fromkeys(classes, 1.0) | weights
