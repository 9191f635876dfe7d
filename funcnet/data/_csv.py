"""Rows of a text file that are found by their place in it, so that the file need not fit into memory."""

import codecs
import csv
import errno
import io
import os
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check
from funcnet._types import PyTree
from funcnet.data._digest import file_digest
from funcnet.data._pairs import check_names, to_pair
from funcnet.data._text_file import check_format, exact_numbers

BLOCK_BYTES = 2**24
UNCLOSED = "quotation marks that do not end in the row in which they begin"
SAMPLE = 1024
"""Rows at the beginning that decide whether the target holds integers."""
BLANKS = (b"\r", b" ", b"\t", b"\x1a")
"""A line of one of these is blank; the last ends a file of DOS."""
QUOTE, LINE_FEED = np.frombuffer(b'"\n', np.uint8)
ENCODINGS = ("ascii", "utf-8", "iso8859-1", "iso8859-15", "cp1252")
"""Those in which a line feed and a quotation mark are one byte that is not a part of another character."""


class Csv:
    """A text file of numbers whose rows are read by number."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        features: Sequence[str],
        target: str,
        separator: str,
        decimal: str,
        encoding: str,
    ) -> None:
        _check.path("path", path)
        check_names(features, target)
        for name, value in (("separator", separator), ("decimal", decimal), ("encoding", encoding)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string, got {_check.describe(value)}.")
        check_format(separator, encoding, decimal)
        try:
            codec = codecs.lookup(encoding).name
        except LookupError:
            codec = ""
        if codec not in ENCODINGS:
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}.")
        self.path, self.features, self.target = Path(path), list(features), target
        self.settings = {"sep": separator, "decimal": decimal, "encoding": codec}
        if self.path.is_dir() or not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, "path must be a text file, there is none", str(path))
        self._descriptor = os.open(self.path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._stamp = _stamp(self._descriptor)
        bounds = _row_bounds(self.path, self._descriptor, separator)
        header = os.pread(self._descriptor, *_span(bounds, 0, 0))
        self._header, self._bounds = header.removeprefix(codecs.BOM_UTF8) + b"\n", bounds[1:]
        try:
            text = header.decode(codec).removeprefix("\ufeff")
            names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"{path} can't be read as a table: {error}. Expected text in {codec}, not compressed, "
                "whose lines end with a line feed."
            ) from None
        for name in (*self.features, target):
            if names.count(name) != 1:
                raise ValueError(
                    f"features and target must be columns of {path}, each once: {', '.join(names)}; got "
                    f"{name!r}. Columns are separated by {separator!r}."
                )
        self._names = names
        if not len(self):
            raise ValueError(f"the table {path} is empty: expected a header and rows, got no rows.")
        sample = self._read(np.arange(min(SAMPLE, len(self))))
        self._target_type = np.float64 if sample[target].dtype.kind == "f" else np.int64
        to_pair(self.path, self._columns(sample), self.features, target, is_first=True)

    def __len__(self) -> int:
        return len(self._bounds)

    def rows(self, numbers: np.ndarray) -> PyTree:
        columns = self._columns(self._read(np.asarray(numbers, np.int64)))
        return to_pair(self.path, columns, self.features, self.target)

    def identity(self) -> str:
        digest = file_digest(self._descriptor, self.path)
        return f"columns {self.features} and {self.target!r}, {self.settings}, sha256 {digest[:16]}"

    def _read(self, numbers: np.ndarray) -> Any:
        """A frame of some rows, in their order."""
        import pandas

        if _stamp(self._descriptor) != self._stamp:
            raise ValueError(f"{self.path} changed since its rows were counted. Make a new stream.")
        distinct, place = np.unique(numbers, return_inverse=True)
        cuts = np.flatnonzero(np.diff(distinct) > 1) + 1  # neighbours are read together
        parts = [self._header]
        for run in np.split(distinct, cuts):
            parts.append(os.pread(self._descriptor, *_span(self._bounds, int(run[0]), int(run[-1]))))
            parts.append(b"\n")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pandas.errors.ParserWarning)  # of rows with too many fields
                frame = pandas.read_csv(
                    io.BytesIO(b"".join(parts)),  # of all columns: usecols would accept rows of more fields
                    skipinitialspace=True,
                    index_col=False,
                    names=range(len(self._names)),  # columns that are not read may have one name
                    header=0,
                    keep_default_na=False,
                    na_values=[""],
                    low_memory=False,
                    **exact_numbers(),
                    **self.settings,
                )
        except (pandas.errors.ParserError, pandas.errors.ParserWarning, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path} can't be read as a table: {str(error).strip()}.") from None
        if len(frame) != len(distinct):
            raise ValueError(
                f"{self.path} can't be divided into rows: expected lines that hold more than blanks, no "
                "carriage return but before a line feed, and no quotation marks but around whole cells."
            )
        self._check_fields(distinct[np.flatnonzero(frame[len(self._names) - 1].isna())])
        names = [*self.features, self.target]
        frame = frame[[self._names.index(name) for name in names]].set_axis(names, axis=1)
        self._check(frame, distinct)
        return frame.iloc[place]

    def _check_fields(self, numbers: np.ndarray) -> None:
        """Raise a ValueError if one of these rows, whose last cell is blank, has too few cells.

        Pandas fills it up, although its cells may stand in other columns.
        """
        for number in numbers:
            text = os.pread(self._descriptor, *_span(self._bounds, number, number))
            if b'"' not in text and text.count(self.settings["sep"].encode()) + 1 >= len(self._names):
                continue
            line = text.decode(self.settings["encoding"]).rstrip("\r")
            fields = len(next(csv.reader([line], delimiter=self.settings["sep"], skipinitialspace=True)))
            if fields < len(self._names):
                raise ValueError(
                    f"{self.path} has {len(self._names)} columns, and data row {number + 1} has only "
                    f"{fields} cells. Give each blank cell its separator."
                )

    def _check(self, frame: Any, numbers: np.ndarray) -> None:
        """Raise a ValueError if a cell is not a finite number."""
        import pandas

        for name in frame:
            column = frame[name]
            is_number = column.dtype.kind in "iuf"
            if is_number:
                values = column.to_numpy(float)
            else:
                texts = column.astype(str)
                if self.settings["decimal"] == ",":
                    texts = texts.str.replace(".", "x").str.replace(",", ".")
                values = pandas.to_numeric(texts, errors="coerce").to_numpy(float)
            if (wrong := np.flatnonzero(~np.isfinite(values))).size or not is_number:
                row = wrong[0] if wrong.size else 0
                value = column.iloc[row]
                got = "a gap" if pandas.isna(value) or value == "" else repr(str(value))
                raise ValueError(
                    f"the column {name!r} of {self.path} must hold finite numbers, got {got} in data row "
                    f"{numbers[row] + 1}. Estimators of fn.sklearn read text and gaps."
                )

    def _columns(self, frame: Any) -> dict[str, np.ndarray]:
        columns = {name: frame[name].to_numpy() for name in frame}
        target = columns[self.target]
        if self._target_type is np.int64 and target.dtype.kind == "f":
            raise ValueError(
                f"the column {self.target!r} of {self.path} holds integers in its first rows, and later "
                f"{target[target != np.round(target)][:1]}. Write all of them with a decimal point."
            )
        columns[self.target] = target.astype(self._target_type)
        return columns


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _row_bounds(path: Path, descriptor: int, separator: str) -> np.ndarray:
    """The first byte of each row and the byte after its last: int64 [rows, 2]. Blank lines are not rows."""
    ends, start, is_quoted = [], 0, False
    while block := os.pread(descriptor, BLOCK_BYTES, start):
        data = np.frombuffer(block, np.uint8)
        inside = (np.cumsum(data == QUOTE) + is_quoted) % 2 == 1
        ends.append(np.flatnonzero((data == LINE_FEED) & ~inside) + start)
        is_quoted, start = bool(inside[-1]), start + len(block)
    if is_quoted:
        raise ValueError(f"{path} has {UNCLOSED}.")
    stops = np.concatenate([*ends, [start]]) if start else np.zeros(0, np.int64)
    starts = np.concatenate([[0], stops[:-1] + 1]) if start else stops
    is_row = stops - starts > 0
    for row in np.flatnonzero(stops - starts == 1):
        byte = os.pread(descriptor, 1, starts[row])
        is_row[row] = byte == separator.encode() or byte not in BLANKS
    if not is_row.any():
        raise ValueError(f"the table {path} is empty: expected a header and rows.")
    return np.stack([starts, stops], axis=1)[is_row].astype(np.int64)


def _span(bounds: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """The number of bytes of adjacent rows, and where they begin."""
    return int(bounds[last, 1] - bounds[first, 0]), int(bounds[first, 0])
