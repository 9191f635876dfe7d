"""`funcnet evaluate`, `compare` and `report`, and the rows of a file that a saved model reads."""

import argparse
from typing import Any

from funcnet.cli._output import print_error, print_line
from funcnet.cli._table import check_metric, print_left_out


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet.report._terminal import print_table
    from funcnet.sklearn._save import report_path
    from funcnet.sklearn._scores import recall_table, score_table

    if args.report is not None:
        report_path(args.report)
    model = _load(args.folder)
    check_metric(args.metric, len(getattr(model, "classes_", ())))
    X, y, left_out = _read_rows_and_target(args, model)
    drift = model.drift(X)
    for sentence in drift:
        print_error(f"warning: {sentence}", 0)
    scores = model.report(args.report, X=X, y=y)
    target = model.schema_.target
    print_left_out(left_out)
    print_table(*score_table({"these rows": scores}, target, args.metric))
    columns, recalls = recall_table({"these rows": scores})
    if recalls:
        print_table(columns, recalls)
    if args.report is not None:
        print_line(f"Wrote {args.report}")
    return {"target": target, "rows_without_target": left_out, "scores": scores, "drift": drift}


def compare(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet.data._file import read_content
    from funcnet.report._terminal import print_table

    folders = (args.other, args.folder)
    models = [_load(folder) for folder in folders]
    a, b = ((model.schema_.target, hasattr(model, "classes_")) for model in models)
    if a != b:
        kinds = [f"{'classes' if has_classes else 'numbers'} of {name!r}" for name, has_classes in (a, b)]
        raise ValueError(f"models must predict the same to be compared, got {kinds[0]} and {kinds[1]}.")
    content, losses, left_out = read_content(args.rows), [], 0  # a pipe can be read only once
    _add_defaults(args, [model.schema_ for model in models], content)  # the same target for both
    for model in models:
        X, y, left_out = _read_rows_and_target(args, model, content)
        losses.append(_row_losses(model, X, y))
    print_left_out(left_out)
    found = {name: _compare_means(losses[0][name], losses[1][name]) for name in losses[0]}
    count = len(next(iter(losses[0].values())))
    columns = [f"mean of {count:,} rows", *map(str, folders), "difference (95 %)"]
    print_table(columns, [[name, *_cells(**means)] for name, means in found.items()])
    name, means = next(iter(found.items()))  # the first loss decides
    better = None
    if means["interval"] is not None and not means["interval"][0] <= 0 <= means["interval"][1]:
        better = str(folders[int(means["difference"] < 0)])
    is_shown = "These rows do not show which is better" if better is None else f"{better} is better"
    print_line(f"{is_shown} by its {name}.")
    return {"rows_without_target": left_out, "losses": found, "better": better}


def _compare_means(a: Any, b: Any) -> dict[str, Any]:
    """The means of two losses of the same rows, and their difference with its interval."""
    from funcnet.sklearn._scores import mean_interval

    difference = b - a
    means = {"a": a.mean(), "b": b.mean(), "difference": difference.mean()}
    return means | {"interval": mean_interval(difference)}


def _cells(a: float, b: float, difference: float, interval: tuple[float, float] | None) -> list[str]:
    from funcnet.sklearn._scores import format_score

    bounds = "" if interval is None else f" ({interval[0]:+.4g} – {interval[1]:+.4g})"
    return [format_score(a), format_score(b), f"{difference:+.4g}{bounds}"]


def _row_losses(model: Any, X: Any, y: Any) -> dict[str, Any]:
    """The losses of each row by name; the first decides which model is better."""
    import numpy as np

    from funcnet.sklearn._scores import row_losses

    if not hasattr(model, "classes_"):
        predicted = model.predict(X)
        squared = row_losses(predicted, y, "values")
        return {"squared error": squared, "absolute error": np.abs(predicted - y)}
    p, target = model.predict_proba(X), np.searchsorted(model.classes_, y)
    losses = row_losses(p, target, "classes")
    return {"log-loss (nats)": losses, "error": (p.argmax(axis=1) != target).astype(float)}


def report(args: argparse.Namespace) -> dict[str, Any]:
    from funcnet.sklearn._save import report_path

    path = report_path(args.folder / "report.html" if args.out is None else args.out)
    model = _load(args.folder)
    if args.rows is None:
        scores = model.report(path)
    else:
        X, y, left_out = _read_rows_and_target(args, model)
        scores = model.report(path, X=X, y=y)
        print_left_out(left_out)
    print_line(f"Wrote {path}")
    return {"path": str(path), "scores": scores}


def read_rows(
    args: argparse.Namespace, schema: Any, others: list[str], content: bytes | None = None
) -> tuple[Any, Any]:
    """The columns of a schema in a file of new rows, and some others, which stay text.

    Columns that were dropped in training need not be there, and are gaps; those that were constant are read
    if they are, since another value is told. The content of the file is read unless it is given.
    """
    from funcnet.data._file import read_columns, read_content

    content = read_content(args.rows) if content is None else content
    columns = [column for column in schema.columns if column.role != "dropped"]
    constants = [column for column in schema.columns if column.role == "dropped" and column.categories]
    # As a number, 1.234 in a column of "1.234,5" would be another one, and so would the category 1.10.
    texts = [column.name for column in columns + constants if column.read_as != "number"]
    names = [column.name for column in columns]
    decimal = args.decimal
    if decimal is None and schema.decimal == "," and not _is_separated_by_commas(args, names[0], content):
        decimal = ","
    more = [name for name in others if name not in names]
    frame = read_columns(
        *(args.rows, names + more, args.separator, args.encoding, texts + others),
        optional=[column.name for column in constants if column.name not in more],
        decimal=decimal,
        content=content,
    )
    return frame.reindex(columns=schema.names), frame[others]


def _read_rows_and_target(
    args: argparse.Namespace, model: Any, content: bytes | None = None
) -> tuple[Any, Any, int]:
    """Rows whose target is known, their targets, and the number of the others."""
    from funcnet.data._file import read_content
    from funcnet.data._parse import is_number, plain_numbers
    from funcnet.data._target import read_target

    target, classes = model.schema_.target, getattr(model, "classes_", None)
    if target is None:
        name = type(model).__name__
        raise ValueError(
            f"the model does not say which column is the target. Score it in Python: "
            f"{name}.load(path).report(X=…, y=…)."
        )
    content = read_content(args.rows) if content is None else content
    _add_defaults(args, [model.schema_], content)
    X, others = read_rows(args, model.schema_, [target], content)
    column = others[target]
    gaps = plain_numbers(args.missing)
    if gaps and classes is not None and all(is_number(str(name)) for name in classes):
        # The word -999 means all numbers that are equal, such as -999.0.
        column = column.mask(column.map(lambda cell: is_number(str(cell)) and float(cell) in gaps))
    task = "regression" if classes is None else "classification"
    found = read_target(column, task, args.rows, args.missing, min_classes=1)
    y = found.values[found.is_known]
    if classes is None:
        _check_units(target, model.schema_.target_read_as, found.read_as, args.rows)
    else:
        names = tuple(map(str, classes.tolist()))
        codes = _class_codes(found.classes, names)
        if (codes < 0).any():
            unknown = found.classes[codes.argmin()]
            raise ValueError(
                f"{args.rows}: the target {target!r} holds {unknown!r}, which is none of the classes of "
                f"the model: {', '.join(names)}."
            )
        y = classes[codes[y]]
    return X[found.is_known].reset_index(drop=True), y, int((~found.is_known).sum())


def _check_units(target: str, trained: str | None, new: str, path: Any) -> None:
    """Raise a ValueError if new targets have other units than those of the training rows.

    As for columns, a unit may be left out, unless it may be a factor: 0.12 may be 12 %.
    """
    from funcnet.data._parse import FACTORS, units

    if trained is None:
        return
    old, found = units(trained), units(new)
    if all(b == a or (not b and a not in FACTORS) for a, b in zip(old, found, strict=True)):
        return
    raise ValueError(
        f"{path}: the target {target!r} must be written as in the training rows, {_notation(trained)}, got "
        f"{_notation(new)}. Convert it, and write its unit, or train again on such a file."
    )


def _notation(read_as: str) -> str:
    from funcnet.data._parse import units

    return f"as {read_as}" if any(units(read_as)) else "as plain numbers"


def _add_defaults(args: argparse.Namespace, schemas: list[Any], content: bytes) -> None:
    """Read the targets of new rows with the missing words and the decimal mark of the training rows."""
    args.missing = [*(args.missing or ()), *(word for schema in schemas for word in schema.missing)]
    is_comma = any(schema.decimal == "," for schema in schemas)
    if args.decimal is None and is_comma and not _is_separated_by_commas(args, schemas[0].target, content):
        args.decimal = ","


def _is_separated_by_commas(args: argparse.Namespace, column: str, content: bytes) -> bool:
    """Whether commas separate the columns of a file, one of which has this name."""
    from funcnet.data._file import read_frame

    if args.separator is not None:
        return args.separator == ","
    try:
        return column in read_frame(args.rows, ",", args.encoding, content=content).columns
    except ValueError:
        return False


def _class_codes(texts: tuple[str, ...], names: tuple[str, ...]) -> Any:
    """The place of each text among the names of classes; -1 for others.

    As for columns of categories, 1.0 is the class 1, and the booleans of Parquet are TRUE and FALSE.
    """
    import numpy as np

    from funcnet.tabular._column import Column
    from funcnet.tabular._frame import RawColumn

    raw = RawColumn("target", "text", np.array(texts, object))
    if set(texts) <= {"True", "False"}:
        raw = RawColumn("target", "boolean", np.array([text == "True" for text in texts], float))
    return Column("target", "category", "text", categories=names).codes(raw)


def _load(folder: Any) -> Any:
    """The estimator in a folder."""
    from funcnet import sklearn
    from funcnet.report._model_folder import read_description
    from funcnet.sklearn._saved import check_class

    name = read_description(folder)["class"]
    check_class(folder, name)
    return getattr(sklearn, name).load(folder)
