"""What axe-core finds in the HTML of Sphinx and of the theme, mended in the pages that were written."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# The parameters of a long signature are a list of descriptions without terms.
PARAMETERS = re.compile(r'<dl>\s*(<dd><em class="sig-param">.*?)</dl>', re.DOTALL)
# The button that unfolds pages in the sidebar has no name.
UNFOLD = '<summary><span class="toctree-toggle"'
# The name of the button that shows a cell is not the text that is seen on it.
TOGGLE = '<summary aria-label="Toggle hidden content">'


def mend(html: str) -> str:
    html = PARAMETERS.sub(lambda match: f'<ul class="sig-parameters">\n{_items(match[1])}</ul>', html)
    html = html.replace(TOGGLE, "<summary>")
    return html.replace(UNFOLD, UNFOLD.replace("<summary>", '<summary aria-label="Pages below">'))


def _items(descriptions: str) -> str:
    return descriptions.replace("<dd>", "<li>").replace("</dd>", "</li>")


def mend_pages(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        html = path.read_text()
        if (mended := mend(html)) != html:
            path.write_text(mended)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
