"""Every row of the lesson has a test or an experiment."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CHAPTERS = {"P": 24, "L": 9, "T": 11, "K": 14, "X": 3, "O": 9, "W": 11, "R": 10}
PAGE = (Path(__file__).parent / "rows.md").read_text()
ROWS = dict(re.findall(r"^\| ([A-Z]\d+) \| [^|]+ \| (.+) \|$", PAGE, re.MULTILINE))


def test_every_row_is_named():
    expected = {f"{letter}{i + 1}" for letter, count in CHAPTERS.items() for i in range(count)}
    assert expected <= ROWS.keys()


@pytest.mark.parametrize("row", [row for row in ROWS if not row.startswith("D")])
def test_what_a_row_names_is_there(row):
    places = re.findall(r"`([^`]+)`", ROWS[row])
    assert places
    for place in places:
        file, _, test = place.partition("::")
        text = (ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{row}: no test called {test} in {file}"


def test_every_experiment_stands_in_the_table_of_experiments():
    folder = ROOT / "experiments"
    named = set(re.findall(r"^\| `(\w+\.py)` \|", (folder / "README.md").read_text(), re.MULTILINE))
    assert named == {path.name for path in folder.glob("*.py")} - {"pictures.py"}
