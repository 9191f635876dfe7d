"""What a transformation cannot use ends in a sentence naming the argument; arrays of any library work."""

import functools
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import funcnet as fn
from funcnet.transform import graph, load_graph

T = fn.transform
PACKAGE = str(Path(fn.__file__).parent)


def square(x, *others):
    return jnp.sum(x**2)


def times(w, e):
    return w * jnp.sum(e)


def raised(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def assert_our_sentence(error: Exception | None, argument: str) -> None:
    assert error is not None, "no error"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    assert frame.filename.startswith(PACKAGE), f"raised in {frame.filename}: {error}"
    assert isinstance(error, TypeError | ValueError | RuntimeError)
    assert re.search(rf"\b{argument}\b", str(error)), str(error)


OBJECTS = np.array([1.0, None, "a"], object)
X, V, ROWS = np.ones(3, np.float32), np.ones(3, np.float32), np.arange(4, dtype=np.float32)


def the_key():
    return jax.random.key(0)


@functools.cache
def graph_of_square():
    return graph(square)(X)


@functools.cache
def bad_values() -> dict[str, list[Any]]:
    return {
        "function": [None, 3, "relu", jnp.ones(2), np.ones(2), lambda: 0.0],
        "floating": [
            None,
            "a",
            OBJECTS,
            np.array(["a"]),
            1j * np.ones(3),
            jnp.ones(3, int),
            the_key(),
            object(),
        ],
        "rows": [
            None,
            "ab",
            OBJECTS,
            jnp.zeros((0, 3)),
            3.0,
            object(),
            (jnp.ones(3), jnp.ones(4)),
            pd.DataFrame({"a": ["x"]}),
        ],
        "count": [0, -1, True, 1.5, "2", None, jnp.ones(2), np.float64(2)],
        "key": [0, "k", jnp.zeros(2, "uint32"), jax.random.split(the_key(), 2)],
        "above zero": [0.0, -1.0, float("nan"), "a", None, OBJECTS, True],
        "finite": [float("nan"), float("inf"), "a", None, OBJECTS],
        "path": [None, 3, b"x", "", "a\0b"],
        "array": ["a", OBJECTS, np.array(["a"]), object()],
        "weight": [
            "balanced",
            OBJECTS,
            jnp.ones(3),
            jnp.zeros(4),
            np.array([1.0, -1, 1, 1]),
            np.array([np.nan, 1, 1, 1]),
        ],
        "mapping": [None, 3, "a", {1: 2.0}, {"x": "a"}, {"unknown": 1.0}],
        "axes": ["0", 1, 1.5, (0, 0), True, None],
        "batch": [3, "1x", ["a", "b"], [object()]],
        "device": [3, "cpu", object()],
    }


# (function, valid arguments by name, what each expects)
CALLS: list[tuple[str, Callable[..., Any], dict[str, Any], dict[str, str]]] = [
    (
        "hvp",
        lambda f, x, v: T.hvp(f)(x, v),
        {"f": square, "x": X, "v": V},
        {"f": "function", "x": "floating"},
    ),
    (
        "ggnvp",
        lambda outputs, loss, x, v: T.ggnvp(outputs, loss)(x, v),
        {"outputs": jnp.sin, "loss": jnp.sum, "x": X, "v": V},
        {"outputs": "function", "loss": "function", "x": "floating"},
    ),
    (
        "jacobian",
        lambda f, x, chunk: T.jacobian(f, chunk=chunk)(x),
        {"f": jnp.sin, "x": X, "chunk": 2},
        {"f": "function", "x": "floating", "chunk": "count"},
    ),
    (
        "hessian_diag",
        lambda f, x, key, samples, chunk: T.hessian_diag(f, key=key, samples=samples, chunk=chunk)(x),
        {"f": square, "x": X, "key": the_key, "samples": 2, "chunk": 2},
        {"f": "function", "x": "floating", "key": "key", "samples": "count", "chunk": "count"},
    ),
    (
        "eigenpairs",
        lambda matvec, like, key, count, iterations: T.eigenpairs(
            matvec, like, key, count=count, iterations=iterations
        ),
        {"matvec": lambda v: 2 * v, "like": X, "key": the_key, "count": 1, "iterations": 2},
        {"matvec": "function", "like": "floating", "key": "key", "count": "count", "iterations": "count"},
    ),
    (
        "per_example_grads",
        lambda f, x, examples: T.per_example_grads(f)(x, examples),
        {"f": times, "x": 1.0, "examples": ROWS},
        {"f": "function", "x": "floating", "examples": "rows"},
    ),
    (
        "clipped_mean_grad",
        lambda f, norm, x, examples: T.clipped_mean_grad(f, norm)(x, examples),
        {"f": times, "norm": 1.0, "x": 1.0, "examples": ROWS},
        {"f": "function", "norm": "above zero", "x": "floating", "examples": "rows"},
    ),
    (
        "gradient_noise_scale",
        lambda f, x, examples: T.gradient_noise_scale(f)(x, examples),
        {"f": times, "x": 1.0, "examples": ROWS},
        {"f": "function", "x": "floating", "examples": "rows"},
    ),
    (
        "microbatched_value_and_grad",
        lambda f, size, x, examples, weight: T.microbatched_value_and_grad(f, size)(x, examples, weight),
        {"f": times, "size": 2, "x": 1.0, "examples": ROWS, "weight": np.ones(4, np.float32)},
        {"f": "function", "size": "count", "x": "floating", "examples": "rows", "weight": "weight"},
    ),
    (
        "check_grads",
        lambda f, x, directions, tolerance, seed: T.check_grads(
            f, directions=directions, tolerance=tolerance, seed=seed
        )(x),
        {"f": square, "x": X, "directions": 1, "tolerance": 1e-4, "seed": 0},
        {"f": "function", "x": "floating", "directions": "count", "tolerance": "above zero"},
    ),
    (
        "find_nan",
        lambda f, args: T.find_nan(f)(args),
        {"f": jnp.sin, "args": X},
        {"f": "function", "args": "array"},
    ),
    (
        "graph",
        lambda f, args: graph(f)(args),
        {"f": jnp.sin, "args": X},
        {"f": "function", "args": "array"},
    ),
    ("Graph", lambda args: graph_of_square()(args), {"args": X}, {"args": "array"}),
    ("reap", lambda f, x: T.reap(f)(x), {"f": jnp.sin, "x": X}, {"f": "function"}),
    (
        "plant",
        lambda f, values: T.plant(f, values)(X),
        {"f": jnp.sin, "values": {}},
        {"f": "function", "values": "mapping"},
    ),
    (
        "explain_retrace",
        lambda f, args: T.explain_retrace(f)(args),
        {"f": jnp.sin, "args": X},
        {"f": "function", "args": "array"},
    ),
    (
        "vmap_last",
        lambda f, in_axes, args: T.vmap_last(f, in_axes)(args),
        {"f": jnp.sin, "in_axes": 0, "args": X},
        {"f": "function", "args": "array", "in_axes": "axes"},
    ),
    (
        "straight_through",
        lambda f, x: T.straight_through(f)(x),
        {"f": jnp.round, "x": X},
        {"f": "function", "x": "array"},
    ),
    (
        "clip_gradient",
        lambda x, norm: T.clip_gradient(x, norm),
        {"x": X, "norm": 1.0},
        {"x": "array", "norm": "above zero"},
    ),
    (
        "reverse_gradient",
        lambda x, scale: T.reverse_gradient(x, scale),
        {"x": X, "scale": 1.0},
        {"x": "array", "scale": "finite"},
    ),
    (
        "implicit_minimum",
        lambda solve, objective, ridge, start, h: jax.grad(
            lambda h: T.implicit_minimum(solve, objective, ridge=ridge)(start, h)
        )(h),
        {
            "solve": lambda x, h: h / 2,
            "objective": lambda x, h: (x - h) ** 2 + x**2,
            "ridge": 0.0,
            "start": 0.0,
            "h": 1.0,
        },
        {"solve": "function", "objective": "function", "ridge": "finite", "start": "floating"},
    ),
    (
        "save",
        lambda path, batch: graph_of_square().save(path, batch=batch),
        {"path": "x", "batch": None},
        {"path": "path", "batch": "batch"},
    ),
    ("draw", lambda path: graph_of_square().draw(path), {"path": "x.dot"}, {"path": "path"}),
    ("load_graph", lambda path: load_graph(path), {"path": "x"}, {"path": "path"}),
    ("compile", lambda device: graph_of_square().compile(device), {"device": None}, {"device": "device"}),
    ("diff", lambda other: graph_of_square().diff(other), {"other": graph_of_square}, {"other": "device"}),
    (
        "seconds",
        lambda flops, bytes: graph_of_square().cost().seconds(flops=flops, bytes=bytes),
        {"flops": 1.0, "bytes": 1.0},
        {"flops": "above zero", "bytes": "above zero"},
    ),
]


@pytest.mark.parametrize("name", [name for name, _, _, _ in CALLS])
def test_what_cannot_be_used_ends_in_a_sentence_that_names_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, call, valid, kinds = next(entry for entry in CALLS if entry[0] == name)
    made = [the_key, graph_of_square]
    valid = {n: value() if any(value is make for make in made) else value for n, value in valid.items()}
    problems = []
    for argument, kind in kinds.items():
        for bad in bad_values()[kind]:
            if argument in ("chunk", "iterations") and bad is None:
                continue
            error = raised(lambda: call(**(valid | {argument: bad})))  # noqa: B023
            try:
                assert_our_sentence(error, argument)
            except AssertionError as problem:
                problems.append(f"{argument}={bad!r}: {problem}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "result", [None, "a", (1.0, 2.0), {"loss": 1.0}, np.ones(2, np.float32), 1, object()]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda f: T.hvp(f)(X, V),
        lambda f: T.ggnvp(jnp.sin, f)(X, V),
        lambda f: T.hessian_diag(f)(X),
        lambda f: T.per_example_grads(f)(X, ROWS),
        lambda f: T.clipped_mean_grad(f, 1.0)(X, ROWS),
        lambda f: T.microbatched_value_and_grad(f, 2)(X, ROWS),
        lambda f: T.check_grads(f)(X),
    ],
)
def test_a_function_that_returns_no_floating_scalar_is_named(call, result):
    assert_our_sentence(raised(lambda: call(lambda *args: result)), "return")


