"""The command `funcnet`: parse, call, print."""

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

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
        argv: the words after `funcnet`; those of the process when left out.

    Returns:
        The exit code: 0, 2 for an error of the user's, told in one line on stderr, or 130 for Ctrl-C.

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
        return _say("interrupted.", 130)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing is left to be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}." if error.filename else str(error), 2)
    except ValueError as error:
        return _say(str(error), 2)
    return 0


def _cache_compilations() -> None:
    from funcnet import cache_compilations

    with contextlib.suppress(OSError):  # no place to write to: it works as well, only slower
        cache_compilations()


def _say(message: str, code: int) -> int:
    print("funcnet:", " ".join(message.split()), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """argparse, with errors that are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="funcnet",
        description="Train a small network on a table, and predict with it.",
        epilog=f"{TRAIN_EXAMPLE}\n  funcnet predict runs/houses new.csv",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
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
        help="train on a table, and write the model",
        description="Train a perceptron on a table, with early stopping. 60 % of the rows train it, "
        "20 % decide\nwhen to stop, 20 % test it. Text columns become categories, and gaps are filled.",
        epilog=TRAIN_EXAMPLE,
    )
    train.set_defaults(run=_train)
    _add_table(train)
    _add_training(train)
    train.add_argument(
        "--out", metavar="DIR", type=_path, help="where the files go (default: runs/ and the table's name)"
    )
    train.add_argument(
        "--resume",
        action="store_true",
        help="keep checkpoints in DIR, and go on from the newest that is there; killed, run the same again",
    )


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="train many networks on a table at once, and say what they show",
        description="Train many networks on a table as one program.\n\n"
        "  ensemble        with different starts and orders: their scatter, and how good their mean is\n"
        "  folds           cross-validation: each row is judged by a network that has not seen it\n"
        "  sweep           learning rate times weight decay, by validation loss\n"
        "  bias-variance   bootstrap samples: is it the model that errs, or the luck of its rows?\n"
        "  learning-curve  the loss by number of training rows: would more of them help?\n"
        "  diagnose        too little, too much, too short? A verdict from the curves",
        epilog=STUDY_EXAMPLE,
    )
    study.set_defaults(run=_study)
    _add_table(study)
    kinds = ("ensemble", "folds", "sweep", "bias-variance", "learning-curve", "diagnose")
    study.add_argument("kind", choices=kinds, help="what to find out")
    study.add_argument(
        "--size",
        metavar="N",
        type=_whole(2),
        help="networks, folds or repeats (default: ensemble 20, folds 5, bias-variance 30, learning-curve "
        "10, diagnose 8)",
    )
    _add_training(study)
    study.add_argument(
        "--out",
        metavar="DIR",
        type=_path,
        help="where table and picture go (default: runs/ and the names of table and study)",
    )


def _add_table(command: Any) -> None:
    """Which table, and what of it is to be predicted."""
    add = command.add_argument
    add(
        "table",
        metavar="NAME_OR_FILE",
        help="iris, digits, wine, breast-cancer, diabetes, fashion-mnist, or a CSV (with a header) or "
        "Parquet file",
    )
    add("--target", metavar="COLUMN", help="the column to predict (of a file; default: its last)")
    add(
        "--task",
        choices=("classification", "regression"),
        help="(of a file; default: text and few different whole numbers are classes)",
    )


def _add_training(command: Any) -> None:
    """How to train: the settings of `fit_table`."""
    add = command.add_argument
    add("--hidden", metavar="SIZES", type=_sizes, help="units of the hidden layers (default: 128)")
    add("--epochs", metavar="N", type=_whole(1), help="passes over the rows at most (default: 300)")
    add("--batch-size", metavar="N", type=_whole(1), help="rows in a batch (default: 32)")
    add("--learning-rate", metavar="X", type=_rate, help="of AdamW (default: 0.003)")
    add("--patience", metavar="N", type=_whole(1), help="epochs without progress, then stop (default: 30)")
    add("--seed", metavar="N", type=_whole(0), help="decides split, start and order (default: 0)")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a CSV or Parquet file",
        description="Predict the rows of a file with a model that `funcnet train` wrote. Columns are "
        "found by\ntheir names; other columns are ignored.",
        epilog=PREDICT_EXAMPLE,
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("folder", metavar="DIR", type=_path, help="what `funcnet train` wrote")
    predict.add_argument(
        "rows", metavar="NEW.csv", type=_path, help="a CSV or Parquet file with the same columns"
    )
    predict.add_argument("--out", metavar="FILE", type=_path, help="write there instead of the terminal")


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser(
        "runs",
        help="a table of the runs in a folder",
        description="The runs below a folder: how far they are and what they measured.",
    )
    runs.set_defaults(run=_runs)
    runs.add_argument(
        "folder", metavar="DIR", type=_path, nargs="?", default=Path("runs"), help="default: runs"
    )
    show = commands.add_parser(
        "show",
        help="what one run measured, and its curves",
        description="What a run measured by epoch: a summary, and curves.png in its folder.",
    )
    show.set_defaults(run=_show)
    show.add_argument("folder", metavar="DIR", type=_path, help="what a Trainer or `funcnet train` wrote")


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and least <= int(text) < 2**31):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {2**31 - 1}")
        return int(text)

    return parse


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(_whole(1)(size.strip()) for size in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layer sizes, such as 64,64") from None


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, such as 0.003")
    return value


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def _train(args: argparse.Namespace) -> None:
    from funcnet.data import load
    from funcnet.report._terminal import print_facts, print_scores, waiting
    from funcnet.tabular import fit_table

    table = load(args.table, args.target, args.task)
    folder = args.out or Path("runs", table.name)
    _check_folder(folder)
    if args.resume:
        # It shows a line of its own, and hears signals by itself.
        fitted = fit_table(table, directory=folder, **_settings(args))
    else:
        with waiting(f"training on {table.name}"):
            fitted = _interruptible(lambda: fit_table(table, **_settings(args)))
    if int(fitted.run.best_epoch) < 0:
        raise ValueError(
            "the training diverged: no epoch ended with a finite validation loss. Try a smaller "
            "--learning-rate."
        )
    print_facts(f"{table.name}: {table.task} of {table.target_name!r}", fitted.facts())
    print_scores(*fitted.scores())
    fitted.save(folder)
    print(f"Wrote model.safetensors, model.json, history.csv and curves.png to {folder}")
    print(f"Predict with: funcnet predict {folder} NEW.csv")


def _study(args: argparse.Namespace) -> None:
    from funcnet import mesh
    from funcnet.data import load
    from funcnet.report._terminal import counting, print_scores
    from funcnet.tabular import study_table, trainings

    with contextlib.suppress(RuntimeError):  # JAX runs already: then with the devices that it has
        mesh.cpu_devices()
    table = load(args.table, args.target, args.task)
    folder = args.out or Path("runs", f"{table.name}-{args.kind}")
    _check_folder(folder)
    count = trainings(args.kind, args.size)
    with counting(f"{count} trainings on {table.name}", count) as advance:

        def work() -> Any:
            with mesh.use():
                return study_table(table, args.kind, size=args.size, progress=advance, **_settings(args))

        found = _interruptible(work)
    print(f"{table.name}: {found.title}")
    print_scores(found.head, found.rows)
    for remark in found.remarks:
        print(remark)
    found.save(folder)
    print(f"Wrote {args.kind}.csv and {args.kind}.png to {folder}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for of the settings of a training."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "patience", "seed")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _predict(args: argparse.Namespace) -> None:
    import csv
    import io

    from funcnet.data._load import read_features
    from funcnet.tabular import load_fitted
    from funcnet.train._weights import write_whole

    predictor = load_fitted(args.folder)
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
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    else:
        write_whole(args.out, text.getvalue().encode())


def _runs(args: argparse.Namespace) -> None:
    from funcnet.report._runs import HEAD, find_runs, row
    from funcnet.report._terminal import print_scores

    print_scores(HEAD, [row(run, args.folder) for run in find_runs(args.folder)])


def _show(args: argparse.Namespace) -> None:
    from funcnet.report._runs import draw, find_runs, read_run, summary
    from funcnet.report._terminal import print_scores

    run = read_run(args.folder)
    if run is None:
        inside = ", ".join(str(found.folder) for found in find_runs(args.folder))
        raise ValueError(f"{args.folder} holds several runs: show one of {inside}.")
    print(f"{run.folder}: {run.epochs} epochs, {run.outcome}")
    print_scores(*summary(run))
    print(f"Wrote {draw(run)}")


def _check_folder(folder: Path) -> None:
    """Raise before the training, not after it, if its files can't be written."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, so nothing can be written to {folder}: choose another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} can't be written to: choose another --out.")


def _interruptible(work: Callable[[], T]) -> T:
    """`work()` in a thread of its own: a compiled program hears no Ctrl-C, and a waiting thread does."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        # Leaving in the ordinary way would wait for the program. Nothing has been written yet.
        code = _say("interrupted.", 130)
        sys.stderr.flush()
        os._exit(code)
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]
