"""What is read of rough and of damaged tables? Files whose content is known are changed, and read.

    python experiments/faults/fuzz_tables.py --out tables              # 1,000 files, about ten minutes
    python experiments/faults/fuzz_tables.py --out tables --replay 17  # one of them, in full

A table of typed columns is drawn, and one to three mutations of its file, from the seed and the number of
the case alone. A mutation keeps the meaning (another separator, encoding, compression, notation of numbers,
…), or damages cells, rows or bytes. Each file is read as `funcnet train` reads it (`fn.data.load`,
`Schema.fit`, `encode`), as `funcnet predict` does, and as new rows of a model of the plain file; every
seventeenth also by the commands themselves. What is right:

    kept meaning    the roles, values and target of the table, each float64 with its bits
    damaged cell    all other cells have their values; this one is a gap that is counted, or what it says
    damaged rows    refused, since a field too many or too few moves cells into other columns, and a lone
                    quotation mark hides rows
    damaged bytes   one of these; what is compressed is refused, or unchanged
    refused         one sentence that names the file or the column

What can't be known is no finding: a cell that is cut, or a digit that is another, is read as what it says.
All else is one: a traceback, a message that is not a sentence, a warning of another library, a crash, a
hang (no end in 60 s), or `wrong`: another value, row or role in silence. All files are written below
`--out`; those of findings are kept there beside `findings.jsonl`, with the command that replays them. The
exit code is 1 if there is a finding.
"""

import argparse
import collections
import contextlib
import io
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from own_folder import prepare_folder
from table_mutations import Case, Column, Layout, Table, draw, write

MARK = "fuzz_tables.json"
FINDINGS = ("traceback", "message", "warning", "wrong", "crash", "hang")
COMMANDS = 17
"""Every so many cases are also run by the commands."""
LONGEST = 600
"""Characters of one sentence; a name of a column or a path is within it."""
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]"
FEW_ROWS = 20
"""Of a file that was cut: of so few rows a column may be read otherwise."""


class WrongError(Exception):
    """Something is read as it must not be."""


# ---------------------------------------------------------------------------- the verdict


def run_case(seed: int, index: int, folder: Path, commands: bool) -> dict[str, Any]:
    """Draw a case, write its file, read it, and judge what comes of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = draw(random.Random(f"{seed}/{index}"))
    path = write(case, folder)
    facts = {"index": index, "mutations": [text.strip() for text in case.done], "fate": case.fate}
    facts |= {"target": case.table.target, "file": path.name}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = read(case, path)
            verdict, reason = outcome, ""
            if outcome == "read" and case.fate == "refused":
                raise WrongError("it is read, and has to be refused")
            if case.fate in ("same", "cells"):
                read_as_new_rows(case, path)
            if commands and index % COMMANDS == 0:
                run_commands(case, path, outcome)
        except WrongError as error:
            verdict, reason = "wrong", str(error)
        except Exception as error:
            verdict, reason = judge_error(error, case, path)
            if verdict == "refused" and case.fate == "same":
                verdict, reason = "wrong", f"refused: {reason}"
    strange = [w for w in caught if not (w.category is UserWarning and "funcnet" in w.filename)]
    strange = [w for w in strange if "table_mutations" not in w.filename]
    if strange and verdict not in FINDINGS:
        verdict, reason = "warning", f"{strange[0].category.__name__}: {strange[0].message}"
    return facts | {"verdict": verdict, "reason": reason}


def judge_error(error: Exception, case: Case, path: Path) -> tuple[str, str]:
    """Whether an exception is a sentence of funcnet about this table."""
    import funcnet

    message = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = frames[-1].filename.startswith(str(Path(funcnet.__file__).parent))
    trace = "".join(traceback.format_exception(error))[-3000:]
    if not is_ours or not isinstance(error, ValueError | TypeError | OSError):
        return "traceback", trace
    names = [column.name for column in case.table.columns if column.name]
    if path.name not in message and not any(name in message for name in names) and "column" not in message:
        return "message", f"neither the file nor a column is named: {message[:LONGEST]}"
    if len(message.replace(str(path), "")) > LONGEST or message.count("\n") > 1:
        return (
            "message",
            f"{len(message)} characters, {message.count(chr(10)) + 1} lines: {message[:LONGEST]}",
        )
    if re.search(CONTROL, message):
        return "message", f"control characters: {message[:LONGEST]!r}"
    return "refused", message


def read(case: Case, path: Path) -> str:
    """Read a file as `funcnet train` does, and compare it with the table."""
    import funcnet as fn

    try:
        table = fn.data.load(path, case.table.target)
        schema = fn.tabular.Schema.fit(table.arrays[0])
        features = schema.encode(table.arrays[0])
    except (ValueError, TypeError, OSError) as error:
        if judge_error(error, case, path)[0] == "refused" and case.fate != "same":
            return "refused"
        raise
    if case.fate == "refused":
        return "read"
    rows = check_target(case, table)
    check_columns(case, schema, features, rows)
    predicted = encode_as_predict(schema, path)
    if predicted is not None:
        if case.fate == "prefix":
            rows = [row for row in rows if row < case.table.rows]
        pairs = (predicted.numbers, features.numbers), (predicted.codes, features.codes)
        if not all(same(ours[rows], theirs[: len(rows)]) for ours, theirs in pairs):
            raise WrongError("predict reads other values than train")
    return "same" if case.fate == "same" else "read"


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, NaN included."""
    import numpy as np

    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def encode_as_predict(schema: Any, path: Path) -> Any:
    """Features of all rows, as `funcnet predict` reads them; None if they are refused."""
    from funcnet.data._file import read_columns

    columns = [column for column in schema.columns if column.role != "dropped"]
    if not columns:
        return None
    texts = [column.name for column in columns if column.read_as != "number"]
    try:
        frame = read_columns(path, [column.name for column in columns], as_text=texts)
        return schema.encode(frame.reindex(columns=schema.names))
    except ValueError as error:
        # In a row without a target there may be a word that no other row has.
        if "as in the training rows" in str(error):
            return None
        raise


