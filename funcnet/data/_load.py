"""Load tables by name or from a file. Nothing is downloaded."""

import dataclasses
import difflib
import functools
import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from funcnet import _check
from funcnet._text import printable, quoted
from funcnet._types import PyTree
from funcnet.data import _file
from funcnet.data._dataset import Dataset
from funcnet.data._rows import encode_by_name
from funcnet.data._target import read_target

Task = Literal["classification", "regression"]

BUNDLED = ("iris", "digits", "breast-cancer", "wine", "diabetes")
NAMES = (*BUNDLED, "fashion-mnist")
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A dataset with the names of its parts.

    Args:
        name: the name of the table.
        arrays: pairs (x, y), in a tuple or a Dataset: x [rows, features], or from a file or a frame a frame
            of pandas with its columns as they were read; y class numbers [rows], or targets [rows] for a
            regression, in NumPy's float64, with all digits of the file. x alone if there is no target.
        feature_names: one for each column of x.
        target_name: the name of y; None if there is none.
        class_names: the names of classes 0, 1, …; empty for a regression.
        standard_split: the number of rows in each part of the usual split, in order; empty if there is
            none.
        rows_without_target: number of rows of the file that were left out since their target is missing.
        why: why the target of a file is read as classes, or as numbers.
        target_read_as: how the numbers of the target of a file are written: "number", "1.234,5 €", …;
            "text" for classes.

    Example:
        >>> import funcnet as fn
        >>> iris = fn.data.load("iris")
        >>> len(iris.data), iris.task, iris.class_names
        (150, 'classification', ('setosa', 'versicolor', 'virginica'))
        >>> iris.encode([dict.fromkeys(iris.feature_names, 1.5)]).tolist()  # a new row
        [[1.5, 1.5, 1.5, 1.5]]
    """

    name: str
    arrays: PyTree
    feature_names: tuple[str, ...]
    target_name: str | None
    class_names: tuple[str, ...] = ()
    standard_split: tuple[int, ...] = ()
    rows_without_target: int = 0
    why: str = ""
    target_read_as: str | None = None

    def __post_init__(self) -> None:
        for name in ("feature_names", "class_names", "standard_split"):
            if not isinstance(getattr(self, name), tuple | list):
                raise TypeError(f"{name} must be a tuple, got {_check.describe(getattr(self, name))}.")

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.arrays if self._is_whole else self.arrays[1])

    def __repr__(self) -> str:
        """Its sizes and names, not its rows."""
        if self.target_name is None:
            names = f"{len(self.feature_names):,} features, no target"
            return printable(f"Table({self.name!r}, {len(self):,} rows, {names})")
        names = ", ".join(self.class_names[:10]) + (", …" if len(self.class_names) > 10 else "")
        target = (
            f"classes of {self.target_name!r}: {names}" if names else f"numbers of {self.target_name!r}"
        )
        features = f"{len(self.feature_names):,} features"
        return printable(f"Table({self.name!r}, {len(self):,} rows, {features}, {target})")

    def _repr_html_(self) -> str:
        """Its sizes and names, and the first rows, for notebooks."""
        from funcnet import _html

        x, y = self._parts(_html.MAX_ROWS)
        shown = [*self.feature_names[: _html.MAX_COLUMNS]]
        hidden = [""] * (len(self.feature_names) - len(shown))
        rows = []
        for i in range(min(_html.MAX_ROWS, len(self))):
            values = x.iloc[i, : len(shown)] if hasattr(x, "iloc") else np.asarray(x[i])[: len(shown)]
            target = self.class_names[int(y[i])] if self.class_names else y[i]
            cells = values if self.target_name is None else (target, *values)
            rows.append([str(i), *map(_cell, cells), *hidden])
        first = [] if self.target_name is None else [self.target_name]
        columns = ["row", *first, *shown, *hidden]
        return _html.fragment(_html.Table(repr(self), columns, rows, len(self)))

    @functools.cached_property
    def data(self) -> Dataset:
        """The pairs (x, y), or x without a target, as a Dataset: floats are float32, class numbers int32.

        Raises:
            ValueError: if a column holds text, dates or gaps, or digits that float32 can't hold. The
                estimators of `fn.sklearn` read all of these, and scale a column before they narrow it.
        """
        if isinstance(self.arrays, Dataset):
            return self.arrays
        x, y = self._numbers()
        return Dataset(x if self.target_name is None else (x, y))

    def encode(self, rows: Any) -> np.ndarray:
        """New rows as features: the columns of the table by their names, whatever their order.

        The result goes where x of the table went: to a scaler, and to `fn.predict(model, x)`.

        Args:
            rows: a frame of pandas or polars, a dictionary of columns, a dictionary of the values of one
                row, a list of dictionaries, or an array [n, features], whose columns are found by place.
                The target may be among the columns; it is not used.

        Returns:
            The features, float64 of NumPy [n, features].

        Raises:
            ValueError: if a column is missing, or neither a feature nor the target, or holds something
                else than finite numbers. `fn.tabular.Schema.encode` reads text, dates and gaps.
        """
        return encode_by_name(rows, self.feature_names, self.target_name, self.task)

    @property
    def _is_whole(self) -> bool:
        """Whether `arrays` is not a tuple."""
        return isinstance(self.arrays, Dataset) or self.target_name is None

    def _parts(self, rows: int | None = None) -> tuple[Any, Any]:
        """The features and the targets of the first rows, or of all; without a target, zeros."""
        given = self.arrays[:rows] if self._is_whole else self.arrays
        return (given, np.zeros(len(self))) if self.target_name is None else given

    def to_pandas(self) -> Any:
        """All columns as a frame of pandas, the target last, with classes by their names.

        Example:
            >>> import funcnet as fn
            >>> frame = fn.data.load("iris").to_pandas()
            >>> frame.shape, frame["class"][0]
            ((150, 5), 'setosa')
        """
        import pandas

        x, y = self._parts()
        y = np.asarray(self.class_names, object)[np.asarray(y)] if self.class_names else np.asarray(y)
        if not isinstance(x, pandas.DataFrame):
            x = pandas.DataFrame(np.asarray(x), columns=list(self.feature_names))
        if self.target_name is None:
            return x.copy()
        frame = pandas.concat([x, pandas.Series(y, x.index, name=self.target_name)], axis=1)
        frame.attrs = dict(x.attrs)
        return frame

    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The arrays as numbers that float32 can hold; errors have the names of columns."""
        x, y = self._parts()
        if hasattr(x, "columns"):
            x = _file.numbers(x, self.name, _file.advice(self.task))
        target = f"the target {self.target_name!r}"
        for j, name in enumerate(self.feature_names if np.ndim(x) == 2 else ()):
            _check.fits_float32(f"column {name!r}", x[:, j])
        _check.fits_float32(target, y)
        advice = (
            "The estimators of fn.sklearn scale it in float64 before they narrow it. By hand: "
            "x, y = (np.asarray(a) for a in table.arrays); {0} = fn.data.Scaler.fit({0}).transform({0})."
        )
        _check.keeps_digits("x", x, self.feature_names, advice=advice.format("x"))
        _check.keeps_digits(target, y, advice=advice.format("y"))
        return x, y

    @property
    def task(self) -> Task | None:
        """ "classification" or "regression"; None without a target."""
        if self.target_name is None:
            return None
        return "classification" if self.class_names else "regression"


