"""Tables whose content is known, and what is done to their files: the material of fuzz_tables.py."""

import bz2
import codecs
import copy
import dataclasses
import datetime
import gzip
import importlib.util
import io
import lzma
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

# ---------------------------------------------------------------------------- tables


@dataclasses.dataclass
class Column:
    """A column: the text of each cell ("" for a gap), and what it means.

    Args:
        kind: of KINDS.
        role: how it has to be read; "dropped" if it teaches nothing.
        texts: each cell as it is written.
        values: float, True, False, datetime or the text itself; None for a gap.
    """

    name: str
    kind: str
    role: str
    texts: list[str]
    values: list[Any]
    damaged: dict[int, set[Any]] = dataclasses.field(default_factory=dict)
    """By row: the values that a damaged cell may have; a gap always may be."""
    roles: set[str] = dataclasses.field(default_factory=set)
    """Other roles that the damage makes possible."""


WORDS = (
    "oak",
    "Köln",
    "Am Café",
    "São Paulo",
    'the "old" one',
    "left, right",
    "two\nlines",
    "a;b",
    "5 o'clock",
)
CONSTANTS = ("DE", "3", "0.5", "yes")


def _number(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    digits, scale = rng.choice([1, 2, 3, 4, 15]), rng.choice([1.0, 30.0, 4000.0, 1e-3])
    values = [rng.gauss(rng.choice([0.0, 2.0]), 1.0) * scale for _ in range(rows)]
    if rng.random() < 0.5:
        values = [abs(value) for value in values]
    texts = [f"{value:.{max(digits, 6) if scale < 1 else digits}f}" for value in values]
    if digits == 15:
        texts = [repr(value) for value in values]
    return texts, [float(text) for text in texts]


def _integer(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    low, high = rng.choice([(0, 12), (-50, 50), (1000, 9000), (1, 250_000), (1900, 2030)])
    values = [rng.randint(low, high) for _ in range(rows)]
    return [str(value) for value in values], [float(value) for value in values]


def _boolean(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    yes, no = rng.choice([("yes", "no"), ("TRUE", "FALSE"), ("True", "False"), ("t", "f"), ("on", "off")])
    values = [rng.random() < 0.4 for _ in range(rows)]
    values[:2] = [True, False]
    return [yes if value else no for value in values], values


def _category(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    words = [*rng.sample(WORDS, rng.randint(2, 5)), *rng.choice([(), ("NA",), ("None", "-")])]
    texts = [rng.choice(words) for _ in range(rows)]
    texts[: len(words)] = words
    return texts, list(texts)


def _pair(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    texts = [rng.choice(["Doe, John", "Roe, Ann", "Austin, TX"]) for _ in range(rows)]
    texts[:2] = ["Doe, John", "Roe, Ann"]
    return texts, list(texts)


def _code(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    words = ["00501", *(f"{rng.randrange(100_000):05d}" for _ in range(5))]
    texts = [rng.choice(words) for _ in range(rows)]
    texts[:2] = words[:2]
    return texts, list(texts)


def _date(rng: random.Random, rows: int, written: str = "%Y-%m-%d") -> tuple[list[str], list[Any]]:
    start = datetime.datetime(rng.randint(1950, 2020), 1, 1)
    values = [start + datetime.timedelta(days=rng.randrange(2000)) for _ in range(rows)]
    values[0] = start.replace(day=28)
    if "%H" in written:
        values = [value.replace(hour=rng.randrange(24), minute=rng.randrange(60)) for value in values]
    return [value.strftime(written) for value in values], values


def _dayfirst(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    return _date(rng, rows, rng.choice(["%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y", "%d/%m/%Y %H:%M"]))


def _monthfirst(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    return _date(rng, rows, rng.choice(["%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y %H:%M"]))


def _time(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    return _date(rng, rows, rng.choice(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]))


def _unit(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    before, after = rng.choice([("$", ""), ("", " €"), ("", "%"), ("", " kg"), ("€", ""), ("", " km/h")])
    values = [round(rng.gauss(50, 20), 2) for _ in range(rows)]
    texts = [f"{'-' * (value < 0)}{before}{abs(value):.2f}{after}" for value in values]
    return texts, [float(f"{value:.2f}") for value in values]


def _words_in_numbers(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    texts, values = _number(rng, rows)
    word = rng.choice(["T", "NA", "n/a", "unknown", "-"])
    for row in rng.sample(range(rows), max(1, rows // 12)):
        texts[row], values[row] = word, None
    return texts, values


def _identifier(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    form = rng.choice(["C{:05d}", "seen on visit {} by the agent", "Straße {}, Köln"])
    return [form.format(i) for i in range(rows)], [None] * rows


def _constant(rng: random.Random, rows: int) -> tuple[list[str], list[Any]]:
    return [rng.choice(CONSTANTS)] * rows, [None] * rows


Maker = Callable[[random.Random, int], tuple[list[str], list[Any]]]
KINDS: dict[str, tuple[str, Maker]] = {
    "number": ("number", _number),
    "integer": ("number", _integer),
    "boolean": ("boolean", _boolean),
    "category": ("category", _category),
    "pair": ("category", _pair),
    "code": ("category", _code),
    "date": ("date", _date),
    "day first": ("date", _dayfirst),
    "month first": ("date", _monthfirst),
    "time": ("date", _time),
    "unit": ("number", _unit),
    "words in numbers": ("number", _words_in_numbers),
    "identifier": ("dropped", _identifier),
    "constant": ("dropped", _constant),
}
"""By name: the role, and what makes texts and values."""
NAMES = (
    "area",
    "Größe",
    "price in €",
    "room no.",
    "x",
    "Am Café",
    "heat",
    'the "old"',
    "left, right",
    "date",
    "ñ",
)


@dataclasses.dataclass
class Table:
    """A table: its columns in the order of the file, and the target, one of them."""

    columns: list[Column]
    target: str
    rows: int

    @property
    def y(self) -> Column:
        return next(column for column in self.columns if column.name == self.target)

    @property
    def features(self) -> list[Column]:
        return [column for column in self.columns if column.name != self.target]


def make_table(rng: random.Random) -> Table:
    """A table of three to nine columns, and a target of classes or of numbers."""
    rows = rng.randint(40, 120)
    kinds = ["number", *rng.choices(list(KINDS), k=rng.randint(2, 7))]
    if rng.random() < 0.3:  # so that a file shows its decimal commas
        kinds += ["number", "number"]
    rng.shuffle(kinds)
    columns = []
    for i, kind in enumerate(kinds):
        name = NAMES[i] if i < len(NAMES) else f"column {i}"
        if kind == "pair":
            name = f"last name, first name {i}"
        role, make = KINDS[kind]
        column = Column(name, kind, role, *make(rng, rows))
        if role != "dropped" and rng.random() < 0.3:
            for row in rng.sample(range(3, rows), rng.randint(1, rows // 6)):
                column.texts[row], column.values[row] = "", None
        columns.append(column)
    if rng.random() < 0.2:
        name = rng.choice(["", "id", "index", "Unnamed: 0"])
        columns.insert(0, Column(name, "index", "dropped", [str(i) for i in range(rows)], [None] * rows))
    target = make_target(rng, rows)
    columns.insert(len(columns) if rng.random() < 0.7 else rng.randint(1, len(columns)), target)
    return Table(columns, target.name, rows)


def make_target(rng: random.Random, rows: int) -> Column:
    name = rng.choice(["y", "Preis", "sold?"])
    if rng.random() < 0.5:
        texts, values = KINDS[rng.choice(["number", "number", "unit"])][1](rng, rows)
        column = Column(name, "numbers", "regression", texts, values)
    else:
        words = rng.choice([("yes", "no"), ("TRUE", "FALSE"), ("0", "1", "2"), ("fig", "kiwi", "Am Café")])
        texts = [rng.choice(words) for _ in range(rows)]
        texts[: 2 * len(words)] = words * 2
        column = Column(name, "classes", "classification", texts, list(texts))
    if rng.random() < 0.3:
        for row in rng.sample(range(8, rows), rows // 10):
            column.texts[row], column.values[row] = "", None
    return column


# ---------------------------------------------------------------------------- files


@dataclasses.dataclass
class Layout:
    """How a table is written."""

    separator: str = ","
    quote_all: bool = False
    newline: str = "\n"
    encoding: str = "utf-8"
    mark: bytes = b""
    declares: bool = False
    end: str = ""
    padding: str = ""
    compression: str = ""
    parquet: bool = False


@dataclasses.dataclass
class Case:
    """A table on its way into a file.

    Args:
        fate: "same" if the file has to be read as the table is, "refused" if it must not be read,
            "cells" if only cells are damaged, "refused or same", or "prefix" if its end is cut off.
        fields: of the header and the rows, quoted, if a mutation changes them; else they are rendered last.
        finish: changes the bytes of the file.
    """

    rng: random.Random
    table: Table
    layout: Layout = dataclasses.field(default_factory=Layout)
    fate: str = "same"
    fields: list[list[str]] = dataclasses.field(default_factory=list)
    done: list[str] = dataclasses.field(default_factory=list)
    order: list[int] = dataclasses.field(default_factory=list)
    """Of each row: its place in the plain file."""
    plain: Table | None = None
    finish: Callable[["Case", bytes], bytes] | None = None
    spans: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)
    """Of each cell: row (-1 for the header), column, first byte and end."""
    breaks: list[int] = dataclasses.field(default_factory=list)
    """Where rows end, in bytes; the first is that of the header."""


def quote(text: str, layout: Layout) -> str:
    needs = any(mark in text for mark in (layout.separator, '"', "\n", "\r"))
    padded = f"{layout.padding}{text}{layout.padding}" if text or not layout.padding else ""
    if needs or layout.quote_all or (text != text.strip()):
        return '"' + text.replace('"', '""') + '"'
    return padded


def render(case: Case) -> None:
    """The fields of the file: the header and rows, quoted where necessary."""
    columns, layout = case.table.columns, case.layout
    case.fields = [[quote(column.name, layout) for column in columns]]
    case.fields += [
        [quote(column.texts[row], layout) for column in columns] for row in range(case.table.rows)
    ]


def encode(case: Case) -> bytes:
    """The bytes of the file before compression, and where its cells are."""
    layout, parts = case.layout, [case.layout.mark]
    first = f"sep={layout.separator}{layout.newline}" if layout.declares else ""
    parts.append(first.encode(layout.encoding))
    place = sum(map(len, parts))
    case.spans, case.breaks = [], []

    def add(text: str) -> None:
        nonlocal place
        parts.append(text.encode(layout.encoding))
        place += len(parts[-1])

    for i, row in enumerate(case.fields):
        for j, field in enumerate(row):
            start = place
            add(field)
            case.spans.append((i - 1, j, start, place))
            if j + 1 < len(row):
                add(layout.separator)
        case.breaks.append(place)
        add(layout.newline)
    add(layout.end)
    return b"".join(parts)


def compress(content: bytes, layout: Layout, rng: random.Random) -> bytes:
    """In one stream or in two, as parallel compressors write."""
    if not layout.compression:
        return content
    cut = rng.choice([0, len(content) // 2])
    parts = [content[:cut], content[cut:]] if cut else [content]
    if layout.compression == ".zst":
        import zstandard

        pack: Any = zstandard.ZstdCompressor(write_checksum=True).compress
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[layout.compression]
    return b"".join(pack(part) for part in parts)


def write(case: Case, folder: Path) -> Path:
    """Write the file; its path."""
    layout = case.layout
    if layout.parquet:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "table.parquet"
        content = _parquet(case.table)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"table.csv{layout.compression}"
        if not case.fields:
            render(case)
        content = compress(encode(case), layout, case.rng)
    if case.finish is not None:
        content = case.finish(case, content)
    path.write_bytes(content)
    return path


def _parquet(table: Table) -> bytes:
    import pandas

    series = {}
    for column in table.columns:
        values: list[Any] = [text if text else None for text in column.texts]
        if column.kind in ("number", "numbers") and all(isinstance(v, float | None) for v in column.values):
            values = list(column.values)
        series[column.name] = pandas.Series(values, dtype=object if isinstance(values[0], str) else None)
        if column.kind in ("date", "time"):
            series[column.name] = pandas.Series(pandas.to_datetime(column.values))
        if column.kind == "integer":
            series[column.name] = pandas.Series(column.values, dtype="Float64").astype("Int64")
    content = io.BytesIO()
    pandas.DataFrame(series).to_parquet(content, index=False)
    return content.getvalue()


# ---------------------------------------------------------------------------- the same meaning


def separate(case: Case) -> str | None:
    case.layout.separator = case.rng.choice(";\t|")
    return repr(case.layout.separator)


def quote_all(case: Case) -> str | None:
    case.layout.quote_all = True
    return ""


def newlines(case: Case) -> str | None:
    case.layout.newline = case.rng.choice(["\r\n", "\r\n", "\r"])
    return repr(case.layout.newline)


def encoding(case: Case) -> str | None:
    name = case.rng.choice(["utf-8-sig", "utf-16-le", "utf-16-be", "cp1252"])
    marks = {
        "utf-8-sig": codecs.BOM_UTF8,
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
    }
    case.layout.encoding, case.layout.mark = name.removesuffix("-sig"), marks.get(name, b"")
    return name


def declared(case: Case) -> str | None:
    """The separator in a line of its own, as spreadsheets write it."""
    case.layout.declares = True
    return ""


def blank_lines(case: Case) -> str | None:
    case.layout.end = case.rng.choice(["\n", "\n\n\n", "   \n", "\r\n\r\n"])
    return repr(case.layout.end)


def pad(case: Case) -> str | None:
    case.layout.padding = " " * case.rng.randint(1, 3)
    return ""


def compressed(case: Case) -> str | None:
    case.layout.compression = case.rng.choice([".gz", ".bz2", ".xz", ".zst"])
    if case.layout.compression == ".zst" and importlib.util.find_spec("zstandard") is None:
        case.layout.compression = ""
        return None
    return case.layout.compression


POINT = re.compile(r"\d*\.\d+")


def decimal_commas(case: Case) -> str | None:
    """All numbers of a file; it shows them only in columns that can't be thousands, which must be most."""
    if "thousands" in " ".join(case.done) or case.layout.parquet:  # of which each column is alone
        return None
    shown, hidden = 0, 0
    for column in case.table.columns:
        if column.kind in ("number", "unit", "numbers"):
            texts = [text for text in column.texts if POINT.search(text)]
            if "e" in "".join(texts):
                return None
            decides = any(not re.search(r"(?<!\d)[1-9]\d{0,2}\.\d{3}(?!\d)", text) for text in texts)
            shown, hidden = shown + (decides and bool(texts)), hidden + (bool(texts) and not decides)
    if shown <= hidden:
        return None
    case.layout.separator = case.rng.choice(";;\t|," if shown > 1 else ";;\t|")
    for column in case.table.columns:
        if column.kind in (*NUMBERS, "constant"):
            column.texts = [text.replace(".", ",") for text in column.texts]
    return ""


NUMBERS = ("number", "integer", "unit", "words in numbers", "numbers")


def thousands(case: Case) -> str | None:
    """Marks between thousands in a column in which most numbers have them."""
    has_commas = "decimal commas" in " ".join(case.done)
    mark = case.rng.choice(". '\u00a0" if has_commas else ", '\u00a0")
    candidates = [
        column
        for column in case.table.columns
        if column.kind in ("integer", "number", "unit")
        and sum(value is not None and abs(value) >= 1000 for value in column.values) > 0.5 * case.table.rows
    ]
    if not candidates:
        return None
    column = case.rng.choice(candidates)

    def group(match: re.Match[str]) -> str:
        return f"{int(match[0]):,}".replace(",", mark)

    column.texts = [re.sub(r"\d+", group, text, count=1) if text else "" for text in column.texts]
    return f"{mark!r} in {column.name!r}"


def column_order(case: Case) -> str | None:
    columns = case.table.columns
    first = [column for column in columns if column.kind == "index"]  # row numbers come first
    others = [column for column in columns if column.kind != "index"]
    case.rng.shuffle(others)
    case.table.columns = first + others
    return ""


def row_order(case: Case) -> str | None:
    order = list(range(case.table.rows))
    case.rng.shuffle(order)
    for column in case.table.columns:
        column.texts = [column.texts[i] for i in order]
        column.values = [column.values[i] for i in order]
    case.order = order
    return ""


def units(case: Case) -> str | None:
    numbers = [
        c for c in case.table.columns if c.kind in ("number", "integer") and "e" not in "".join(c.texts)
    ]
    if not numbers:
        return None
    column = case.rng.choice(numbers)
    before, after = case.rng.choice(
        [("$", ""), ("", " €"), ("", "%"), ("", " kg"), ("", "m²"), ("CHF ", "")]
    )
    column.texts = [f"{before}{text}{after}" if text else "" for text in column.texts]
    column.kind = "unit"
    return f"{before or after!r} in {column.name!r}"


def spelling(case: Case) -> str | None:
    """Words for true and false in other letters, in the whole column."""
    booleans = [column for column in case.table.columns if column.kind == "boolean"]
    if not booleans:
        return None
    change = case.rng.choice([str.upper, str.lower, str.title])
    for column in booleans:
        column.texts = [change(text) for text in column.texts]
    return change.__name__


def constant_column(case: Case) -> str | None:
    column = Column("one more", "constant", "dropped", *_constant(case.rng, case.table.rows))
    case.table.columns.insert(case.rng.randint(1, len(case.table.columns)), column)
    return ""


def parquet(case: Case) -> str | None:
    if "decimal commas" in " ".join(case.done):
        return None
    case.layout.parquet = True
    return ""


# ---------------------------------------------------------------------------- damages of cells


def _pick(case: Case, kinds: tuple[str, ...] = (), target: bool = True) -> tuple[Column, int] | None:
    """A cell that is not a gap."""
    columns = [
        column
        for column in case.table.columns
        if (not kinds or column.kind in kinds) and (target or column.name != case.table.target)
    ]
    if not columns:
        return None
    column = case.rng.choice(columns)
    rows = [row for row, text in enumerate(column.texts) if text and row not in column.damaged]
    return (column, case.rng.choice(rows)) if rows else None


def _replace(case: Case, text: str, values: set[Any], *picked: Any) -> str | None:
    found = picked or _pick(case)
    if not found:
        return None
    column, row = found
    old, column.texts[row] = column.texts[row], text
    column.damaged[row] = values
    case.fate = "cells"
    return f"{column.name!r} row {row}: {old!r} is {text[:40]!r}"


def word(case: Case) -> str | None:
    text = case.rng.choice(["oops", "see note", "NA", "?", "#REF!", "#DIV/0!", "x5", "1 2 3", "ja", "-"])
    return _replace(case, text, {text})


def infinity(case: Case) -> str | None:
    text = case.rng.choice(
        ["inf", "-inf", "Infinity", "1e400", "-1e400", "1e999999999", "9" * 400, "9" * 5000]
    )
    return _replace(case, text, {text})


def huge(case: Case) -> str | None:
    """Numbers that a float64 holds, but not an integer of 64 bits."""
    text = case.rng.choice(["1e30", "99999999999999999999", "-99999999999999999999", "9007199254740993"])
    return _replace(case, text, {text, float(text)})


def long_cell(case: Case) -> str | None:
    text = case.rng.choice(["1" * 100_000 + "x", " ".join(["1 234"] * 20_000), "y" * 150_000, "(" * 50_000])
    return _replace(case, text, {text})


def zero_byte(case: Case) -> str | None:
    found = _pick(case)
    if found is None:
        return None
    column, row = found
    done = _replace(case, column.texts[row] + "\0", set(), column, row)
    case.fate = "refused"
    return done


def control(case: Case) -> str | None:
    text = case.rng.choice(["\x1b[31mred", "\x07", "\u202eabc", "\ufeff1", "\u200b", "\x1a"])
    return _replace(case, text, {text, text.strip()})


def other_unit(case: Case) -> str | None:
    """A cell in another unit, or one without the mark that changes its magnitude: 0.12 among 12 %."""
    found = _pick(case, ("unit",))
    if found is None:
        return None
    column, row = found
    value, text = column.values[row], column.texts[row]
    if text.endswith("%"):
        return _replace(case, f"{value / 100:.4f}", {value}, column, row)
    if text.endswith(" kg"):
        return _replace(case, f"{value * 1000:.0f} g", {value}, column, row)
    return None


def other_notation(case: Case) -> str | None:
    """Some numbers of a column with the other decimal mark, or with thousands: never 1.234 as 1234."""
    found = _pick(case, ("number", "integer", "unit", "numbers"))
    if found is None or "e" in "".join(found[0].texts):
        return None
    column, row = found
    share = case.rng.choice([0.0, 0.0, 0.0, 0.1, 0.3, 0.5])
    rows = {row, *(r for r, text in enumerate(column.texts) if text and case.rng.random() < share)}
    has_commas = "decimal commas" in " ".join(case.done)
    count = 0
    for r in rows:
        text = column.texts[r]
        if re.search("[.,]", text):
            new = text.translate(str.maketrans(".,", ",."))
        else:
            new = re.sub(
                r"\d{4,}", lambda match: f"{int(match[0]):,}".replace(",", ".,"[not has_commas]), text
            )
        if new != text:
            column.texts[r], count = new, count + 1
            column.damaged[r] = {new, column.values[r]}
    if not count:
        return None
    case.fate = "cells"
    column.roles |= {"category", "dropped"} if count > 1 else set()
    return f"{count} cells of {column.name!r}, such as {column.texts[row]!r}"


def ambiguous_dates(case: Case) -> str | None:
    """Days and months that can't be told apart in the whole column."""
    columns = [column for column in case.table.columns if column.kind == "day first"]
    if not columns:
        return None
    column = case.rng.choice(columns)
    column.values = [value and value.replace(day=value.day % 12 + 1) for value in column.values]
    column.texts = [value.strftime("%d/%m/%Y") if value else "" for value in column.values]
    case.fate = "refused"
    return repr(column.name)


def other_date(case: Case) -> str | None:
    """A date in another order, or one that does not exist."""
    found = _pick(case, ("date", "day first", "time"))
    if found is None:
        return None
    column, row = found
    value = column.values[row]
    if column.kind != "day first" and case.rng.random() < 0.5:
        written, values = value.strftime(case.rng.choice(["%d.%m.%Y", "%m/%d/%Y"])), {value}
    else:
        written, values = case.rng.choice(
            [("31.02.2015", set()), ("2015-13-45", set()), ("12/31/2015", set())]
        )
        values |= {datetime.datetime(2015, 12, 31)} if written.startswith("12") else set()
    done = _replace(case, written, values | {written, _at_midnight(value)}, column, row)
    return done


def _at_midnight(value: datetime.datetime) -> datetime.datetime:
    return value.replace(hour=0, minute=0, second=0)


def blank_column(case: Case) -> str | None:
    column = case.rng.choice([c for c in case.table.columns if c.kind != "index"])
    text = case.rng.choice(["", "", " ", "   "])
    column.texts, column.values, column.role = [text] * case.table.rows, [None] * case.table.rows, "dropped"
    case.fate = "refused" if column.name == case.table.target else "cells"
    return repr(column.name)


def one_class(case: Case) -> str | None:
    y = case.table.y
    if y.role != "classification" or y.texts[0].isdigit():
        return None
    y.texts = [y.texts[0] if text else "" for text in y.texts]
    case.fate = "refused"
    return repr(y.texts[0])


# ---------------------------------------------------------------------------- damages of rows


def _row(case: Case) -> int:
    render(case)
    return case.rng.randint(1, case.table.rows)


def lost_separator(case: Case) -> str | None:
    """Two cells in one: the row has a field too few, and all after it would be in another column."""
    row = _row(case)
    j = case.rng.randrange(len(case.table.columns) - 1)
    fields = case.fields[row]
    case.fields[row] = [*fields[:j], fields[j] + fields[j + 1], *fields[j + 2 :]]
    case.fate = "refused"
    return f"in row {row - 1} after column {j}"


def doubled_separator(case: Case) -> str | None:
    row = _row(case)
    case.fields[row].insert(case.rng.randint(0, len(case.fields[row])), "")
    # An empty field after the last one shifts nothing.
    case.fate = "refused" if case.fields[row][-1] else "refused or same"
    return f"in row {row - 1}"


def fewer_fields(case: Case) -> str | None:
    row = _row(case)
    case.fields[row] = case.fields[row][: case.rng.randint(1, len(case.fields[row]) - 1)]
    case.fate = "refused" if "".join(case.fields[row]).strip() else "refused or same"
    return f"{len(case.fields[row])} in row {row - 1}"


def more_fields(case: Case) -> str | None:
    row = _row(case)
    case.fields[row] += case.rng.choice([["7"], ["x", "y"], case.fields[1]])
    case.fate = "refused" if case.fields[row][-1] else "refused or same"
    return f"{len(case.fields[row])} in row {row - 1}"


def lone_quote(case: Case) -> str | None:
    """A quotation mark that opens a cell and is never closed: it hides the rows up to the next one."""
    row = _row(case)
    j = case.rng.randrange(len(case.fields[row]))
    field = case.fields[row][j]
    if field.startswith('"'):
        case.fields[row][j] = case.rng.choice([field[:-1], field[1:]])
    else:
        case.fields[row][j] = case.rng.choice(['"' + field, field + '"', '"'])
    # Without its first mark a cell of one line is whole, with a mark more in its text.
    case.table.columns[j].damaged[row - 1] = {Ellipsis}
    case.fate = "cells"
    return f"row {row - 1} column {j}: {field!r} is {case.fields[row][j]!r}"


def no_header(case: Case) -> str | None:
    render(case)
    del case.fields[0]
    case.fate = "refused"
    return ""


def doubled_name(case: Case) -> str | None:
    render(case)
    header = case.fields[0]
    i, j = case.rng.sample(range(len(header)), 2)
    header[i] = header[j]
    case.fate = "refused"
    return header[j]


def empty_name(case: Case) -> str | None:
    render(case)
    case.fields[0][case.rng.randrange(1, len(case.fields[0]))] = ""
    case.fate = "refused"
    return ""


def only_header(case: Case) -> str | None:
    render(case)
    del case.fields[1:]
    case.fate = "refused"
    return ""


def repeated_header(case: Case) -> str | None:
    """Files that were joined: names in the middle of the rows."""
    row = case.rng.randint(1, case.table.rows)
    for column in case.table.columns:
        column.texts.insert(row, column.name)
        column.values.insert(row, None)
        column.damaged[row] = {column.name}
    case.order.insert(row, -1)
    case.table.rows += 1
    case.fate = "cells"
    return f"in row {row}"


# ---------------------------------------------------------------------------- damages of bytes


def _finish(case: Case, fate: str, change: Callable[[Case, bytes], bytes]) -> str:
    case.fate, case.finish = fate, change
    return ""


def cut(case: Case) -> str | None:
    """A file whose end is lost; of a compressed one that must be noticed."""

    def change(case: Case, content: bytes) -> bytes:
        end = case.rng.randrange(1, len(content) - len(case.layout.end.encode(case.layout.encoding)) - 1)
        if case.layout.compression or case.layout.parquet:
            case.fate = "refused"
        case.done[-1] += f"{end} of {len(content)} bytes"
        case.table.rows = max(0, sum(place < end for place in case.breaks) - 1)
        _damage_bytes(case, end, len(content))
        case.fate = "refused" if case.fate == "refused" or end <= case.breaks[0] else "prefix"
        return content[:end]

    return _finish(case, "prefix", change)


def flip(case: Case) -> str | None:
    """A byte that changes: only the cell that has it may change, or the file is refused."""

    def change(case: Case, content: bytes) -> bytes:
        place, value = case.rng.randrange(len(content)), case.rng.randrange(256)
        case.done[-1] += f"byte {place}: {content[place]} is {value}"
        if case.layout.compression or case.layout.parquet:
            case.fate = "refused or same"
        else:
            case.fate = "cells"
            _damage_bytes(case, place, place + 1)
        return content[:place] + bytes([value]) + content[place + 1 :]

    return _finish(case, "cells", change)


def _damage_bytes(case: Case, start: int, end: int) -> None:
    """Cells whose bytes change may have any value; of the header, names may."""
    # The end of a line belongs to the cells before and after it: "\\r" alone ends one, too.
    edge = len(case.layout.newline.encode(case.layout.encoding)) if end - start == 1 else 0
    last_column = len(case.table.columns) - 1
    for row, j, first, last in case.spans:
        first, last = first - edge * (j == 0), last + edge * (j == last_column)
        if first < end and start < last and row >= 0:
            case.table.columns[j].damaged.setdefault(row, set()).add(Ellipsis)


def empty(case: Case) -> str | None:
    content = case.rng.choice([b"", b"\n", b"   \n\n", b"\xef\xbb\xbf", b"\xff\xfe"])
    return _finish(case, "refused", lambda case, _: content)


def binary(case: Case) -> str | None:
    noise = case.rng.randbytes(3000)
    starts = (b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"%PDF-1.7\n", b"\x7fELF", b"\x1f\x8b", b"PAR1", b"")
    letters = bytes(byte for byte in noise if byte not in (0, 0x81, 0x8D, 0x8F, 0x90, 0x9D))
    content = case.rng.choice(starts) + case.rng.choice([noise, letters])
    return _finish(case, "refused", lambda case, _: content)


def wrong_suffix(case: Case) -> str | None:
    """What a file is, its first bytes say, and not its name."""
    case.layout.compression = case.rng.choice([".gz", ".bz2", ".xz"])

    def change(case: Case, content: bytes) -> bytes:
        return encode(case)

    return _finish(case, "refused or same", change)


MEANING: dict[str, tuple[float, Callable[[Case], str | None]]] = {
    "other separator": (2, separate),
    "all quoted": (1, quote_all),
    "line ends": (1, newlines),
    "encoding": (2, encoding),
    "blank lines": (1, blank_lines),
    "separator declared": (0.5, declared),
    "padding": (1, pad),
    "compression": (1.5, compressed),
    "decimal commas": (3, decimal_commas),
    "thousands": (3, thousands),
    "column order": (1, column_order),
    "row order": (1, row_order),
    "units": (1, units),
    "spelling": (1, spelling),
    "constant column": (1, constant_column),
    "parquet": (1, parquet),
}
CELLS: dict[str, tuple[float, Callable[[Case], str | None]]] = {
    "word": (2, word),
    "infinity": (1.5, infinity),
    "huge number": (1.5, huge),
    "long cell": (0.7, long_cell),
    "zero byte": (0.5, zero_byte),
    "control character": (0.7, control),
    "other notation": (4, other_notation),
    "other unit": (1, other_unit),
    "ambiguous dates": (0.7, ambiguous_dates),
    "other date": (1.5, other_date),
    "blank column": (1, blank_column),
    "one class": (0.5, one_class),
}
FILES: dict[str, tuple[float, Callable[[Case], str | None]]] = {
    "lost separator": (2, lost_separator),
    "doubled separator": (1.5, doubled_separator),
    "fewer fields": (1.5, fewer_fields),
    "more fields": (1, more_fields),
    "lone quote": (3, lone_quote),
    "no header": (0.7, no_header),
    "doubled name": (0.7, doubled_name),
    "empty name": (0.7, empty_name),
    "only a header": (0.5, only_header),
    "header twice": (0.7, repeated_header),
    "cut": (3, cut),
    "flipped byte": (4, flip),
    "empty file": (0.5, empty),
    "binary file": (0.7, binary),
    "wrong suffix": (0.5, wrong_suffix),
}


def draw(rng: random.Random) -> Case:
    """A table with one to three mutations: those that keep its meaning first, and at most one damage."""
    while True:
        case = Case(rng, make_table(rng))
        case.order = list(range(case.table.rows))
        case.plain = copy.deepcopy(case.table)
        damage = rng.choice([None, None, CELLS, CELLS, FILES, FILES])
        mutations = [MEANING] * rng.randint(damage is None, 2) + ([damage] if damage else [])
        names: list[str] = []
        for group in mutations:
            for _ in range(10):
                (name,) = rng.choices(list(group), [weight for weight, _ in group.values()])
                if name in names or (case.layout.parquet and group is not MEANING):
                    continue
                done = group[name][1](case)
                if done is not None:
                    names.append(name)
                    case.done.append(f"{name} {done}".strip() + (" " if case.finish else ""))
                    break
        if case.done and _can_be_written(case):
            return case


def _can_be_written(case: Case) -> bool:
    if case.layout.parquet:
        return case.fate == "same"
    texts = [text for column in case.table.columns for text in (column.name, *column.texts)]
    try:
        "".join(texts).encode(case.layout.encoding)
    except UnicodeEncodeError:
        return False
    return True