def read_as_new_rows(case: Case, path: Path) -> None:
    """Train on the plain file, and read the changed one as new rows: the same values, or refused."""
    import funcnet as fn

    assert case.plain is not None
    plain = write(Case(case.rng, case.plain, Layout()), path.parent / "plain")
    table = fn.data.load(plain, case.plain.target)
    schema = fn.tabular.Schema.fit(table.arrays[0])
    check_roles(case.plain, schema)
    expected = encode_as_predict(schema, plain)
    try:
        new = encode_as_predict(schema, path)
    except (ValueError, TypeError, OSError) as error:
        if judge_error(error, case, path)[0] == "refused":
            return
        raise
    if new is None or expected is None:
        return
    damaged = {row for column in case.table.columns for row in column.damaged}
    rows = [row for row in range(case.table.rows) if row not in damaged]
    if len(new.numbers) != case.table.rows:
        raise WrongError(f"{len(new.numbers)} new rows, and the file has {case.table.rows}")
    blank = {column.name for column in case.table.columns if column.role == "dropped"}
    places = [j for j, name in enumerate(schema.number_names) if not _is_of(name, blank)]
    codes = [j for j, name in enumerate(schema.category_names) if name not in blank]
    old = [case.order[row] for row in rows]
    ours, theirs = new.numbers[rows], expected.numbers[old]
    differs = (ours != theirs) & ~((ours != ours) & (theirs != theirs))
    for i, j in zip(*differs.nonzero(), strict=True):
        if j in places:
            raise WrongError(
                f"as a new row {schema.number_names[j]!r} of row {rows[i]} is {ours[i, j]}, "
                f"expected {theirs[i, j]}"
            )
    if not same(new.codes[rows][:, codes], expected.codes[old][:, codes]):
        raise WrongError("as new rows they have other categories")


def _is_of(name: str, columns: set[str]) -> bool:
    """Whether a number, or a part of a date, is of one of these columns."""
    return name in columns or name.rsplit(".", 1)[0] in columns


def check_roles(table: Table, schema: Any) -> None:
    """The plain file is read as the table is."""
    for column, actual in zip(table.features, schema.columns, strict=True):
        if column.role != actual.role:
            raise WrongError(f"{column.name!r} of the plain file is {actual.role}, expected {column.role}")


# ---------------------------------------------------------------------------- tables compared