def _cell(value: Any) -> str:
    """A value of a table in a notebook."""
    if isinstance(value, float | np.floating | jax.Array):
        return f"{float(value):.6g}"
    return str(value)


def load(
    name: str | os.PathLike[str] | Any,
    target: str | int | None = -1,
    task: Task | None = None,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    missing: Sequence[str] = (),
) -> Table:
    """Load a table by its name, from a file of text or Parquet, or from a frame of pandas or polars.

    Args:
        name: "iris", "digits", "breast-cancer", "wine", "diabetes" (scikit-learn's copies),
            "fashion-mnist" (70,000 images, 784 pixels in 0 .. 1, training rows first; from Debian's
            package dataset-fashion-mnist or the folder in $FASHION_MNIST), or the path of a file: text
            with a header, such as CSV (possibly compressed: .gz, .bz2, .xz, .zst), or Parquet (needs
            pyarrow); "-" is stdin; or a frame in memory, whose index is not a column.
        target: the column to predict, by its name or its place; by default the last one. Rows without it
            are left out. None if there is none: then all columns are features.
        task: "classification" or "regression", for a file or a frame. By default text, booleans and at
            most 20 integers that count from 0 or 1 are classes. Numbers may be written as in "1.234,50 €".
        separator: of the columns of a text; found by default.
        encoding: of a text; by default that of its byte order mark, UTF-8, or Windows-1252.
        decimal: the decimal mark of its numbers, "." or ","; found by default.
        missing: words, or numbers such as "-999", that mean that the target is missing; those of other
            columns are an argument of `fn.tabular.Schema.fit`.

    Returns:
        A Table, with all digits of the file. If all features are numbers and none is missing, `table.data`
        is a Dataset. With text, dates or gaps, pass `*table.arrays` to an estimator of `fn.sklearn`, or
        `table.arrays[0]` to `fn.tabular.Schema.fit`.

    Raises:
        FileNotFoundError: if there is no such table or file.
        TypeError: if `name` is neither a path nor a frame, `missing` is not a sequence of strings, or
            another argument is not a string.
        ValueError: if the table is empty; if the target is unknown, missing everywhere or of one class; if
            the file is damaged, or a package that reads it is not installed.

    Example:
        >>> import funcnet as fn
        >>> wine = fn.data.load("wine")
        >>> wine.data.arrays[0].shape, wine.feature_names[0]
        ((178, 13), 'alcohol')
        >>> import pandas
        >>> frame = pandas.DataFrame({"area": [50.0, 70.0], "city": ["Oslo", "Rome"]})
        >>> fn.data.load(frame, target="city")
        Table('frame', 2 rows, 1 features, classes of 'city': Oslo, Rome)
    """
    if isinstance(name, str) and name in NAMES:
        if target not in (-1, None) or task or separator or encoding or decimal:
            raise ValueError(
                f"target and task must be None unless the table is a file, and so must separator, encoding "
                f"and decimal, got {name!r}, which has its own. Try fn.data.load({name!r})."
            )
        table = _load_fashion_mnist() if name == "fashion-mnist" else _load_bundled(name)
        if target is not None:
            return table
        x, _ = table.arrays.arrays
        return dataclasses.replace(table, arrays=Dataset(x), target_name=None, class_names=())
    if hasattr(name, "collect"):
        raise TypeError(
            f"name must be a frame in memory, got a {type(name).__name__}. Try frame.collect()."
        )
    in_memory = hasattr(name, "columns") and hasattr(name, "dtypes")
    if in_memory and (separator or encoding or decimal):
        raise ValueError(
            "separator, encoding and decimal must be None unless name is a file of text, got a "
            f"{type(name).__name__}. Try fn.data.load(frame, target='y')."
        )
    if not in_memory:
        _check.path("name", name)
    if not (target is None or isinstance(target, str)):
        target = _check.integer("target", target, -1)
    if target is None and task is not None:
        raise ValueError(f"task must be None without a target, got {task!r}.")
    path = Path("frame" if in_memory else name)
    if not in_memory and name != "-" and (path.is_dir() or not path.exists()):
        matches = difflib.get_close_matches(path.name.lower(), NAMES, 1)
        hint = f" Did you mean {matches[0]}?" if matches else ""
        raise FileNotFoundError(
            f"name must be a table or a file, and there is none called {printable(str(name))}.{hint} Known "
            f"tables: {', '.join(NAMES)}."
        )
    if isinstance(missing, str) or not all(isinstance(word, str) for word in missing):
        raise TypeError(
            f'missing must be a sequence of words, got {_check.describe(missing)}. Try missing=("NA",).'
        )
    if in_memory:
        frame = _file.from_memory(name, path)
    else:
        frame = _file.read_frame(path, separator, encoding, decimal=decimal)
    return _choose_target(frame, path, target, task, missing)


