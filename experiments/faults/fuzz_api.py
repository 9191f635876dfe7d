"""Calls every public function of funcnet with one or two wrong arguments, and judges what comes of it.

    python experiments/faults/fuzz_api.py --calls 10000 --seed 0 --out FOLDER
    python experiments/faults/fuzz_api.py --summary --out FOLDER               # groups what was found
    python experiments/faults/fuzz_api.py --replay 1234 --seed 0 --out FOLDER  # one call again, verbosely

Everything is written below FOLDER, which must be a directory or not exist: `findings.jsonl` holds a line
for each fault, with code that shows it, and `summary.txt` their number by function and verdict:

- *foreign error*: the exception was not raised in a file of funcnet, or its sentence names no argument.
- *wrong number*: the result differs from the float64 oracle, or from the same call with plain float64
  arrays; it breaks a law; or nonsense was accepted as a number.
- *silent NaN*: NaN comes out although all inputs are finite, or although the right value is not NaN.
- *crash*, *hang*: the process died, or computed for longer than a training takes.

Calls run in two processes of their own (with `--in-process`, in this one, without the last two verdicts).
"""

import argparse
import collections
import contextlib
import fcntl
import functools
import itertools
import json
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKERS, CPU_LIMIT, WALL_LIMIT, MEMORY = 2, 40, 240, 8 << 30
MODES = ("jit", "vmap", "grad", "eval_shape")
# What a sentence may call an argument.
ALSO_CALLED = {
    "x": ("input",),
    "data": ("example", "row", "feature"),
    "rows": ("row numbers",),
    "key": ("PRNG key",),
    "run": ("history", "losses"),
    "diagnosis": ("run", "losses"),
    "net": ("model",),  # it may have parameters
    "model": ("parameter", "layer", "leaf", "weight", "bias", "prediction"),
}
# Labels may be text, and objects of any kind that can be sorted.
ANY_LABEL = {"labels", "stratify", "groups"}
SMOOTH = re.compile(r"losses\.(?!zero_one)|metrics\.(rmse|r2|brier|measure/(?!acc)|absolute|expected)")


# One call: what is called with what.


@functools.cache
def _rounds(seed: int, number: int) -> list[str]:
    """The cases of one round: each once, expensive ones in one round of four."""
    import api_cases
    import numpy as np

    names = [name for name, case in api_cases.CASES.items() if number % 4 == 0 or not case.rare]
    return [names[i] for i in np.random.default_rng([seed, number]).permutation(len(names))]


def case_of(seed: int, number: int) -> str:
    for turn in itertools.count():
        names = _rounds(seed, turn)
        if number < len(names):
            return names[number]
        number -= len(names)
    raise AssertionError


def plan(seed: int, number: int) -> tuple[Any, str, str | None, dict[str, Any], dict[str, Any]]:
    """The case, the mode, the traced argument, all values, and the mutations by argument."""
    import api_cases
    import api_mutations
    import numpy as np

    rng = np.random.default_rng([seed, 1_000_003 + number])
    case = api_cases.CASES[case_of(seed, number)]
    values = {name: arg.make() for name, arg in case.args.items()}
    names, mode, traced = list(values), "eager", None
    candidates = [name for name, arg in case.args.items() if arg.traced]
    if candidates and rng.random() < 0.15:
        mode, traced = str(rng.choice(MODES)), str(rng.choice(candidates))
        names.remove(traced)
        count = 0 if rng.random() < 0.6 else 1
    else:
        count = 2 if rng.random() < 0.2 else 1
    mutations = {}
    for name in rng.permutation(names)[:count]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = "values" if _is_judged(case, name) and rng.random() < 0.5 else case.args[name].kind
            mutations[str(name)] = api_mutations.MUTATORS[kind](rng, values[name])
        values[str(name)] = mutations[str(name)].value
    return case, mode, traced, values, mutations


