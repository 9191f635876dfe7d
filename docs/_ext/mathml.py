"""Formulas as MathML, which browsers draw without a script and screen readers read."""

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
NAMESPACE = "http://www.w3.org/1998/Math/MathML"


def mathml(latex: str, display: str, node: nodes.Element) -> str:
    """The formula as an element `<math>`, whose `alttext` is its LaTeX."""
    latex = " ".join(latex.split())
    try:
        root = ElementTree.fromstring(convert(latex, display=display))
    except Exception as error:
        LOGGER.warning("latex2mathml can't convert %s: %r", latex, error, location=node)
        return ""
    unknown = [element.text for element in root.iter() if element.text and "\\" in element.text]
    if unknown:
        LOGGER.warning("latex2mathml does not know %s in %s", ", ".join(unknown), latex, location=node)
    root.set("alttext", latex)
    ElementTree.register_namespace("", NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline", node))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    # A formula that is wider than a phone scrolls by itself; `tabindex` lets the keyboard scroll it.
    attributes = {"class": "math-block", "tabindex": "0"}
    translator.body.append(translator.starttag(node, "div", **attributes))
    if node.get("number"):
        translator.body.append(f'<span class="eqno">({node["number"]})</span>')
    latex = re.sub(r"\\label\{[^}]*\}", "", node.astext())
    translator.body.append(mathml(latex, "block", node) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
