"""docs/contract.md and README.md hold code that runs as written."""

import re
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", [pytest.param("docs/contract.md", marks=pytest.mark.slow), "README.md"])
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
