"""Numbers and dates in text: how a column writes them is decided once, and obeyed afterwards."""

import contextlib
import datetime
import re
from collections.abc import Iterable, Mapping

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


NUMBER = re.compile(
    rf"(?P<sign>[+\-−]?)(?P<before>{_one_of(CURRENCIES)}|)\s?(?P<sign2>[+\-−]?)"
    rf"(?P<core>[\d.,'\u00a0\u202f ]*\d[\d.,]*(?:[eE][+-]?\d+)?)"
    rf"\s?(?P<after>{_one_of(CURRENCIES + UNITS)}|)"
)
POINT = re.compile(r"([1-9]\d{0,2}(?:[,'\u00a0\u202f ]\d{3})+|\d*)(\.\d*)?([eE][+-]?\d+)?")
COMMA = re.compile(r"([1-9]\d{0,2}(?:[.'\u00a0\u202f ]\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?")
CODE = re.compile(r"0\d+")

DECIMAL_POINT, DECIMAL_COMMA = "1,234.5", "1.234,5"

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
    votes, marks = found
    is_comma = votes[DECIMAL_COMMA] + comma_first > votes[DECIMAL_POINT]
    before, after = max(marks, key=lambda key: (key != ("", ""), marks[key]))
    return f"{before}{DECIMAL_COMMA if is_comma else DECIMAL_POINT}{after}"


def decimal_mark(texts: Mapping[str, int]) -> str:
    """The decimal mark that these texts show, all of them numbers or missing: "," or "." or "" for none."""
    plain = {text: count for text, count in texts.items() if not is_missing(text)}
    found = _count_formats(plain)
    if found is None or found[0][DECIMAL_COMMA] == found[0][DECIMAL_POINT]:
        return ""
    read_as = number_format(plain) or ""
    if any(parse_number(text, read_as) is None for text in plain):
        return ""
    return "," if DECIMAL_COMMA in read_as else "."


def _count_formats(texts: Mapping[str, int]) -> tuple[dict[str, int], dict[tuple[str, str], int]] | None:
    """How many texts can only be read with each decimal mark, and with each unit; None for codes."""
    votes = {DECIMAL_POINT: 0, DECIMAL_COMMA: 0}
    marks: dict[tuple[str, str], int] = {}
    for text, count in texts.items():
        match = NUMBER.fullmatch(text)
        if match is None:
            continue
        core = match["core"].strip()
        if CODE.fullmatch(core):
            return None
        point, comma = POINT.fullmatch(core) is not None, COMMA.fullmatch(core) is not None
        if not (point or comma):
            continue
        key = match["before"], match["after"]
        marks[key] = marks.get(key, 0) + count
        if point != comma:
            votes[DECIMAL_POINT if point else DECIMAL_COMMA] += count
    return votes, marks


def parse_number(text: str, read_as: str) -> float | None:
    """A number written as `number_format` says, or without its marks; None if it is something else."""
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    has_comma = DECIMAL_COMMA in read_as
    before, after = (
        read_as.split(DECIMAL_COMMA if has_comma else DECIMAL_POINT) if "1" in read_as else ("", "")
    )
    core = match["core"].strip()
    if match["before"] not in ("", before) or match["after"] not in ("", after):
        return None
    parts = (COMMA if has_comma else POINT).fullmatch(core)
    # 1,234 is ambiguous in new rows, if the training rows were numbers without such marks.
    if parts is None or ("1" not in read_as and not (parts[1] or "0").isdecimal()):
        return None
    whole, fraction, exponent = (part or "" for part in parts.groups())
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
    if iso >= len(others):
        return YEAR_FIRST
    first = [int(match[0][1]) for match in others]
    second = [int(match[0][3]) for match in others]
    if dayfirst is None and any(match[0][2] == "." for match in others):
        dayfirst = True
    if dayfirst is None:
        if (max(first) > 12) == (max(second) > 12):
            raise ValueError(
                f"the dates of column {name!r} must show which of day and month comes first, got only "
                f"dates such as {next(iter(texts))!r}. Try dayfirst=True or dayfirst=False."
            )
        dayfirst = max(first) > 12
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
