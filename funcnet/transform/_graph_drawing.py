"""A computation as boxes and arrows, in Graphviz's language and as a picture."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from funcnet import _files
from funcnet._types import PyTree
from funcnet.transform._jaxpr import called_program, evaluate

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, JaxprEqn


def to_dot(graph: "ClosedJaxpr", inputs: PyTree, outputs: PyTree, fold: bool) -> str:
    """Boxes and arrows. Operations of a backward pass, transpositions, have another colour."""
    boxes: list[str] = []
    arrows: set[tuple[int, int]] = set()
    last = ""

    def add_box(label: str, shape: str, *, backward: bool = False) -> int:
        text, colour = label.replace('"', "'"), "#D55E00" if backward else "#0072B2"
        boxes.append(f'[label="{text}", shape={shape}, color="{colour}"]')
        return len(boxes) - 1

    def add_ends(variables: Any, tree: PyTree) -> list[int]:
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        labels = [f"{path} {kind_of(var)}".strip() for path, var in zip(paths, variables, strict=True)]
        return [add_box(label, "ellipse") for label in labels]

    def walk(program: "ClosedJaxpr", sources: list[int | None], scope: str) -> list[int | None]:
        """The boxes that a program's results come from, by those of its arguments."""

        def rule(equation: "JaxprEqn", sources: list[int | None]) -> list[int | None]:
            nonlocal last
            here = scope_of(scope, equation)
            inner = called_program(equation)
            if inner is not None:
                return walk(inner, sources, here)
            # Consecutive operations of a module share a box. If the module is called again later, it gets
            # another box. So two layers of the same class are two boxes, and no arrow points back.
            if not fold or not here or here != last:
                label = here if fold and here else equation.primitive.name
                add_box(label, "box", backward="transpose" in here)
            last, box = here, len(boxes) - 1
            arrows.update((source, box) for source in sources if source is not None and source != box)
            return [box] * len(equation.outvars)

        return evaluate(program, sources, rule, lift=lambda _: None, open_call=lambda _: None)

    jaxpr = graph.jaxpr
    results = walk(graph, [*add_ends(jaxpr.invars, inputs)], "")
    ends = add_ends(jaxpr.outvars, outputs)
    arrows.update((source, end) for source, end in zip(results, ends, strict=True) if source is not None)
    joined = {box for arrow in arrows for box in arrow}
    lines = ["digraph computation {", "  rankdir=TB; node [shape=box, fontname=Helvetica, fontsize=10];"]
    lines += [f"  n{i} {box};" for i, box in enumerate(boxes) if i in joined or "ellipse" in box]
    lines += [f"  n{a} -> n{b};" for a, b in sorted(arrows)]
    return "\n".join([*lines, "}"]) + "\n"


def write_drawing(text: str, place: Path) -> None:
    """Write Graphviz's text to a .dot file, or a picture of it.

    Raises:
        ValueError: for another suffix.
        RuntimeError: if `dot` is not installed.
    """
    if place.suffix == ".dot":
        _files.write(place, text.encode())
        return
    if place.suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"path must end in .dot, .svg, .png or .pdf, got {place.name!r}.")
    if (program := shutil.which("dot")) is None:
        raise RuntimeError(
            f"drawing {place.suffix} needs the program `dot`: apt-get install graphviz. Or write "
            f"the text: graph.draw({str(place.with_suffix('.dot'))!r})."
        )
    subprocess.run([program, f"-T{place.suffix[1:]}", "-o", str(place)], input=text, text=True, check=True)


def scope_of(outer: str, equation: "JaxprEqn") -> str:
    return "/".join(part for part in (outer, str(equation.source_info.name_stack)) if part)


def kind_of(var: Any) -> str:
    return str(var.aval.str_short()) if hasattr(var.aval, "str_short") else str(var.aval)
