"""What an argument is replaced by: the same numbers in other types, other shapes, values, and nonsense.

A `Mutation` says what the new value is equal to: an array that must give the same result (`equal`), the
sentence that is due (`REFUSED`: nothing else is right), or nothing known (`UNKNOWN`).
"""

import array
import collections
import dataclasses
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

UNKNOWN, REFUSED = "unknown", "refused"


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A new value; the code that makes it from `v`, the base value; and what it is equal to."""

    value: Any
    code: str
    equal: Any = UNKNOWN


def user_returns_none(*args: Any, **kwargs: Any) -> Any:
    return None


def user_returns_text(*args: Any, **kwargs: Any) -> Any:
    return "text"


def user_returns_ones(*args: Any, **kwargs: Any) -> Any:
    return jnp.ones((2, 5))


def user_returns_complex(*args: Any, **kwargs: Any) -> Any:
    return jnp.ones(()) * 1j


def user_returns_dict(*args: Any, **kwargs: Any) -> Any:
    return {"a": jnp.ones(())}


def user_takes_nothing() -> Any:
    return jnp.ones(())


def user_takes_five(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    return jnp.ones(())


class UserClass:
    """A class that is not a number, a function or a model."""


class UserError(Exception):
    """Raised by a function of the user: not the library's to name."""


def user_raises(*args: Any, **kwargs: Any) -> Any:
    raise UserError("raised by a function of the user")


def _generator() -> Any:
    return (i for i in range(3))


def _nonsense() -> list[Mutation]:
    """Values that are no numbers, for any argument."""
    ragged = [[1.0, 2.0], [3.0]]
    when = np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")
    return [
        Mutation(None, "None", REFUSED),
        Mutation("text", "'text'", REFUSED),
        Mutation("", "''", REFUSED),
        Mutation(b"bytes", "b'bytes'", REFUSED),
        Mutation(object(), "object()", REFUSED),
        Mutation({"a": 1.0}, "{'a': 1.0}", REFUSED),
        Mutation({}, "{}", REFUSED),
        Mutation({1, 2}, "{1, 2}", REFUSED),
        Mutation(UserClass, "UserClass", REFUSED),
        Mutation(UserClass(), "UserClass()", REFUSED),
        Mutation(float, "float", REFUSED),
        Mutation(len, "len", REFUSED),
        Mutation(user_returns_none, "lambda *a, **k: None", REFUSED),
        Mutation(np, "numpy", REFUSED),
        Mutation(_generator(), "(i for i in range(3))", REFUSED),
        Mutation(1 + 2j, "1 + 2j", REFUSED),
        Mutation(np.array([1 + 2j, 3.0]), "np.array([1 + 2j, 3.0])", REFUSED),
        Mutation(datetime.datetime(2024, 1, 1), "datetime.datetime(2024, 1, 1)", REFUSED),
        Mutation(when, "np.array(['2024-01-01', '2024-01-02'], 'datetime64[D]')", REFUSED),
        Mutation(np.array(["a", "b"]), "np.array(['a', 'b'])", REFUSED),
        Mutation(np.array([None, 1.0]), "np.array([None, 1.0])", REFUSED),
        Mutation(np.array([1.0, "a"], object), "np.array([1.0, 'a'], object)", REFUSED),
        Mutation(np.zeros(2, [("a", float)]), "np.zeros(2, [('a', float)])", REFUSED),
        Mutation(ragged, "[[1.0, 2.0], [3.0]]", REFUSED),
        Mutation([None, None], "[None, None]", REFUSED),
        Mutation(["a", "b"], "['a', 'b']", REFUSED),
        Mutation([], "[]", REFUSED),
        Mutation((), "()", REFUSED),
        Mutation(Ellipsis, "...", REFUSED),
        Mutation(jax.random.key(3), "jax.random.key(3)", REFUSED),
        Mutation(jax.ShapeDtypeStruct((2,), jnp.float32), "jax.ShapeDtypeStruct((2,), 'float32')", REFUSED),
        Mutation(
            np.ma.masked_array([1.0, 2.0], [True, False]), "np.ma.masked_array([1., 2.], [1, 0])", REFUSED
        ),
        Mutation(slice(0, 2), "slice(0, 2)", REFUSED),
        Mutation(jnp.float32, "jnp.float32", REFUSED),
    ]


# Arrays that hold the same numbers.