def _is_judged(case: Any, name: str) -> bool:
    """Whether each value of this array has a right answer, so that values are worth trying."""
    return case.args[name].kind == "array" and (case.oracle is not None or case.law is not None)


def execute(case: Any, mode: str, traced: str | None, values: dict[str, Any]) -> Any:
    """The result; under a transformation, its arrays."""
    import jax
    import jax.numpy as jnp

    if traced is None:
        return case.call(**values)

    def arrays_of(value: Any) -> list[Any]:
        out = case.call(**{**values, traced: value})
        return [leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, jax.Array)]

    def total(value: Any) -> Any:
        floats = [a for a in arrays_of(value) if jnp.issubdtype(a.dtype, jnp.floating)]
        return sum((jnp.sum(a).astype(jnp.float32) for a in floats), start=jnp.zeros(()))

    value = jnp.asarray(values[traced])
    if mode == "jit":
        return jax.jit(arrays_of)(value)
    if mode == "vmap":
        return [a[0] for a in jax.vmap(arrays_of)(jnp.stack([value, value]))]
    if mode == "eval_shape":
        return jax.eval_shape(arrays_of, value) and None
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return jax.jit(arrays_of)(value)
    return jax.grad(total)(value)


# The verdict on it.


def _is_too_large(error: BaseException, mutations: Any, mode: str) -> bool:
    """Whether memory ran out for a size that fits in 32 bits, or under jit: nobody can know it before.

    Under jit, `init` may be sharded over devices, or only evaluated for its shapes.
    """
    if "RESOURCE_EXHAUSTED" in str(error) and mode == "jit":
        return True
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
        return False
    return not any(len(digits) > 10 for m in mutations.values() for digits in re.findall(r"\d+", m.code))


def verdict_of_error(case: Any, mutations: Any, error: BaseException, package: str) -> Any:
    frames = traceback.extract_tb(error.__traceback__)
    if _is_the_users(case, mutations, error, frames, package):
        return None
    last = frames[-1]
    message = str(error)
    where = f"{_short(last.filename)}:{last.lineno} {last.name}"
    ours = next((f for f in reversed(frames) if f.filename.startswith(package)), None)
    found = {
        "verdict": "foreign error",
        "error": type(error).__name__,
        "message": message[:400],
        "frame": where,
        "ours": f"{_short(ours.filename)}:{ours.lineno} {ours.name}" if ours else "",
    }
    if isinstance(error, NotImplementedError | AssertionError):
        return {**found, "kind": type(error).__name__}
    if not last.filename.startswith(package):
        return {**found, "kind": "not raised by funcnet"}
    if not _is_named(case, mutations, message):
        by_hand = (last.line or "").lstrip().startswith("raise ")
        if by_hand and any(frame.name.startswith("user_") for frame in frames):
            return None  # a sentence on what a function of the user called
        return {**found, "kind": "a sentence that names no argument" if by_hand else "names no argument"}
    return None


def _is_named(case: Any, mutations: Any, message: str) -> bool:
    """Whether a sentence names an argument, or quotes what was passed: a size, a string, a file."""
    names = {*case.names, *(other for name in case.names for other in ALSO_CALLED.get(name, ()))}
    values = [str(m.value) for m in mutations.values() if isinstance(m.value, int | str)]
    quoted = any(len(value) > 2 and value in message.replace(",", "") for value in values)
    return quoted or any(re.search(rf"\b{re.escape(n.removesuffix('s'))}(s|es)?\b", message) for n in names)


# Python's and NumPy's functions fail by themselves on tracers and models.
FOREIGN_FUNCTIONS = ("len", "print", "max", "np.sin", "jnp.sin", "np.linalg.norm", "str", "dict")


