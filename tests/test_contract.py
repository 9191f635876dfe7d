"""The pages of docs/ that hold code, and README.md, run as written."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot
import pytest

import funcnet as fn
from funcnet.cli import main

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/contract.md", "docs/estimators.md", "docs/formats.md"]


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


def test_tests_that_the_docs_name_are_there():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [
        f"{page.name}: {name}"
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for name in re.findall(r"`(test_\w+)`", page.read_text())
        if f"def {name}(" not in tests
    ]
    assert not missing, "\n".join(missing)


def python_blocks(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks, f"{page} has no code blocks"
    return blocks


@pytest.fixture
def run_blocks(tmp_path, monkeypatch):
    """A function that runs blocks of a page, one after another, in a folder of their own."""

    def run(page, blocks):
        matplotlib.use("Agg")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # of fn.cache_compilations()
        # A module like any other, so that annotations of its classes resolve.
        scope = {"__name__": "__main__"}
        for block in blocks:
            exec(compile(block, page, "exec"), scope)

    yield run
    jax.config.update("jax_compilation_cache_dir", None)
    matplotlib.pyplot.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run_as_written(page, run_blocks):
    run_blocks(page, python_blocks(page))


def resolve(node):
    """The object of funcnet that code such as `fn.data.load` names; None for anything else."""
    if isinstance(node, ast.Name):
        return fn if node.id == "fn" else None
    owner = resolve(node.value) if isinstance(node, ast.Attribute) else None
    return None if owner is None else getattr(owner, node.attr)


def wrong_calls(tree):
    """Names of funcnet in the code that do not exist, and calls with settings that they do not have."""
    for node in ast.walk(tree):
        try:
            function = resolve(node.func if isinstance(node, ast.Call) else node)
            if function is None or not isinstance(node, ast.Call):
                continue
            if any(isinstance(argument, ast.Starred) for argument in node.args):
                continue
            settings = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind_partial(*node.args, **settings)
        except (AttributeError, TypeError) as error:
            yield f"{ast.unparse(node)}: {error}"


def test_names_and_settings_in_code_blocks_exist():
    """Quick; the blocks run in slow tests."""
    wrong = [
        f"{page}: {call}"
        for page in PAGES
        for b in python_blocks(page)
        for call in wrong_calls(ast.parse(b))
    ]
    assert not wrong, "\n".join(wrong)
