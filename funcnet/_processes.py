"""Processes that run the same program together: their start, what they must agree on, shared values."""

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Never, TypeVar

import jax
import numpy as np

from funcnet import _check, _mesh, _parts, _tree

T = TypeVar("T")

HEARTBEAT_SECONDS = 20
"""Seconds without a sign of life after which a process is taken for dead, and the others end."""
LAST_WORDS = 2.0
"""Seconds that process 0 waits after an error: the others, which it connects, can report theirs."""


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 300.0,
) -> None:
    """Join the processes that run this script, on one machine or on many, into one program.

    Call it before JAX is initialized, by its first array. Afterwards `jax.devices()` are those of all
    processes, and inside `with fn.mesh.use():` every process runs the same lines with the same arguments
    and gets the same results; what one process does alone belongs outside of it. Process 0 writes files and
    shows progress. Arguments are compared before the first step. If a process fails or dies, the
    others end with an error within a minute; the same command resumes the run of a `Trainer` with a
    directory.

    Under Slurm, Open MPI, Kubernetes and on TPU pods, JAX finds all arguments; elsewhere give all three.
    Under Slurm and Open MPI each process takes one GPU, by its number on its machine, and must see all.

    To end all processes when one has failed, an uncaught exception ends its process immediately after its
    traceback, without the functions that were registered by `atexit`.

    Args:
        coordinator_address: the address of process 0 with a free port, "10.0.0.1:1234".
        num_processes: the number of processes.
        process_id: the number of this process, from 0.
        timeout: seconds to wait until all processes have joined, above 0; then those that have joined end
            with an error.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if only some arguments are given, or one is out of range.
        RuntimeError: if JAX is initialized already, JAX can't find the arguments, or process 0 can't be
            reached.

    Example:
        >>> import jax, funcnet as fn
        >>> fn.mesh.initialize("10.0.0.1:1234", num_processes=4, process_id=1)  # doctest: +SKIP
        >>> jax.process_count()  # doctest: +SKIP
        4
    """
    given = {
        "coordinator_address": coordinator_address,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(
            f"{missing[0]} must be given with the others. Write all three, "
            'fn.mesh.initialize("10.0.0.1:1234", num_processes=4, process_id=0), or none where Slurm, MPI, '
            "Kubernetes or a TPU pod starts the processes."
        )
    if not missing:
        if not isinstance(coordinator_address, str) or ":" not in coordinator_address:
            raise ValueError(
                'coordinator_address must be an address with a port, such as "10.0.0.1:1234", got '
                f"{_check.describe(coordinator_address)}."
            )
        num_processes = _check.positive("num_processes", num_processes)
        process_id = _check.between(
            "process_id", _check.integer("process_id", process_id), 0, num_processes
        )
    seconds = math.ceil(_check.above_zero("timeout", timeout))
    # JAX would catch SIGTERM itself, which ends a Trainer after it has saved.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError:
        raise RuntimeError(
            "nothing tells JAX about the processes: this is neither Slurm, MPI, Kubernetes nor a TPU pod. "
            'Name them: fn.mesh.initialize("10.0.0.1:1234", num_processes=4, process_id=0).'
        ) from None
    except RuntimeError as error:
        if "before" not in str(error) and "once" not in str(error):
            raise RuntimeError(f"the processes could not be connected. {error}") from None
        raise RuntimeError(
            "funcnet.mesh.initialize() must be called once, right after the imports, before the first "
            "array: JAX is initialized already."
        ) from None
    if jax.process_count() > 1:
        sys.excepthook = functools.partial(_end_process, sys.excepthook)


def _end_process(
    report: Callable[..., Any],
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """End this process after an uncaught exception: at a normal exit it would wait for the others."""
    report(kind, error, trace)
    number, count = jax.process_index(), jax.process_count()
    print(f"Process {number} of {count} ends with an error, and so do all.", file=sys.stderr, flush=True)
    # JAX raises some errors of its runtime as a ValueError, with the kind in front: "UNKNOWN: Gloo ...".
    if isinstance(error, jax.errors.JaxRuntimeError) or re.match("[A-Z_]+: ", str(error)):
        print(
            f"If another process has died, the runtime says which within {HEARTBEAT_SECONDS} s, and the "
            "same command resumes the run of a Trainer with a directory. If the others ended without an "
            "error, this one alone called fit, evaluate or the like.",
            file=sys.stderr,
            flush=True,
        )
        # If all live, one of them without memory, nothing ends those that wait for it but its own end.
        threading.Timer(2 * HEARTBEAT_SECONDS, os._exit, (1,)).start()
        jax.distributed.shutdown()  # names the process that died, and aborts
    elif number == 0:
        time.sleep(LAST_WORDS)
    sys.stdout.flush()
    os._exit(1)


def count() -> int:
    """The number of processes of the enclosing `use`; 1 outside."""
    return _mesh.num_processes()


def number() -> int:
    """The number of this process in the enclosing `use`; 0 outside."""
    return jax.process_index() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process writes files and shows progress."""
    return number() == 0


class OutOfStepError(RuntimeError):
    """Raised in every process if they wait for each other at different points of the program."""


def largest(numbers: Sequence[int], what: str = "numbers") -> list[int]:
    """The largest of each number, int32, over all processes: one small exchange.

    Args:
        numbers: at most 7.
        what: what they are, the same in all processes.
    """
    if count() == 1:
        return list(numbers)
    largest: list[int] = _exchange(what, np.asarray(numbers, np.int32)).max(axis=0).tolist()
    return largest


def _exchange(what: str, numbers: np.ndarray) -> np.ndarray:
    """At most 7 numbers of all processes, int32 [processes, numbers].

    Raises:
        OutOfStepError: if another process exchanges something else.
    """
    tag = zlib.crc32(f"{what}, {len(numbers)}".encode()) >> 1
    row = np.zeros(8, np.int32)  # of one size: the runtime aborts if the sizes of an exchange differ
    row[: 1 + len(numbers)] = tag, *numbers
    rows = _gather(row)
    if (rows[:, 0] != tag).any():
        raise OutOfStepError(
            "the processes are at different points of the program: a part of it ran in some of them only. "
            "Call fit, evaluate and the like in all of them, not after `if jax.process_index() == 0:`, or "
            "outside of `with fn.mesh.use():`."
        )
    return rows[:, 1 : 1 + len(numbers)]


def check_equal(values: Mapping[str, str], advice: Mapping[str, str], what: str = "digests") -> None:
    """Check that values by name are the same in all processes.

    Args:
        values: descriptions of values.
        advice: what to do about a name; that of "" for any other.
        what: what they are, the same in all processes.

    Raises:
        ValueError: in all processes, if a value differs; it says which, and what processes 0 and another
            one have.
    """
    if count() == 1:
        return
    text = json.dumps(dict(values))
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], np.int32)
    if (digests := _exchange(what, digest)).min(axis=0).tolist() == digests.max(axis=0).tolist():
        return
    all_values: list[dict[str, str]] = [json.loads(one) for one in share_text(text)]
    first = all_values[0]
    for name in {name: None for one in all_values for name in one}:
        other = next((i for i, one in enumerate(all_values) if one.get(name) != first.get(name)), None)
        if other is not None:
            raise ValueError(
                f"{name} differs between processes: {first.get(name, 'none')} in process 0, "
                f"{all_values[other].get(name, 'none')} in process {other}. {advice.get(name, advice[''])}"
            )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raise in every process if the body raises in one: its error there, one that names it in the others.

    Otherwise the others would wait for ever in their next exchange.
    """
    if count() == 1:
        yield
        return
    raised: Exception | None = None
    try:
        yield
    except OutOfStepError:
        raise
    except Exception as error:
        raised = error
    try:
        any_raised = largest([raised is not None], "errors")[0]
    except OutOfStepError as error:
        raise error from raised
    if any_raised:
        raise_first(raised)


def raise_first(raised: Exception | None) -> Never:
    """Raise in every process, after at least one has `raised` an error."""
    texts = share_text("" if raised is None else f"{type(raised).__name__}: {raised}")
    if raised is not None:
        raise raised
    failed = next(i for i, text in enumerate(texts) if text)
    raise RuntimeError(f"process {failed} stopped with {texts[failed]}")


def share_text(text: str) -> list[str]:
    """The text of each process."""
    content = text.encode()
    size = largest([len(content)], "sizes of texts")[0]
    gathered = _gather(np.frombuffer(content.ljust(size, b"\0"), np.uint8))
    return [row.tobytes().rstrip(b"\0").decode() for row in gathered]


def _gather(values: np.ndarray) -> np.ndarray:
    """The values of all processes, [processes, ...]."""
    from jax.experimental import multihost_utils

    gathered: np.ndarray = multihost_utils.process_allgather(values)
    return gathered


def to_local(tree: T, *, gather: bool = True) -> T:
    """Results of a program of all processes as arrays of this process, which it can use alone.

    Args:
        tree: arrays.
        gather: whether arrays of which this process has only parts are gathered, or left as they are.
    """
    if count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    spread = [place for place, leaf in enumerate(leaves) if _parts.is_spread(leaf)]
    if spread and gather:
        for place, leaf in zip(spread, _parts.replicate([leaves[i] for i in spread]), strict=True):
            leaves[place] = leaf
    return jax.tree.unflatten(structure, map(_to_local, leaves))


def _to_local(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or _parts.is_spread(leaf):
        return leaf
    if _tree.is_key(leaf):
        return jax.random.wrap_key_data(
            _to_local(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
        )
    return jax.device_put(np.asarray(leaf))  # not bound to one device, so that `use` can place it again
