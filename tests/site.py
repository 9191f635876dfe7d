"""Checks the built site in headless Chromium: search, console, requests, accessibility, screenshots.

    make docs && npm install --prefix runs/axe axe-core
    .venv/bin/python tests/site.py --axe runs/axe/node_modules/axe-core/axe.min.js --out runs/site

It ends with an error if a term is not found, if a page prints to the console, asks another server or is
wider than its window, or if axe-core has a serious finding. The screenshots are for eyes.
"""

import argparse
import functools
import http.server
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

from browser import Browser

SITE = Path(__file__).parents[1] / "docs" / "_build" / "html"

# What newcomers look for, and a page that the first five results must hold.
TERMS = {
    "early stopping": "howto/early-stopping",
    "dropout": "funcnet.Dropout|course/8|howto/layers",
    "learning rate": "learning_rate|sweeps|course/3",
    "overfitting": "course/8-overfitting",
    "batch size": "course/6|funcnet.fit",
    "checkpoint": "howto/long-runs|why/resume|Checkpoint",
    "resume": "howto/long-runs|why/resume",
    "pytorch": "start/from-pytorch|howto/pytorch-weights",
    "keras": "start/from-keras",
    "scikit-learn": "start/from-scikit-learn|sklearn",
    "csv": "howto/tables|start/afternoon|CSV",
    "missing values": "howto/missing-values",
    "class weights": "howto/imbalance",
    "nan": "howto/nan",
    "ensemble": "howto/ensembles",
    "cross validation": "cross_validate",
    "custom loss": "howto/losses",
    "save model": "howto/export|funcnet.save",
    "confusion matrix": "confusion_matrix",
    "multiple gpus": "howto/clusters|mesh",
}
SCREENS = [
    *(
        "index",
        "start/five-minutes",
        "start/from-pytorch",
        "course/1-tensors-and-gradients",
        "course/8-overfitting",
    ),
    *("howto/ensembles", "reference/generated/funcnet.fit", "why/how-a-run-works", "gallery/index"),
    "benchmarks/index",
]
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1440}
RESULTS = "[...document.querySelectorAll('#search-results li a')].map(a => a.href)"
FINISHED = """new Promise((done, fail) => {
    const end = Date.now() + 30000, timer = setInterval(() => {
        const summary = document.querySelector('.search-summary');
        if (summary && /finished/.test(summary.textContent)) { clearInterval(timer); done(); }
        if (Date.now() > end) { clearInterval(timer); fail('the search does not end'); }
    }, 50);
})"""
AXE = """axe.run(document, {resultTypes: ['violations']}).then(result => result.violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => v.id + ': ' + v.nodes.slice(0, 3)
        .map(n => n.target.join(' ') + ' ' + n.html.slice(0, 120)).join(' | ')))"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def search(browser: Browser, root: str) -> list[str]:
    wrong = []
    for term, expected in TERMS.items():
        browser.open(f"{root}search.html?q={term.replace(' ', '+')}", 1440)
        browser.evaluate(FINISHED)
        found = list(
            dict.fromkeys(
                link.split("?")[0].split("#")[0].removeprefix(root) for link in browser.evaluate(RESULTS)
            )
        )
        place = next((i for i, page in enumerate(found[:5]) if re.search(expected, page)), None)
        at = "-" if place is None else place + 1
        print(f"{term:18s} {len(found):3d} pages, expected at {at}: {found[:3]}")
        if place is None:
            wrong.append(f"search for {term!r}: no {expected} among {found[:5]}")
    return wrong


def check_page(browser: Browser, root: str, page: str, axe: str, width: int, scheme: str) -> list[str]:
    browser.open(f"{root}{page}", width, scheme=scheme)
    messages = [text for text in browser.messages if not text.startswith("[PST]")]  # the theme's log
    wrong = [f"console: {text}" for text in messages]
    wrong += [f"asks {url}" for url in browser.requests if not url.startswith((root, "data:", "blob:"))]
    too_wide = browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if too_wide > 1:
        wrong.append(f"{too_wide} pixels wider than {width}")
    if axe:
        browser.evaluate(axe)
        wrong += browser.evaluate(AXE)
    return [f"{page} at {width} {scheme}: {text}" for text in wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=SITE)
    parser.add_argument("--axe", type=Path, help="axe.min.js of the npm package axe-core")
    parser.add_argument("--out", type=Path, help="a folder for screenshots")
    parser.add_argument("--pages", default="", help="a regular expression; only these pages")
    settings = parser.parse_args()
    handler = functools.partial(Quiet, directory=str(settings.site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}/"
    axe = settings.axe.read_text() if settings.axe else ""
    pages = sorted(str(path.relative_to(settings.site)) for path in settings.site.rglob("*.html"))
    pages = [page for page in pages if not page.startswith(("_", "genindex", "search", "py-modindex"))]
    pages = [page for page in pages if re.search(settings.pages, page)]
    with Browser() as browser:
        wrong = search(browser, root)
        for page in pages:
            wrong += check_page(browser, root, page, axe, WIDTHS["desktop"], "light")
            wrong += check_page(browser, root, page, "", WIDTHS["phone"], "light")
            if "generated" not in page:
                wrong += check_page(browser, root, page, axe, WIDTHS["desktop"], "dark")
        if settings.out:
            settings.out.mkdir(parents=True, exist_ok=True)
            for page in SCREENS:
                for name, width in WIDTHS.items():
                    browser.open(f"{root}{page}.html", width)
                    browser.screenshot(settings.out / f"{page.replace('/', '-')}-{name}.png")
    print(json.dumps({"pages": len(pages), "terms": len(TERMS), "findings": len(wrong)}))
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