def _same_numbers(v: np.ndarray) -> list[Mutation]:
    """Other containers and dtypes of one array, and the float64 or int64 array that each is equal to."""
    import pandas

    wide = v.copy() if v.dtype == bool else v.astype(np.int64 if v.dtype.kind in "iu" else np.float64)
    swapped = v.astype(v.dtype.newbyteorder(">")) if v.dtype.itemsize > 1 else v
    frozen = v.copy()
    frozen.flags.writeable = False
    strided = np.repeat(v, 2, axis=0)[::2] if v.ndim else v
    found = [
        Mutation(v.tolist(), "v.tolist()", wide),
        Mutation(swapped, "v.astype(v.dtype.newbyteorder('>'))", wide),
        Mutation(frozen, "a read-only copy of v", wide),
        Mutation(strided, "np.repeat(v, 2, 0)[::2]", wide),
        Mutation(np.asfortranarray(v), "np.asfortranarray(v)", wide),
        Mutation(jnp.asarray(v), "jnp.asarray(v)", wide),
        Mutation(wide, f"v.astype('{wide.dtype}')", wide),
        Mutation(v.astype(np.float64), "v.astype('float64')", v.astype(np.float64)),
        Mutation(np.ma.masked_array(v), "np.ma.masked_array(v)", wide),
        Mutation(v.astype(object), "v.astype(object)", UNKNOWN),
        Mutation(v.astype(str), "v.astype(str)", REFUSED),
        Mutation(v.astype(complex), "v.astype(complex)", REFUSED),
        Mutation(memoryview(np.ascontiguousarray(v)), "memoryview(v)", UNKNOWN),
        Mutation([*v] if v.ndim else v.item(), "[*v]", wide),
        Mutation(np.longdouble(1) * v if v.dtype.kind == "f" else v, "v.astype('longdouble')", wide),
    ]
    for dtype in ("float16", "bfloat16"):
        half = v.astype(jnp.dtype(dtype))
        exact = half.astype(np.float64)
        if v.dtype.kind == "f" or np.array_equal(exact, wide):
            found.append(Mutation(half, f"v.astype('{dtype}')", exact))
            found.append(Mutation(jnp.asarray(half), f"jnp.asarray(v, '{dtype}')", exact))
    for dtype in ("int8", "uint8", "int16", "int32", "int64", "uint64", "bool"):
        whole = np.abs(np.round(v)).astype(dtype)
        found.append(Mutation(whole, f"np.abs(np.round(v)).astype('{dtype}')", whole.astype(np.int64)))
    if v.ndim == 1:
        series = pandas.Series(v, index=np.arange(len(v))[::-1])
        found += [
            Mutation(series, "pandas.Series(v, index=range(len(v))[::-1])", wide),
            Mutation(pandas.Series(v).convert_dtypes(), "pandas.Series(v).convert_dtypes()", UNKNOWN),
            Mutation(pandas.Series(v).astype(object), "pandas.Series(v).astype(object)", UNKNOWN),
            Mutation(pandas.Series(v).astype(str), "pandas.Series(v).astype(str)", REFUSED),
            Mutation(pandas.Index(v), "pandas.Index(v)", wide),
            Mutation(tuple(v.tolist()), "tuple(v.tolist())", wide),
            Mutation(array.array("d", v.tolist()), "array.array('d', v)", UNKNOWN),
            Mutation(collections.deque(v.tolist()), "collections.deque(v)", UNKNOWN),
        ]
        if v.dtype.kind in "iub":
            found.append(
                Mutation(pandas.Series(v).astype("category"), "pandas.Series(v, dtype='category')")
            )
    if v.ndim == 2:
        frame = pandas.DataFrame(v, columns=[f"c{i}" for i in range(v.shape[1])])
        mixed = frame.assign(c0=frame["c0"].round().astype("int64"))
        found += [
            Mutation(frame, "pandas.DataFrame(v)", wide),
            Mutation(mixed, "pandas.DataFrame(v) with an int64 column", mixed.to_numpy(float)),
            Mutation(frame.astype(str), "pandas.DataFrame(v).astype(str)", REFUSED),
            Mutation(np.asmatrix(v), "np.asmatrix(v)", UNKNOWN),
        ]
    if v.ndim == 0:
        found += [
            Mutation(v.item(), "v.item()", wide),
            Mutation(np.float64(v), "np.float64(v)", np.float64(v)),
            Mutation(fractions.Fraction(float(v)), "Fraction(v)", UNKNOWN),
            Mutation(decimal.Decimal(float(v)), "Decimal(v)", UNKNOWN),
        ]
    try:
        import torch

        found.append(Mutation(torch.tensor(v), "torch.tensor(v)", wide))
        if v.dtype.kind == "f":
            made = torch.tensor(v, requires_grad=True)
            found.append(Mutation(made, "torch.tensor(v, requires_grad=True)", wide))
            half = torch.tensor(v).to(torch.bfloat16)
            found.append(Mutation(half, "torch.tensor(v).bfloat16()", half.double().numpy()))
    except ImportError:
        pass
    return found


