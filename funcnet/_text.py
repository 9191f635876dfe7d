"""Text for a terminal."""

import unicodedata

ISOLATES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of the text that follows."""


def printable(text: str) -> str:
    r"""The text with control characters as escape sequences: a terminal would obey them.

    Line feeds stay, and so do tabs. Names of columns, classes and files come from other people.

    Example:
        >>> from funcnet._text import printable
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _is_control(c) else c for c in text)


def quoted(text: str, limit: int = 60) -> str:
    """The repr of a text, cut if it is long: a cell of a file can have any length.

    Example:
        >>> from funcnet._text import quoted
        >>> quoted("a" * 1000, 8)
        "'aaaaaaaa…'"
    """
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def _is_control(c: str) -> bool:
    return c in ISOLATES or (c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp"))
