"""The command `funcnet`: parse, call, print."""

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
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
    except ValueError as error:
        return _print_error(str(error), 2)
    return 0


def _cache_compilations() -> None:
    from funcnet import cache_compilations

    with contextlib.suppress(OSError):  # without a writable cache it only takes longer
        cache_compilations()


def _print_error(message: str, code: int) -> int:
    _print(f"funcnet: {' '.join(message.split())}", file=sys.stderr)
    return code


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
        help="train an MLP on a table and save it",
        description="Train an MLP on a table with early stopping. 60 % of the rows are used for training, "
        "20 % for\nvalidation and 20 % for testing. Text columns are one-hot encoded, and missing values "
        "are imputed.",
        epilog=TRAIN_EXAMPLE,
    )
    train.set_defaults(run=_train)
    _add_table(train)
    _add_training(train)
    train.add_argument("--out", metavar="DIR", type=_path, help="output directory (default: runs/TABLE)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="write checkpoints to DIR, and resume from the newest one; after an interruption, run the "
        "same command again",
    )


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="train many networks on a table at once, and compare them",
        description="Train many networks on a table in one program.\n\n"
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
    _add_training(study)
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
        help="iris, digits, wine, breast-cancer, diabetes, fashion-mnist, or the path of a CSV file (with "
        "a header) or a Parquet file",
    )
    add("--target", metavar="COLUMN", help="column of the file to predict (default: the last)")
    add(
        "--task",
        choices=("classification", "regression"),
        help="kind of the file's target (default: text and integers of few different values are classes)",
    )


def _add_training(command: Any) -> None:
    """Add the settings of `fit_table`."""
    add = command.add_argument
    add("--hidden", metavar="SIZES", type=_sizes, help="units in each hidden layer (default: 128)")
    add("--epochs", metavar="N", type=_integer(1), help="maximum number of epochs (default: 300)")
    add("--batch-size", metavar="N", type=_integer(1), help="rows per batch (default: 32)")
    add("--learning-rate", metavar="X", type=_rate, help="learning rate of AdamW (default: 0.003)")
    add(
        "--patience",
        metavar="N",
        type=_integer(1),
        help="epochs without improvement before training stops (default: 30)",
    )
    add(
        "--seed",
        metavar="N",
        type=_integer(0),
        help="seed of split, initial weights and row order (default: 0)",
    )


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a CSV or Parquet file",
        description="Predict the rows of a file with a model saved by `funcnet train`. Columns are matched "
        "by name;\nadditional columns are ignored.",
        epilog=PREDICT_EXAMPLE,
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("folder", metavar="DIR", type=_path, help="output directory of `funcnet train`")
    predict.add_argument(
        "rows", metavar="NEW.csv", type=_path, help="CSV or Parquet file with the same columns"
    )
    predict.add_argument("--out", metavar="FILE", type=_path, help="write a CSV file instead of printing")


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


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got an empty string")
    return Path(text)


def _train(args: argparse.Namespace) -> None:
    from funcnet.data import load
    from funcnet.report._terminal import print_summary, print_table, show_status
    from funcnet.tabular import fit_table
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source

    table, source = load(args.table, args.target, args.task), table_source(args.table)
    folder = args.out or default_folder(table.name, source)
    check_folder(folder)
    if args.resume:
        set_owner(folder, source)
        # The Trainer shows its own progress bar and handles signals.
        result = fit_table(table, directory=folder, **_settings(args))
    else:
        with show_status(f"training on {table.name}"):
            result = _run_interruptibly(lambda: fit_table(table, **_settings(args)))
    if int(result.run.best_epoch) < 0:
        raise ValueError(
            "training diverged: the validation loss was not finite after any epoch. Try a smaller "
            "--learning-rate."
        )
    print_summary(f"{table.name}: {table.task} of {table.target_name!r}", result.summary())
    print_table(*result.score_table())
    set_owner(folder, source)
    result.save(folder)
    _print(f"Wrote model.safetensors, model.json, history.csv and curves.png to {folder}")
    _print(f"Predict with: funcnet predict {folder} NEW.csv")


def _study(args: argparse.Namespace) -> None:
    from funcnet import mesh
    from funcnet.data import load
    from funcnet.report._terminal import print_table, show_progress
    from funcnet.tabular import num_runs, study_table
    from funcnet.tabular._folder import check_folder, default_folder, set_owner, table_source

    with contextlib.suppress(RuntimeError):  # JAX is initialized already: keep its devices
        mesh.cpu_devices()
    table, source = load(args.table, args.target, args.task), table_source(args.table)
    folder = args.out or default_folder(f"{table.name}-{args.kind}", source)
    check_folder(folder)
    count = num_runs(args.kind, args.size)
    with show_progress(f"{count} runs on {table.name}", count) as advance:

        def run_study() -> Any:
            with mesh.use():
                return study_table(table, args.kind, size=args.size, progress=advance, **_settings(args))

        study = _run_interruptibly(run_study)
    _print(f"{table.name}: {study.title}")
    print_table(study.columns, study.rows)
    for note in study.notes:
        _print(note)
    set_owner(folder, source)
    study.save(folder)
    _print(f"Wrote {args.kind}.csv and {args.kind}.png to {folder}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of `fit_table` that are given."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "patience", "seed")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _predict(args: argparse.Namespace) -> None:
    import csv
    import io

    from funcnet.data._load import read_features
    from funcnet.tabular import load_table_model

    if args.out is not None:
        _files.check_target(args.out)
    predictor = load_table_model(args.folder)
    features = read_features(args.rows, predictor.feature_names, predictor.encoder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    predictions = predictor.predict(features)
    if predictor.task == "classification":
        writer.writerow(["prediction", "probability"])
        writer.writerows(zip(predictions, predictor.predict_proba(features).max(axis=1), strict=True))
    else:
        writer.writerow(["prediction"])
        writer.writerows([value] for value in predictions)
    if args.out is None:
        # A terminal would obey control characters in the names of classes; a file or a pipe gets all bytes.
        is_terminal = sys.stdout.isatty()
        sys.stdout.write(_text.printable(text.getvalue()) if is_terminal else text.getvalue())
        sys.stdout.flush()
    else:
        _files.write(args.out, text.getvalue().encode())


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
