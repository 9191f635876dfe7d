"""The pages of docs/ that hold code, and README.md, run as written."""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import pytest

ROOT = Path(__file__).parent.parent


PAGES = [
    pytest.param("docs/contract.md", marks=pytest.mark.slow),
    pytest.param("docs/estimators.md", marks=pytest.mark.slow),
    "README.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_as_written(page, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks, f"{page} has no code blocks"
    monkeypatch.chdir(tmp_path)
    # A module like any other, so that annotations of its classes resolve.
    scope = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
    matplotlib.pyplot.close("all")