def _load_bundled(name: str) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name.replace('-', '_')}")()
    x = np.asarray(bunch.data, np.float32)
    features = tuple(str(f) for f in bunch.feature_names)
    if name == "diabetes":
        return Table(name, Dataset((x, np.asarray(bunch.target, np.float32))), features, "progression")
    data = Dataset((x, np.asarray(bunch.target, np.int32)))
    return Table(name, data, features, "class", tuple(str(c) for c in bunch.target_names))


def _load_fashion_mnist() -> Table:
    folder = Path(os.environ.get("FASHION_MNIST", FASHION_MNIST))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {folder}. Install it: apt-get install dataset-fashion-mnist; or "
            "set FASHION_MNIST to a folder with its four .gz files."
        )
    parts = [
        (
            _read_idx(folder / f"{part}-images-idx3-ubyte.gz"),
            _read_idx(folder / f"{part}-labels-idx1-ubyte.gz"),
        )
        for part in ("train", "t10k")
    ]
    images = np.concatenate([x.reshape(len(x), -1) for x, _ in parts])
    labels = np.concatenate([y for _, y in parts]).astype(np.int32)
    pixels = tuple(f"pixel {row},{column}" for row in range(28) for column in range(28))
    data = Dataset((images.astype(np.float32) / np.float32(255), labels))
    sizes = tuple(len(y) for _, y in parts)
    return Table("fashion-mnist", data, pixels, "class", FASHION_CLASSES, sizes)


