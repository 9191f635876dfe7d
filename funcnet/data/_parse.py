"""Numbers and dates in text: how a column writes them is decided once, and obeyed afterwards."""

import contextlib
import datetime
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from funcnet._text import quoted

MISSING = frozenset(
    (
        "na",
        "n/a",
        "n.a.",
        "n.a",
        "nan",
        "null",
        "none",
        "nil",
        "missing",
        "unknown",
        "-",
        "--",
        "?",
        ".",
        "#n/a",
    )
)
"""Words that are missing values among numbers or dates. In a column of text they are categories."""

CURRENCIES = ("$", "€", "£", "¥", "₹", "US$", "USD", "EUR", "GBP", "CHF", "JPY")
UNITS = (
    *("%", "‰", "°C", "°F", "°", "K"),
    *(
        "mm",
        "cm",
        "m",
        "km",
        "m²",
        "m2",
        "ha",
        "sqft",
        "ft",
        "in",
        "mi",
        "g",
        "kg",
        "t",
        "lb",
        "oz",
        "ml",
        "l",
    ),
    *("ms", "s", "min", "h", "W", "kW", "MW", "Wh", "kWh", "MWh", "hp", "PS", "V", "A", "Hz", "kHz", "MHz"),
    *("GHz", "kB", "MB", "GB", "km/h", "m/s", "mph", "bar", "hPa", "Pa", "J", "kJ", "cal", "kcal"),
)
"""Currencies may stand before or after a number, units after it."""


def _one_of(marks: tuple[str, ...]) -> str:
    return "|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))


FACTORS = ("%", "‰", "K")
"""Units that may be a factor: without them, 0.12 may be 12 %, and 950 is less than 1.2K."""

NUMBER = re.compile(
    rf"(?P<sign>[+\-−]?)(?P<before>{_one_of(CURRENCIES)}|)\s?(?P<sign2>[+\-−]?)"
    rf"(?P<core>[\d.,'\u00a0\u202f ]*\d[\d.,]*(?:[eE][+-]?\d+)?)"
    rf"\s?(?P<after>{_one_of(CURRENCIES + UNITS)}|)"
)
# Two marks between thousands are the same: 7 264,528 is no 7264528.
GROUPS = r"[1-9]\d{{0,2}}(?P<mark>[{0}'\u00a0\u202f ])\d{{3}}(?:(?P=mark)\d{{3}})*"
EXPONENT = r"(?P<exponent>[eE][+-]?\d+)?"
POINT = re.compile(rf"(?P<whole>{GROUPS.format(',')}|\d*)(?P<fraction>\.\d*)?{EXPONENT}")
COMMA = re.compile(rf"(?P<whole>{GROUPS.format('.')}|\d*)(?P<fraction>,\d*)?{EXPONENT}")
CODE = re.compile(r"0\d+")

LONGEST = 500
"""Characters of a number: the largest float64 has 309 digits, and marks between them."""

DECIMAL_POINT, DECIMAL_COMMA = "1,234.5", "1.234,5"
UNMARKED = {DECIMAL_POINT: "1234.5", DECIMAL_COMMA: "1234,5"}
"""The notations of columns that do not show marks between thousands: 1,234 is not read there."""
ONE_MARK = {
    DECIMAL_POINT: re.compile(r"[1-9]\d{0,2},\d{3}"),
    DECIMAL_COMMA: re.compile(r"[1-9]\d{0,2}\.\d{3}"),
}
"""Thousands that are also decimal numbers, if the mark is the decimal one."""

ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4})")
TIME = re.compile(
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})\d*)?)?\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?)?"
)

YEAR_FIRST, DAY_FIRST, MONTH_FIRST = "year-month-day", "day.month.year", "month/day/year"


def is_missing(text: str) -> bool:
    """Whether a word stands for a missing number or date."""
    return text.casefold() in MISSING


def plain_numbers(words: Iterable[str]) -> list[float]:
    """Those of some words that are numbers for Python: -999, inf."""
    found = []
    for word in words:
        with contextlib.suppress(ValueError):  # Python reads 1_000, tables do not
            found.append(float(word.replace("_", "x")))
    return found


