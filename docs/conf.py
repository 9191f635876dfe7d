"""The site: `make docs` builds it into docs/_build/html."""

import hashlib
import importlib.metadata
import os
import pathlib
import sys

from jupyter_cache import get_cache

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# A kernel that does not log that it talks to this process without encryption.
os.environ["JUPYTER_PATH"] = os.pathsep.join(
    [str(HERE / "_jupyter"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
)

project = "funcnet"
author = "The funcnet contributors"
copyright = author
version = release = importlib.metadata.version("funcnet")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    # Our own, in _ext.
    "docstrings",
    "downloads",
    "gallery",
    "accessible",
    "mathml",
    "public_names",
    "signatures",
]
exclude_patterns = ["_build", "_ext", "_jupyter", "gallery/contents.md", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# Code cells run when the site is built; an exception in one, or output on stderr, ends the build.
# What has run is kept in _build until the page or the library changes.
sources = sorted(HERE.parent.glob("funcnet/**/*.py"))
code_digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "executed" / code_digest)
get_cache(nb_execution_cache_path).list_cache_records()  # or the processes of a build all make its tables
nb_execution_raise_on_error = False  # a warning, so that a build names all pages that fail
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "warn"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False

# The reference: docstrings in Google's style. _ext/public_names.py writes a page for each name.
autosummary_generate = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]
python_maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"
default_role = "code"
smartquotes_action = "D"  # quotes stay those of code

# Every reference to a name must lead somewhere, unless the name belongs to another library.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(builtins|collections|contextlib|jax|jaxlib|jaxtyping|numpy|optax|os|pathlib|typing)\b.*"),
    (r"py:.*", r"[TM]|NotFittedError"),
]

html_theme = "pydata_sphinx_theme"
html_title = "funcnet"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button-field"],
    "collapse_navigation": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc", "notebook"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "search_bar_text": "Search",
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