def check_target(case: Case, table: Any) -> list[int]:
    """Compare the target; returns the rows of the file that are kept."""
    y, target = case.table.y, table.arrays[1]
    actual: list[Any] = (
        [table.class_names[v] for v in target.tolist()] if table.class_names else target.tolist()
    )
    if case.fate == "prefix":
        # The last row may be the one that is cut; it is kept, left out, or its end was lost with it.
        whole = [row for row in range(case.table.rows) if y.values[row] is not None]
        rows = whole + [case.table.rows] * (len(actual) - len(whole))
        if not len(whole) <= len(actual) <= len(whole) + 1:
            raise WrongError(f"{len(actual)} rows, and {len(whole)} whole ones have a target")
    else:
        certain = {
            row for row in range(case.table.rows) if y.values[row] is not None and row not in y.damaged
        }
        both = sorted(certain | set(y.damaged))
        rows = next((rows for rows in (sorted(certain), both) if len(rows) == len(actual)), [])
        if not rows:
            raise WrongError(f"{len(actual)} rows, and {len(certain)} have a target")
        if len(rows) + table.rows_without_target != case.table.rows:
            raise WrongError(f"{table.rows_without_target} rows without a target, of {case.table.rows}")
    is_same_task = table.task == y.role
    if not is_same_task and not y.damaged and not (case.fate == "prefix" and len(rows) < FEW_ROWS):
        raise WrongError(f"the target is one of {table.task}")
    for row, value in zip(rows, actual, strict=True):
        if row < case.table.rows and row not in y.damaged and not _is_same_target(y, row, value):
            raise WrongError(f"the target in row {row} is {value!r}, expected {y.values[row]!r}")
        if row in y.damaged and Ellipsis not in y.damaged[row] and not _is_among(value, y.damaged[row]):
            raise WrongError(f"the target in row {row} is {value!r}, and was {y.texts[row][:50]!r}")
    return rows


def _is_same_target(y: Column, row: int, value: Any) -> bool:
    if isinstance(value, str):
        return value == y.texts[row].strip()
    expected = y.values[row]
    return bool(value == (float(expected) if isinstance(expected, str) else expected))


def _is_among(value: Any, allowed: set[Any]) -> bool:
    """Whether a value is one of these; of a text also the number that Python reads in it."""
    if value is None or value in allowed:
        return True
    for text in allowed:
        if isinstance(text, str):
            with contextlib.suppress(ValueError):
                if isinstance(value, float) and float(text) == value:
                    return True
            if isinstance(value, str) and value == text.strip():
                return True
    return False


def check_columns(case: Case, schema: Any, features: Any, rows: list[int]) -> None:
    """Compare all columns in the rows that are kept."""
    columns = case.table.features
    if len(schema.columns) != len(columns):
        raise WrongError(f"{len(schema.columns)} columns, expected {len(columns)}")
    number, category = 0, 0
    for column, actual in zip(columns, schema.columns, strict=True):
        width = len(actual.number_names)
        if actual.role == "category":
            codes = features.codes[:, category].tolist()
            category += 1
            values: Any = [None if code < 0 else actual.categories[code] for code in codes]
        else:
            values = features.numbers[:, number : number + width].tolist()
            number += width
        check_column(case, column, actual, values, rows)


def check_column(case: Case, column: Column, actual: Any, values: list[Any], rows: list[int]) -> None:
    what = f"{column.name!r} ({column.kind}) is {actual.role} {actual.read_as!r}"
    is_short = case.fate == "prefix" and len(rows) < FEW_ROWS
    if actual.role != column.role:
        differs = column.damaged and (
            actual.role in column.roles
            or column.role == "dropped"
            or column.role == "boolean"
            or _distinct(column) < 8
        )
        if not (differs or is_short):
            raise WrongError(f"{what}, expected {column.role}; why: {actual.why!r}")
    if actual.role == "dropped":
        return
    gaps = 0
    for row, value in zip(rows, values, strict=True):
        if actual.role != "category":
            value = None if math.isnan(value[0]) else value
        gaps += value is None
        if row >= case.table.rows:
            continue
        if row in column.damaged:
            allowed = column.damaged[row]
            if Ellipsis in allowed or value is None:
                continue
            plain = value[0] if actual.role in ("number", "boolean") else value
            if actual.role == "date":
                good = any(value == _parts(v, actual.parts) for v in allowed if hasattr(v, "year"))
            else:
                good = _is_among(plain, allowed) or (
                    isinstance(plain, str) and plain == column.texts[row].strip()
                )
            if not good:
                raise WrongError(f"{what}: {value!r} in the damaged row {row}, {column.texts[row][:50]!r}")
            continue
        expected = _expected(column, row, actual)
        if value != expected:
            raise WrongError(f"{what}: {value!r} in row {row}, expected {expected!r}")
    if gaps != actual.missing:
        raise WrongError(f"{what}: {gaps} gaps, and {actual.missing} are reported")


