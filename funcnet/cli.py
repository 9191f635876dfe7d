"""The command `funcnet`: parse, call, print."""

import argparse
import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from funcnet import _files, _text

T = TypeVar("T")

TRAIN_EXAMPLE = """example:
  funcnet train iris
  funcnet train houses.csv --target price --hidden 64,64 --out runs/houses"""
STUDY_EXAMPLE = """example:
  funcnet study iris ensemble
  funcnet study houses.csv sweep --target price --out runs/houses-sweep"""
PREDICT_EXAMPLE = """example:
  funcnet predict runs/houses new.csv --out prices.csv"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments after `funcnet`; those of the process if None.

    Returns:
        The exit code: 0 for success, 2 for a user error (one line on stderr), 130 for Ctrl-C.

    Example:
        >>> from funcnet.cli import main
        >>> main(["--version"])
        funcnet 0.1.0
        0
    """
    try:
        args = _parser().parse_args(argv)
        _cache_compilations()
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning  # type: ignore[assignment]
            args.run(args)
    except SystemExit as end:  # argparse, after --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _print_error("interrupted.", 130)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe: discard what is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _print_error(f"{error.filename}: {error.strerror}." if error.filename else str(error), 2)
    except (ValueError, FloatingPointError) as error:
        return _print_error(str(error), 2)
    return 0


def _cache_compilations() -> None:
    from funcnet import cache_compilations

    with contextlib.suppress(OSError):  # without a writable cache it only takes longer
        cache_compilations()


def _print_error(message: str, code: int) -> int:
    _print(f"funcnet: {' '.join(message.split())}", file=sys.stderr)
    return code


def _print_warning(message: Warning | str, *_: Any) -> None:
    _print_error(f"warning: {message}", 0)


def _print(line: str, file: TextIO | None = None) -> None:
    print(_text.printable(line), file=file)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="funcnet",
        description="Train a small neural network on a table, and predict with it.",
        epilog=f"{TRAIN_EXAMPLE}\n  funcnet predict runs/houses new.csv",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    _add_study(commands)
    _add_predict(commands)
    _add_runs(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"funcnet {version('funcnet')}")
        parser.exit()


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train MLPs on a table and save them",
        description="Train the MLPClassifier or MLPRegressor of fn.sklearn on a table: several networks\n"
        "on several folds, as one program. A fifth of the rows is held out for testing. Scores of\n"
        "out-of-fold and test rows are printed beside those of the best constant prediction. Text, dates\n"
        "and gaps are read, too.",
        epilog=TRAIN_EXAMPLE,
    )
    train.set_defaults(run=_train)
    _add_table(train)
    _add_training(train, dict.fromkeys(("hidden", "epochs", "batch_size"), "chosen by the number of rows"))
    add = train.add_argument
    add("--members", metavar="N", type=_integer(1), help="networks for each fold (default: 1 or 2)")
    add(
        "--folds",
        metavar="N",
        type=_integer(1),
        help="number of folds; 1 for a single split (default: 5; 1 for a large table)",
    )
    add(
        "--test-size",
        metavar="X",
        type=_fraction,
        default=0.2,
        help="fraction of the rows for testing, or 0 (default: 0.2, or the table's own split)",
    )
    add("--out", metavar="DIR", type=_path, help="output directory (default: runs/TABLE)")


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="train many networks on a table at once, and compare them",
        description="Train many plain MLPs on a table in one program, to see how training works on it.\n\n"
        "  ensemble        train from several seeds; report the spread and the averaged prediction\n"
        "  folds           cross-validation: evaluate each row with a network that was not trained on it\n"
        "  sweep           grid search over learning rate and weight decay, by validation loss\n"
        "  bias-variance   train on bootstrap samples; split the error into bias and variance\n"
        "  learning-curve  train on growing numbers of rows: would more data help?\n"
        "  diagnose        underfit, overfit or stopped too early? A verdict from the loss curves",
        epilog=STUDY_EXAMPLE,
    )
    study.set_defaults(run=_study)
    _add_table(study)
    kinds = ("ensemble", "folds", "sweep", "bias-variance", "learning-curve", "diagnose")
    study.add_argument("kind", choices=kinds, help="the kind of study, see above")
    study.add_argument(
        "--size",
        metavar="N",
        type=_integer(2),
        help="number of networks, folds or repeats (default: ensemble 20, folds 5, bias-variance 30, "
        "learning-curve 10, diagnose 8; a sweep always has 25 runs)",
    )
    _add_training(
        study,
        {
            **{"hidden": "128", "epochs": "300", "batch_size": "32"},
            **{"learning_rate": "0.003, of AdamW", "patience": "30"},
        },
    )
    study.add_argument(
        "--out",
        metavar="DIR",
        type=_path,
        help="output directory of the table and the figure (default: runs/TABLE-KIND)",
    )