def _is_the_users(case: Any, mutations: Any, error: BaseException, frames: Any, package: str) -> bool:
    """Whether a function of the user failed by itself, or a file is not there: no fault of the library."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    chain: BaseException | None = error
    while chain is not None:
        if type(chain).__name__ == "UserError":
            return True
        chain = chain.__cause__ or chain.__context__
    functions = [m for name, m in mutations.items() if case.args[name].kind == "function"]
    if any(m.code in FOREIGN_FUNCTIONS for m in functions) and not frames[-1].filename.endswith(
        "inspect.py"
    ):
        return True
    ours = max((i for i, frame in enumerate(frames) if frame.filename.startswith(package)), default=-1)
    in_user = any(
        frame.name.startswith("user_") or (frame.name == "__call__" and "api_cases" in frame.filename)
        for frame in frames[ours + 1 :]
    )
    nonsense = any(
        isinstance(m.equal, str) and m.equal == "refused" and not _is_passed(case.args[name], m.value)
        for name, m in mutations.items()
    )
    return in_user and (bool(functions) or not nonsense)


def _is_passed(arg: Any, value: Any) -> bool:
    """Whether a wrong value is passed to the user's function by right: any tree of numbers, or any tree.

    A typed key is an array of JAX, which a function may take.
    """
    import jax

    numbers = all(isinstance(leaf, bool | int | float | jax.Array) for leaf in _tree_leaves(value))
    return arg.passed == "any" or (arg.passed == "tree" and numbers)


def _short(path: str) -> str:
    return re.sub(
        r"^.*/(site-packages|lib/python[\d.]+|experiments/faults)/",
        "",
        re.sub(r"^.*/funcnet/", "funcnet/", path),
    )


def leaves(value: Any) -> list[Any]:
    """The numbers of a result, as float64 and integer arrays of numpy."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    made = []
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, bool | int | float | np.ndarray | np.generic | jax.Array):
            a = np.asarray(leaf)
            if a.dtype.kind in "biufV":
                made.append(a.astype(np.float64))
    return made


def close(actual: list[Any], expected: list[Any], slack: float = 1e-4) -> bool:
    import numpy as np
    import oracles

    if len(actual) != len(expected):
        return False
    for a, b in zip(actual, expected, strict=True):
        if a.shape != b.shape:
            return False
        with np.errstate(all="ignore"):
            right = oracles.as_float32(b).astype(np.float64)
            size = np.max(np.abs(right), initial=0, where=np.isfinite(right))
            near = np.abs(a - right) <= slack * np.abs(right) + 0.1 * slack * min(size, 1e6) + 2e-6
            edge = np.isinf(a) & (np.abs(b) > 3.39e38) | (np.abs(a) > 3.39e38) & np.isinf(right)
        if not np.all(
            (a == right) | near | edge & (np.sign(a) == np.sign(b)) | np.isnan(a) & np.isnan(right)
        ):
            return False
    return True


def _expected(case: Any, values: dict[str, Any]) -> Any:
    """The oracle's value; None if only a sentence is right."""
    import oracles

    try:
        return case.oracle(**values)
    except (oracles.Mismatch, MemoryError, OverflowError):
        return None


def _within_rounding(case: Any, values: dict[str, Any], actual: list[Any]) -> bool:
    """Whether inputs that differ in their last float32 digits have this value: where sums cancel."""
    import numpy as np

    around = []
    for name, value in values.items():
        a = np.asarray(value)
        if a.dtype.kind != "f" or case.args[name].kind != "array":
            continue
        with np.errstate(all="ignore"):
            for moved in (a * (1 + 3e-7), a * (1 - 3e-7), _narrow(a), a + 2e-7, a - 2e-7):
                expected = _expected(case, {**values, name: moved})
                if expected is not None:
                    around.append(np.asarray(expected, np.float64))
    if not around or len(actual) != 1 or any(a.shape != actual[0].shape for a in around):
        return False
    low, high = np.min(around, axis=0), np.max(around, axis=0)
    with np.errstate(all="ignore"):
        spread = 4 * (high - low)
        inside = bool(np.all((actual[0] >= low - spread) & (actual[0] <= high + spread)))
    return inside or any(close(actual, [a]) for a in around)


