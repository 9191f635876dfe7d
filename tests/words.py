"""The field's words: finds phrases of `phrases.txt` in what users and maintainers read.

    python tests/words.py     # prints file, line, phrase and what to write instead

Nothing but Python is imported, so that it also runs before each commit.
"""

import bisect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Text that may hold a phrase: (file, a part of the line).
ALLOWED: set[tuple[str, str]] = set()


def _phrases() -> list[tuple[re.Pattern[str], str]]:
    lines = (ROOT / "tests/phrases.txt").read_text().splitlines()
    pairs = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return [(re.compile(pattern), instead) for pattern, instead in pairs]


def _join_lines(text: str) -> tuple[str, list[int]]:
    """The text with each paragraph, comment and split string on one line, and where each line starts."""
    joined, starts = "", []
    for line in text.splitlines():
        starts.append(len(joined))
        line = re.sub(r'^\s*(#+ |[rf]?")?', "", line).rstrip()
        line = line[:-1].rstrip() if line.endswith(' "') else line
        joined += f"{line} " if line else "\n"
    return joined, starts


def matches(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, phrase, what to write instead) of every phrase in a text, over the ends of lines, too."""
    joined, starts = _join_lines(text)
    for pattern, instead in _phrases():
        for match in pattern.finditer(joined):
            yield bisect.bisect(starts, match.start()), match.group(), instead


def _texts() -> Iterator[tuple[str, str]]:
    """(path, text) of what users and maintainers read."""
    paths = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    paths += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "funcnet").rglob("*.py*")]
    for path in sorted(path for path in paths if path.suffix in {".md", ".py", ".pyi"}):
        yield str(path.relative_to(ROOT)), path.read_text()
    # The table of new names quotes the old ones.
    changes = (ROOT / "CHANGELOG.md").read_text()
    yield "CHANGELOG.md", re.sub(r"(?m)^\|.*\|$", "", changes)


def phrases_to_replace() -> list[str]:
    """A line for each phrase: where it is, and what to write instead."""
    found = []
    for path, text in _texts():
        lines = text.splitlines()
        for line, phrase, instead in matches(text):
            if not any(path == file and part in lines[line - 1] for file, part in ALLOWED):
                found.append(f"{path}:{line}: {phrase!r}; write: {instead}")
    return found


if __name__ == "__main__":
    found = phrases_to_replace()
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
