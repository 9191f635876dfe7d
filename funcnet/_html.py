"""HTML: reports as one file that needs no network, and what notebooks show of a result."""

import base64
import dataclasses
import html
from collections.abc import Sequence

from funcnet._text import printable


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph, or lines of code."""

    text: str
    is_code: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its heading.

    `count` is the number of rows, if only the first ones are given.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    count: int = 0


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image, with a sentence that says what it shows to those who can't see it.

    A large one is not made narrower than its text is legible: it can be scrolled sideways.
    """

    png: bytes
    caption: str
    description: str
    is_large: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    title: str
    blocks: Sequence[Text | Table | Picture]


STYLE = """
:root { color-scheme: light dark; }
:root { --ink: #1a1a1a; --paper: #fff; --faint: #444; --line: #ddd; --code: #f4f4f4; --link: #00558c; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --faint: #b8b8b8; --line: #3b3f45; --code: #23262a; }
  :root { --link: #7cc4f5; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
h1, p, figcaption { overflow-wrap: anywhere; }
p { max-width: 44rem; }
nav ul { padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
a { color: var(--link); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.caption { margin: 1rem 0 .3rem; font-size: .9rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); }
th, td { text-align: right; vertical-align: top; }
th { font-weight: 600; } tbody th { font-weight: 400; } td { white-space: nowrap; }
th:first-child, .words { text-align: left; }
th:first-child { padding-left: 0; min-width: 7rem; max-width: 40rem; overflow-wrap: break-word; }
td.long { min-width: 12rem; white-space: normal; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; border-radius: 3px; }
img.large { width: 48rem; max-width: max(100%, 42rem); }
figcaption { font-size: .9rem; color: var(--faint); }
pre { overflow-x: auto; padding: .75rem; background: var(--code); font-size: .85rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 0 1.5rem; } .pictures figure { flex: 0 1 29rem; }
.pictures figure.large { flex: 1 1 100%; min-width: 0; }
@media (max-width: 40rem) {
  th, td { padding: .25rem .4rem; } th:last-child, td:last-child { padding-right: 0; }
  table { font-size: .85rem; } td { white-space: normal; } td.long { min-width: 7rem; }
  th:first-child { min-width: 5rem; max-width: 50vw; } pre { white-space: pre-wrap; }
}
@media print {
  :root { color-scheme: light; } @page { margin: 16mm 14mm; }
  main { max-width: none; padding: 0; } nav { display: none; } body { font-size: 10.5pt; }
  h1, h2, .caption { break-after: avoid; } figure, tr, pre { break-inside: avoid; }
  .wide { overflow: visible; } td { white-space: normal; } pre { white-space: pre-wrap; }
  td.long { min-width: 0; } img.large { max-width: 100%; } .pictures { display: block; }
  .pictures figure { display: inline-block; width: 47%; margin-right: 2%; vertical-align: top; }
  .pictures figure.large { width: 100%; }
}
""".strip()

LONG = 24
"""Characters of a cell that gets a wide column, in which it is broken into lines."""

NOTEBOOK_STYLE = (
    ".funcnet .words { text-align: left; } .funcnet tbody th { font-weight: normal; text-align: left; } "
    ".funcnet .wide { overflow-x: auto; } .funcnet img { max-width: 100%; background: #fff; }"
)
MAX_ROWS, MAX_COLUMNS, MAX_CHARACTERS = 12, 12, 200
"""Rows and columns of a table in a notebook, and characters of a cell."""


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """One HTML file.

    Args:
        title: the heading of the page.
        lead: a sentence below it.
        sections: the parts, in order; empty ones are left out.
    """
    shown = [section for section in sections if section.blocks]
    links = "".join(
        f'<li><a href="#part-{i}">{_text(section.title)}</a></li>' for i, section in enumerate(shown)
    )
    parts = "\n".join(
        f'<section aria-labelledby="part-{i}"><h2 id="part-{i}">{_text(section.title)}</h2>\n'
        f"{_blocks(section.blocks)}</section>"
        for i, section in enumerate(shown)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n"
        '<link rel="icon" href="data:,">\n'
        f"<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n<h1>{_text(title)}</h1>\n"
        f"<p>{_text(lead)}</p>\n"
        f'<nav aria-label="Parts of this report"><ul>{links}</ul></nav>\n{parts}\n'
        "</main>\n</body>\n</html>\n"
    )


