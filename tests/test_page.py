"""The report of an estimator as a page."""

import html.parser
import itertools
import shutil
import subprocess

import numpy as np
import pandas
import polars
import pytest
import sklearn.datasets
import sklearn.inspection
from browser import CHROMIUM, Browser

from funcnet._html import Picture, Section, Table, Text, page
from funcnet.sklearn import MLPClassifier, MLPRegressor
from funcnet.sklearn._dependence import (
    _places,
    importance,
    make_grid,
    partial_dependence,
    short_names,
)
from funcnet.sklearn._learning_curve import learning_curve
from funcnet.sklearn._page import report_page
from funcnet.sklearn._scores import coverage_table, format_score
from funcnet.tabular import Schema

FEW = {"members": 1, "cv": 2, "max_iter": 5, "hidden_layer_sizes": (8,)}
VOID = {"meta", "link", "img", "br", "wbr"}


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


def test_a_large_picture_can_be_scrolled_and_long_names_broken():
    large = Picture(b"1", "matrix", "a matrix", is_large=True)
    rows = [["hidden_layer_sizes", "1.5 ± 0.2"], ["b", "3 % (1 – 5 %)"]]
    text = page("t", "lead", [Section("s", [large, Table("t", ["name", "value"], rows)])])
    outline = Outline(text)
    assert [box["aria-label"] for box in outline.all("div") if "tabindex" in box] == ["matrix", "t"]
    assert "hidden_<wbr>layer_<wbr>sizes" in text
    assert {"1.5\u00a0±\u00a00.2", "3\u00a0% (1\u00a0– 5\u00a0%)"} <= set(outline.text)


def test_names_that_differ_at_their_ends_stay_different():
    names = ["adenocarcinoma of the lung 1", "adenocarcinoma of the lung 2"]
    assert short_names(names) == ["adenocarc…the lung 1", "adenocarc…the lung 2"]
    assert short_names(["setosa", "virginica"]) == ["setosa", "virginica"]


def test_numbers_have_as_many_digits_as_are_read():
    values = (None, 0.0, -2e-16, 0.00012345, 0.5, 12.345, 727487.45)
    shown = ["", "0.0000", "0.0000", "0.000123", "0.5000", "12.35", "727,487"]
    assert [format_score(value) for value in values] == shown


def test_importance_and_partial_dependence_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 3))
    names = np.where(X[:, 0] + 0.3 * X[:, 1] > 0, "a", "b")
    for model, y in ((MLPClassifier(**FEW), names), (MLPRegressor(**FEW), X @ [3.0, 1.0, 0.0])):
        model.fit(X[:200], y[:200])
        features, target = model._read(X[200:]), model._encode_y(y[200:], 100, np.arange(100), False)
        found = sklearn.inspection.permutation_importance(model, X[200:], y[200:], n_repeats=30)
        for j in range(3):
            ours = importance(model, features, target, [j], [])
            spread = found.importances_std[j]
            assert abs(ours.mean() - found.importances_mean[j]) < 4 * spread / 5**0.5 + 1e-9
        grid = make_grid(X[200:, 0])
        peer = sklearn.inspection.partial_dependence(
            model, X[200:], [0], kind="average", grid_resolution=20
        )
        np.testing.assert_allclose(grid, peer["grid_values"][0], atol=0.02)
        average = partial_dependence(model, features, 0, peer["grid_values"][0])
        np.testing.assert_allclose(average, peer["average"], rtol=1e-5)


def test_the_parts_of_a_date_are_shuffled_together_and_dropped_columns_not_listed(report):
    model, _, _ = report
    places = {name: rest for name, *rest in _places(model.schema_)}
    assert list(places) == ["area", "<b>town</b>", "sold"]
    assert places["<b>town</b>"] == [[], [0]]
    assert len(places["sold"][0]) > 1
    dropped = Schema.fit(pandas.DataFrame({"a": [1, 2, 3], "one": [1, 1, 1], "b": ["x", "y", "x"]}))
    assert list(_places(dropped)) == [("a", [0], []), ("b", [], [0])]