def _other_shapes(v: np.ndarray) -> list[Mutation]:
    shapes = [
        ("v[None]", v[None]),
        ("v[..., None]", v[..., None]),
        ("v.reshape(-1)", v.reshape(-1)),
        ("np.zeros((0,))", np.zeros(0, v.dtype)),
        ("np.zeros((0, 3))", np.zeros((0, 3), v.dtype)),
        ("v.flat[0]", v.reshape(-1)[:1].reshape(())),
        ("np.stack([v, v])", np.stack([v, v])),
    ]
    if v.ndim:
        shapes += [
            ("v[:-1]", v[:-1]),
            ("v[:1]", v[:1]),
            ("v[:0]", v[:0]),
            ("np.concatenate([v, v])", np.concatenate([v, v])),
            ("v[0]", v[0]),
            ("v.T", np.ascontiguousarray(v.T)),
        ]
    if v.ndim > 1:
        shapes += [("v[..., :-1]", v[..., :-1]), ("v[..., :0]", v[..., :0]), ("v[..., :1]", v[..., :1])]
    return [Mutation(value, code, value) for code, value in shapes]


SPECIAL = [
    *(np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 1e-40, 1e38, -1e38, 3.4e38, 1e39, -1e39, 1e300, 1e-30),
    *(-1.0, 0.5, 2.0, 100.0, -100.0, 1e4, -1e4, 1e10, 16777217.0, 1.7e9, 88.8, 104.0),
]
INTEGERS = [-1, 2, 3, 127, 255, 256, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**32 + 1, 2**40, 2**53 + 1]


def _other_values(rng: np.random.Generator, v: np.ndarray) -> Mutation:
    """A special number in one entry, in all, or in a random half of them."""
    whole = v.dtype.kind in "iub" and rng.random() < 0.6
    special = INTEGERS[rng.integers(len(INTEGERS))] if whole else SPECIAL[rng.integers(len(SPECIAL))]
    dtype = np.int64 if whole else (np.float64 if rng.random() < 0.4 else np.float32)
    new = v.astype(dtype)
    where = rng.choice(["one", "all", "half", "scale", "shift", "near"])
    with np.errstate(all="ignore"):
        entry = np.asarray(special, np.float64 if not whole else np.int64).astype(dtype)
    if where == "one" and new.size:
        index = int(rng.integers(new.size))
        new.reshape(-1)[index] = entry
        code = f"v as {new.dtype.name} with v.flat[{index}] = {special!r}"
    elif where == "half":
        mask = rng.random(new.shape) < 0.5
        new = np.where(mask, entry, new)
        code = f"v as {new.dtype.name} with {special!r} where {mask.tolist()}"
    elif where == "scale":
        with np.errstate(all="ignore"):
            new = (new * entry).astype(dtype)
        code = f"v as {new.dtype.name} * {special!r}"
    elif where == "shift":
        with np.errstate(all="ignore"):
            new = (new + entry).astype(dtype)
        code = f"v as {new.dtype.name} + {special!r}"
    elif where == "near" and not whole:
        new = (1.0 + 1e-12 * np.arange(new.size, dtype=np.float64)[::-1]).reshape(new.shape)
        code = "(1 + 1e-12 * np.arange(v.size)[::-1]).reshape(v.shape)"
    else:
        new = np.full_like(new, entry)
        code = f"np.full_like(v, {special!r}, '{new.dtype.name}')"
    value = jnp.asarray(new) if rng.random() < 0.15 and new.dtype in (np.float32, np.int32) else new
    return Mutation(value, code, new)


def _pick(rng: np.random.Generator, pool: list[Mutation]) -> Mutation:
    return pool[int(rng.integers(len(pool)))]