@pytest.mark.parametrize("result", ["a", object()])
@pytest.mark.parametrize(
    "call",
    [
        lambda f: T.jacobian(f)(X),
        lambda f: T.find_nan(f)(X),
        lambda f: graph(f)(X),
        lambda f: T.reap(f)(X),
        lambda f: T.explain_retrace(f)(X),
        lambda f: T.vmap_last(f)(X),
        lambda f: T.straight_through(f)(X),
    ],
)
def test_a_function_that_returns_no_arrays_is_named(call, result):
    assert_our_sentence(raised(lambda: call(lambda *args: result)), "f must return")


VALUES = np.array([0.5, 1.0, 2.0], np.float32)
READ_ONLY = VALUES.copy()
READ_ONLY.flags.writeable = False


ARRAYS = {
    "numpy": VALUES,
    "big-endian": VALUES.astype(">f8"),
    "read-only": READ_ONLY,
    "pandas": pd.Series(VALUES),
    "list": VALUES.tolist(),
    "scalars": [*VALUES],
}


def _of_examples(examples):
    makes = (
        T.per_example_grads,
        T.gradient_noise_scale,
        lambda f: T.clipped_mean_grad(f, 1.0),
        lambda f: T.microbatched_value_and_grad(f, 2),
    )
    return [make(lambda w, e: jnp.sin(w * e))(2.0, examples) for make in makes]


