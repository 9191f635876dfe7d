"""One page for each public name, under its public path; the build fails if a name has none.

The names are those of the stubs (`funcnet/**/__init__.pyi`) and of funcnet/mesh.py. A name that two
namespaces have, such as `funcnet.fit` and `funcnet.train.fit`, has one page; links to both lead there.
"""

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import pathlib
import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.ext.autosummary import Autosummary, autosummary_toc
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docstrings import prepare_docstring
from sphinx.util.docutils import SphinxDirective

import funcnet

LOGGER = logging.getLogger(__name__)
PACKAGE = pathlib.Path(funcnet.__file__).parent
# What the Trainer calls on a stream, what `init` calls on a layer, and what reads a column.
INTERNAL = {"chunks", "codes", "fingerprint", "first", "numbers", "parameters", "steps_per_epoch"}


@dataclasses.dataclass(frozen=True)
class Name:
    """A public name."""

    path: str  # funcnet.losses.supervised
    source: str  # funcnet.losses._supervised

    @property
    def module(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    @property
    def page(self) -> str:
        """The name of its page; file systems that ignore case would confuse `Ensemble` and `ensemble`."""
        return f"{self.path}-class" if self.path in SAME_BUT_FOR_CASE else self.path


@functools.cache
def namespaces() -> dict[str, list[Name]]:
    """The public names of each namespace, in the order of its stub."""
    found = {}
    for stub in [*sorted(PACKAGE.rglob("__init__.pyi")), PACKAGE / "mesh.py"]:
        place = stub.parent if stub.suffix == ".pyi" else stub.with_suffix("")
        module = ".".join((PACKAGE.name, *place.relative_to(PACKAGE).parts))
        found[module] = list(read_stub(module, stub))
    return found


def read_stub(module: str, stub: pathlib.Path) -> Any:
    for statement in ast.parse(stub.read_text()).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            source = f"{module}.{statement.module}" if statement.level else statement.module
            for alias in statement.names:
                if alias.asname and not alias.asname.startswith("_"):
                    yield Name(f"{module}.{alias.asname}", source)


def all_names() -> list[Name]:
    return [name for names in namespaces().values() for name in names]


@functools.cache
def pages() -> dict[str, Name]:
    """The names that have a page of their own, by path; the shortest path of each object comes first."""
    found, known = {}, set()
    for name in sorted(all_names(), key=lambda name: (name.path.count("."), name.path)):
        if id(name.value) not in known:
            known.add(id(name.value))
            found[name.path] = name
    return found


@functools.cache
def aliases() -> dict[str, str]:
    """The path of the page of each name that has none of its own."""
    paths = {id(name.value): path for path, name in pages().items()}
    return {name.path: paths[id(name.value)] for name in all_names() if name.path not in pages()}


LOWER = [name.path.lower() for name in all_names()]
SAME_BUT_FOR_CASE = {
    name.path
    for name in all_names()
    if LOWER.count(name.path.lower()) > 1 and name.path != name.path.lower()
}


def kind(name: Name) -> str:
    value = name.value
    if inspect.isclass(value):
        return "exception" if issubclass(value, Exception) else "class"
    return "function" if callable(value) else "data"


def members(cls: type) -> list[str]:
    """The members of a class that its page lists: those with a docstring.

    Those of a public base, such as `Module`, are on its page and not repeated.
    """
    own = list(cls.__members__) if issubclass(cls, enum.Enum) else []
    for base in cls.__mro__:
        if not base.__module__.startswith("funcnet") or (base is not cls and base in public_classes()):
            continue
        for name, value in vars(base).items():
            is_public = not name.startswith("_") or name == "__call__"
            if is_public and name not in own and is_documented(cls, value):
                own.append(name)
    return own


@functools.cache
def public_classes() -> dict[type, str]:
    """The paths of the public classes."""
    return {name.value: path for path, name in pages().items() if inspect.isclass(name.value)}


def is_documented(cls: type, value: Any) -> bool:
    """Whether a value in the namespace of a class is a member with a docstring, for users."""
    if isinstance(value, property | functools.cached_property):
        return bool(value.__doc__)
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if not inspect.isfunction(function) or not function.__module__.startswith("funcnet"):
        return False
    is_internal = function.__name__ in INTERNAL and cls is not funcnet.Module
    return bool(function.__doc__) and not is_internal


def page_of(name: Name) -> str:
    """The page of a name, as reStructuredText."""
    title = name.path
    lines = [title, "=" * len(title), "", f".. auto{kind(name)}:: {name.module}::{name.name}"]
    if kind(name) in ("class", "exception") and (listed := members(name.value)):
        lines.append(f"   :members: {', '.join(m for m in listed if m != '__call__')}")
        if "__call__" in listed:
            lines.append("   :special-members: __call__")
        if issubclass(name.value, enum.Enum):
            lines.append("   :undoc-members:")
    if returned := returned_class(name):
        methods = ["__call__", *re.findall(r"`study\.(\w+)\(", name.value.__doc__)]
        lines += ["", f".. other-class:: {returned.__module__} {returned.__name__} {' '.join(methods)}"]
    if others := [alias for alias, path in aliases().items() if path == name.path]:
        lines += ["", f"Also available as {', '.join(f'``{other}``' for other in others)}."]
    return "\n".join(lines) + "\n"


def returned_class(name: Name) -> type | None:
    """The class of what a function returns, if it is not public but is called by users: a study."""
    if kind(name) != "function":
        return None
    returned = inspect.signature(name.value, eval_str=True).return_annotation
    is_own = inspect.isclass(returned) and returned.__module__.startswith("funcnet.study")
    return returned if is_own and returned not in public_classes() else None


def write_pages(app: Sphinx) -> None:
    """Write the pages that have changed, and remove those of names that are gone."""
    folder = pathlib.Path(app.srcdir, "reference", "generated")
    folder.mkdir(parents=True, exist_ok=True)
    written = {f"{name.page}.rst": page_of(name) for name in pages().values()}
    for file in folder.iterdir():
        if file.name not in written:
            file.unlink()
    for file, text in written.items():
        if not (folder / file).exists() or (folder / file).read_text() != text:
            (folder / file).write_text(text)


class OtherClass(SphinxDirective):
    """`.. other-class:: module name member ...`: a class that users meet but do not import."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        module, name, *members = self.arguments[0].split()
        cls = getattr(importlib.import_module(module), name)
        lines = [".. py:currentmodule:: None", "", f".. py:class:: {name}", ""]
        lines += indent(self.docstring("class", name, cls))
        for member in members:
            value = getattr(cls, member)
            is_property = not inspect.isfunction(value)
            arguments = "" if is_property else self.signature(f"{name}.{member}", value)
            lines += ["", f"   .. py:{'property' if is_property else 'method'}:: {member}{arguments}", ""]
            lines += indent(indent(self.docstring("method", f"{name}.{member}", value)))
        return self.parse_text_to_nodes("\n".join(lines))

    def docstring(self, what: str, path: str, value: Any) -> list[str]:
        lines = prepare_docstring(inspect.getdoc(value) or "")
        self.env.events.emit("autodoc-process-docstring", what, path, value, None, lines)
        return lines

    def signature(self, path: str, value: Any) -> str:
        arguments, returns = self.env.events.emit_firstresult(
            "autodoc-process-signature", "method", path, value, None, "()", None
        )
        return f"{arguments} -> {returns}" if returns else arguments


def indent(lines: list[str]) -> list[str]:
    return [f"   {line}" if line else "" for line in "\n".join(lines).split("\n")]


class PublicNames(Autosummary):
    """`.. public-names:: huber quantile`: a table of names of the current namespace, and their pages."""

    has_content = False
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        self.options["nosignatures"] = None
        module = self.env.ref_context["py:module"]
        names = self.arguments[0].split()
        table = self.get_table(self.get_items(names))
        paths = [f"{module}.{name}" for name in names]
        files = {path: f"reference/generated/{pages()[path].page}" for path in paths if path in pages()}
        if not files:
            return table
        tree = addnodes.toctree(maxdepth=-1, caption=None, glob=None, includefiles=[*files.values()])
        tree["entries"] = [(path.rpartition(".")[2], file) for path, file in files.items()]
        return [*table, autosummary_toc("", "", tree)]


def document_data(app: Sphinx, what: str, path: str, value: Any, options: Any, lines: list[str]) -> None:
    """Give a constant its own docstring, the string below it, and not that of its type."""
    if what == "data" and (name := pages().get(path)):
        documented = ModuleAnalyzer.for_module(name.source).find_attr_docs()
        lines[:] = documented.get(("", name.name), [])


def resolve_alias(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """The reference to a name by its other path: `funcnet.train.fit`, or `funcnet.train.Run.plot`."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if target.startswith("fn."):
        target = target.replace("fn.", "funcnet.", 1)
    head, _, member = target.rpartition(".")
    for path in (
        aliases().get(target),
        f"{aliases()[head]}.{member}" if head in aliases() else None,
        target,
    ):
        objects = python(env).objects
        if path in objects:
            entry = objects[path]
            uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
            return nodes.reference("", "", content, internal=True, refuri=f"{uri}#{entry.node_id}")
    return None


def python(env: BuildEnvironment) -> PythonDomain:
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    return domain


def check_entries(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name without an entry; `sphinx-build -W` then fails."""
    objects = python(env).objects
    for name in all_names():
        path = aliases().get(name.path, name.path)
        if path not in objects:
            LOGGER.warning("the public name %s has no entry in the reference", name.path)
    for module in namespaces():
        if module not in objects:
            LOGGER.warning("the namespace %s has no page in the reference", module)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("public-names", PublicNames)
    app.add_directive("other-class", OtherClass)
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", document_data, priority=300)
    app.connect("missing-reference", resolve_alias)
    app.connect("env-check-consistency", check_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