def mutated_array(rng: np.random.Generator, v: Any) -> Mutation:
    v = np.asarray(v)
    kind = rng.random()
    if kind < 0.2:
        return _pick(rng, _nonsense())
    if kind < 0.5:
        return _pick(rng, _same_numbers(v))
    if kind < 0.65:
        return _pick(rng, _other_shapes(v))
    return _other_values(rng, v)


def mutated_number(rng: np.random.Generator, v: Any) -> Mutation:
    """A setting: one real number."""
    if rng.random() < 0.25:
        return _pick(rng, _nonsense())
    f = float(v) if v is not None else 0.5
    special = SPECIAL[rng.integers(len(SPECIAL))]
    pool = [
        Mutation(special, repr(special), special),
        Mutation(special, repr(special), special),
        Mutation(np.float64(special), f"np.float64({special!r})", special),
        Mutation(10**400, "10**400", UNKNOWN),
        Mutation(2**70, "2**70", UNKNOWN),
        Mutation(-1, "-1", -1),
        Mutation(0, "0", 0),
        Mutation(1, "1", 1),
        Mutation(True, "True", UNKNOWN),
        Mutation(str(f), repr(str(f)), REFUSED),
        Mutation([f], f"[{f}]", UNKNOWN),
        Mutation([f, f], f"[{f}, {f}]", UNKNOWN),
        Mutation(np.array([f, f]), f"np.array([{f}, {f}])", np.array([f, f])),
        Mutation(np.array(f), f"np.array({f})", f),
        Mutation(np.array(f, ">f8"), f"np.array({f}, '>f8')", f),
        Mutation(jnp.asarray(f, jnp.float32), f"jnp.asarray({f})", f),
        Mutation(np.float16(f), f"np.float16({f})", float(np.float16(f))),
        Mutation(
            jnp.asarray(f, jnp.bfloat16),
            f"jnp.asarray({f}, 'bfloat16')",
            float(jnp.asarray(f, jnp.bfloat16)),
        ),
        Mutation(np.longdouble(f), f"np.longdouble({f})", f),
        Mutation(fractions.Fraction(f), f"Fraction({f})", UNKNOWN),
        Mutation(decimal.Decimal(f), f"Decimal({f})", UNKNOWN),
        Mutation(np.array([f], object), f"np.array([{f}], object)", UNKNOWN),
        Mutation(np.zeros((0,)), "np.zeros((0,))", REFUSED),
        Mutation(complex(f), f"complex({f})", REFUSED),
    ]
    return _pick(rng, pool)


def mutated_integer(rng: np.random.Generator, v: Any) -> Mutation:
    if rng.random() < 0.25:
        return _pick(rng, _nonsense())
    i = int(v) if v is not None else 2
    pool = [
        *(Mutation(n, repr(n), n) for n in (0, -1, -(2**31), 2**31 - 1, 2**31, 2**32 + i, 2**40, 2**63)),
        Mutation(10**400, "10**400", UNKNOWN),
        Mutation(-(10**400), "-(10**400)", REFUSED),
        Mutation(i + 0.5, repr(i + 0.5), REFUSED),
        Mutation(float(i), repr(float(i)), UNKNOWN),
        Mutation(np.nan, "np.nan", REFUSED),
        Mutation(np.inf, "np.inf", REFUSED),
        Mutation(True, "True", UNKNOWN),
        Mutation(False, "False", UNKNOWN),
        Mutation(str(i), repr(str(i)), REFUSED),
        Mutation([i], f"[{i}]", UNKNOWN),
        Mutation((i, i), f"({i}, {i})", UNKNOWN),
        Mutation(np.array(i), f"np.array({i})", i),
        Mutation(np.array([i]), f"np.array([{i}])", UNKNOWN),
        Mutation(jnp.asarray(i), f"jnp.asarray({i})", i),
        Mutation(np.int8(i % 100), f"np.int8({i % 100})", i % 100),
        Mutation(np.uint64(abs(i)), f"np.uint64({abs(i)})", abs(i)),
        Mutation(np.float32(i), f"np.float32({i})", UNKNOWN),
        Mutation(decimal.Decimal(i), f"Decimal({i})", UNKNOWN),
        Mutation(fractions.Fraction(i), f"Fraction({i})", UNKNOWN),
        Mutation(complex(i), f"complex({i})", REFUSED),
        Mutation(i + 1, repr(i + 1), UNKNOWN),
        Mutation(i + 7, repr(i + 7), UNKNOWN),
    ]
    return _pick(rng, pool)