def _of_arrays(a):
    return (
        *(T.hvp(square)(a, a), T.ggnvp(jnp.sin, jnp.sum)(a, a), T.jacobian(jnp.sin)(a)),
        *(T.hessian_diag(square)(a), T.check_grads(square)(a).right, T.find_nan(jnp.log)(a) is None),
        *(graph(jnp.sin)(a)(a), T.reap(jnp.sin)(a)[0], T.explain_retrace(jnp.sin)(a)),
        *(T.vmap_last(jnp.sin)(a), T.straight_through(jnp.round)(a), T.clip_gradient(a, 1.0)),
        T.reverse_gradient(a),
        T.implicit_minimum(lambda x, h: h / 2, lambda x, h: jnp.sum((x - h) ** 2))(a, a),
        T.plant(lambda x: T.sow(x, "x") * 2, {"x": a})(VALUES),
    )


@functools.cache
def expected(of):
    return of(jnp.asarray(VALUES))


@pytest.mark.parametrize("name", ARRAYS)
def test_examples_of_any_library_work(name):
    jax.tree.map(np.testing.assert_array_equal, _of_examples(ARRAYS[name]), expected(_of_examples))


@pytest.mark.parametrize("name", ["numpy", "big-endian", "read-only", "pandas"])
def test_arrays_of_any_library_work(name):
    jax.tree.map(np.testing.assert_array_equal, _of_arrays(ARRAYS[name]), expected(_of_arrays))


