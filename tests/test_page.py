"""The report of an estimator as a page."""

import html.parser
import shutil
import subprocess

import numpy as np
import pandas
import pytest

from funcnet._html import Picture, Section, Table, Text, page
from funcnet.sklearn import MLPClassifier, MLPRegressor

FEW = {"members": 1, "cv": 2, "max_iter": 5, "hidden_layer_sizes": (8,)}
VOID = {"meta", "link", "img", "br"}


class Outline(html.parser.HTMLParser):
    """The tags of a page, checked for pairs, and its attributes by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def frame(rows=60):
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "area": rng.normal(50, 10, rows),
            "<b>town</b>": rng.choice(["Oslo", "Rome & Lima"], rows),
            "sold": pandas.date_range("2024-01-01", periods=rows),
        }
    )


@pytest.fixture(scope="module", params=["classes", "numbers"])
def report(request, tmp_path_factory):
    X = frame()
    if request.param == "classes":
        y = pandas.Series(np.where(X["area"] > 50, "<script>alert(1)</script>", "small"), name="size")
        model = MLPClassifier(**FEW).fit(X, y)
    else:
        y = pandas.Series(X["area"] * 2 + 1.0, name="size")
        model = MLPRegressor(**FEW).fit(X, y)
    path = tmp_path_factory.mktemp("report") / "report.html"
    scores = model.report(path, X=X, y=y)
    return model, scores, path


def test_the_page_holds_scores_pictures_and_columns(report):
    _, scores, path = report
    outline = Outline(path.read_text())
    text = " ".join(outline.text)
    assert "Predictions of size" in text
    for name in ("Scores", "Predictions", "Training", "Columns", "How to use it"):
        assert name in outline.text
    score = next(v for v in scores.values() if isinstance(v, float))
    assert (f"{score:.4f}" if score < 10 else f"{score:,.2f}") in text
    images = outline.all("img")
    assert len(images) >= 4
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 10
    targets = {attrs["id"] for _, attrs in outline.found if "id" in attrs}
    assert {link["href"].removeprefix("#") for link in outline.all("a")} == targets
    assert "year-month-day" in text or "date" in text


def test_nothing_on_the_page_comes_from_elsewhere_or_runs(report):
    outline = Outline(report[2].read_text())
    assert not outline.all("script")
    for _, attrs in outline.found:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:"))
    assert not outline.all("b"), "names are text"


def test_a_report_of_out_of_fold_rows_says_how_to_see_more(report, tmp_path):
    model, _, _ = report
    model.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Pass rows and their targets to see it" in text
    with pytest.raises(ValueError, match=r"must end in \.json or \.html"):
        model.report(tmp_path / "report.pdf")
    (tmp_path / "x.html").mkdir()
    with pytest.raises(OSError, match="is a folder"):
        model.report(tmp_path / "x.html")


def test_blocks_and_empty_sections():
    text = page(
        "a < b",
        "lead",
        [
            Section("empty", []),
            Section("full", [Text("x & y"), Table("t", ["a", "b"], [["1", "2"]]), Picture(b"1", "c", "d")]),
        ],
    )
    outline = Outline(text)
    assert "empty" not in outline.text
    assert {"a < b", "x & y"} <= set(outline.text)
    assert [attrs["scope"] for attrs in outline.all("th")] == ["col", "col", "row"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.slow
def test_the_page_in_a_browser(report, tmp_path):
    """At three widths nothing but tables is wider than the window, every picture is there, and no error."""
    text = report[2].read_text()
    probe = """<script>
    const images = [...document.images].every(i => i.naturalWidth > 100);
    document.title = [document.documentElement.scrollWidth <= window.innerWidth, images].join();
    </script></body>"""
    (tmp_path / "probe.html").write_text(text.replace("</body>", probe))
    for width in (500, 900, 1400):
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},800"]
        address = f"file://{tmp_path}/probe.html"
        run = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=100)
        assert "<title>true,true</title>" in run.stdout