def mutated_boolean(rng: np.random.Generator, v: Any) -> Mutation:
    pool = [
        Mutation(not v, repr(not v)),
        *(Mutation(x, repr(x)) for x in (0, 1, 2, "True", "", 0.0, np.nan, np.bool_(True))),
        Mutation(np.array([True, False]), "np.array([True, False])"),
        Mutation(jnp.array(True), "jnp.array(True)"),
        *_nonsense(),
    ]
    return _pick(rng, pool)


def mutated_text(rng: np.random.Generator, v: Any) -> Mutation:
    text = v if isinstance(v, str) else "text"
    pool = [
        *(
            Mutation(x, repr(x))
            for x in (text.upper(), text + "x", f" {text}", text[:-1], "", "\x00", "é\u202e")
        ),
        *(Mutation(x, repr(x)) for x in (text.encode(), [text], (text, text), {text: 1}, 0, 1.5, True)),
        Mutation("x" * 5000, "'x' * 5000"),
        Mutation("\x1b[31mred", "'\\x1b[31mred'"),
        Mutation(np.str_(text), f"np.str_({text!r})"),
        Mutation(np.array(text), f"np.array({text!r})"),
        Mutation(np.array([text]), f"np.array([{text!r}])"),
        *_nonsense(),
    ]
    return _pick(rng, pool)


def mutated_function(rng: np.random.Generator, v: Any) -> Mutation:
    functions: list[tuple[Any, str]] = [
        (user_returns_none, "lambda *a, **k: None"),
        (user_returns_text, "lambda *a, **k: 'text'"),
        (user_returns_ones, "lambda *a, **k: jnp.ones((2, 5))"),
        (user_returns_complex, "lambda *a, **k: 1j * jnp.ones(())"),
        (user_returns_dict, "lambda *a, **k: {'a': jnp.ones(())}"),
        (user_takes_nothing, "lambda: 1.0"),
        (user_takes_five, "lambda a, b, c, d, e: 1.0"),
        (user_raises, "a function that raises UserError"),
        (len, "len"),
        (print, "print"),
        (max, "max"),
        (np.sin, "np.sin"),
        (jnp.sin, "jnp.sin"),
        (np.linalg.norm, "np.linalg.norm"),
        (str, "str"),
        (dict, "dict"),
        (jax.jit(user_takes_nothing), "jax.jit(lambda: 1.0)"),
        (UserClass, "UserClass"),
    ]
    pool = [
        *(Mutation(f, code) for f, code in functions),
        *_nonsense(),
        Mutation([v], "[v]"),
        Mutation(3, "3"),
    ]
    return _pick(rng, pool)


def mutated_key(rng: np.random.Generator, v: Any) -> Mutation:
    pool = [
        *(Mutation(x, repr(x)) for x in (0, 42, -1, 2**40, 1.5, True)),
        Mutation(jax.random.PRNGKey(0), "jax.random.PRNGKey(0)"),
        Mutation(jax.random.split(jax.random.key(0), 3), "jax.random.split(jax.random.key(0), 3)"),
        Mutation(jax.random.split(jax.random.key(0), 1), "jax.random.split(jax.random.key(0), 1)"),
        Mutation(jax.random.key(0, impl="rbg"), "jax.random.key(0, impl='rbg')"),
        Mutation(np.random.default_rng(0), "np.random.default_rng(0)"),
        Mutation(np.zeros(2, np.uint32), "np.zeros(2, 'uint32')"),
        Mutation(np.zeros(3, np.uint32), "np.zeros(3, 'uint32')"),
        Mutation(jnp.zeros(2, jnp.int32), "jnp.zeros(2, 'int32')"),
        Mutation(jax.random.key, "jax.random.key"),
        *_nonsense(),
    ]
    return _pick(rng, pool)


def mutated_path(rng: np.random.Generator, v: Any) -> Mutation:
    """Names below the current folder only; numbers would be file descriptors, high ones are not open."""
    pool = [
        *(
            Mutation(x, repr(x))
            for x in ("missing/folder/file", ".", "", "garbage.bin", "empty.bin", "a\x00b")
        ),
        *(Mutation(x, repr(x)) for x in (b"bytes.bin", ["a"], ("a", "b"), {"a": 1}, 54321, 1.5, True)),
        Mutation("x" * 300, "'x' * 300"),
        Mutation("é ü.bin", "'é ü.bin'"),
        Mutation(None, "None"),
        Mutation(object(), "object()"),
        Mutation(user_returns_none, "lambda *a: None"),
        Mutation(np.array([1.0]), "np.array([1.0])"),
        Mutation(UserClass, "UserClass"),
        Mutation(jax.random.key(0), "jax.random.key(0)"),
    ]
    return _pick(rng, pool)


