"""`funcnet predict`."""

import argparse
import csv
import io
import json
import os
import sys
from typing import Any

import numpy as np

from funcnet import _files, _text
from funcnet.cli._model import read_rows
from funcnet.cli._output import print_error, to_json


def predict(args: argparse.Namespace) -> None:
    from funcnet.data._file import COMPRESSED_SUFFIXES, PARQUET, to_parquet
    from funcnet.sklearn._saved import read_mlp

    suffix = "" if args.out is None else args.out.suffix.lower()
    if suffix in (*COMPRESSED_SUFFIXES, ".xlsx", ".xls"):
        raise ValueError(f"--out must end in .csv, .json or .parquet, got {str(args.out)!r}.")
    if suffix in PARQUET and args.json:
        raise ValueError("--json can't be written as Parquet. Leave it out, or choose another --out.")
    if args.out is not None:
        status = _files.check_target(args.out)
        if status is not None and args.rows.exists() and os.path.samestat(status, args.rows.stat()):
            raise ValueError(
                f"--out {args.out} is the file of the rows, which would be lost. Choose another."
            )
    model = read_mlp(args.folder)
    X, others = read_rows(args, model.schema, [] if args.id is None else [args.id])
    features = model.schema.encode(X)
    for sentence in model.distribution.differences(model.schema, X, features):
        print_error(f"warning: {sentence}", 0)
    predicted = _predictions(model, X, features, args)
    if args.id is not None:
        if args.id in predicted:
            raise ValueError(f"--id {args.id}: a column of the predictions has this name. Rename it.")
        ids = others[args.id]
        predicted = {args.id: ids if suffix in PARQUET else _plain(ids), **predicted}
    if suffix in PARQUET:
        content = to_parquet(predicted)
    else:
        text = _json(predicted) if args.json or suffix == ".json" else _csv(predicted)
        if args.out is None:
            # A terminal would obey control characters in names of classes; a file or a pipe gets all bytes.
            sys.stdout.write(_text.printable(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
            return
        content = text.encode()
    _files.write(args.out, content)


def _plain(column: Any) -> Any:
    """A column as numbers, text, and None in a gap."""
    values = np.full(len(column), None, object)
    known = np.flatnonzero(column.notna())
    for i, value in zip(known, column.iloc[known].tolist(), strict=True):
        values[i] = value if isinstance(value, bool | int | float) else str(value)
    return values


def _csv(columns: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _json(columns: dict[str, Any]) -> str:
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    lines = (json.dumps(to_json(dict(zip(columns, row, strict=True))), ensure_ascii=False) for row in rows)
    return "[" + ",\n ".join(lines) + "]\n"


def _predictions(model: Any, X: Any, features: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What is printed of each row, by the name of its column."""
    if model.classes is None:
        return _values(model, X, features, args)
    if args.interval is not None:
        raise ValueError("--interval is for numbers, and this model predicts classes. Try --proba.")
    probabilities = model.predict(features)
    named = list(zip(map(str, model.classes), probabilities.T, strict=True))
    each = {f"probability of {name}": column for name, column in named}
    if model.members.task == "labels":  # of which several may hold for a row
        return {name: (column > 0.5).astype(int) for name, column in named} | (each if args.proba else {})
    predicted = {"prediction": model.classes[probabilities.argmax(axis=1)]}
    return predicted | (each if args.proba else {"probability": probabilities.max(axis=1)})


def _values(model: Any, X: Any, features: Any, args: argparse.Namespace) -> dict[str, Any]:
    if args.proba:
        raise ValueError("--proba is for classes, and this model predicts numbers. Try --interval 0.9.")
    parts = {"prediction": model.predict(features)}
    if args.interval is not None:
        from funcnet.sklearn import MLPRegressor

        estimator = MLPRegressor.load(args.folder)
        names = estimator.feature_names_in_ if hasattr(estimator, "feature_names_in_") else X.columns
        parts["lower"], parts["upper"] = estimator.predict_interval(X[list(names)], args.interval)
    if not model.members.is_vector:
        return parts
    return {f"{name} {j}": column for name, array in parts.items() for j, column in enumerate(array.T)}
