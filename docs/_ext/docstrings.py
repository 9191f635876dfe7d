"""Docstrings as they are written for `help()`, turned into reStructuredText for napoleon.

Single backticks are code, and links where they hold a public name; an indented block after a blank line is
code or a formula; tables are those of Markdown; a paragraph that begins with "Source:" is a field.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from public_names import aliases, members, namespaces, pages
from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Yields):")
ITEMS = ("Args", "Attributes", "Raises")  # sections of items `name: text`
CODE = re.compile(r"`([^`]+)`(?=(\w?))", re.DOTALL)
STRONG = re.compile(r"(?<![\w*])(\*\*?)(?=[^\s*])([^*]*[^\s*])\1(?![\w*])")


def convert(app: Sphinx, what: str, path: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn the lines of a docstring into reStructuredText, in place."""
    scope = Scope(what, path, value)
    lines[:] = [line for block in blocks(lines) for line in scope.render(block)]
    if what in ("attribute", "data", "property") and lines:
        # napoleon would take the part of the first line before a colon for a type.
        lines[:1] = lines[0].split(" ", 1)


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without a blank line."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


class Scope:
    """The object whose docstring is converted, and the section that has been reached."""

    def __init__(self, what: str, path: str, value: Any) -> None:
        self.section: str | None = None
        self.own = path
        self.module = path
        while self.module and self.module not in namespaces():
            self.module = self.module.rpartition(".")[0]
        owner = pages().get(path.rpartition(".")[0])
        self.parameters = parameters(value) | (parameters(owner.value) if owner else set())

    def render(self, block: list[str]) -> Iterator[str]:
        """The lines of a block, and a blank line."""
        if not block[0].startswith(" "):
            self.section = None
        if heading := SECTION.fullmatch(block[0]):
            self.section = heading[1]
            block = block[1:]
            if self.section == "Returns":
                yield from self.returns(block)
                return
            yield heading[0]
        if block and self.section is None and block[0].startswith("    "):
            yield from ["::", "", *(f"   {line}" for line in block), ""]
        elif block and block[0].lstrip().startswith("|"):
            yield from self.table(block)
        elif block and block[0].startswith("Source: "):
            yield from field("source", self.prose([block[0].removeprefix("Source: "), *block[1:]]))
        else:
            yield from self.text(block)
        yield ""

    def returns(self, block: list[str]) -> Iterator[str]:
        # napoleon would take the part before a colon for the type.
        yield from field("returns", self.prose([line.strip() for line in block]))
        yield ""

    def text(self, block: list[str]) -> Iterator[str]:
        """Prose; examples are left as they are."""
        for number, line in enumerate(block):
            if line.lstrip().startswith(">>> "):
                yield from self.prose(block[:number])
                yield from ([""] if number else [])
                yield from block[number:]
                return
        yield from self.prose(block)

    def prose(self, lines: list[str]) -> list[str]:
        return self.inline("\n".join(lines)).split("\n")

    def inline(self, text: str) -> str:
        """Code and emphasis as they are marked; all other characters stand for themselves."""
        parts, end = [], 0
        for code in CODE.finditer(text):
            parts += [escape(text[end : code.start()]), self.code(code[1]), r"\ " if code[2] else ""]
            end = code.end()
        return "".join([*parts, escape(text[end:])])

    def code(self, text: str) -> str:
        if target := self.find(text):
            return f":py:obj:`{text} <{target}>`"
        return f"``{' '.join(text.split())}``"

    def find(self, text: str) -> str | None:
        """The path of the public name that the text is, or None."""
        if not re.fullmatch(r"[A-Za-z_][\w.]*", text) or text in self.parameters:
            return None
        text = re.sub(r"^fn\.", "funcnet.", text)
        first = text.partition(".")[0]
        candidates = [text, f"{self.module}.{text}"]
        if f"funcnet.{first}" in namespaces() or first[0].isupper():
            candidates += [f"{module}.{text}" for module in namespaces()]
        for candidate in candidates:
            target = documented(candidate)
            # `train` is a training function, and not the namespace.
            if target and target != self.own and ("." in text or target not in namespaces()):
                return target
        return None

    def table(self, block: list[str]) -> Iterator[str]:
        """A table of Markdown; a row with an empty first cell continues the row before it."""
        rows: list[list[str]] = []
        for line in block:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                continue
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        yield from [".. list-table::", "   :header-rows: 1", ""]
        for first, *rest in rows:
            yield f"   * - {self.inline(first)}"
            yield from (f"     - {self.inline(cell)}" for cell in rest)


def field(name: str, lines: list[str]) -> Iterator[str]:
    yield f":{name}: {lines[0]}"
    yield from (f"    {line}" for line in lines[1:])


def parameters(value: Any) -> set[str]:
    try:
        return set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return set()


def documented(path: str) -> str | None:
    """The path by which the reference lists a name, a member of a class or a namespace; or None."""
    if path in pages() or path in namespaces():
        return path
    if path in aliases():
        return aliases()[path]
    owner, _, member = path.rpartition(".")
    owner = aliases().get(owner, owner)
    if (
        owner in pages()
        and inspect.isclass(pages()[owner].value)
        and member in members(pages()[owner].value)
    ):
        return f"{owner}.{member}"
    return None


def escape(text: str) -> str:
    """Text without markup but `*emphasis*` and `**strong**`."""
    parts, end = [], 0
    for marked in STRONG.finditer(text):
        parts += [plain(text[end : marked.start()]), marked[0]]
        end = marked.end()
    return "".join([*parts, plain(text[end:])])


def plain(text: str) -> str:
    # The stars of a parameter `*steps: ...` are left to napoleon.
    text = re.sub(r"(?m)(^ +\*{1,2}(?=\w+:))|\*", lambda star: star[1] or r"\*", text)
    text = text.replace("|", r"\|")
    return re.sub(r"(?<=\w)_(?![\w:])", r"\_", text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", convert, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
