"""What notebooks show of the results of studies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from funcnet import _html, _tree


def show_table(caption: str, columns: Sequence[Any], rows: Iterable[Sequence[Any]], count: int = 0) -> str:
    """A table of values; `count` is the number of rows, if only the first ones are given."""
    cells = [[_format(value) for value in row] for row in rows]
    return _html.fragment(_html.Table(caption, [str(column) for column in columns], cells, count))


def show_scores(
    caption: str, x_name: str, x: Sequence[Any], means: Mapping[str, Any], errors: Mapping[str, Any]
) -> str:
    """Means ± standard errors, each [points] by name: a row for each point."""
    names = list(means)
    columns = [
        [f"{_format(m)} ± {_format(e)}" for m, e in zip(means[n], errors[n], strict=True)] for n in names
    ]
    return show_table(caption, [x_name, *names], zip(x, *columns, strict=True))


def is_shown(result: Any, ndim: int, *leaves: Any) -> bool:
    """Whether a result is concrete, and its leaves have the number of axes of a single study."""
    is_array = all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves)
    return _tree.is_concrete(result) and is_array and all(np.ndim(leaf) == ndim for leaf in leaves)


def _format(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if value.shape:
            return _tree.dtype_and_shape(value)
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(getattr(value, "__name__", value))