def mutated_sequence(rng: np.random.Generator, v: Any) -> Mutation:
    """Several integers or names."""
    items = list(v) if v is not None and not isinstance(v, str) else [1, 2]
    first = items[0] if items else 1
    pool = [
        *(
            Mutation(x, repr(x))
            for x in (items[:-1], items[::-1], items + items, items[:1], [], (), 0, -1, 5, "ab")
        ),
        *(
            Mutation([x, *items[1:]], repr([x, *items[1:]]))
            for x in (None, 0, -1, 1.5, "z", b"z", np.nan, 2**40)
        ),
        *(Mutation([x, *items[1:]], repr([x, *items[1:]])) for x in (True, [first], {}, np.int64(1), 1e39)),
        Mutation([10**400, *items[1:]], "[10**400, ...]"),
        Mutation(set(map(str, items)), "set(map(str, v))"),
        Mutation(dict.fromkeys(map(str, items), 1), "dict.fromkeys(map(str, v), 1)"),
        Mutation((x for x in items), "(x for x in v)"),
        Mutation(np.array(items), "np.array(v)"),
        Mutation(np.array(items, object), "np.array(v, object)"),
        Mutation(range(2), "range(2)"),
        Mutation(jnp.arange(len(items)), "jnp.arange(len(v))"),
        *_nonsense(),
    ]
    return _pick(rng, pool)


def mutated_tree(rng: np.random.Generator, v: Any) -> Mutation:
    """A model: another value, or one of its leaves."""
    leaves, structure = jax.tree.flatten(v)
    if not leaves or rng.random() < 0.35:
        pool = [
            *_nonsense(),
            Mutation({"w": None}, "{'w': None}"),
            Mutation({"w": "text"}, "{'w': 'text'}"),
            Mutation({"w": np.array([None])}, "{'w': np.array([None])}"),
            Mutation([v, v], "[v, v]"),
            Mutation(5, "5"),
            Mutation(1.5, "1.5"),
            Mutation(np.ones((2, 2)), "np.ones((2, 2))"),
        ]
        return _pick(rng, pool)
    i = int(rng.integers(len(leaves)))
    leaf = leaves[i]
    if not hasattr(leaf, "shape") or jax.dtypes.issubdtype(
        getattr(leaf, "dtype", int), jax.dtypes.extended
    ):
        return _pick(rng, _nonsense())
    if rng.random() < 0.25:
        dtype = str(rng.choice(["float16", "bfloat16", "float64", "int32", "complex64"]))
        every = [np.asarray(x).astype(jnp.dtype(dtype)) for x in leaves]
        return Mutation(jax.tree.unflatten(structure, every), f"all leaves of v as numpy {dtype}")
    new = mutated_array(rng, np.asarray(leaf))
    try:
        tree = jax.tree.unflatten(structure, [*leaves[:i], new.value, *leaves[i + 1 :]])
    except Exception:  # the class itself refuses it
        return Mutation(new.value, f"instead of v: {new.code}")
    return Mutation(tree, f"v with leaf {i}: {new.code}")