def _read_idx(path: Path) -> np.ndarray:
    """Read an array in the IDX format: two zeros, a type, a rank, big-endian sizes, the bytes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    if raw[:3] != b"\0\0\x08" or rank not in (1, 3):
        raise ValueError(
            f"{path} is not an IDX file of bytes. Try apt-get install --reinstall dataset-fashion-mnist."
        )
    sizes = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def _choose_target(
    frame: Any, path: Path, target: str | int | None, task: Task | None, missing: Sequence[str]
) -> Table:
    if target is None:
        return Table(_table_name(path), frame, tuple(frame.columns), None)
    if len(frame.columns) < 2:
        raise ValueError(
            f"{path} must have a header and at least two columns, got only the column "
            f"{quoted(frame.columns[0])}. If it is a feature: target=None. If another character "
            "separates them, name it: separator=':'."
        )
    if isinstance(target, int) and -len(frame.columns) <= target < len(frame.columns):
        target = frame.columns[target]
    if target not in frame.columns:
        raise ValueError(
            f"target must be a column of {path}: {_file.join_names(frame.columns)}; got "
            f"{_check.describe(target)}."
        )
    found = read_target(frame[target], task, path, missing)
    x = frame.drop(columns=target)[found.is_known].reset_index(drop=True)
    return Table(
        _table_name(path),
        (x, found.values[found.is_known]),
        tuple(x.columns),
        str(target),
        found.classes,
        rows_without_target=int((~found.is_known).sum()),
        why=found.why,
        target_read_as=found.read_as,
    )


def _table_name(path: Path) -> str:
    """The name of a file without its suffix, and that of its compression."""
    if str(path) == "-":
        return "stdin"
    is_compressed = path.suffix.lower() in _file.COMPRESSED_SUFFIXES
    return Path(path.stem).stem if is_compressed else path.stem
