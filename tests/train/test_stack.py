"""The way from a call to the user's loss: few frames of ours, so that a traceback can be read."""

import ast
import re
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import funcnet as fn

PACKAGE = str(Path(fn.__file__).parent)
ROWS = np.arange(10, dtype=np.float32)
SLOW = pytest.mark.slow


def the_key():
    return jax.random.key(0)


def deepest_stack(call, **settings):
    """The longest stack of frames in funcnet that a loss sees while `call(train)` runs."""
    stacks = []

    def loss(model, example, key):
        frame, names = sys._getframe(), []
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                names.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
            frame = frame.f_back
        stacks.append(names[::-1])
        return (model - example) ** 2

    call(fn.fit(loss, optax.sgd(0.1), **{"epochs": 2, "batch_size": 4, "shuffle": False} | settings))
    return max(stacks, key=len)


def fit(train):
    train(np.float32(0), ROWS, the_key(), ROWS[:5])


def fit_in_jit(train):
    jax.jit(train)(np.float32(0), ROWS, the_key(), ROWS[:5])


def trainer(train):
    fn.Trainer(train, progress=False)(np.float32(0), ROWS, the_key(), ROWS[:5])


def trainer_of_stream(train):
    stream = fn.data.Stream.from_batches(lambda: [ROWS[:4], ROWS[4:8]], 2)
    fn.Trainer(train, progress=False)(np.float32(0), stream, the_key(), ROWS[:5])


@pytest.mark.parametrize(
    ("call", "most", "settings"),
    [
        pytest.param(fit, 9, {}, marks=SLOW),
        (fit, 9, {"stopping": fn.EarlyStopping("loss"), "eval_every": 2, "on_nan": "skip"}),
        (fit, 11, {"accumulate": 2}),  # the scan over parts takes two
        pytest.param(fit_in_jit, 9, {}, marks=SLOW),
        (trainer, 13, {}),
        pytest.param(trainer_of_stream, 13, {}, marks=SLOW),
    ],
)
def test_few_frames_lead_to_the_loss(call, most, settings):
    stack = deepest_stack(call, **settings)
    assert 1 < len(stack) <= most, stack


def test_an_error_in_the_loss_has_a_short_traceback():
    def broken(model, example, key):
        raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here") as caught:
        fn.fit(broken, optax.sgd(0.1), epochs=2)(np.float32(0), ROWS, the_key())
    frames = [frame.name for frame in caught.traceback if str(frame.path).startswith(PACKAGE)]
    assert 1 < len(frames) <= 8, frames


def test_the_compiled_entry_points_are_those_of_the_page():
    """Each `jax.jit` in the files that run or map runs has a row in docs/why/how-a-run-works.md."""
    files = [
        Path(PACKAGE, "train", f"_{name}.py") for name in ("fit", "chunks", "loop", "epoch", "session")
    ]
    files += [Path(PACKAGE, "train", f"_{name}.py") for name in ("source", "trainer", "step")]
    # The padding of `sweep_sizes` is drawn and checked before its runs.
    files += [f for f in Path(PACKAGE, "study").glob("*.py") if not f.name.startswith("_padd")]
    compiled = [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr == "jit" and isinstance(node.value, ast.Name))
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "bounded_jit")
    ]
    page = Path(PACKAGE).parent / "docs" / "why" / "how-a-run-works.md"
    section = page.read_text().split("## Compiled entry points")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    assert len(compiled) == len(rows) <= 7, (compiled, rows)
