"""Tables in a terminal. The one file that knows rich."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print names and what belongs to them, one to a line, under a title."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name, "dim"), Text(value))
    Console().print(table)


def print_scores(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose others are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if i else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal's stderr what is going on while this lasts; say nothing in a pipe."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(what)):
        yield


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr; call what it gives with how many more are done. Silent in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, done = bar.add_task(f"{what} (compiling)", total=total), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(task, completed=done, description=what)

        yield advance
