"""Code of README.md runs as written; code of the site, which runs when it is built, names what is there."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot
import pytest

import funcnet as fn

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def test_tests_that_the_docs_name_are_there():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    missing = [
        f"{page.name}: {name}"
        for page in PAGES
        for name in re.findall(r"`(test_\w+)`", page.read_text())
        if f"def {name}(" not in tests
    ]
    assert not missing, "\n".join(missing)


def python_blocks(page):
    """The code of a page, in order, without the lines that only IPython reads."""
    blocks = re.findall(
        r"^```(?:python|\{code-cell\}.*)\n(?:---\n.*?\n---\n|(?::.*\n)+)?(.*?)^```",
        page.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return [re.sub(r"^[!%].*", "pass", block, flags=re.MULTILINE) for block in blocks]


def test_all_code_of_the_site_is_run_by_its_build():
    """A fence of another kind would not be."""
    wrong = [str(page) for page in PAGES if re.search(r"^```(python|py)\b", page.read_text(), re.MULTILINE)]
    assert not wrong, "\n".join(wrong)


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
def test_code_blocks_of_the_readme_run_as_written(run_blocks):
    blocks = python_blocks(ROOT / "README.md")
    assert len(blocks) >= 6
    run_blocks("README.md", blocks)


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
    """Quick; the blocks of README.md run in a slow test, the others when the site is built."""
    wrong = [
        f"{page}: {call}"
        for page in [ROOT / "README.md", *PAGES]
        for block in python_blocks(page)
        for call in wrong_calls(ast.parse(block))
    ]
    assert not wrong, "\n".join(wrong)


# Drawn by `make pictures`, or too long for the gallery: experiments/README.md has their numbers.
NOT_IN_THE_GALLERY = {"pictures", "processes", "tables_ablation", "fashion_mnist", "fashion_mnist_convnet"}
NOT_IN_THE_GALLERY |= {"sizes_in_one_program"}  # it takes twenty minutes


def test_the_gallery_has_each_experiment_once_and_says_what_its_picture_shows():
    gallery = tomllib.loads((ROOT / "docs/gallery/gallery.toml").read_text())
    names = [name for group in gallery["group"] for name in group["scripts"]]
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    assert sorted(names) == sorted(scripts - NOT_IN_THE_GALLERY)
    recorded = {path.stem for path in (ROOT / "docs/gallery/recorded").glob("*.png")}
    assert recorded <= gallery["alt"].keys() <= set(names)


def test_the_version_stands_in_one_place():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {fn.__version__}\n" in citation
    assert "0.1.0" not in (ROOT / "pyproject.toml").read_text().split("dependencies")[0]
    assert fn.__version__ in (ROOT / "CHANGELOG.md").read_text()
