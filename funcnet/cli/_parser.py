"""The commands and flags of `funcnet`."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from funcnet._version import __version__
from funcnet.cli._table import CLASS_METRICS, VALUE_METRICS

TRAIN_EXAMPLE = """example:
  funcnet train iris
  funcnet train houses.csv --target price --hidden 64,64 --out runs/houses"""
STUDY_EXAMPLE = """example:
  funcnet study iris ensemble
  funcnet study houses.csv sweep --target price --out runs/houses-sweep
  funcnet study houses.csv sweep --target price --out runs/houses-sweep --resume"""
PREDICT_EXAMPLE = """example:
  funcnet predict runs/houses new.csv --out prices.csv
  zcat new.csv.gz | funcnet predict runs/houses - > prices.csv"""
EVALUATE_EXAMPLE = """example:
  funcnet evaluate runs/houses sold-last-month.csv"""

MISSING_TARGET = (
    "a word that means that the target is missing, as those that were given to `funcnet train` do"
)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings
        )

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See {self.prog} --help.")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="funcnet",
        description="Train a small neural network on a table, and predict with it.",
        epilog=f"{TRAIN_EXAMPLE}\n  funcnet predict runs/houses new.csv",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_report(commands)
    _add_study(commands)
    _add_runs(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"funcnet {__version__}")
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
    train.set_defaults(run="train")
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
        help="fraction of the rows for testing, or 0 (default: 0.2, or the table's own split)",
    )
    add(
        "--class-weight",
        metavar="WEIGHT",
        action="append",
        help="'balanced', or NAME=WEIGHT of a class; the others weigh 1 (default: 1 each)",
    )
    _add_metric(train)
    add("--id", metavar="COLUMN", action="append", help="this column identifies rows: leave it out")
    add("--out", metavar="DIR", type=_path, help="output directory (default: runs/TABLE)")
    add("--report", metavar="FILE", type=_path, help="write a report as well: .html, or .json")
    _add_config(train)
    _add_output(train)
    add("--verbose", action="store_true", help="print each setting and why it was chosen")


def _add_metric(command: Any) -> None:
    command.add_argument(
        "--metric",
        choices=(*CLASS_METRICS, *VALUE_METRICS),
        help="the score that is printed first (default: accuracy, or RMSE)",
    )


def _add_config(command: Any) -> None:
    command.add_argument(
        "--config",
        metavar="FILE",
        type=_path,
        help="read arguments from a TOML file, such as the run.toml beside every model; those of the "
        "command line overrule it",
    )


def _add_output(command: Any) -> None:
    """Add the choice of what is printed."""
    group = command.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument("--quiet", action="store_true", help="print warnings and errors only")


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
    study.set_defaults(run="study")
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
    study.add_argument(
        "--resume",
        action="store_true",
        help="continue a study that was interrupted: its finished runs are kept in the output directory",
    )
    _add_output(study)


def _add_table(command: Any) -> None:
    """Add the arguments that choose the table and its target."""
    add = command.add_argument
    add(
        "table",
        metavar="NAME_OR_FILE",
        nargs="?",
        help="iris, digits, wine, breast-cancer, diabetes, fashion-mnist, or the path of a file: text with "
        "a header, such as CSV, also compressed, or Parquet; - reads stdin",
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
    _add_missing(command)
    add(
        "--day-first",
        action=argparse.BooleanOptionalAction,
        help="whether 01/02/2024 is the first of February (default: detected)",
    )
    _add_format(command)


def _add_missing(command: Any, text: str = "a word that means that a cell is missing") -> None:
    command.add_argument("--missing", metavar="WORD", action="append", help=text)


def _add_format(command: Any) -> None:
    """Add how a file of text is written."""
    add = command.add_argument
    add(
        "--separator",
        metavar="CHARACTER",
        type=lambda text: "\t" if text == "\\t" else text,
        help=r"separator of columns; \t is a tab (default: detected)",
    )
    add("--encoding", metavar="NAME", help="encoding of the text (default: UTF-8, or Windows-1252)")
    add(
        "--decimal",
        metavar="MARK",
        choices=(".", ","),
        help="decimal mark of its numbers, . or , (default: detected)",
    )


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


def _add_model(command: Any, rows: str, nargs: str | None = None, folder: str = "DIR") -> None:
    """Add the arguments that choose a model and a file of rows."""
    command.add_argument("folder", metavar=folder, type=_path, help="output directory of `funcnet train`")
    command.add_argument("rows", metavar="FILE", type=_path, nargs=nargs, help=f"{rows}; - reads stdin")
    _add_format(command)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="predict the rows of a file",
        description="Predict the rows of a file with the estimator that `funcnet train` saved. Columns are "
        "matched by name;\nadditional columns are ignored. Warnings on stderr say where the rows "
        "differ from the training rows.",
        epilog=PREDICT_EXAMPLE,
    )
    predict.set_defaults(run="predict")
    _add_model(predict, "text or Parquet with the same columns")
    add = predict.add_argument
    add(
        "--out", metavar="FILE", type=_path, help="write a .csv, .json or .parquet file instead of printing"
    )
    add("--json", action="store_true", help="print JSON, an object a row, instead of CSV")
    add("--proba", action="store_true", help="the probabilities of all classes")
    add(
        "--interval",
        metavar="X",
        type=_coverage,
        help="bounds that hold the number with this probability, such as 0.9",
    )
    add("--id", metavar="COLUMN", help="begin each line with this column of the file")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score a saved model on rows whose target is known",
        description="Score the estimator that `funcnet train` saved on a file with its target, beside the "
        "best constant\nprediction. Rows without a target are left out and counted.",
        epilog=EVALUATE_EXAMPLE,
    )
    evaluate.set_defaults(run="evaluate")
    _add_model(evaluate, "text or Parquet with the same columns and the target")
    _add_metric(evaluate)
    _add_missing(evaluate, MISSING_TARGET)
    evaluate.add_argument("--report", metavar="FILE", type=_path, help="write a report: .html, or .json")
    _add_output(evaluate)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare two saved models on the same rows",
        description="Compare two estimators that `funcnet train` saved on a file with their target, row by "
        "row.\nThe interval of the difference is that of a paired bootstrap over the rows.",
        epilog="example:\n  funcnet compare runs/houses runs/houses-2 sold-last-month.csv",
    )
    compare.set_defaults(run="compare")
    compare.add_argument("other", metavar="DIR_A", type=_path, help="output directory of `funcnet train`")
    _add_model(compare, "text or Parquet with the columns of both and the target", folder="DIR_B")
    _add_missing(compare, MISSING_TARGET)
    _add_output(compare)


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="write a report of a saved model",
        description="Write the report of an estimator that `funcnet train` saved as one page: its scores "
        "on out-of-fold rows,\nand on a file with its target if one is given.",
        epilog="example:\n  funcnet report runs/houses --out houses.html",
    )
    report.set_defaults(run="report")
    _add_model(report, "a file with the target to score as well", nargs="?")
    _add_missing(report, MISSING_TARGET)
    report.add_argument(
        "--out", metavar="FILE", type=_path, help=".html, or .json (default: DIR/report.html)"
    )
    _add_output(report)


def _add_runs(commands: Any) -> None:
    runs = commands.add_parser(
        "runs",
        help="list the runs in a directory",
        description="List the runs in a directory and its subdirectories, with their progress and losses.",
    )
    runs.set_defaults(run="runs")
    runs.add_argument(
        "folder",
        metavar="DIR",
        type=_path,
        nargs="?",
        default=Path("runs"),
        help="directory to search (default: runs)",
    )
    _add_output(runs)
    show = commands.add_parser(
        "show",
        help="summarize one run and plot its curves",
        description="Print a summary of the metrics of a run, and write their curves to curves.png in its "
        "directory.",
    )
    show.set_defaults(run="show")
    show.add_argument(
        "folder", metavar="DIR", type=_path, help="directory of a Trainer or of `funcnet train`"
    )
    _add_output(show)


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


def _coverage(text: str) -> float:
    value = _fraction(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1 such as 0.9, got {text!r}")
    return value


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got an empty string")
    return Path(text)
