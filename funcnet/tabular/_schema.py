"""How the columns of a table are read: decided once, when a model is trained, and obeyed ever after."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from funcnet import _check, _files
from funcnet._text import printable
from funcnet.data._parse import DECIMAL_COMMA
from funcnet.data._text_file import DECIMAL
from funcnet.tabular import _column, _decide, _frame
from funcnet.tabular._column import LARGEST, Column
from funcnet.tabular._features import Features

Task = Literal["classification", "regression"]

HEADER = ("column", "role", "read as", "missing", "why")


@dataclasses.dataclass(frozen=True)
class Schema:
    """How the columns of a table are read. It is decided from the training rows, and new rows obey it.

    Args:
        columns: one `Column` for each column of the table.
        is_named: whether the columns have names of their own, by which those of new rows are found; the
            columns of an array are found by their place.
        target: the name of the predicted column, if known.
        task: "classification" or "regression", if known.
        rows_without_target: number of rows that were left out since their target is missing.
        missing: the words that were given to `fit` as missing; they hold for the target, too.
        decimal: the decimal mark of the file, by which 1.234 is read where a column does not show it.
        target_read_as: how the numbers of the target are written in the file, as in `Column.read_as`, if
            known.

    Raises:
        ValueError: from `encode`, if new rows can't be read as the training rows were.

    Example:
        >>> import pandas, funcnet as fn
        >>> train = pandas.DataFrame({
        ...     "area": ["50", "1,250.5", "n.a.", "80"],
        ...     "city": ["Oslo", "Rome", "Rome", None],
        ...     "sold": ["2024-05-01", "2024-06-01", "2025-01-31", "2025-02-01"],
        ... })
        >>> schema = fn.tabular.Schema.fit(train)
        >>> [(column.name, column.role, column.missing) for column in schema.columns]
        [('area', 'number', 1), ('city', 'category', 1), ('sold', 'date', 0)]
        >>> features = schema.encode(train[1:2])
        >>> features.numbers[0, 0].item(), features.codes.tolist()
        (1250.5, [[1]])
        >>> fn.tabular.Schema.from_dict(schema.to_dict()) == schema
        True
    """

    columns: tuple[Column, ...]
    is_named: bool = True
    target: str | None = None
    task: Task | None = None
    rows_without_target: int = 0
    missing: tuple[str, ...] = ()
    decimal: Literal[".", ","] = "."
    target_read_as: str | None = None

    @staticmethod
    def fit(
        X: Any,
        *,
        roles: Mapping[str, str] | None = None,
        missing: Sequence[str] = (),
        dayfirst: bool | None = None,
    ) -> "Schema":
        """Decide how each column is read.

        A column of numbers, booleans or dates is what it is. Text is numbers if most of it is (a few words
        among them are missing values), dates if most of it is, and categories otherwise: words such as
        "NA" or "None" are categories like all others. Codes with leading zeros are categories. Constants,
        identifiers (all text different), free text, and a first column of row numbers without a name, or
        called "id", "index", "row" and the like, are dropped.

        Args:
            X: a frame of pandas or polars, or an array [rows, columns].
            roles: overrules the role of a column by name: "number", "category", "boolean", "date" or
                "dropped". The columns of an array are called "x0", "x1", …
            missing: words, or numbers such as "-999", that count as missing in every column, in addition to
                blank cells.
            dayfirst: whether 01/02/2024 is the first of February; by default the column decides, and if it
                can't, it is refused.

        Returns:
            A Schema.

        Raises:
            TypeError: if X is sparse, or an argument has the wrong type.
            ValueError: if X has no rows or no columns, an infinity, two columns of one name, or dates
                whose day and month can't be told apart; or if a role is unknown.
        """
        roles, words = _check_roles(roles), _check_words(missing)
        columns, is_named = _frame.read(X)
        if not columns or not len(columns[0].values):
            raise ValueError(
                f"X must have at least one row and one column, got {_size(columns)}. Pass [rows, columns]."
            )
        if unknown := [name for name in roles if name not in {column.name for column in columns}]:
            raise ValueError(
                f"roles must be of columns of X, got {unknown[0]!r}. Its columns are {_names(columns)}."
            )
        decimal = getattr(X, "attrs", {}).get(DECIMAL, ".")
        decided, doubts = [], []
        for j, raw in enumerate(columns):
            try:
                column = _decide.column(
                    raw,
                    roles.get(raw.name),
                    words,
                    dayfirst,
                    decimal == ",",
                    may_be_index=is_named and j == 0 and len(columns) > 1,
                    may_drop=is_named,
                )
            except ValueError as error:  # all of them are told at once
                doubts.append(error)
            else:
                decided.append(column)
        if len(doubts) == 1:
            raise doubts[0]
        if doubts:
            raise ValueError(f"{len(doubts)} columns can't be read. " + " ".join(map(str, doubts)))
        return Schema(tuple(decided), is_named, missing=tuple(sorted(words)), decimal=decimal)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each column, dropped ones included."""
        return tuple(column.name for column in self.columns)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The name of each column of `Features.numbers`; the parts of a date are called `column.part`."""
        return tuple(name for column in self.columns for name in column.number_names)

    @property
    def category_names(self) -> tuple[str, ...]:
        """The name of each column of `Features.codes`."""
        return tuple(column.name for column in self.columns if column.role == "category")

    def encode(self, X: Any) -> Features:
        """Read rows as the training rows were read.

        Args:
            X: a frame or an array with the columns of `fit`. Those of a frame are found by name, in any
                order; those of an array by their place.

        Returns:
            Features. A category that is not in the training rows has the code -1.

        Raises:
            TypeError: if X is sparse.
            ValueError: if a column is missing or not in the schema, or holds something else than in
                training, such as a word that was never seen among numbers.
        """
        if isinstance(X, np.ndarray) and X.dtype.kind in "iuf" and self._is_all_numbers:
            return self._encode_numbers(X)
        columns = self._find(X)
        rows = len(columns[0].values)
        is_comma = getattr(X, "attrs", {}).get(DECIMAL) == ","
        numbers = np.empty((rows, len(self.number_names)))  # filled in place: a table may be large
        codes = np.empty((rows, len(self.category_names)), np.int32)
        place, category = 0, 0
        for column, raw in zip(self.columns, columns, strict=True):
            if column.role == "category":
                codes[:, category] = column.codes(raw)
                category += 1
            elif column.role != "dropped":
                if is_comma and column.read_as == "number" and raw.kind == "text":  # as the file writes it
                    column = dataclasses.replace(column, read_as=DECIMAL_COMMA)
                width = len(column.number_names)
                numbers[:, place : place + width] = column.numbers(raw)
                place += width
        sizes = tuple(len(column.categories) for column in self.columns if column.role == "category")
        return Features(numbers, codes, sizes)

    def unknown_categories(self, X: Any, name: str) -> dict[str, int]:
        """The values of a category in new rows that are not in the training rows, with their numbers.

        Args:
            X: rows, as for `encode`.
            name: of the column.

        Returns:
            The number of rows by value; gaps are not counted.

        Raises:
            ValueError: if there is no such column of categories.
        """
        if name not in self.category_names:
            raise ValueError(f"name must be a category: {_quote(list(self.category_names))}; got {name!r}.")
        j = self.names.index(name)
        return _column.unknown(self.columns[j], self._find(X)[j])

    def changed_constants(self, X: Any) -> dict[str, dict[str, int]]:
        """Columns that were dropped because all training rows had one value, with other values in new rows.

        Args:
            X: rows, as for `encode`.

        Returns:
            By column, the number of rows by value; gaps are not counted.
        """
        constants = [j for j, c in enumerate(self.columns) if c.role == "dropped" and c.categories]
        columns = self._find(X) if constants else []
        changed = {self.names[j]: _column.other_values(self.columns[j], columns[j]) for j in constants}
        return {name: counts for name, counts in changed.items() if counts}

    @property
    def _is_all_numbers(self) -> bool:
        return all(column.role == "number" and not column.words for column in self.columns)

    def _encode_numbers(self, X: np.ndarray) -> Features:
        """An array as it is: faster than column by column, and without a copy if it is float64."""
        if X.ndim != 2 or X.shape[1] != len(self.columns):
            self._find(X)  # which raises
        numbers = np.asarray(X, np.float64)
        is_too_large = (numbers > LARGEST) | (numbers < -LARGEST)
        if is_too_large.any():
            column = int(np.flatnonzero(is_too_large.any(axis=0))[0])
            self.columns[column].numbers(_frame.read(X[:, column : column + 1])[0][0])  # which raises
        return Features(numbers, np.zeros((len(X), 0), np.int32), ())

    def to_dict(self) -> dict[str, Any]:
        """The schema as a dictionary that JSON can hold: the content of schema.json."""
        return {
            "target": self.target,
            "task": self.task,
            "is_named": self.is_named,
            "columns": [column.to_dict() for column in self.columns],
            "rows_without_target": self.rows_without_target,
            "missing": list(self.missing),
            "decimal": self.decimal,
            "target_read_as": self.target_read_as,
        }

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> "Schema":
        """Build a schema from the dictionary of `to_dict`.

        Args:
            state: as returned by `to_dict`, possibly through JSON.

        Returns:
            An equal Schema.

        Raises:
            ValueError: if `state` is not such a dictionary.
        """
        kind = {
            **{"target": (str, None), "task": (str, None), "is_named": bool, "rows_without_target": int},
            **{"columns": [{}], "missing": [str], "decimal": str},
        }
        if (
            not _files.has_kind(state, kind)
            or state["task"] not in ("classification", "regression", None)
            or state["decimal"] not in (".", ",")
            or not _files.has_kind(read_as := state.get("target_read_as"), (str, None))  # not in old files
        ):
            raise ValueError(f"state must be a dictionary of Schema.to_dict, got {_check.describe(state)}.")
        columns = tuple(Column.from_dict(column) for column in state["columns"])
        names = ("is_named", "target", "task", "rows_without_target")
        given = {name: state[name] for name in names} | {"target_read_as": read_as}
        return Schema(columns, **given, missing=tuple(state["missing"]), decimal=state["decimal"])

    def __str__(self) -> str:
        """A table of the columns: name, role, read as, missing, why."""
        rows = [tuple(map(printable, row)) for row in (HEADER, *self._cells())]
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row[:4], widths, strict=True)), row[4]])
            for row in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        from funcnet import _html

        kind = f"{self.task} of {self.target}" if self.task and self.target else self.task or self.target
        caption = f"How {len(self.columns):,} columns are read{f', for {kind}' if kind else ''}"
        return _html.fragment(_html.Table(caption, HEADER, self._cells()))

    def _cells(self) -> list[tuple[str, ...]]:
        return [(c.name, c.role, c.read_as, f"{c.missing:,}", c.why) for c in self.columns]

    def _find(self, X: Any) -> list[_frame.RawColumn]:
        """The columns of X in the order of the schema."""
        columns, is_named = _frame.read(X)
        if not (self.is_named and is_named):
            if len(columns) != len(self.columns):
                raise ValueError(
                    f"X must have the {len(self.columns)} columns of the training rows, got {len(columns)}."
                )
            return columns
        by_name = {column.name: column for column in columns}
        if missing := [name for name in self.names if name not in by_name]:
            raise ValueError(
                f"X must have the columns of the training rows, got none called {_quote(missing)}. Its "
                f"columns are {_names(columns)}."
            )
        if more := [name for name in by_name if name not in self.names]:
            raise ValueError(
                f"X must have only the columns of the training rows, got {_quote(more)} as well. Drop what "
                "is not known when a prediction is made."
            )
        return [by_name[name] for name in self.names]


def check_not_empty(schema: Schema) -> None:
    """Raise a ValueError if all columns were dropped."""
    if not schema.number_names and not schema.category_names:
        column = schema.columns[0]
        role = "category" if column.read_as == "text" else "number"
        raise ValueError(
            f"X must have a column that differs between rows, but all were dropped:\n{schema}\nTry "
            f"preprocessing={{'{column.name}': '{role}'}}."
        )


def _check_roles(roles: Any) -> dict[str, str]:
    if roles is None:
        return {}
    if not isinstance(roles, Mapping) or not all(isinstance(name, str) for name in roles):
        raise TypeError(
            f"roles must be a dictionary from names of columns to roles, got {_check.describe(roles)}. Try "
            'roles={"postcode": "category"}.'
        )
    for name, role in roles.items():
        _check.choice(f"the role of column {name!r}", role, _decide.ROLES)
    return dict(roles)


def _check_words(missing: Any) -> frozenset[str]:
    if isinstance(missing, str) or not all(isinstance(word, str) for word in missing):
        raise TypeError(
            f"missing must be a sequence of words, got {_check.describe(missing)}. Try "
            'missing=("NA", "unknown").'
        )
    return frozenset(word.strip() for word in missing)


def _size(columns: list[_frame.RawColumn]) -> str:
    return f"{len(columns[0].values) if columns else 0} rows and {len(columns)} columns"


def _names(columns: list[_frame.RawColumn]) -> str:
    return _quote([column.name for column in columns])


def _quote(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more
