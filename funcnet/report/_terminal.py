"""Tables in a terminal, without the control characters of names."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from funcnet._text import printable


def print_summary(title: str, summary: Mapping[str, str]) -> None:
    """Print names and values, one pair a line, under a title."""
    from rich import box
    from rich.table import Table

    table = Table(title=_text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary.items():
        table.add_row(_text(name, "dim"), _text(value))
    _console().print(table)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, its first column left-aligned and the others right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        table.add_column(_text(name), justify="right" if i else "left")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    _console().print(table)


def _console() -> Any:
    """The console of stdout; where that is a pipe or a file, no line is too long."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=10_000)


@contextlib.contextmanager
def show_progress(
    message: str, total: int | None = None, *, is_quiet: bool = False
) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr, if it is a terminal and `is_quiet` is False.

    Yields a function that adds finished items, and may be told how many there are.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:  # a disabled bar of older rich prints an empty line
        yield lambda count, total=None: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        message = printable(message)
        task, done = bar.add_task(f"{message} (compiling)", total=total), 0

        def advance(count: int, total: int | None = None) -> None:
            nonlocal done
            done += count
            bar.update(task, completed=done, total=total, description=message)

        yield advance


def _text(text: str, style: str = "") -> Any:
    """Text without markup and control characters."""
    from rich.text import Text

    return Text(printable(text), style)