def _add_table(command: Any) -> None:
    """Add the arguments that choose the table and its target."""
    add = command.add_argument
    add(
        "table",
        metavar="NAME_OR_FILE",
        help="iris, digits, wine, breast-cancer, diabetes, fashion-mnist, or the path of a file: text with "
        "a header, such as CSV, also compressed, or Parquet",
    )
    add("--target", metavar="COLUMN", help="column of the file to predict (default: the last)")
    add(
        "--task",
        choices=("classification", "regression"),
        help="kind of the file's target (default: text, and few integers from 0 or 1, are classes)",
    )
    for role in ("number", "category", "date"):
        add(f"--{role}", metavar="COLUMN", action="append", help=f"read this column as a {role}")
    add("--drop", metavar="COLUMN", action="append", help="leave this column out")
    add("--missing", metavar="WORD", action="append", help="a word that means that a cell is missing")
    _add_format(command)


def _add_format(command: Any) -> None:
    """Add how a file of text is written."""
    add = command.add_argument
    add(
        "--separator",
        metavar="CHARACTER",
        type=lambda text: "\t" if text == "\\t" else text,
        help=r"separator of columns; \t is a tab (default: found)",
    )
    add("--encoding", metavar="NAME", help="encoding of the text (default: UTF-8, or Windows-1252)")


def _add_training(command: Any, defaults: Mapping[str, str]) -> None:
    """Add the settings of a training; the help says their defaults."""

    def add(flag: str, metavar: str, kind: Callable[[str], Any], text: str, default: str) -> None:
        default = defaults.get(flag.strip("-").replace("-", "_"), default)
        command.add_argument(flag, metavar=metavar, type=kind, help=f"{text} (default: {default})")

    add("--hidden", "SIZES", _sizes, "units in each hidden layer", "")
    add("--epochs", "N", _integer(1), "maximum number of epochs", "")
    add("--batch-size", "N", _integer(1), "rows per batch", "")
    add("--learning-rate", "X", _rate, "learning rate", "a schedule")
    add("--patience", "N", _integer(1), "epochs without improvement before training stops", "never")
    add("--seed", "N", _integer(0), "seed of split, initial weights and row order", "0")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a file",
        description="Predict the rows of a file with the estimator that `funcnet train` saved. Columns are "
        "matched by name;\nadditional columns are ignored.",
        epilog=PREDICT_EXAMPLE,
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("folder", metavar="DIR", type=_path, help="output directory of `funcnet train`")
    predict.add_argument(
        "rows", metavar="NEW.csv", type=_path, help="file of text or Parquet with the same columns"
    )
    predict.add_argument("--out", metavar="FILE", type=_path, help="write a CSV file instead of printing")
    _add_format(predict)


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser(
        "runs",
        help="list the runs in a directory",
        description="List the runs in a directory and its subdirectories, with their progress and losses.",
    )
    runs.set_defaults(run=_runs)
    runs.add_argument(
        "folder",
        metavar="DIR",
        type=_path,
        nargs="?",
        default=Path("runs"),
        help="directory to search (default: runs)",
    )
    show = commands.add_parser(
        "show",
        help="summarize one run and plot its curves",
        description="Print a summary of the metrics of a run, and write their curves to curves.png in its "
        "directory.",
    )
    show.set_defaults(run=_show)
    show.add_argument(
        "folder", metavar="DIR", type=_path, help="directory of a Trainer or of `funcnet train`"
    )