def _flush(value: Any) -> Any:
    """An array with 0 in place of float32's subnormal numbers, which XLA takes for 0; or the same."""
    import numpy as np

    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    subnormal = (np.abs(value) < 2**-126) & (value != 0)
    return np.where(subnormal, 0, value) if subnormal.any() else value


def _finite(value: Any, limit: float) -> bool:
    import numpy as np

    return all(np.all(np.abs(a) < limit) for a in leaves(value))


OPTIONAL = ("weight", "alpha", "offset", "classes", "stratify", "groups")
NUMERIC = ("array", "number", "integer")


def verdict_of_result(
    case: Any, mode: str, traced: str | None, values: Any, mutations: Any, result: Any
) -> dict[str, Any] | None:
    """What is wrong with a result, if anything: by its oracle, its law, or another call of the function."""
    actual, equal = leaves(result), {**values}
    for name, m in mutations.items():
        equal[name] = None if m.value is None and name in OPTIONAL else m.equal
    kinds = [equal[name] if isinstance(equal[name], str) else "" for name in mutations]
    if mode == "eval_shape":
        return None
    if mode == "grad":
        return _verdict_of_gradient(case, equal, actual) if not any(kinds) else None
    if "refused" in kinds and actual and _is_nonsense(case, mutations, equal):
        return _wrong("accepts nonsense", actual, "a sentence")
    if case.law and not any(kinds) and traced is None:
        broken = case.law(result, **equal)
        return _wrong("breaks a law", actual, broken) if broken else None
    if case.oracle and not any(kinds):
        return _verdict_of_oracle(case, equal, actual, traced is not None)
    limit = 1e30 if case.room == "values" else 1e12
    finite = all(_finite(m.value, limit) for m in mutations.values()) and (traced is None or not mutations)
    documented = case.nan_ok or (case.nan_if is not None and case.nan_if(**values))
    if _has_nan(actual) and finite and not documented:
        return _wrong("finite inputs", actual, "finite", "silent NaN")
    compared = traced is not None or any(case.args[name].kind in ("array", "data") for name in mutations)
    if not compared or any(kinds):
        return None
    return _verdict_of_equal(case, traced, mutations, equal, actual)


def _is_nonsense(case: Any, mutations: Any, equal: Any) -> bool:
    """Whether what a number was replaced by is none, and no tree, index or label either."""
    refused = [n for n in mutations if isinstance(equal[n], str) and equal[n] == "refused"]
    return not case.draws and any(
        case.args[name].kind in NUMERIC
        and name not in ANY_LABEL
        and not _is_passed(case.args[name], mutations[name].value)
        and (case.oracle or not isinstance(mutations[name].value, dict | list | tuple | slice | type(None)))
        for name in refused
    )


def _verdict_of_gradient(case: Any, equal: Any, actual: list[Any]) -> dict[str, Any] | None:
    """The gradient of a loss that has a value is a number."""
    expected = leaves(_expected(case, equal)) if case.oracle and case.room == "values" else []
    if not _finite(expected, 3.4e38):  # nor has the value that is differentiated, which is float32
        return None
    if expected and not _has_nan(expected) and _has_nan(actual):
        return _wrong("gradient", actual, f"the value is {_show(expected)}", "silent NaN")
    return None