def mutated_data(rng: np.random.Generator, v: Any) -> Mutation:
    """A tuple (x, y) of arrays: another container, or one of its arrays."""
    import pandas

    x, y = (np.asarray(a) for a in v)
    draw = rng.random()
    if draw < 0.3:
        whole = [
            Mutation([x, y], "[x, y]"),
            Mutation({"x": x, "y": y}, "{'x': x, 'y': y}"),
            Mutation((x,), "(x,)"),
            Mutation((x, y, y), "(x, y, y)"),
            Mutation((x, None), "(x, None)"),
            Mutation((None, y), "(None, y)"),
            Mutation(x, "x"),
            Mutation(pandas.DataFrame(x.reshape(x.shape[0] if x.ndim else 1, -1)), "pandas.DataFrame(x)"),
            Mutation(
                (
                    pandas.DataFrame(x.reshape(x.shape[0] if x.ndim else 1, -1)),
                    pandas.Series(y.reshape(-1)),
                ),
                "(DataFrame(x), Series(y))",
            ),
            Mutation((x, (y, y)), "(x, (y, y))"),
            Mutation(5, "5"),
            *_nonsense(),
        ]
        if x.ndim and x.shape[:1] == y.shape[:1]:
            whole += [
                Mutation(zip(x, y, strict=True), "zip(x, y)"),
                Mutation([*zip(x, y, strict=True)], "[*zip(x, y)]"),
            ]
        return _pick(rng, whole)
    i = int(rng.random() < 0.5)
    new = mutated_array(rng, (x, y)[i])
    value = (new.value, y) if i == 0 else (x, new.value)
    equal: Any = UNKNOWN
    if isinstance(new.equal, np.ndarray):
        equal = (new.equal, y) if i == 0 else (x, new.equal)
    return Mutation(value, f"(x, y) with {'xy'[i]} = {new.code.replace('v', 'xy'[i], 1)}", equal)


def mutated_mapping(rng: np.random.Generator, v: Any) -> Mutation:
    items = dict(v)
    name = next(iter(items), "a")
    pool = [
        *_nonsense(),
        Mutation([*items.values()], "[*v.values()]"),
        Mutation([*items], "[*v]"),
        Mutation([*items.items()], "[*v.items()]"),
        Mutation({1: items.get(name)}, "{1: ...}"),
        Mutation({None: items.get(name)}, "{None: ...}"),
        Mutation({**items, "z": None}, "{**v, 'z': None}"),
        Mutation({**items, "z": "text"}, "{**v, 'z': 'text'}"),
        Mutation({**items, "z": [1.0, "a"]}, "{**v, 'z': [1.0, 'a']}"),
        Mutation({**items, name: None}, f"{{**v, {name!r}: None}}"),
        Mutation({**items, name: "text"}, f"{{**v, {name!r}: 'text'}}"),
        Mutation({**items, name: []}, f"{{**v, {name!r}: []}}"),
        Mutation({**items, name: object()}, f"{{**v, {name!r}: object()}}"),
        Mutation({**items, name: np.nan}, f"{{**v, {name!r}: np.nan}}"),
        Mutation({**items, name: 10**400}, f"{{**v, {name!r}: 10**400}}"),
        Mutation({**items, name: np.array([1.0, np.nan, np.inf])}, f"{{**v, {name!r}: [1, nan, inf]}}"),
        Mutation({**items, name: np.ones((2, 3, 4))}, f"{{**v, {name!r}: np.ones((2, 3, 4))}}"),
        Mutation({**items, name: (i for i in range(3))}, f"{{**v, {name!r}: (i for i in range(3))}}"),
    ]
    return _pick(rng, pool)


def mutated_object(rng: np.random.Generator, v: Any) -> Mutation:
    """An object of the library or of another: only another thing in its place."""
    pool = [
        *_nonsense(),
        Mutation(5, "5"),
        Mutation([v], "[v]"),
        Mutation((v, v), "(v, v)"),
        Mutation({"a": v}, "{'a': v}"),
    ]
    pool += [Mutation(type(v), "type(v)"), Mutation(1.5, "1.5"), Mutation(np.ones(3), "np.ones(3)")]
    return _pick(rng, pool)


def mutated_dtype(rng: np.random.Generator, v: Any) -> Mutation:
    names = [
        "float16",
        "float64",
        "bfloat16",
        "int32",
        "complex64",
        "float8_e4m3fn",
        "bool",
        "flt32",
        "f4",
        "O",
    ]
    pool = [
        *(Mutation(x, repr(x)) for x in names),
        *_nonsense(),
        Mutation(float, "float"),
        Mutation(32, "32"),
    ]
    return _pick(rng, pool)


MUTATORS: dict[str, Callable[[np.random.Generator, Any], Mutation]] = {
    "array": mutated_array,
    "values": lambda rng, v: _other_values(rng, np.asarray(v)),
    "number": mutated_number,
    "integer": mutated_integer,
    "boolean": mutated_boolean,
    "text": mutated_text,
    "function": mutated_function,
    "key": mutated_key,
    "path": mutated_path,
    "sequence": mutated_sequence,
    "tree": mutated_tree,
    "data": mutated_data,
    "mapping": mutated_mapping,
    "object": mutated_object,
    "dtype": mutated_dtype,
}
