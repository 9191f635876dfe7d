"""Ten kinds of faults that people make in numerical code, as changes of one expression or statement.

`mutations(source)` lists every place where one of them can be put into a file. `mutants.py` draws from
them, and runs the tests on each.
"""

import ast
import dataclasses
import itertools
from collections.abc import Callable, Iterator

WEIGHTS = {"weight", "weights", "sample_weight", "class_weight"}
AXES = {"axis", "axes", "in_axes", "out_axes", "axis_name"}
COMMUTATIVE = {"isinstance", "max", "min", "maximum", "minimum", "multiply", "logical_and", "logical_or"}
CASTS = {"asarray", "array", "zeros", "ones", "full", "arange", "zeros_like", "ones_like", "full_like"}

# (the node that changes, and what stands there instead)
Change = tuple[ast.AST, str]


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One fault: the text between two offsets of a file becomes another."""

    function: str
    operator: str
    line: int
    start: int
    end: int
    old: str
    text: str

    def apply(self, source: str) -> str:
        return (source.encode()[: self.start] + self.text.encode() + source.encode()[self.end :]).decode()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def change_sign(node: ast.AST) -> Iterator[Change]:
    """`a + b` and `a - b` change places; `-a` loses its sign."""
    match node:
        case ast.BinOp(left, ast.Add(), right) if not (_is_text(left) or _is_text(right)):
            yield node, f"({ast.unparse(left)}) - ({ast.unparse(right)})"
        case ast.BinOp(left, ast.Sub(), right):
            yield node, f"({ast.unparse(left)}) + ({ast.unparse(right)})"
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield node, f"({ast.unparse(operand)})"


def shift_by_one(node: ast.AST) -> Iterator[Change]:
    """An integer grows by one; `<` and `<=`, `>` and `>=` change places."""
    match node:
        case ast.Constant(value) if type(value) is int:
            yield node, str(value + 1)
        case ast.Compare(left, [operator], [right]):
            others = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
            if type(operator) in others:
                other = others[type(operator)]
                yield node, f"({ast.unparse(left)}) {other} ({ast.unparse(right)})"


def drop_factor(node: ast.AST) -> Iterator[Change]:
    """`a * b` and `a / b` become `a`."""
    match node:
        case ast.BinOp(left, ast.Mult() | ast.Div(), _) if not _is_text(left):
            yield node, f"({ast.unparse(left)})"


def swap_arguments(node: ast.AST) -> Iterator[Change]:
    """The first two positional arguments of a call change places."""
    match node:
        case ast.Call(function, [first, second, *rest], keywords):
            if isinstance(first, ast.Starred) or isinstance(second, ast.Starred):
                return
            if ast.dump(first) == ast.dump(second) or _called(node) in COMMUTATIVE:
                return
            swapped = ast.Call(function, [second, first, *rest], keywords)
            yield node, ast.unparse(swapped)


def remove_check(node: ast.AST) -> Iterator[Change]:
    """`if ...: raise ...` and calls of functions that only check are gone."""
    match node:
        case ast.If(body=[*_, ast.Raise()], orelse=[]):
            yield node, "pass"
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("_check" | "check"), _))):
            yield node, "pass"
        case ast.Expr(ast.Call(ast.Name(name))) if name.lstrip("_").startswith(
            ("check", "require", "refuse")
        ):
            yield node, "pass"


def change_axis(node: ast.AST) -> Iterator[Change]:
    """`axis=0` becomes `axis=-1`, and every other axis 0."""
    match node:
        case ast.keyword(name, value) if name in AXES:
            match value:
                case ast.Constant(int(axis)) | ast.UnaryOp(ast.USub(), ast.Constant(int(axis))):
                    other = 0 if axis or isinstance(value, ast.UnaryOp) else -1
                    yield value, str(other)


def keep_stale_value(node: ast.AST) -> Iterator[Change]:
    """A variable, or a field in `replace`, keeps the value that it had."""
    match node:
        case ast.Assign([ast.Name(name)], value):
            if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(value)):
                yield node, "pass"
        case ast.AugAssign(ast.Name(name)):
            yield node, "pass"
        case ast.Call(function, args, [_, *_] as keywords) if _called(node) in {"replace", "_replace"}:
            for i in range(len(keywords)):
                rest = ast.Call(function, args, keywords[:i] + keywords[i + 1 :])
                yield node, ast.unparse(rest)


def ignore_weight(node: ast.AST) -> Iterator[Change]:
    """All weights are one: `weight` becomes `weight * 0 + 1`."""
    match node:
        case ast.Name(name, ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()) if name in WEIGHTS:
            yield node, f"({ast.unparse(node)} * 0 + 1)"


def reuse_key(node: ast.AST) -> Iterator[Change]:
    """`fold_in(key, i)` becomes `key`; all keys of `split(key, n)` are one key."""
    match node:
        case ast.Call(_, [key, _]) if _called(node) == "fold_in":
            yield node, f"({ast.unparse(key)})"
        case ast.Call(ast.Attribute(ast.Attribute(attr="random"), "split"), [_, *_]):
            yield node, f"(lambda keys: keys[:1][[0] * len(keys)])({ast.unparse(node)})"


def lose_cast(node: ast.AST) -> Iterator[Change]:
    """`x.astype(t)` becomes `x`; `asarray(x, t)` and `zeros(n, dtype=t)` choose a dtype of their own."""
    match node:
        case ast.Call(ast.Attribute(value, "astype"), [_]):
            yield node, f"({ast.unparse(value)})"
        case ast.Call(function, args, keywords) if _called(node) in CASTS:
            rest = [keyword for keyword in keywords if keyword.arg != "dtype"]
            if len(rest) < len(keywords):
                yield node, ast.unparse(ast.Call(function, args, rest))
            elif len(args) == 2 and _called(node) in {"asarray", "array"}:
                yield node, ast.unparse(ast.Call(function, args[:1], keywords))


OPERATORS: dict[str, Callable[[ast.AST], Iterator[Change]]] = {
    "sign": change_sign,
    "off by one": shift_by_one,
    "dropped factor": drop_factor,
    "swapped arguments": swap_arguments,
    "removed check": remove_check,
    "wrong axis": change_axis,
    "stale value": keep_stale_value,
    "ignored weight": ignore_weight,
    "reused key": reuse_key,
    "lost cast": lose_cast,
}


def mutations(source: str) -> Iterator[Mutation]:
    """Every mutation of the functions and methods of a file, in the order of its text."""
    text = source.encode()
    starts = [0, *itertools.accumulate(map(len, text.splitlines(keepends=True)))]
    for name, function in _functions(ast.parse(source), ""):
        for node in (part for statement in function.body for part in _code(statement)):
            for operator, change in OPERATORS.items():
                for place, new in change(node):
                    start = starts[place.lineno - 1] + place.col_offset
                    end = starts[place.end_lineno - 1] + place.end_col_offset
                    old = " ".join(text[start:end].decode().split())
                    yield Mutation(name, operator, place.lineno, start, end, old, new)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Outermost functions and the methods of classes, by their qualified names."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
                yield prefix + name, child
            case ast.ClassDef(name):
                yield from _functions(child, f"{prefix}{name}.")
            case ast.If():
                yield from _functions(child, prefix)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, without annotations, f-strings and messages of errors."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"} or isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)
