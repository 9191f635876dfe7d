"""The pages of docs/ that hold code, and README.md, run as written."""

import re
import shlex
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot
import pytest

from funcnet.cli import main

ROOT = Path(__file__).parent.parent


PAGES = [
    pytest.param("docs/contract.md", marks=pytest.mark.slow),
    pytest.param("docs/estimators.md", marks=pytest.mark.slow),
    pytest.param("docs/formats.md", marks=pytest.mark.slow),
    "README.md",
]


@pytest.mark.slow
def test_an_afternoon_runs_as_written(tmp_path, monkeypatch, capsys):
    """Its commands, too, in the order of the page, which quotes what the first prints."""
    monkeypatch.chdir(tmp_path)
    text, scope = (ROOT / "docs/afternoon.md").read_text(), {"__name__": "__main__"}
    for language, block in re.findall(r"```(python|sh)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/afternoon.md", "exec"), scope)
            continue
        for line in block.splitlines():
            capsys.readouterr()
            assert main(shlex.split(line)[1:]) == 0
            printed = capsys.readouterr().out
            if line.startswith("funcnet train flats.csv"):
                (quoted,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
                assert printed.startswith(quoted)
            if line.startswith("funcnet compare"):
                assert "is better by its squared error" in printed or "do not show" in printed
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"flats", "all-flats"}
    assert "Predictions of rent" in (tmp_path / "flats.html").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_as_written(page, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks, f"{page} has no code blocks"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # of fn.cache_compilations()
    # A module like any other, so that annotations of its classes resolve.
    scope = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
    jax.config.update("jax_compilation_cache_dir", None)
    matplotlib.pyplot.close("all")