def _verdict_of_oracle(case: Any, equal: Any, actual: list[Any], traced: bool) -> dict[str, Any] | None:
    expected = _expected(case, equal)
    if expected is None or _has_nan(leaves(expected)):  # perhaps it has after rounding: 1 + 1e-12 is 1
        rounded = _expected(case, {name: _narrow(value) for name, value in equal.items()})
        if rounded is not None and close(actual, leaves(rounded)):
            return None
    if expected is None:  # where values are traced, they can't be refused
        return None if traced else _wrong("accepts what has no value", actual, "a sentence")
    right = leaves(expected)
    flushed = {name: _flush(value) for name, value in equal.items()}
    has_subnormal = any(flushed[name] is not equal[name] for name in equal)
    if has_subnormal and close(actual, leaves(_expected(case, flushed))):
        return None
    if close(actual, right) or (SMOOTH.match(case.name) and _within_rounding(case, equal, actual)):
        return None
    silent = _has_nan(actual) and not _has_nan(right)
    return _wrong("oracle", actual, _show(right), "silent NaN" if silent else "wrong number")


def _verdict_of_equal(
    case: Any, traced: str | None, mutations: Any, equal: Any, actual: list[Any]
) -> dict[str, Any] | None:
    """Against the same call untraced, and with plain arrays of float64."""
    if case.draws or (not mutations and traced is None):
        return None
    try:
        expected = case.call(**equal)
    except Exception:
        return None
    if traced is not None:
        expected = [leaf for leaf in _tree_leaves(expected) if not isinstance(leaf, bool | int | float)]
    mutated = [leaf for m in mutations.values() for leaf in _tree_leaves(m.value)]
    half = any("float16" in str(getattr(leaf, "dtype", "")) for leaf in mutated)
    right, slack = leaves(expected), 5e-2 if half else 2e-3
    if close(actual, right, slack) or (
        len(actual) != len(right) and close(_flat(actual), _flat(right), slack)
    ):
        return None
    if traced is not None and _moves_as_far(case, traced, equal, actual, right):
        return None
    other = "untraced" if traced else "the call with plain arrays"
    return _wrong(f"differs from {other}", actual, _show(leaves(expected)))


def _moves_as_far(case: Any, traced: str, equal: Any, actual: list[Any], right: list[Any]) -> bool:
    """Whether the last digit of an input moves the untraced result as far: the sine of large numbers."""
    import numpy as np

    value = np.asarray(equal[traced])
    if value.dtype.kind != "f" or len(actual) != len(right):
        return False
    around = [right]
    for factor in (1 - 3e-7, 1 - 1e-7, 1 + 1e-7, 1 + 3e-7):
        moved = case.call(**{**equal, traced: value.astype(np.float64) * factor})
        around.append(leaves([a for a in _tree_leaves(moved) if not isinstance(a, bool | int | float)]))
    if any([a.shape for a in made] != [a.shape for a in right] for made in around):
        return False
    for i, one in enumerate(actual):
        values = np.stack([made[i] for made in around])
        if not np.all(np.abs(one - right[i]) <= 4 * np.ptp(values, axis=0).max(initial=0)):
            return False
    return True


def _narrow(value: Any) -> Any:
    """Floats as float32 without subnormal numbers, which XLA takes as 0."""
    import numpy as np
    import oracles

    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    narrow = oracles.as_float32(value).astype(np.float64)
    return np.where(np.abs(narrow) < 1.2e-38, 0, narrow)


def _flat(arrays: list[Any]) -> list[Any]:
    """All numbers as one array: a list of numbers is a tree, whose gradient is a list."""
    import numpy as np

    return [np.concatenate([a.ravel() for a in arrays])] if arrays else []


def _wrong(kind: str, actual: list[Any], expected: str, verdict: str = "wrong number") -> dict[str, Any]:
    return {"verdict": verdict, "kind": kind, "got": _show(actual), "expected": expected}


def _has_nan(arrays: list[Any]) -> bool:
    import numpy as np

    return any(np.isnan(a).any() for a in arrays)


def _tree_leaves(value: Any) -> list[Any]:
    import jax

    return list(jax.tree.leaves(value))


def _show(arrays: list[Any]) -> str:
    text = ", ".join(str(a.tolist()) for a in arrays)
    return text if len(text) < 300 else text[:300] + " ..."