@pytest.mark.parametrize("value", [[], np.ones(2), ["a"], None, "1", 1j])
def test_a_norm_and_a_scale_are_one_number(value):
    for call, name in (
        (lambda: T.clip_gradient(VALUES, value), "norm"),
        (lambda: T.reverse_gradient(VALUES, value), "scale"),
        (lambda: T.clipped_mean_grad(square, value), "norm"),
    ):
        assert_our_sentence(raised(call), f"{name} must be")
    big_endian = T.clipped_mean_grad(lambda w, e: w * e, np.array(1.0, ">f8"))
    assert big_endian(2.0, VALUES)[0] == T.clipped_mean_grad(lambda w, e: w * e, 1.0)(2.0, VALUES)[0]


def test_a_count_beyond_the_rows_is_all_of_them():
    value, gradient = T.microbatched_value_and_grad(times, 2**40)(3.0, VALUES)
    assert float(value) == 3.5
    assert float(gradient) == pytest.approx(3.5 / 3)
    assert_our_sentence(raised(lambda: T.hessian_diag(square, key=the_key(), samples=2**40)), "samples")


def test_integers_that_would_wrap_are_refused():
    with pytest.raises(ValueError, match=r"examples.* must fit in 32-bit integers"):
        T.per_example_grads(times)(1.0, np.array([2**32 + 3, 1]))
    with pytest.raises(ValueError, match=r"args.* must fit in 32-bit integers"):
        graph(jnp.sin)(np.array([2**32 + 3]))


def test_traced_arguments_of_host_functions_are_named():
    for make in (T.check_grads, T.find_nan):
        assert_our_sentence(raised(lambda make=make: jax.jit(make(square))(X)), "traced")


def test_a_gradient_scaled_by_a_traced_norm():
    clipped = jax.jit(lambda norm: jax.grad(lambda x: 10 * jnp.sum(T.clip_gradient(x, norm)))(jnp.zeros(4)))
    np.testing.assert_allclose(clipped(1.0), 0.5)


def saved(tmp_path):
    return graph(lambda x, y: {"out": x @ y})(jnp.ones((2, 3)), jnp.ones(3)).save(tmp_path / "model.graph")


def test_a_saved_graph_is_loaded(tmp_path):
    loaded = load_graph(str(saved(tmp_path)))
    np.testing.assert_array_equal(
        loaded(np.ones((2, 3), ">f4"), [1.0, 2.0, 3.0] @ np.eye(3))["out"], [6, 6]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model.graph"]


def test_every_flipped_bit_of_a_saved_graph_is_found(tmp_path):
    path = saved(tmp_path)
    content = path.read_bytes()
    places = [*range(64), *range(64, len(content), 37), len(content) - 1]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.graph") as error:
            load_graph(path)
        assert_our_sentence(error.value, "graph")


@pytest.mark.parametrize("cut", [0, 10, 63, 64, 100, -1])
def test_a_saved_graph_that_is_cut_off_or_longer_is_found(tmp_path, cut):
    path = saved(tmp_path)
    content = path.read_bytes()
    for damaged in (content[:cut], content + b"\0", b"garbage" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.graph"):
            load_graph(path)


@pytest.mark.parametrize(
    "args",
    [
        (),
        (np.ones((2, 3), np.float32),),
        (np.ones((2, 3), np.float32), np.ones(4, np.float32)),
        (np.ones((2, 3), np.float32), np.ones(3, np.int32)),
        ("a", np.ones(3, np.float32)),
    ],
)
def test_other_arguments_of_a_loaded_graph_end_in_a_sentence(tmp_path, args):
    assert_our_sentence(raised(lambda: load_graph(saved(tmp_path))(*args)), "args")


def test_a_loaded_graph_takes_any_length_of_a_named_axis(tmp_path):
    path = graph(lambda x: 2 * x)(jnp.ones((1, 3))).save(tmp_path / "double", batch="b")
    assert load_graph(path)(jnp.ones((5, 3))).shape == (5, 3)
    assert_our_sentence(raised(lambda: load_graph(path)(jnp.ones((5, 4)))), "args")