def fragment(*blocks: Text | Table | Picture) -> str:
    """What a notebook shows: the blocks, with at most 12 rows and 12 columns of each table."""
    short = [_shorten(block) if isinstance(block, Table) else block for block in blocks]
    return f'<div class="funcnet"><style>{NOTEBOOK_STYLE}</style>\n{_blocks(short)}</div>'


def plain(value: object) -> str:
    """What a notebook shows of a value that is not concrete: its `repr`."""
    return f"<pre>{_text(repr(value))}</pre>"


def _shorten(table: Table) -> Table:
    """The first rows and columns of a table, and the numbers of the others."""
    rows = [_shorten_row(row, "…") for row in table.rows[:MAX_ROWS]]
    columns = _shorten_row(table.columns, f"… {len(table.columns) - MAX_COLUMNS:,} more columns")
    if (more := max(table.count, len(table.rows)) - len(rows)) > 0:
        rows.append([f"… {more:,} more", *[""] * (len(columns) - 1)])
    return Table(table.caption, columns, rows)


def _shorten_row(cells: Sequence[str], rest: str) -> list[str]:
    short = [
        cell if len(cell) <= MAX_CHARACTERS else f"{cell[: MAX_CHARACTERS - 1]}…"
        for cell in cells[:MAX_COLUMNS]
    ]
    return [*short, rest] if len(cells) > MAX_COLUMNS else short


def _blocks(blocks: Sequence[Text | Table | Picture]) -> str:
    """The blocks in order; pictures that follow one another stand side by side where there is room."""
    lines, row = [], []
    for block in [*blocks, None]:
        if isinstance(block, Picture):
            row.append(_picture(block))
            continue
        if row:
            lines.append(f'<div class="pictures">{"".join(row)}</div>\n')
            row = []
        if isinstance(block, Table):
            lines.append(_table(block))
        elif block is not None:
            tag = "pre" if block.is_code else "p"
            lines.append(f"<{tag}{_focus('code') if block.is_code else ''}>{_text(block.text)}</{tag}>\n")
    return "".join(lines)


def _table(table: Table) -> str:
    kinds = [_kind([row[j] for row in table.rows]) for j in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{_class(kind and "words")}>{_text(name)}</th>'
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    rows = []
    for first, *others in table.rows:
        cells = (
            f"<td{_class(kind)}>{_text(_join_numbers(cell))}</td>"
            for cell, kind in zip(others, kinds[1:], strict=True)
        )
        name = _text(first).replace("_", "_<wbr>")  # where a long name may be broken
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    label = f' aria-label="{_text(table.caption)}"'
    return (
        f'<p class="caption">{_text(table.caption)}</p>\n<div class="wide"{_focus(table.caption)}>'
        f"<table{label}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _join_numbers(cell: str) -> str:
    """The cell with no-break spaces, so that no line begins with a dash, ± or %."""
    return cell.replace(" – ", "\u00a0– ").replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def _kind(cells: Sequence[str]) -> str:
    """The classes of a column's cells: words are left-aligned, and long ones may be broken."""
    if not any(cell[:1].isalpha() and cell not in ("inf", "nan", "none") for cell in cells):
        return ""
    return "words long" if max(map(len, cells)) > LONG else "words"


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    large = _class("large" if picture.is_large else "")
    image = f'<img{large} src="data:image/png;base64,{data}" alt="{_text(picture.description)}">'
    if picture.is_large:
        image = f'<div class="wide"{_focus(picture.caption)}>{image}</div>'
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure{large}>{image}{caption}</figure>\n"


def _focus(label: str) -> str:
    """What can be scrolled sideways must be reached by keyboard, and needs a name for that."""
    return f' tabindex="0" role="region" aria-label="{_text(label)}"'


def _text(text: str) -> str:
    return html.escape(printable(text), quote=True)
