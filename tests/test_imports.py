"""The direction of imports: a file imports from lower levels only, and heavy libraries in one file each."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import conftest

PACKAGE = Path(__file__).parent.parent / "funcnet"

# From the bottom up. Rooms that are not built yet have their place already.
LEVELS = [
    {"_types"},
    {"_check", "_current_step", "_files", "_forward_only", "_jit", "_text", "_tree"},
    {"_attach", "_html", "_keys", "_version"},
    {"_cache", "_compare", "_metric"},
    {"_mesh", "_module", "_sow"},
    {"_parts", "_shard"},
    {"_processes"},
    {"mesh"},
    {"_precision", "_summary", "losses", "metrics", "data", "layers"},
    {"models"},
    {"transform"},
    {"train"},
    {"study"},
    {"report", "interop"},
    {"tabular"},
    {"sklearn"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# `run.plot()` is a method of a result, and drawing is the report's: opened when it is called.
ALLOWED_UPWARD = {("train/_result.py", "report")}

# Subclasses of scikit-learn's classes: `import funcnet` does not import this room.
OF_SKLEARN = {str(path.relative_to(PACKAGE)) for path in (PACKAGE / "sklearn").glob("*.py")}

OWNERS = {
    "matplotlib": {"report/_canvas.py"},
    "IPython": {"train/_bar.py"},
    "PIL": {"train/_pictures.py"},
    "rich": {"report/_terminal.py", "train/_bar.py"},
    "pandas": {
        "data/_csv.py",
        "data/_file.py",
        "data/_text_file.py",
        "data/_target.py",
        "data/_load.py",
        "train/_state.py",
    },
    "sklearn": {"data/_load.py", "data/_synthetic.py", *OF_SKLEARN},
    "safetensors": {"train/_safetensors.py"},
    "flax.linen": {"interop/_linen.py"},
    "flax.nnx": {"interop/_nnx.py"},
    "equinox": {"interop/_equinox.py"},
    "keras": {"interop/_keras.py"},
    "jax2onnx": {"transform/_onnx.py"},
    "onnx": {"transform/_onnx.py"},
    "onnxruntime": {"transform/_onnx.py"},
    "torch": set(),
    "orbax": set(),
    "pyarrow": {"data/_parquet.py"},
    "tensorboardX": {"train/_loggers.py"},
    "chex": set(),
    "jax.sharding": {"_mesh.py"},
}

FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@functools.cache
def imports(file):
    """(dotted name, whether inside a function) for each import of a file."""
    return list(_imports(file))


def _imports(file):
    tree = ast.parse((PACKAGE / file).read_text())
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module, id(node) in inside
            yield from ((f"{node.module}.{alias.name}", id(node) in inside) for alias in node.names)


def room(file):
    return file.split("/")[0].removesuffix(".py")


def test_a_file_imports_from_lower_levels_only():
    wrong = []
    for file in FILES:
        if file == "__init__.py":
            continue
        here = room(file)
        if here not in LEVEL:
            wrong.append(f"{here} has no level: give it one in LEVELS")
            continue
        for name, _ in imports(file):
            parts = name.split(".")
            if parts[0] != "funcnet" or len(parts) < 2 or parts[1] == here or parts[1] not in LEVEL:
                continue
            if (file, parts[1]) not in ALLOWED_UPWARD and LEVEL[parts[1]] >= LEVEL[here]:
                wrong.append(f"{file} (level {LEVEL[here]}) imports {name}")
    assert not wrong, "\n".join(wrong)


def test_heavy_libraries_are_imported_by_their_owner_inside_functions():
    wrong = []
    for file in FILES:
        for name, inside_function in imports(file):
            for library, owners in OWNERS.items():
                if name == library or name.startswith(library + "."):
                    may_be_at_top = library == "sklearn" and file in OF_SKLEARN
                    if file not in owners:
                        wrong.append(f"{file} imports {name}; only {owners or 'nobody'} may")
                    elif not inside_function and not may_be_at_top:
                        wrong.append(f"{file} imports {name} at the top; do it inside a function")
    assert not wrong, "\n".join(wrong)


LAZY = (
    "from funcnet._attach import attach_stub\n\n"
    "__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)\n"
)


def test_init_files_hold_names_and_no_logic():
    wrong = []
    for file in (f for f in FILES if f.endswith("__init__.py")):
        stub = (PACKAGE / file).with_suffix(".pyi")
        text = (PACKAGE / file).read_text()
        if stub.exists():
            if not text.endswith(LAZY) or len(ast.parse(text).body) != 3:
                wrong.append(f"{file} is more than its stub")
            text = stub.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            names = node.names if isinstance(node, ast.ImportFrom) else []
            if not names or any(alias.asname != alias.name for alias in names):
                wrong.append(f"{file}:{node.lineno} is not a `from a import X as X`")
    assert not wrong, "\n".join(wrong)


def file_of(name):
    """The file of a dotted name: of a module, or of what a package takes from one of its modules."""
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:end])
        if path.with_suffix(".py").exists():
            return str(path.with_suffix(".py").relative_to(PACKAGE))
        names = path / "__init__.pyi" if (path / "__init__.pyi").exists() else path / "__init__.py"
        if names.exists() and end < len(parts):
            for node in ast.parse(names.read_text()).body:
                if isinstance(node, ast.ImportFrom) and parts[end] in {a.name for a in node.names}:
                    module = f"funcnet.{'.'.join(parts[:end])}.{node.module}" if node.level else node.module
                    return file_of(f"{module}.{parts[end]}")
    return None


def test_no_file_imports_itself_through_others():
    """Imports inside functions count, too: they would only hide a circle."""
    graph = {
        file: {
            other
            for name, _ in imports(file)
            if name.startswith("funcnet.") and (other := file_of(name)) not in (None, file)
        }
        for file in FILES
    }
    graph["train/_result.py"] -= {file for file in FILES if file.startswith("report/")}  # `run.plot()`
    done, circles = set(), []

    def visit(file, path):
        if file in path:
            circles.append(" -> ".join([*path[path.index(file) :], file]))
        elif file not in done:
            for other in sorted(graph[file]):
                visit(other, [*path, file])
            done.add(file)

    for file in FILES:
        visit(file, [])
    assert sum(map(len, graph.values())) > 500, "the graph is empty: this test sees nothing"
    assert not circles, "\n".join(circles)


def test_no_room_is_called_utils():
    assert not {"utils", "helpers", "common"} & {
        part.removesuffix(".py") for f in FILES for part in f.split("/")
    }


def test_importing_all_of_funcnet_imports_nothing_heavy():
    program = (
        "import jax, optax, sys; before = set(sys.modules); import funcnet; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    everything = {**os.environ, "EAGER_IMPORT": "1"}  # every lazily loaded name at once
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=everything
    )
    heavy = {"matplotlib", "rich", "pandas", "sklearn", "safetensors", "flax", "orbax", "chex", "scipy"}
    assert not heavy & set(found.stdout.split())


def test_no_test_file_runs_jax_when_it_is_imported():
    """Each worker imports all of them, and each program costs time and memory there.

    A key, which takes two programs, is made when a `ConvNet` is defined.
    """
    assert all(count <= 2 for count in conftest.compiled_at_import.values()), conftest.compiled_at_import