@pytest.mark.parametrize("kind", ["polars", "lists", "two outputs", "labels", "one row", "gaps"])
def test_pages_of_all_kinds_of_rows(kind, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = X @ [1.0, 2.0]
    if kind == "polars":
        X, y = polars.DataFrame(X, schema=["a", "b"]), polars.Series("t", y)
    elif kind == "lists":
        X, y = X.tolist(), y.tolist()
    elif kind == "two outputs":
        y = np.c_[y, -y]
    elif kind == "labels":
        y = np.c_[y > 0, y > 1].astype(int)
    elif kind == "gaps":
        X[::7, 0] = np.nan
    model = (MLPClassifier if kind == "labels" else MLPRegressor)(**FEW).fit(X, y)
    rows = 1 if kind == "one row" else 20
    model.report(tmp_path / "report.html", X=X[:rows], y=y[:rows])
    images = Outline((tmp_path / "report.html").read_text()).all("img")
    assert len(images) >= (1 if kind == "one row" else 3)


def test_the_coverage_of_intervals_is_measured_row_by_row():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 2))
    y = 3 * X[:, 0] + rng.normal(scale=0.5, size=400)
    model = MLPRegressor(**FEW).fit(X[:250], y[:250])
    columns, rows = coverage_table(model, X[250:], y[250:], "cost")
    assert columns == ["asked for", "measured", "mean width (in units of cost)"]
    for coverage, (asked, measured, width) in zip((0.5, 0.8, 0.9, 0.95), rows, strict=True):
        lower, upper = model.predict_interval(X[250:], coverage)
        share = np.mean((lower <= y[250:]) & (y[250:] <= upper))
        assert asked == f"{100 * coverage:.0f} %"
        assert measured.startswith(f"{100 * share:.1f} % (")
        assert width == format_score((upper - lower).mean())
        assert abs(share - coverage) < 0.15
    few = MLPRegressor(**FEW).fit(X[:12], y[:12])
    assert coverage_table(few, X[250:], y[250:], "cost")[1][-1][2] == "infinite: too few training rows"


def test_the_page_shows_a_learning_curve_if_there_is_one(report):
    model, scores, _ = report
    name = "log_loss" if "log_loss" in scores else "rmse"
    curve = {
        **{"score": name, "rows": [20, 40], "values": [[0.9, 0.8], [0.5, 0.6]], "change": -0.3},
        **{"standard_error": 0.1, "repeated": 2},
    }
    held_out = model.out_of_fold_[model._rows], model._target
    text = report_page(model, [scores | {"learning_curve": curve}], held_out, None, None)
    said = " ".join(Outline(text).text)
    assert "Would more rows help?" in said
    assert "falls by 0.3000 ± 0.1000 (standard error): more rows would probably help." in said
    assert "2 of the rows given are equal to training rows" in said
    pictures = [image["alt"] for image in Outline(text).all("img")]
    assert any("0.85 with 20 rows, 0.55 with 40 rows" in alt for alt in pictures)


WIDTHS = (360, 768, 1280)
LOOK = """(() => ({
  width: document.documentElement.scrollWidth,
  images: [...document.images].map(i => i.complete && i.naturalWidth > 100 && i.alt.length > 10),
  headings: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(h => Number(h.tagName[1])),
  tables: [...document.querySelectorAll("table")].map(
    t => t.tHead !== null && [...t.rows].every(r => r.cells[0].tagName === "TH")),
}))()"""


