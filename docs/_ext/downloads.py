"""Each page whose code runs is also a notebook to download, without its outputs."""

import pathlib
import re
from typing import Any

import jupytext
from docutils import nodes
from sphinx.application import Sphinx

EXECUTED = "---\nfile_format: mystnb\n"
FOLDER = "_notebooks"


def add_notebook(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Write the notebook of a page beside the site; templates link it by the variable `notebook`."""
    if page not in app.env.found_docs:
        return
    source = pathlib.Path(app.env.doc2path(page))
    text = source.read_text() if source.suffix == ".md" else ""
    if not text.startswith(EXECUTED):
        return
    path = f"{FOLDER}/{page}.ipynb"
    target = pathlib.Path(app.outdir, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(jupytext.reads(readable(text), fmt="md:myst"), target)
    context["notebook"] = context["pathto"](path, resource=True)


def readable(text: str) -> str:
    """Markdown that Jupyter shows: roles are code, and the kernel has a name to display."""
    text = text.replace("  name: python3\n", "  name: python3\n  display_name: Python 3\n", 1)
    return re.sub(r"\{[\w:]+\}(`[^`]+`)", r"\1", text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", add_notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