def _distinct(column: Column) -> int:
    return len({text for row, text in enumerate(column.texts) if row not in column.damaged})


def _expected(column: Column, row: int, actual: Any) -> Any:
    """The value of a cell as its column is read."""
    value, text = column.values[row], column.texts[row].strip()
    if actual.role == "category":
        return text or None
    if column.role == "dropped" and text:  # since a cell of it was damaged
        value = float(text) if re.fullmatch(r"[\d.]+", text) else text.casefold() in ("yes", "true")
    if value is None:
        return None
    return _parts(value, actual.parts) if actual.role == "date" else [float(value)]


def _parts(value: Any, parts: Any) -> list[float]:
    import numpy as np

    days = float(np.datetime64(value, "us").astype(np.int64) / 86_400e6)
    every = {
        "days": days,
        "year": float(value.year),
        "month": float(value.month),
        "day": float(value.day),
        "weekday": float(value.weekday()),
        "hour": (value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6) / 3600,
    }
    return [every[part] for part in parts]


# ---------------------------------------------------------------------------- the commands


def run_commands(case: Case, path: Path, outcome: str) -> None:
    """`funcnet train` and `funcnet predict` of this file: 0 or 2, and then one line."""
    folder, predictions = path.parent / "model", path.parent / "predictions.csv"
    settings = ["--epochs", "1", "--hidden", "8", "--folds", "1", "--members", "1", "--test-size", "0"]
    code, messages = command(
        "train", str(path), "--target", case.table.target, "--out", str(folder), *settings
    )
    if outcome == "refused" and code == 0:
        raise WrongError("train reads what load refuses")
    if code == 2:
        return
    code, messages = command("predict", str(folder), str(path), "--out", str(predictions))
    if code == 0:
        rows = predictions.read_text(encoding="utf-8").count("\n") - 1
        classes = case.table.y.role == "classification"
        if case.fate != "prefix" and not classes and rows != case.table.rows:
            raise WrongError(f"predict writes {rows} rows, and the file has {case.table.rows}")
    elif case.fate == "same" and not any(None in column.values for column in case.table.features):
        raise WrongError(f"predict refuses what train reads: {messages}")


def command(*argv: str) -> tuple[int, str]:
    """The exit code and the lines on stderr; raises if they are not those of a command."""
    from funcnet.cli import main

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main(argv)
    errors = [line for line in stderr.getvalue().splitlines() if "warning: " not in line]
    if (
        code not in (0, 2)
        or "Traceback" in stderr.getvalue()
        or len(errors) > 1
        or (code == 2 and not errors)
    ):
        raise WrongError(f"{argv[0]} ends with {code} and {stderr.getvalue()[:LONGEST]!r}")
    if re.search(CONTROL, stdout.getvalue() + stderr.getvalue()):
        raise WrongError(f"{argv[0]} prints control characters: {stderr.getvalue()[:LONGEST]!r}")
    return code, stderr.getvalue()


# ---------------------------------------------------------------------------- the pool


class Worker:
    """A process that runs cases, and is started again after a crash or a hang."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.context = folder, multiprocessing.get_context("spawn")
        self.process: Any = None
        self.index: int | None = None
        self.end = 0.0

    def start(self, seed: int, index: int, commands: bool, timeout: float) -> None:
        if self.process is None:
            self.pipe, theirs = self.context.Pipe()
            self.process = self.context.Process(target=work, args=(theirs, self.folder), daemon=True)
            self.process.start()
            theirs.close()
            timeout += 60  # it imports first
        self.pipe.send((seed, index, commands))
        self.index, self.end = index, time.monotonic() + timeout

    def result(self) -> dict[str, Any] | None:
        """What came of the case; None if it still runs."""
        facts = {"index": self.index, "mutations": [], "fate": "", "file": ""}
        try:
            if self.pipe.poll(0.02):
                return self.pipe.recv()
        except EOFError:
            self.stop()
            return facts | {"verdict": "crash", "reason": "the process ended"}
        if time.monotonic() > self.end:
            self.stop()
            return facts | {"verdict": "hang", "reason": "no end before the timeout"}
        return None

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def work(pipe: Any, folder: Path) -> None:
    """Run cases until the pipe is closed."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    with contextlib.suppress(EOFError):
        while True:
            seed, index, commands = pipe.recv()
            pipe.send(run_case(seed, index, folder, commands))