def number_format(texts: Mapping[str, int], comma_first: bool = False) -> str | None:
    """How most of these texts, with their counts, write numbers: such as "1,234.5" or "€1.234,5".

    None if there are no numbers among them, or if they are codes such as 00501. If they do not show whether
    1,234 and 1.234 are decimal numbers or thousands, `comma_first` says which mark is the decimal one.
    """
    found = _count_formats(texts)
    if found is None or not found[1]:
        return None
    votes, marks, cores = found
    is_comma = votes[DECIMAL_COMMA] + comma_first > votes[DECIMAL_POINT]
    notation = DECIMAL_COMMA if is_comma else DECIMAL_POINT
    bare = marks.get(("", ""), 0)

    def rank(unit: tuple[str, str]) -> tuple[bool, int]:
        return unit != ("", "") and not (unit[1] in FACTORS and marks[unit] < bare), marks[unit]

    before, after = max(marks, key=rank)
    return f"{before}{notation if _shows_thousands(cores, notation) else UNMARKED[notation]}{after}"


def _shows_thousands(cores: Collection[str], notation: str) -> bool:
    """Whether a mark between thousands is one, and no decimal mark of another notation.

    In 999.5 and 1,234.5 it is one. Alone, 1,234 is doubtful if decimal numbers have three digits, if it is
    the only one of many numbers, or if the comma is decimal in others.
    """
    parts = [((COMMA if notation == DECIMAL_COMMA else POINT).fullmatch(core), core) for core in cores]
    alone = {core for _, core in parts if ONE_MARK[notation].fullmatch(core)}
    read = [match for match, core in parts if match is not None and core not in alone]
    if any(match["mark"] for match in read):
        return True
    digits = [len(match["fraction"]) - 1 for match in read if match["fraction"]]
    is_odd = len(alone) <= max(1, 0.02 * len(cores))
    if len(read) + len(alone) < len(cores) or (is_odd and any(len(match["whole"]) > 3 for match in read)):
        return False
    return bool(alone) and not (digits and (is_odd or digits.count(3) >= 0.5 * len(digits)))


def decimal_mark(texts: Mapping[str, int]) -> str:
    """The decimal mark that these texts show, most of them numbers: "," or "." or "" for none."""
    plain = {text: count for text, count in texts.items() if not is_missing(text)}
    found = _count_formats(plain)
    if found is None or found[0][DECIMAL_COMMA] == found[0][DECIMAL_POINT]:
        return ""
    read_as = number_format(plain) or ""
    # One damaged cell must not hide how the others are written.
    numbers = sum(count for text, count in plain.items() if parse_number(text, read_as) is not None)
    if numbers < 0.8 * sum(plain.values()):
        return ""
    return "," if _notation(read_as) == DECIMAL_COMMA else "."


def units(read_as: str) -> tuple[str, str]:
    """The units before and after a number that is written as `number_format` says; "" for none."""
    notation = _notation(read_as)
    if notation is None:
        return "", ""
    before, after = read_as.split(notation if notation in read_as else UNMARKED[notation])
    return before, after


def _notation(read_as: str) -> str | None:
    """The notation with all marks; None if it is that of Python."""
    notations = (
        notation for notation, unmarked in UNMARKED.items() if notation in read_as or unmarked in read_as
    )
    return next(notations, None)


def _count_formats(
    texts: Mapping[str, int],
) -> tuple[dict[str, int], dict[tuple[str, str], int], set[str]] | None:
    """How many texts can only be read with each decimal mark, and with each unit; and all numbers without
    their units. None for codes.
    """
    cores = set()
    votes = {DECIMAL_POINT: 0, DECIMAL_COMMA: 0}
    marks: dict[tuple[str, str], int] = {}
    for text, count in texts.items():
        match = _match_number(text)
        if match is None:
            continue
        core = match["core"].strip()
        if CODE.fullmatch(core) and not _is_odd_code(text, texts):
            return None
        point, comma = POINT.fullmatch(core) is not None, COMMA.fullmatch(core) is not None
        if not (point or comma):
            continue
        cores.add(core)
        key = match["before"], match["after"]
        marks[key] = marks.get(key, 0) + count
        if point != comma:
            votes[DECIMAL_POINT if point else DECIMAL_COMMA] += count
    return votes, marks, cores


def _is_odd_code(code: str, texts: Mapping[str, int]) -> bool:
    """Whether this is the only code, and not as long as the others: a number with a zero too many."""
    return (
        len(texts) > 20
        and any(len(text) != len(code) for text in texts)
        and sum(count for text, count in texts.items() if CODE.fullmatch(text)) == 1
    )