def _integer(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and minimum <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(
                f"must be an integer from {minimum} to {2**31 - 1}, got {text!r}"
            )
        return int(text)

    return parse


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(_integer(1)(size.strip()) for size in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be a list of layer sizes such as 64,64, got {text!r}"
        ) from None


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0 such as 0.003, got {text!r}")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1 such as 0.2, got {text!r}")
    return value


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got an empty string")
    return Path(text)


def _train(args: argparse.Namespace) -> None:
    from funcnet.report._runs import draw, read_run, write_csv
    from funcnet.report._terminal import print_summary, print_table, show_status
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source

    table, source = _load_table(args), table_source(args.table)
    folder = args.out or default_folder(table.name, source)
    check_folder(folder)
    X, y, test = _split(table, args)
    model = _estimator(args, table, X)
    if source != table.name:  # a file
        _print_schema(table, model.preprocessing)
    if test is not None:
        model.preprocessing.encode(test[0])  # if it can't be read, say so before the training
    start = time.perf_counter()
    with show_status(f"training on {table.name}"):
        _run_interruptibly(lambda: model.fit(X, y))
    seconds = time.perf_counter() - start
    print_summary(f"{table.name}: {table.task} of {table.target_name!r}", _summary(model, len(y), seconds))
    print_table(*_scores(model, test, table.target_name))
    for sentence in model.warnings_:
        _print_error(f"warning: {sentence}", 0)
    set_owner(folder, source)
    model.save(folder)
    run = read_run(folder)
    assert run is not None
    for write in (write_csv, draw):
        write(run)
    _print(f"Wrote estimator.json, schema.json, arrays, history.csv and curves.png to {folder}")
    _print(f"Predict with: funcnet predict {folder} NEW.csv")


def _load_table(args: argparse.Namespace) -> Any:
    from funcnet.data import load

    return load(
        args.table,
        args.target,
        args.task,
        separator=args.separator,
        encoding=args.encoding,
        missing=args.missing or (),
    )


def _print_schema(table: Any, schema: Any) -> None:
    """How the columns of a file are read, and what is wrong is overruled with."""
    _print(str(schema))
    other = "regression" if table.class_names else "classification"
    _print(f"{table.target_name}: {table.task}, since {table.why} (--task {other} overrules it)")
    if table.rows_without_target:
        _print(f"{table.rows_without_target:,} rows without a target are left out")


def _schema(args: argparse.Namespace, table: Any, X: Any) -> Any:
    """How the columns of the training rows are read, if the flags do not overrule it."""
    import dataclasses

    from funcnet.tabular import Schema

    schema = Schema.fit(X, roles=_roles(args, table), missing=args.missing or ())
    left_out = table.rows_without_target
    return dataclasses.replace(
        schema, target=table.target_name, task=table.task, rows_without_target=left_out
    )


def _roles(args: argparse.Namespace, table: Any) -> dict[str, str]:
    """The role of each column for which a flag chooses one."""
    chosen: dict[str, str] = {}
    roles = {"number": "number", "category": "category", "date": "date", "drop": "dropped"}
    for flag, role in roles.items():
        for name in getattr(args, flag) or ():
            if name not in table.feature_names:
                is_target = name == table.target_name
                what = "is the target" if is_target else "is not a column"
                others = _join(table.feature_names)
                raise ValueError(f"--{flag} {name}: {name!r} {what}. The columns are {others}.")
            if chosen.setdefault(name, role) != role:
                raise ValueError(f"column {name!r} must have one role, got two: {chosen[name]} and {role}.")
    return chosen


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


def _scores(model: Any, test: tuple[Any, Any] | None, target: str) -> tuple[list[str], list[list[str]]]:
    """Scores of held-out rows, beside those of the best constant: the columns of a table, and its rows."""
    import numpy as np

    from funcnet.sklearn._scores import recall_table, score_table

    reports = {}
    if not np.isnan(model.out_of_fold_).all():
        reports["out-of-fold"] = model.report()
    if test is not None:
        reports["test"] = model.report(X=test[0], y=test[1])
    if not reports:
        return ["scores"], [["none: no rows are held out"]]
    columns, rows = score_table(reports, target)
    _, recalls = recall_table(reports)
    return columns, rows + [[f"recall of {name}", *cells, ""] for name, *cells in recalls[:MAX_RECALLS]]