def run(settings: argparse.Namespace, out: Path, workers: list[Worker]) -> list[dict[str, Any]]:
    """Run all cases; findings are written as they come."""
    results: list[dict[str, Any]] = []
    seed, count = settings.seed, settings.cases
    queue, free = iter(range(count)), list(workers)
    busy: list[Worker] = []
    while len(results) < count:
        while free and (index := next(queue, None)) is not None:
            worker = free.pop()
            worker.start(seed, index, not settings.no_commands, settings.timeout)
            busy.append(worker)
        for worker in list(busy):
            if (result := worker.result()) is not None:
                busy.remove(worker)
                free.append(worker)
                results.append(result)
                if result["verdict"] in FINDINGS:
                    keep(out, seed, worker.folder, result)
                if len(results) % 100 == 0:
                    print(f"{len(results)} of {count} files", file=sys.stderr, flush=True)
    return results


def keep(out: Path, seed: int, folder: Path, result: dict[str, Any]) -> None:
    """Append a finding to `findings.jsonl`, and copy its file."""
    kept = ""
    for path in folder.glob("table.*"):
        kept = f"{result['index']}-{path.name}"
        shutil.copyfile(path, out / "findings" / kept)
    command = f"python {sys.argv[0]} --seed {seed} --out {out} --replay {result['index']}"
    with (out / "findings.jsonl").open("a") as file:
        file.write(json.dumps(result | {"kept": kept, "reproduce": command}) + "\n")


# ---------------------------------------------------------------------------- the program


def print_verdicts(results: list[dict[str, Any]]) -> None:
    """A row for each mutation: how many files, and how many of each verdict."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for result in results:
        for name in {*(_name(text) for text in result["mutations"]), "all"}:
            counts[name, result["verdict"]] += 1
    columns = ("same", "read", "refused", *FINDINGS)
    print(f"{'mutation':20} {'files':>6} " + " ".join(f"{name:>9}" for name in columns))
    for name in sorted({name for name, _ in counts}, key=lambda name: (name == "all", name)):
        numbers = [counts[name, verdict] for verdict in columns]
        print(
            f"{name:20} {sum(numbers):>6} " + " ".join(f"{number or '':>9}" for number in numbers).rstrip()
        )


def _name(text: str) -> str:
    from table_mutations import CELLS, FILES, MEANING

    return next(name for name in (MEANING | CELLS | FILES) if text.startswith(name))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, metavar="N", help="files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="all is written below it")
    parser.add_argument("--replay", type=int, metavar="N", help="one case, in full")
    parser.add_argument(
        "--no-commands", action="store_true", help="call no command, which compile networks"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds after which a case hangs")
    settings = parser.parse_args(argv)
    began = time.monotonic()
    out = settings.out.absolute()
    prepare_folder(out, MARK, "findings", keep=settings.replay is not None)
    (out / "findings").mkdir(exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(out / "cache")
    os.environ |= {"MPLBACKEND": "Agg", "COLUMNS": "200"}  # no window, and tables that are not cut
    if settings.replay is not None:
        result = run_case(settings.seed, settings.replay, out / "work" / "replay", True)
        print(json.dumps(result, indent=1, ensure_ascii=False).replace("\\n", "\n"))
        return 0
    count = min(max(1, settings.workers), settings.cases)
    workers = [Worker(out / "work" / str(i)) for i in range(count)]
    try:
        results = run(settings, out, workers)
    finally:
        for worker in workers:
            worker.stop()
    print_verdicts(results)
    totals = collections.Counter(result["verdict"] for result in results)
    found = sum(totals[name] for name in FINDINGS)
    print(", ".join(f"{name}: {totals[name]}" for name in FINDINGS))
    print(f"{found} findings of {len(results)} files in {time.monotonic() - began:.0f} s: {out}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
