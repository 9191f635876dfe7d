"""`funcnet predict`."""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

from funcnet import _files, _text


def predict(args: argparse.Namespace) -> None:
    from funcnet.data._file import read_columns

    if args.out is not None:
        _files.check_target(args.out)
    model = _load(args.folder)
    columns = [column for column in model.schema_.columns if column.role != "dropped"]
    # As a number, 1.234 in a column of "1.234,5" would be another one, and so would the category 1.10.
    texts = [column.name for column in columns if column.read_as != "number"]
    names = [column.name for column in columns]
    if args.id is not None and args.id not in names:
        names, texts = [*names, args.id], [*texts, args.id]
    X = read_columns(args.rows, names, args.separator, args.encoding, texts)
    predicted = _predictions(
        model, X.reindex(columns=model.feature_names_in_), args
    )  # dropped ones as gaps
    if args.id is not None:
        predicted = {args.id: X[args.id].fillna(""), **predicted}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(predicted)
    writer.writerows(zip(*predicted.values(), strict=True))
    if args.out is None:
        # A terminal would obey control characters in the names of classes; a file or a pipe gets all bytes.
        is_terminal = sys.stdout.isatty()
        sys.stdout.write(_text.printable(text.getvalue()) if is_terminal else text.getvalue())
        sys.stdout.flush()
    else:
        _files.write(args.out, text.getvalue().encode())


def _predictions(model: Any, X: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What is printed of each row, by the name of its column."""
    if hasattr(model, "classes_"):
        if args.interval is not None:
            raise ValueError("--interval is for numbers, and this model predicts classes. Try --proba.")
        probabilities = model.predict_proba(X)
        predicted = {"prediction": model.classes_[probabilities.argmax(axis=1)]}
        if not args.proba:
            return {**predicted, "probability": probabilities.max(axis=1)}
        named = zip(model.classes_, probabilities.T, strict=True)
        return {**predicted, **{f"probability of {name}": column for name, column in named}}
    if args.proba:
        raise ValueError("--proba is for classes, and this model predicts numbers. Try --interval 0.9.")
    predicted = {"prediction": model.predict(X)}
    if args.interval is not None:
        lower, upper = model.predict_interval(X, args.interval)
        predicted |= {"lower": lower, "upper": upper}
    return predicted


def _load(folder: Path) -> Any:
    """The estimator in a folder."""
    from funcnet import sklearn
    from funcnet.report._model_folder import read_description

    name = read_description(folder)["class"]
    if name not in ("MLPClassifier", "MLPRegressor"):
        raise ValueError(
            f"{folder} contains a {name}, whose network is code. Load it in Python: {name}.load(path, net)."
        )
    return getattr(sklearn, name).load(folder)