def check_in_browser(browser, path, width, scheme="light"):
    """Nothing but tables is wider than the window, all pictures are there, and no other file is loaded."""
    browser.open(path, width, scheme=scheme)
    look = browser.evaluate(LOOK)
    assert browser.messages == []
    assert {url for url in browser.requests if not url.startswith("data:")} == {path.resolve().as_uri()}
    assert look["width"] <= width
    assert look["images"]
    assert all(look["images"])
    assert all(look["tables"])
    levels = look["headings"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@needs_chromium
@pytest.mark.parametrize("report", ["numbers"], indirect=True)
def test_the_page_fits_a_telephone(report):
    with Browser() as browser:
        check_in_browser(browser, report[2], 360)
        browser.evaluate("document.body.append(Object.assign(new Image(), {src: 'none.png', alt: 'x'}))")
        assert browser.evaluate(LOOK)["images"][-1] is False, "the check sees a picture that is missing"
        browser.evaluate("document.body.style.width = '900px'")
        assert browser.evaluate(LOOK)["width"] == 900, "and a page that is too wide"


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The rules of axe-core for accessible pages, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    if (npm := shutil.which("npm")) is None:
        pytest.skip("needs npm, for axe-core")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4.14"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"needs axe-core from npm: {done.stderr[-200:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("table", ["iris", "wine", "diabetes", "flats", "tumours"])
def test_pages_of_five_tables_in_a_browser(table, axe, tmp_path):
    X, y = TABLES[table]()
    kind = MLPClassifier if isinstance(y.iloc[0], str) else MLPRegressor
    cut = len(X) * 3 // 4
    model = kind(members=1, cv=3, max_iter=10, hidden_layer_sizes=(16,)).fit(X[:cut], y[:cut])
    scores = model.report(X=X[cut:], y=y[cut:])
    scores["learning_curve"] = learning_curve(model, (X[:cut], y[:cut]), X[cut:], y[cut:])
    held_out = model._predict_mean(X[cut:]), model._encode_y(y[cut:], len(X) - cut, slice(None), False)
    path = tmp_path / "report.html"
    path.write_text(report_page(model, [model.report(), scores], held_out, X[cut:], y[cut:]))
    violations = (
        "axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))]))"
    )
    with Browser() as browser:
        for width, scheme in [*((width, "light") for width in WIDTHS), (768, "dark")]:
            check_in_browser(browser, path, width, scheme)
            browser.evaluate(axe + ";0")
            assert browser.evaluate(violations) == []
        browser.open(path, 768, media="print", scheme="dark")
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert browser.pdf().startswith(b"%PDF")


def bundled(name, target):
    """A table of scikit-learn in random order, with classes by their names."""
    bunch = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    y = bunch.target.map(dict(enumerate(bunch.target_names))) if "target_names" in bunch else bunch.target
    order = np.random.default_rng(0).permutation(len(y))
    return bunch.data.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True).rename(
        target
    )


def flats(rows=240):
    """Prices of flats: categories, dates, gaps, a constant, and a long name."""
    rng = np.random.default_rng(0)
    X = pandas.DataFrame(
        {
            "living area (m²)": rng.normal(80, 25, rows).round(1),
            "district": rng.choice(["Sankt Hanshaugen", "Grünerløkka & Gamle Oslo", None], rows),
            "sold on": pandas.date_range("2023-01-01", periods=rows).astype(str),
            "has a lift": rng.choice(["yes", "no"], rows),
            "year of construction": np.where(
                rng.random(rows) < 0.1, np.nan, rng.integers(1890, 2024, rows)
            ),
            "price per square metre of the neighbouring flats": rng.normal(90_000, 15_000, rows),
            "an_identifier_that_is_much_longer_than_a_telephone_is_wide": rng.normal(size=rows),
            "currency": "NOK",
        }
    )
    price = 90_000 * X["living area (m²)"] + 5e5 * (X["has a lift"] == "yes") + rng.normal(0, 4e5, rows)
    return X, price.round().rename("price")


def tumours(rows=480, classes=12, columns=40):
    """Twelve classes with long names that differ at their ends, and forty columns."""
    rng = np.random.default_rng(1)
    kinds = ["adenocarcinoma of the upper", "squamous cell carcinoma of the lower", "melanoma of the left"]
    names = np.array([f"{kinds[i % 3]} region, subtype {i}" for i in range(classes)])
    numbers = rng.integers(0, classes, rows)
    x = rng.normal(size=(rows, columns))
    x[:, :classes] += 2 * np.eye(classes)[numbers]
    X = pandas.DataFrame(x, columns=[f"expression of gene {j:02d}" for j in range(columns)])
    return X, pandas.Series(names[numbers], name="histological diagnosis")


TABLES = {
    "iris": lambda: bundled("iris", "species"),
    "wine": lambda: bundled("wine", "cultivar"),
    "diabetes": lambda: bundled("diabetes", "progression"),
    "flats": flats,
    "tumours": tumours,
}


def test_a_page_says_what_weights_do_not_change(tmp_path):
    X = frame()[["area"]]
    model = MLPRegressor(**FEW).fit(X, X["area"])
    note = "Scores are weighted; pictures and what predictions depend on count each row once."
    columns = {"area": X["area"].tolist()}
    model.report(tmp_path / "plain.html", X=columns, y=X["area"])
    model.report(tmp_path / "weighted.html", X=X, y=X["area"], sample_weight=np.arange(60))
    assert [note in (tmp_path / f"{name}.html").read_text() for name in ("plain", "weighted")] == [
        False,
        True,
    ]