def _study(args: argparse.Namespace) -> None:
    from funcnet import mesh
    from funcnet.report._terminal import print_table, show_progress
    from funcnet.tabular import num_runs, study_table
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source

    with contextlib.suppress(RuntimeError):  # JAX is initialized already: keep its devices
        mesh.cpu_devices()
    table, source = _load_table(args), table_source(args.table)
    folder = args.out or default_folder(f"{table.name}-{args.kind}", source)
    check_folder(folder)
    count, roles = num_runs(args.kind, args.size), _roles(args, table)
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

        study = _run_interruptibly(run_study)
    _print(f"{table.name}: {study.title}")
    print_table(study.columns, study.rows)
    for note in study.notes:
        _print(note)
    set_owner(folder, source)
    study.save(folder)
    _print(f"Wrote {args.kind}.csv and {args.kind}.png to {folder}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of `study_table` that are given."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "patience", "seed")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _predict(args: argparse.Namespace) -> None:
    import csv
    import io

    from funcnet.data._file import read_columns

    if args.out is not None:
        _files.check_target(args.out)
    model = _load(args.folder)
    columns = [column for column in model.schema_.columns if column.role != "dropped"]
    # As a number, 1.234 in a column of "1.234,5" would be another one, and so would the category 1.10.
    texts = [column.name for column in columns if column.read_as != "number"]
    names = [column.name for column in columns]
    X = read_columns(args.rows, names, args.separator, args.encoding, texts)
    X = X.reindex(columns=model.feature_names_in_)  # columns that were dropped may be missing
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if hasattr(model, "classes_"):
        probabilities = model.predict_proba(X)
        writer.writerow(["prediction", "probability"])
        predictions = model.classes_[probabilities.argmax(axis=1)]
        writer.writerows(zip(predictions, probabilities.max(axis=1), strict=True))
    else:
        writer.writerow(["prediction"])
        writer.writerows([value] for value in model.predict(X))
    if args.out is None:
        # A terminal would obey control characters in the names of classes; a file or a pipe gets all bytes.
        is_terminal = sys.stdout.isatty()
        sys.stdout.write(_text.printable(text.getvalue()) if is_terminal else text.getvalue())
        sys.stdout.flush()
    else:
        _files.write(args.out, text.getvalue().encode())


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


def _runs(args: argparse.Namespace) -> None:
    from funcnet.report._runs import COLUMNS, find_runs, row
    from funcnet.report._terminal import print_table

    runs = find_runs(args.folder)
    print_table(COLUMNS, [row(run, args.folder) for run in runs])
    for run in runs:
        _warn_of_damage(run)


def _show(args: argparse.Namespace) -> None:
    from funcnet.report._runs import draw, find_runs, read_run, summary
    from funcnet.report._terminal import print_table

    run = read_run(args.folder)
    if run is None:
        folders = ", ".join(str(run.folder) for run in find_runs(args.folder))
        raise ValueError(f"{args.folder} is not the directory of a run. Show one of {folders}.")
    if not run.history:
        raise ValueError(f"{run.folder} holds no history: {run.problem or 'it is empty'}.")
    _print(f"{run.folder}: {run.epochs} epochs, {run.outcome}")
    _warn_of_damage(run)
    print_table(*summary(run))
    _print(f"Wrote {draw(run)}")


def _warn_of_damage(run: Any) -> None:
    if run.problem:
        _print_error(f"{run.folder}: {run.problem}.", 0)


def _run_interruptibly(work: Callable[[], T]) -> T:
    """Run `work()` in a thread: a compiled program ignores Ctrl-C, but a thread that waits does not."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        # A regular exit would wait for the program. Nothing has been written yet.
        code = _print_error("interrupted.", 130)
        sys.stderr.flush()
        os._exit(code)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