def judge(seed: int, number: int, package: str, verbose: bool = False) -> dict[str, Any]:
    """Run one call, and say what is wrong with it, if anything."""
    import api_cases
    import jax

    start, cpu = time.time(), time.process_time()
    case, mode, traced, values, mutations = plan(seed, number)
    record: dict[str, Any] = {
        "call": number,
        "seed": seed,
        "function": case.name,
        "room": case.room,
        "mode": mode,
    }
    record["mutated"] = {name: m.code for name, m in mutations.items()}
    if traced is not None:
        record["mutated"][traced] = f"traced by {mode}"
    record["code"] = _code(case, mode, record["mutated"])
    if verbose:
        print(json.dumps(record, indent=1))
    found = None
    try:
        if traced is not None:
            with contextlib.suppress(Exception):
                case.call(**{name: arg.make() for name, arg in case.args.items()})  # caches nothing traced
        result = jax.block_until_ready(execute(case, mode, traced, values))
    except Exception as error:
        record["raised"] = type(error).__name__
        if verbose:
            traceback.print_exc()
        found = (
            None
            if _is_too_large(error, mutations, mode)
            else verdict_of_error(case, mutations, error, package)
        )
    else:
        if verbose:
            print("returned", result)
        with contextlib.suppress(api_cases.Unjudged):
            found = verdict_of_result(case, mode, traced, values, mutations, result)
    record["seconds"], record["cpu"] = round(time.time() - start, 3), round(time.process_time() - cpu, 3)
    return record | found if found else record


def _code(case: Any, mode: str, mutated: dict[str, str]) -> str:
    args = ", ".join(f"{name}={mutated.get(name, f'{name}_ok')}" for name in case.args)
    return f"fn.{case.name.removeprefix('fn.')}({args})" + (
        f"  # under jax.{mode}" if mode != "eager" else ""
    )


# Where it runs.


def prepare(folder: Path, root: Path) -> None:
    """Settings of the process, before JAX is imported; everything it writes goes below `root`."""
    os.environ["XLA_FLAGS"] = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    )
    os.environ |= {"MPLBACKEND": "Agg", "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}
    os.environ |= {"MPLCONFIGDIR": str(folder / "cache"), "JAX_TRACEBACK_FILTERING": "off"}
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(root / "programs")}
    os.environ |= {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
    }
    here = [] if "PYTHONPATH" in os.environ else [os.getcwd()]  # the funcnet of the current folder
    sys.path[:0] = [*here, str(HERE), str(HERE.parents[1] / "tests")]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")


class Sandbox:
    """The folder that calls run in, as new for each call that takes a path."""

    def __init__(self, folder: Path) -> None:
        import api_cases

        self.files, self.work = folder / "files", folder / "work"
        for place in (self.files, self.work):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        api_cases.write_files(self.files)
        self.renew()

    def renew(self) -> None:
        os.chdir(self.files)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.files, self.work)
        os.chdir(self.work)

    def judge(self, seed: int, number: int, package: str, verbose: bool = False) -> dict[str, Any]:
        import api_cases

        case = api_cases.CASES[case_of(seed, number)]
        if any(arg.kind == "path" for arg in case.args.values()):
            self.renew()
        try:
            return judge(seed, number, package, verbose)
        finally:
            if "matplotlib.pyplot" in sys.modules:
                sys.modules["matplotlib.pyplot"].close("all")


def package_folder() -> str:
    import funcnet

    return str(Path(funcnet.__file__).parent) + os.sep