def _match_number(text: str) -> re.Match[str] | None:
    # The time of a search in a long cell grows with its square, and no number is that long.
    return NUMBER.fullmatch(text) if len(text) <= LONGEST else None


def parse_number(text: str, read_as: str) -> float | None:
    """A number written as `number_format` says, or without its marks; None if it is something else."""
    match = _match_number(text)
    if match is None:
        return None
    notation = _notation(read_as)
    before, after = units(read_as)
    core = match["core"].strip()
    if match["before"] not in ("", before) or match["after"] not in ("", after):
        return None
    if after in FACTORS and match["after"] != after and core.strip("0.,"):
        return None
    parts = (COMMA if notation == DECIMAL_COMMA else POINT).fullmatch(core)
    if parts is None or (notation is None and parts["mark"]):
        return None
    # 1,234 is doubtful in new rows, if the training rows had no such marks.
    if notation is not None and notation not in read_as and ONE_MARK[notation].fullmatch(core):
        return None
    whole, fraction, exponent = (parts[name] or "" for name in ("whole", "fraction", "exponent"))
    digits = re.sub(r"\D", "", whole) + fraction.replace(",", ".") + exponent
    sign = -1.0 if "-" in (s := match["sign"] + match["sign2"]) or "−" in s else 1.0
    return sign * float(digits)


def date_format(name: str, texts: Mapping[str, int], dayfirst: bool | None) -> str | None:
    """How most of these texts write dates, or None if most are not dates.

    Raises:
        ValueError: if day and month can't be told apart.
    """
    iso = sum(_split_time(ISO, text) is not None for text in texts)
    others = [match for text in texts if (match := _split_time(DAY_OR_MONTH_FIRST, text))]
    if max(iso, len(others)) < 0.9 * len(texts):
        return None
    read_as = YEAR_FIRST if iso >= len(others) else _day_or_month_first(name, texts, others, dayfirst)
    # Of years, days and months in this order, most have no such month.
    return (
        read_as
        if sum(parse_date(text, read_as) is not None for text in texts) >= 0.9 * len(texts)
        else None
    )


def _day_or_month_first(
    name: str, texts: Mapping[str, int], dates: Sequence[tuple[re.Match[str], Any]], dayfirst: bool | None
) -> str:
    """Which comes first, as the numbers above 12 show; with dots it is the day if none is."""
    days = sum(int(day[1]) > 12 for day, _ in dates)
    months = sum(int(day[3]) > 12 for day, _ in dates)
    has_dots = any(day[2] == "." for day, _ in dates)
    if dayfirst is None and days != months and (min(days, months) == 0 or (has_dots and days > months)):
        dayfirst = days > months
    if dayfirst is None and has_dots and not days:
        dayfirst = True
    if dayfirst is None:
        raise ValueError(
            f"the dates of column {name!r} must show which of day and month comes first, got only "
            f"dates such as {quoted(next(iter(texts)))}. Try dayfirst=True or dayfirst=False."
        )
    return DAY_FIRST if dayfirst else MONTH_FIRST


def parse_date(text: str, read_as: str) -> datetime.datetime | None:
    """A date written as `date_format` says; None if it is something else."""
    found = _split_time(ISO if read_as == YEAR_FIRST else DAY_OR_MONTH_FIRST, text)
    if found is None:
        return None
    day, time = found
    if read_as == YEAR_FIRST:
        year, month, number = day[1], day[2], day[3]
    elif read_as == DAY_FIRST:
        year, month, number = day[4], day[3], day[1]
    else:
        year, month, number = day[4], day[1], day[3]
    hour, minute, second, fraction = (part or "0" for part in time.groups())
    try:
        return datetime.datetime(
            *(int(year), int(month), int(number)),
            *(int(hour), int(minute), int(second), int(fraction.ljust(6, "0"))),
        )
    except ValueError:  # there is no such day
        return None


def _split_time(day: re.Pattern[str], text: str) -> tuple[re.Match[str], re.Match[str]] | None:
    start = day.match(text)
    if start is None or (end := TIME.fullmatch(text, start.end())) is None:
        return None
    return start, end


def is_number(text: str) -> bool:
    """Whether Python reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