def work(folder: Path, seed: int) -> None:
    """A process that reads numbers of calls and answers with records; its own streams lead nowhere."""
    requests = os.fdopen(fcntl.fcntl(0, fcntl.F_DUPFD, 200))
    answers = os.fdopen(fcntl.fcntl(1, fcntl.F_DUPFD, 201), "w")
    with open(os.devnull, "r+") as nowhere:
        for stream in (0, 1):
            os.dup2(nowhere.fileno(), stream)
    log = os.open(folder / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    prepare(folder, folder.parent)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sandbox, package = Sandbox(folder), package_folder()
    print("ready", file=answers, flush=True)
    for line in requests:
        print(json.dumps(sandbox.judge(seed, int(line), package), default=str), file=answers, flush=True)


class Worker:
    """A process of `work`, started again after a crash or a hang."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.number = folder, seed, -1
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--worker",
            "--seed",
            str(self.seed),
            "--out",
            str(self.folder),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready, self.done = False, 0

    def send(self, number: int) -> None:
        self.number, self.begin, self.cpu = number, time.time(), self.cpu_seconds()
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()

    def cpu_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_stuck(self) -> bool:
        wall = time.time() - self.begin
        return wall > WALL_LIMIT or self.cpu_seconds() - self.cpu > CPU_LIMIT

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def parallel(folder: Path, seed: int, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    """The records of all calls, in the order in which they end."""
    workers = [Worker(folder / f"worker{i}", seed) for i in range(WORKERS)]
    busy = list(workers)
    while busy:
        streams = [worker.process.stdout for worker in busy]
        ready, _, _ = select.select(streams, [], [], 1.0)
        for worker in list(busy):
            ended: str | None = None
            if worker.process.stdout in ready:
                assert worker.process.stdout
                line = worker.process.stdout.readline()
                if line and worker.ready:
                    yield json.loads(line)
                elif line:
                    worker.ready = True
                else:
                    ended = f"crash: exit {worker.process.wait()}"
            elif worker.ready and worker.is_stuck():
                worker.stop()
                ended = "hang"
            else:
                continue
            if ended:
                if not worker.ready:
                    raise SystemExit((worker.folder / "stderr.txt").read_text()[-3000:])
                yield {"call": worker.number, "seed": seed, "verdict": ended.split(":")[0], "kind": ended}
                worker.start()
                continue
            worker.done += 1
            if worker.done % 1500 == 0:  # programs that were compiled for one call are not given back
                worker.stop()
                worker.start()
                continue
            number = next(numbers, None)
            if number is None:
                worker.stop()
                busy.remove(worker)
            else:
                worker.send(number)


def complete(record: dict[str, Any]) -> dict[str, Any]:
    """The call of a process that died."""
    if "function" in record:
        return record
    case, mode, traced, _, mutations = plan(record["seed"], record["call"])
    mutated = {name: m.code for name, m in mutations.items()} | (
        {traced: f"traced by {mode}"} if traced else {}
    )
    return {
        **record,
        "function": case.name,
        "room": case.room,
        "mode": mode,
        "mutated": mutated,
        "code": _code(case, mode, mutated),
    }


# What was found.


def line_of(record: dict[str, Any]) -> str:
    args = ", ".join(f"{name}={code}" for name, code in record["mutated"].items())
    if record["verdict"] == "foreign error":
        message = " ".join(record["message"].split())[:110]
        what = f"{record['error']}, {record['frame']}, {record['kind']}: {message}"
    elif record["verdict"] in ("crash", "hang"):
        what = record["kind"]
    else:
        got, right = record["got"][:90], record["expected"][:90]
        what = f"{record['verdict']} ({record['kind']}): {got}, right: {right}"
    return f"{record['function']}({args}) -> {what}"


def group_of(record: dict[str, Any]) -> tuple[str, ...]:
    args = "+".join(sorted(record["mutated"]))
    if record["verdict"] == "foreign error":
        return (
            record["function"],
            args,
            record["error"],
            re.sub(r":\d+", "", record["frame"]),
            record["kind"],
        )
    return (record["function"], args, record["verdict"], record["kind"], "")


def summary(findings: list[dict[str, Any]], calls: int) -> str:
    verdicts = ["foreign error", "wrong number", "silent NaN", "crash", "hang"]
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for record in findings:
        table[record["function"]][record["verdict"]] += 1
    total = collections.Counter(record["verdict"] for record in findings)
    kinds = collections.Counter((r["verdict"], r["kind"]) for r in findings)
    width = max([len(name) for name in table] + [8])
    rows = [
        f"{calls} calls, {len(findings)} findings",
        "",
        " " * width + "".join(f"{v:>15}" for v in verdicts),
    ]
    for name, counts in [("in all", total), *sorted(table.items())]:
        rows.append(f"{name:<{width}}" + "".join(f"{counts[v] or '':>15}" for v in verdicts))
    rows += ["", *(f"{count:6d}  {verdict}: {kind}" for (verdict, kind), count in kinds.most_common())]
    return "\n".join(rows) + "\n"


def groups(findings: list[dict[str, Any]]) -> str:
    """By room: each group of findings with its count and its first call."""
    by_room: dict[str, dict[tuple[str, ...], list[dict[str, Any]]]] = {}
    for record in findings:
        by_room.setdefault(record["room"], {}).setdefault(group_of(record), []).append(record)
    rows = []
    for room, found in sorted(by_room.items()):
        number = sum(map(len, found.values()))
        rows += ["", f"## {room}: {number} findings in {len(found)} groups", ""]
        for records in sorted(found.values(), key=lambda r: (-len(r), r[0]["call"])):
            rows.append(f"- {len(records)}x #{records[0]['call']} {line_of(records[0])}")
    return "\n".join(rows) + "\n"


def writable_folder(name: str) -> Path:
    """A folder that may be written to: never a device, never a file."""
    folder = Path(name).resolve()
    if folder.exists() and not folder.is_dir():
        raise SystemExit(f"--out must be a folder, got {name}, which is something else.")
    if any(folder.is_relative_to(system) for system in ("/dev", "/proc", "/sys")) or folder == Path("/"):
        raise SystemExit(f"--out must be a folder of files, got {name}.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="the folder that everything is written to")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a regular expression of functions")
    parser.add_argument("--replay", type=int, metavar="N", help="run call N alone, verbosely")
    parser.add_argument("--summary", action="store_true", help="only group the findings in FOLDER")
    parser.add_argument(
        "--in-process", action="store_true", help="no processes of its own; no hangs, no crashes"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = writable_folder(options.out)
    if options.worker:
        return work(folder, options.seed)
    found_file = folder / "findings.jsonl"
    if options.summary:
        print(groups([json.loads(line) for line in found_file.read_text().splitlines()]))
        return None
    prepare(folder, folder)
    if options.replay is not None:
        record = Sandbox(folder / "replay").judge(
            options.seed, options.replay, package_folder(), verbose=True
        )
        print(json.dumps(record, indent=1))
        return None
    matching = (n for n in itertools.count() if re.search(options.only, case_of(options.seed, n)))
    numbers = itertools.islice(matching, options.calls)
    if options.in_process:
        sandbox, package = Sandbox(folder / "calls"), package_folder()
        records: Iterator[dict[str, Any]] = (sandbox.judge(options.seed, n, package) for n in numbers)
    else:
        records = parallel(folder, options.seed, numbers)
    findings, calls, start = [], 0, time.time()
    with found_file.open("w") as out, (folder / "calls.jsonl").open("w") as log:
        for record in records:
            record = complete(record)
            calls += 1
            print(json.dumps(record, default=str), file=log, flush=True)
            if "verdict" in record:
                findings.append(record)
                print(json.dumps(record, default=str), file=out, flush=True)
            if calls % 500 == 0:
                print(
                    f"{calls} calls, {len(findings)} findings, {time.time() - start:.0f} s", file=sys.stderr
                )
    findings.sort(key=lambda record: record["call"])
    (folder / "summary.txt").write_text(summary(findings, calls))
    print(summary(findings, calls) + groups(findings[:40]))
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
