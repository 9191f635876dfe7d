"""What do damaged files do? Copies of saved files are damaged, and all that reads them is run on them.

    python experiments/faults/fuzz_files.py --out damaged           # 2,600 damages, about ten minutes
    python experiments/faults/fuzz_files.py --out damaged --only models:17   # one of them, in full

Five kinds of saved files are made with the current code: folders of `funcnet train`, checkpoints of a
Trainer, graphs, weights and whole models. Each damage is drawn from the seed, its kind and its number
alone. It is handled well if the files are refused in one sentence that names them, if a warning names them,
or if the result has the bits of the undamaged files. What else can happen:

    traceback     an exception that is not a sentence about these files
    message       a sentence that names no file, has many lines, is very long, or holds control characters
    other output  another result in silence
    crash         the process is killed by a signal
    hang          no end before the timeout

All files are written below `--out`, where originals are copied before anything is damaged. The exit code is
1 if there is a finding; `findings.jsonl` holds one line for each, with the command that reproduces it.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import random
import re
import select
import shutil
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from own_folder import prepare_folder

ORIGINALS = {
    "models": ("fruit-0", "fruit-1", "grams-0", "grams-1"),
    "graphs": ("model", "gradient", "loop"),
    "checkpoints": ("mlp-0", "mlp-1", "norm-0", "norm-1"),
    "weights": ("mlp", "norm", "pytree"),
    "whole": ("mlp", "norm", "pytree"),
}
"""What is saved, by kind of file; a number at the end is a seed."""
FEW = {**ORIGINALS, "models": ("fruit-0",), "checkpoints": ("norm-0",)}
KINDS = tuple(ORIGINALS)
VERDICTS = ("traceback", "message", "other output", "crash", "hang")
MARK = "fuzz_files.json"
MEMORY = 6 * 2**30
"""Bytes that a worker may allocate: a damaged size must not take the memory of the machine."""
LONGEST = 2000
"""Characters of a message that are still one sentence; twenty lines of a list of differences are fewer."""


# ---------------------------------------------------------------------------- documents within files


STYLES = [
    {"sort_keys": sort, "separators": separators, "indent": indent, "ensure_ascii": ascii_only}
    for indent in (1, None, 2)
    for ascii_only in (True, False)
    for sort in (False, True)
    for separators in (None, (",", ":"))
]
"""How JSON may have been written."""


@dataclasses.dataclass
class Document:
    """A JSON document: a whole file, or the header of one, with the bytes before and after it."""

    file: Path
    before: bytes
    content: bytes
    after: bytes

    def __post_init__(self) -> None:
        self.value = json.loads(self.content.decode(errors="surrogatepass"))
        # It is written in the style that it was read in: some readers compare all bytes.
        styles = itertools.product(STYLES, (b"", b"\n"))
        same = (style for style in styles if encode(self.value, *style) == self.content)
        self.style = next(same, (STYLES[0], b"\n"))

    def write(self) -> None:
        content = encode(self.value, *self.style)
        for name, literal in LITERALS.items():
            content = content.replace(json.dumps(name).encode(), literal.encode())
        before = self.before
        if len(before) == 8:  # the header of a safetensors file, after its length
            before = len(content).to_bytes(8, "little")
        self.file.write_bytes(before + content + self.after)


def encode(value: Any, style: dict[str, Any], end: bytes = b"") -> bytes:
    return json.dumps(value, **style).encode(errors="surrogatepass") + end


LITERALS = {
    "<deep>": "[" * 100_000 + "]" * 100_000,
    "<deep object>": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "<5000 digits>": "1" * 5000,
    "<1e400>": "1e400",
}
"""What `json.dumps` does not write, by the string that stands for it."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5, 1e300, float("nan"), float("-inf")),
    *("", "x", "1", "relu", "../other", "a\x1b[31mred", "tab\tand\nline", "\x00", "\ud800", "y" * 10_000),
    *([], [1], [[]], ["x", "y"], [None] * 3, [1e39] * 5, list(range(1000))),
    *({}, {"a": 1}, {"shift": [0], "scale": [1]}),
    *LITERALS,
)


def read_document(file: Path) -> Document | None:
    """The JSON document of a file; None if there is none."""
    content = file.read_bytes()
    with contextlib.suppress(ValueError, RecursionError):
        document = Document(file, b"", content, b"")
        return document if isinstance(document.value, dict | list) else None
    start = content.find(b"{", 0, 64)
    if start >= 0:
        with contextlib.suppress(ValueError, RecursionError):
            # Latin-1 maps every byte to one character, so positions are those of the bytes.
            _, end = json.JSONDecoder().raw_decode(content.decode("latin-1"), start)
            after = content[end:]
            if start == 8:  # the header of a safetensors file is filled up with spaces
                after = content[8 + int.from_bytes(content[:8], "little") :]
            return Document(file, content[:start], content[start:end], after)
    return None


def entries(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values within a document, outer ones first."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from entries(inner, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


# ---------------------------------------------------------------------------- checksums


@dataclasses.dataclass
class Seal:
    """A SHA-256 within a document, and how it is computed."""

    file: str
    path: tuple[Any, ...]
    digest: Callable[[Path, Any], str]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def find_seals(root: Path) -> tuple[list[Seal], list[str]]:
    """The checksums in the documents of a folder, and those whose computation was not found."""
    by_digest = {sha256(file.read_bytes()): str(file.relative_to(root)) for file in files(root)}
    seals, unknown = [], []
    for file in files(root):
        document = read_document(file)
        if document is None:
            continue
        for path in entries(document.value):
            digest, name = at(document.value, path), str(file.relative_to(root))
            if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
                continue
            if digest in by_digest:
                other = by_digest[digest]
                seals.append(
                    Seal(name, path, lambda root, _, other=other: sha256((root / other).read_bytes()))
                )
            elif rule := next(
                (r for r in _rules(path, document) if r(root, document.value) == digest), None
            ):
                seals.append(Seal(name, path, rule))
            elif file.suffix == ".safetensors" and digest == _digest_of_arrays(file):
                seals.append(Seal(name, path, lambda root, _, name=name: _digest_of_arrays(root / name)))
            elif file.suffix == ".safetensors" and digest == _digest_of_file(file, path):
                seals.append(
                    Seal(
                        name, path, lambda root, _, name=name, path=path: _digest_of_file(root / name, path)
                    )
                )
            else:
                unknown.append(f"{name}: {'.'.join(map(str, path))}")
    return seals, unknown


DTYPES = {"F32": "float32", "BF16": "bfloat16", "I32": "int32", "BOOL": "bool", "U32": "uint32"}


def _digest_of_arrays(file: Path) -> str:
    """The SHA-256 of names, dtypes, shapes and bytes of all arrays of a safetensors file, by name."""
    document = read_document(file)
    if document is None:
        raise ValueError(file)
    total = hashlib.sha256()
    for name, entry in sorted(document.value.items()):
        if name != "__metadata__":
            dtype = DTYPES.get(entry["dtype"], str(entry["dtype"]).lower())
            total.update(json.dumps([name, dtype, entry["shape"]]).encode())
            total.update(document.after[slice(*entry["data_offsets"])])
    return total.hexdigest()


def _digest_of_file(file: Path, path: tuple[Any, ...]) -> str:
    """The SHA-256 of a file, with zeros in place of its own checksum."""
    document = read_document(file)
    if document is None:
        raise ValueError(file)
    return sha256(file.read_bytes().replace(at(document.value, path).encode(), b"0" * 64))


def _rules(path: tuple[Any, ...], document: Document) -> Iterator[Callable[[Path, Any], str]]:
    """Candidates: the SHA-256 of a sibling, or of what remains of an enclosing value without the digest."""

    def without(value: Any, path: tuple[Any, ...], blank: Any) -> Any:
        key, *rest = path
        if rest:
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = without(value[key], tuple(rest), blank)
            return copy
        return {k: v for k, v in value.items() if k != key} | ({} if blank is Ellipsis else {key: blank})

    picks: list[Callable[[Any], Any]] = []
    parent = at(document.value, path[:-1])
    if isinstance(parent, dict):
        for key in parent:
            if key != path[-1]:
                picks.append(lambda value, key=key: at(value, (*path[:-1], key)))
        for depth in range(len(path)):
            for blank in (Ellipsis, "", None):
                picks.append(lambda v, d=depth, b=blank: without(at(v, path[:d]), path[d:], b))
    for pick, style, end in itertools.product(picks, STYLES, (b"", b"\n")):
        yield lambda _, value, pick=pick, rest=(style, end): sha256(encode(pick(value), *rest))


def reseal(root: Path, seals: list[Seal]) -> None:
    """Compute all checksums again; those of files that hold checksums settle in the second round."""
    for _, seal in itertools.product(range(3), seals):
        with contextlib.suppress(
            OSError, LookupError, TypeError, AttributeError, ValueError, RecursionError
        ):
            document = read_document(root / seal.file)
            if document is None:
                continue
            digest = seal.digest(root, document.value)
            if at(document.value, seal.path) != digest:
                at(document.value, seal.path[:-1])[seal.path[-1]] = digest
                document.write()


# ---------------------------------------------------------------------------- damages


@dataclasses.dataclass
class Case:
    """A copy to damage: `root`, beside it `other`, an undamaged copy with files of the same names."""

    rng: random.Random
    root: Path
    other: Path
    kind: str

    def pick(self, candidates: list[Path]) -> Path | None:
        """One of the files; documents and the newest checkpoint more often."""
        weights = [self._weight(file) for file in candidates]
        return self.rng.choices(candidates, weights)[0] if sum(weights) else None

    def _weight(self, file: Path) -> float:
        parts = file.relative_to(self.root).parts
        if file.name == "lock":
            return 0.1
        if self.kind == "models":
            return {".json": 4.0, ".csv": 1.5, ".png": 0.2}.get(file.suffix, 2.0)
        if self.kind == "checkpoints":
            newest = max((self.root / "checkpoints").iterdir()).name in parts
            return (2.0 if newest else 1.0) * (6.0 if file.name == "manifest.json" else 1.0)
        return 1.0


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def flip_bit(case: Case, file: Path) -> str | None:
    content = bytearray(file.read_bytes())
    if not content:
        return None
    # Some flips hit the first bytes: headers are short.
    end = len(content) if case.rng.random() < 0.7 else min(len(content), 200)
    place, bit = case.rng.randrange(end), case.rng.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place}"


def flip_byte(case: Case, file: Path) -> str | None:
    content = bytearray(file.read_bytes())
    if not content:
        return None
    place, value = case.rng.randrange(len(content)), case.rng.randrange(256)
    content[place] = value
    file.write_bytes(content)
    return f"byte {place} is {value}"


def truncate(case: Case, file: Path) -> str | None:
    size = file.stat().st_size
    if not size:
        return None
    length = case.rng.choice([case.rng.randrange(size), size - 1, min(size - 1, 8)])
    os.truncate(file, length)
    return f"{length} of {size} bytes"


def extend(case: Case, file: Path) -> str:
    content = file.read_bytes()
    more = case.rng.choice([b"\0", b"\n", b"x", b"\0" * 4096, case.rng.randbytes(100), content, b"1\n"])
    file.write_bytes(content + more)
    return f"{len(more)} bytes more, {more[:4]!r}"


def overwrite(case: Case, file: Path) -> str | None:
    content = bytearray(file.read_bytes())
    if not content:
        return None
    start = case.rng.randrange(len(content))
    length = min(len(content) - start, case.rng.choice([1, 8, 64, 512, 4096]))
    kind = case.rng.choice(["zeros", "ones", "noise"])
    block = {"zeros": b"\0" * length, "ones": b"\xff" * length, "noise": case.rng.randbytes(length)}[kind]
    content[start : start + length] = block
    file.write_bytes(content)
    return f"{length} bytes from {start} are {kind}"


def empty(case: Case, file: Path) -> str:
    file.write_bytes(b"")
    return ""


def delete(case: Case, file: Path) -> str:
    file.unlink()
    return ""


def make_directory(case: Case, file: Path) -> str:
    file.unlink()
    file.mkdir()
    return ""


def make_fifo(case: Case, file: Path) -> str:
    file.unlink()
    os.mkfifo(file)
    return ""


def make_symlink(case: Case, file: Path) -> str | None:
    target = case.other / file.relative_to(case.root)
    choice = case.rng.choice(["other", "nothing", "itself"])
    if choice == "other" and (case.kind in ("graphs", "weights", "whole") or not target.is_file()):
        return None  # a whole file is what it is, whoever else has it
    file.unlink()
    file.symlink_to({"other": target, "nothing": file.with_name("gone"), "itself": file}[choice])
    return f"to {choice}"


def swap_with_other(case: Case, file: Path) -> str | None:
    target = case.other / file.relative_to(case.root)
    if case.kind in ("graphs", "weights", "whole") or not target.is_file():
        return None
    shutil.copyfile(target, file)
    return ""


def swap_within(case: Case, file: Path) -> str | None:
    others = [other for other in files(case.root) if other != file and other.name != "curves.png"]
    if not others:
        return None
    second = case.rng.choice(others)
    first_bytes, second_bytes = file.read_bytes(), second.read_bytes()
    file.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    return f"with {second.relative_to(case.root)}"


def forbid(case: Case, file: Path) -> str:
    file.chmod(0)
    return ""


def insert_bytes(case: Case, file: Path) -> str:
    content = file.read_bytes()
    place = case.rng.randrange(len(content) + 1)
    extra = case.rng.choice([b"\xff\xfe", b"\xc3", b"\x80", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\0"])
    if case.rng.random() < 0.3:
        place = 0
    file.write_bytes(content[:place] + extra + content[place:])
    return f"{extra!r} at {place}"


def change_digit(case: Case, file: Path) -> str | None:
    content = bytearray(file.read_bytes())
    with contextlib.suppress(UnicodeDecodeError):
        content.decode()
        if places := [match.start() for match in re.finditer(rb"[0-9]", content)]:
            place = case.rng.choice(places)
            old = content[place]
            content[place] = case.rng.choice([digit for digit in b"0123456789" if digit != old])
            file.write_bytes(content)
            return f"{chr(old)} is {chr(content[place])} at {place}"
    return None


def _pick_entry(case: Case, document: Document) -> tuple[Any, ...] | None:
    """A path; every depth has the same chance, so that long lists don't get all."""
    by_depth: dict[int, list[tuple[Any, ...]]] = {}
    for path in entries(document.value):
        by_depth.setdefault(len(path), []).append(path)
    return case.rng.choice(by_depth[case.rng.choice(sorted(by_depth))]) if by_depth else None


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def remove_field(case: Case, document: Document) -> str | None:
    if (path := _pick_entry(case, document)) is None:
        return None
    del at(document.value, path[:-1])[path[-1]]
    document.write()
    return _name(path)


def replace_field(case: Case, document: Document) -> str | None:
    if (path := _pick_entry(case, document)) is None:
        return None
    value = case.rng.choice(VALUES)
    at(document.value, path[:-1])[path[-1]] = value
    document.write()
    return f"{_name(path)} is {repr(value)[:60]}"


def change_type(case: Case, document: Document) -> str | None:
    if (path := _pick_entry(case, document)) is None:
        return None
    old = at(document.value, path)
    choices = [str(old), [old], {"a": old}]
    if isinstance(old, list):
        choices += [{str(i): value for i, value in enumerate(old)}, [*old, *old], old[:-1], old[::-1]]
    if isinstance(old, dict):
        choices += [list(old.values()), list(old)]
    if isinstance(old, int | float):
        choices += [-old, float(old), old + 1, old * 1000]
    new = case.rng.choice(choices)
    at(document.value, path[:-1])[path[-1]] = new
    document.write()
    return f"{_name(path)} is {repr(new)[:60]}"


def rename_field(case: Case, document: Document) -> str | None:
    paths = [path for path in entries(document.value) if isinstance(path[-1], str)]
    if not paths:
        return None
    path = case.rng.choice(paths)
    parent = at(document.value, path[:-1])
    new = case.rng.choice([path[-1].upper() + "_", path[-1] + " ", "", path[-1][:-1], "é"])
    parent[new] = parent.pop(path[-1])
    document.write()
    return f"{_name(path)} is called {new!r}"


def swap_fields(case: Case, document: Document) -> str | None:
    paths = [path for path in entries(document.value) if isinstance(at(document.value, path[:-1]), dict)]
    if len(paths) < 2:
        return None
    first, second = case.rng.sample(paths, 2)
    if first[: len(second)] == second or second[: len(first)] == first:
        return None
    one, two = at(document.value, first), at(document.value, second)
    at(document.value, first[:-1])[first[-1]], at(document.value, second[:-1])[second[-1]] = two, one
    document.write()
    return f"{_name(first)} and {_name(second)}"


def replace_document(case: Case, document: Document) -> str:
    document.value = case.rng.choice([None, 1, "x", [], {}, [document.value], "<deep>", "<deep object>"])
    document.write()
    return repr(document.value)[:60]


def change_format(case: Case, document: Document) -> str | None:
    paths = [path for path in entries(document.value) if re.search("format|version", str(path[-1]))]
    if not paths:
        return None
    path = case.rng.choice(paths)
    value = case.rng.choice([0, 2, 99, -1, "1", "", None, 1.5, True, [], {}, "pt", 10**400])
    at(document.value, path[:-1])[path[-1]] = value
    document.write()
    return f"{_name(path)} is {repr(value)[:60]}"


def rename_folder(case: Case, folder: Path) -> str | None:
    new = folder.with_name(
        case.rng.choice(["0000000099", "0", "9" * 30, "00000x", "1" + folder.name, ".x"])
    )
    if new.exists():
        return None
    folder.rename(new)
    return f"{folder.relative_to(case.root)} to {new.name}"


def swap_folder(case: Case, folder: Path) -> str | None:
    source = case.other / folder.relative_to(case.root)
    if not source.is_dir():
        return None
    shutil.rmtree(folder)
    shutil.copytree(source, folder)
    return str(folder.relative_to(case.root))


def fill_folder(case: Case, folder: Path) -> str:
    """Something that nobody wrote there."""
    name = case.rng.choice(["0000000099", "0000000098", "README", ".0000000030.part", "é"])
    place = folder / name
    if case.rng.random() < 0.5:
        place.write_bytes(b"?")
    else:
        place.mkdir(exist_ok=True)
        if case.rng.random() < 0.5:
            (place / "manifest.json").mkdir(exist_ok=True)
    return str(place.relative_to(case.root))


FILE_DAMAGES: dict[str, tuple[float, Callable[[Case, Path], str | None]]] = {
    "bit flipped": (8, flip_bit),
    "byte changed": (3, flip_byte),
    "truncated": (2, truncate),
    "extended": (2, extend),
    "block overwritten": (2, overwrite),
    "emptied": (0.7, empty),
    "deleted": (0.7, delete),
    "a directory": (0.7, make_directory),
    "a FIFO": (0.3, make_fifo),
    "a symlink": (0.8, make_symlink),
    "another's file": (1, swap_with_other),
    "two files swapped": (0.7, swap_within),
    "mode 000": (0.2, forbid),
    "bytes inserted": (1.5, insert_bytes),
    "digit changed": (3, change_digit),
}
FIELD_DAMAGES: dict[str, tuple[float, Callable[[Case, Document], str | None]]] = {
    "field removed": (2, remove_field),
    "field replaced": (5, replace_field),
    "field of another type": (2, change_type),
    "field renamed": (0.7, rename_field),
    "fields swapped": (0.7, swap_fields),
    "document replaced": (0.4, replace_document),
    "format changed": (0.7, change_format),
}
FOLDER_DAMAGES: dict[str, tuple[float, Callable[[Case, Path], str | None]]] = {
    "folder renamed": (0.6, rename_folder),
    "another's folder": (0.4, swap_folder),
    "folder filled": (0.4, fill_folder),
}
RESEALED = ", resealed"
WEIGHTS = {
    **{name: weight for name, (weight, _) in (FILE_DAMAGES | FIELD_DAMAGES | FOLDER_DAMAGES).items()},
    **{name + RESEALED: weight for name, (weight, _) in FIELD_DAMAGES.items()},
}


def damage(case: Case, seals: list[Seal]) -> tuple[str, str, str]:
    """Damage a copy; returns the name of the damage, the file, and what was done."""
    # One bit of a program in about a hundred crashes the interpreter that runs it.
    weights = WEIGHTS | ({"bit flipped": 40.0} if case.kind == "graphs" else {})
    while True:
        (name,) = case.rng.choices(list(weights), list(weights.values()))
        plain = name.removesuffix(RESEALED)
        if plain in FOLDER_DAMAGES:
            folders = sorted(path for path in case.root.rglob("*") if path.is_dir())
            if folders and (done := FOLDER_DAMAGES[plain][1](case, case.rng.choice(folders))) is not None:
                return name, "", done
            continue
        file = case.pick(files(case.root))
        if file is None or (plain != name and not seals):
            continue
        if plain in FILE_DAMAGES:
            done = FILE_DAMAGES[plain][1](case, file)
        else:
            document = read_document(file)
            done = None if document is None else FIELD_DAMAGES[plain][1](case, document)
        if done is not None:
            if plain != name:
                reseal(case.root, seals)
            return name, str(file.relative_to(case.root)), done


# ---------------------------------------------------------------------------- what is saved


def make_originals(folder: Path, originals: dict[str, list[str]]) -> None:
    """Write all undamaged files."""
    make_models(folder / "models", originals["models"])
    make_graphs(folder / "graphs", originals["graphs"])
    make_checkpoints(folder / "checkpoints", originals["checkpoints"])
    make_weights(folder / "weights", originals["weights"], "save_weights")
    make_weights(folder / "whole", originals["whole"], "save")


def make_models(folder: Path, originals: list[str]) -> None:
    """Two tables, two seeds of each."""
    from funcnet.cli import main

    rng = random.Random(0)
    folder.mkdir(parents=True)
    fruit, grams = ["length [cm],colour,sweet,name"], ["length,width,price"]
    for _ in range(48):
        kind, length, width = rng.randrange(3), rng.gauss(5, 1), rng.gauss(0, 1)
        colour, sweet = rng.choice(["red", "grün", "blue, dark", ""]), rng.choice(["TRUE", "FALSE"])
        name = ["fig", "kiwi", "banana, ripe"][kind]
        fruit.append(f'{length + 3 * kind:.3f},"{colour}",{sweet},"{name}"')
        grams.append(f"{length:.3f},{width:.3f},{20.5 + 10 * length - width:.2f}")
    for table, lines in {"fruit": fruit, "grams": grams}.items():
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for original in originals:
        table, seed = original.split("-")
        settings = ["--hidden", "6", "--epochs", "8", "--folds", "2", "--members", "1", "--seed", seed]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = main(["train", str(folder / f"{table}.csv"), "--out", str(folder / original), *settings])
        assert code == 0


def trainings() -> dict[str, tuple[Any, Any]]:
    """A training function and a network by name."""
    import jax
    import optax

    import funcnet as fn

    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    stopping = fn.EarlyStopping(patience=4)
    norm = fn.Sequential(fn.Linear(4, 6), fn.layers.BatchNorm(6), jax.nn.relu, fn.Linear(6, 3))
    return {
        "mlp": (
            fn.fit(loss, optax.adam(1e-2), epochs=8, batch_size=8, stopping=stopping, ema=0.9),
            fn.MLP((4, 6, 3), dropout=0.2),
        ),
        "norm": (fn.fit(loss, optax.sgd(1e-2, 0.9), epochs=8, batch_size=8, stopping=stopping), norm),
    }


def resume(name: str, seed: str, directory: Path, **settings: Any) -> Any:
    """Train, or resume; the final run."""
    import jax
    import jax.numpy as jnp

    import funcnet as fn

    train, net = TRAININGS.get(name) or TRAININGS.setdefault(name, trainings()[name])
    x = jax.random.normal(jax.random.key(0), (44, 4))
    y = jnp.int32(x[:, 0] > 0) + jnp.int32(x[:, 1] > 0)
    settings = {"progress": False, "save_every": fn.train.Every(steps=10_000)} | settings
    trainer = fn.Trainer(train, directory, **settings)
    return trainer(net.init(jax.random.key(int(seed))), (x, y), jax.random.key(7), (x[:12], y[:12]))


TRAININGS: dict[str, Any] = {}


def make_checkpoints(folder: Path, originals: list[str]) -> None:
    """Runs that were interrupted after step 24 of 48, with checkpoints of three steps."""
    import funcnet as fn

    ends = {}
    for original in originals:
        place = folder / original
        run = resume(*original.split("-"), place, save_every=fn.train.Every(steps=8), keep=9)
        ends[original] = digest_of(run)
        for checkpoint in sorted((place / "checkpoints").iterdir())[3:]:
            shutil.rmtree(checkpoint)
    (folder / "ends.json").write_text(json.dumps(ends))


def graphs() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], str | None]]:
    """Function, arguments and name of the batch axis by name."""
    import jax
    import jax.numpy as jnp

    import funcnet as fn

    x = jax.random.normal(jax.random.key(0), (3, 4))
    model = fn.MLP((4, 5, 2)).init(jax.random.key(1))
    weights = {"w": jnp.ones((4, 2)), "b": [jnp.zeros(2)]}

    def gradient(weights: Any, x: Any) -> Any:
        return jax.value_and_grad(lambda w: jnp.sum((x @ w["w"] + w["b"][0]) ** 2))(weights)

    def loop(x: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            return carry * 2 + jnp.sum(row > 0), jnp.sort(row)

        return jax.lax.scan(step, jnp.int32(1), x)

    return {
        "model": (model, (x,), "b"),
        "gradient": (gradient, (weights, x), None),
        "loop": (loop, (x,), None),
    }


def make_graphs(folder: Path, originals: list[str]) -> None:
    import funcnet as fn

    for name in originals:
        function, args, batch = graphs()[name]
        (folder / name).mkdir(parents=True)
        fn.transform.graph(function)(*args).save(folder / name / f"{name}.graph", batch=batch)


def nets() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    import funcnet as fn

    return {
        "mlp": fn.MLP((4, 6, 3)),
        "norm": fn.Sequential(fn.Linear(4, 6), fn.layers.BatchNorm(6), jax.nn.relu, fn.Linear(6, 3)),
        "pytree": {
            "half": jnp.ones(5, jnp.bfloat16),
            "count": jnp.int32(3),
            "mask": jnp.ones((2, 3), bool),
        },
    }


def make_weights(folder: Path, originals: list[str], save: str) -> None:
    import jax

    import funcnet as fn

    for name in originals:
        net = nets()[name]
        (folder / name).mkdir(parents=True)
        model = net.init(jax.random.key(2)) if hasattr(net, "init") else net
        getattr(fn, save)(model, folder / name / f"{name}.safetensors")


def sibling(name: str) -> str:
    """The original with the same shapes."""
    return name[:-1] + {"0": "1", "1": "0"}[name[-1]] if name[-1] in "01" else name


# ---------------------------------------------------------------------------- who reads it, in a worker


def digest_of(tree: Any) -> str:
    """The SHA-256 of the names, kinds and bytes of all leaves of a pytree."""
    import jax
    import numpy as np

    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        total.update(
            f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode() + array.tobytes()
        )
    return total.hexdigest()


def run_command(*argv: str) -> dict[str, Any]:
    """`funcnet ARGV` in this process."""
    from funcnet.cli import main

    stdout, stderr = io.StringIO(), io.StringIO()
    outcome: dict[str, Any] = {"argv": argv}
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), warnings.catch_warnings():
        warnings.simplefilter("always")
        try:
            outcome["code"] = main(argv)
        except BaseException as error:
            outcome["error"] = describe_error(error)
    return outcome | {
        "output": stdout.getvalue(),
        "messages": [stderr.getvalue()] if stderr.getvalue() else [],
    }


def run_function(function: Callable[[], Any]) -> dict[str, Any]:
    """The digest of a function's result, its warnings, or its exception."""
    outcome: dict[str, Any] = {"output": ""}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome["output"] = digest_of(function())
        except BaseException as error:
            outcome["error"] = describe_error(error)
    return outcome | {"messages": [str(warning.message) for warning in caught]}


def describe_error(error: BaseException) -> dict[str, Any]:
    import funcnet

    frames = traceback.extract_tb(error.__traceback__)
    inside = str(Path(funcnet.__file__).parent)
    last = frames[-1].filename if frames else ""
    ours = [frame for frame in frames if frame.filename.startswith(inside)]
    place = f"{Path(ours[-1].filename).relative_to(inside)}:{ours[-1].name}" if ours else ""
    return {
        "type": type(error).__name__,
        "message": str(error)[: 2 * LONGEST],
        "ours": last.startswith(inside),
        "place": place,
        "named": str(error.filename) if isinstance(error, OSError) and error.filename else "",
        "trace": "".join(traceback.format_exception(error))[-3000:],
    }


def consumers(
    kind: str, original: str, originals: Path, root: Path
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What reads the files of a kind, by name."""
    import funcnet as fn

    if kind == "models":
        table, out = originals / "models" / f"{original[:-2]}.csv", root.parent / "predictions.csv"

        def predict() -> dict[str, Any]:
            out.unlink(missing_ok=True)
            outcome = run_command("predict", str(root), str(table), "--out", str(out))
            return outcome | {"output": outcome["output"] + (out.read_text() if out.is_file() else "")}

        def show() -> dict[str, Any]:
            outcome = run_command("show", str(root))
            curves = root / "curves.png"
            drawn = sha256(curves.read_bytes()) if outcome.get("code") == 0 and curves.is_file() else ""
            return outcome | {"output": outcome["output"] + drawn}

        return {"predict": predict, "show": show, "runs": lambda: run_command("runs", str(root.parent))}
    if kind == "checkpoints":
        name, seed = original.split("-")
        return {
            "runs": lambda: run_command("runs", str(root.parent)),
            "resume": lambda: run_function(lambda: resume(name, seed, root)),
        }
    if kind == "graphs":
        _, args, _ = GRAPHS.get(original) or GRAPHS.setdefault(original, graphs()[original])
        path = root / f"{original}.graph"
        return {"load_graph": lambda: run_function(lambda: fn.transform.load_graph(path)(*args))}
    net = NETS.get(original) or NETS.setdefault(original, nets()[original])
    path = root / f"{original}.safetensors"
    if kind == "whole":
        return {"load": lambda: run_function(lambda: fn.load(path))}
    return {"load_weights": lambda: run_function(lambda: fn.load_weights(net, path))}


GRAPHS: dict[str, Any] = {}
NETS: dict[str, Any] = {}


def work() -> None:
    """Answer requests, a JSON line each: first one for each consumer that starts, then its outcome."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # nothing else may write between the answers
    _limit_memory()

    def answer(**facts: Any) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "make":
            make_originals(Path(request["originals"]), request["names"])
        else:
            names = request["kind"], request["original"], Path(request["originals"]), Path(request["root"])
            answer(starts="import")
            for name, consume in consumers(*names).items():
                answer(starts=name)
                answer(outcome=consume() | {"consumer": name})
        answer(done=True)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


# ---------------------------------------------------------------------------- the pool


class Worker:
    """A process that runs consumers, and is started again after a crash or a hang."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self.folder, self.timeout = folder, timeout
        self.process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._warm: set[str] = set()
        folder.mkdir(parents=True)

    def ask(self, request: dict[str, Any], timeout: float | None = None) -> list[dict[str, Any]]:
        """The outcomes of a request; the last may be a crash or a hang."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        # What a process reads for the first time is compiled first.
        name = request.get("original", "")
        limit = timeout or (self.timeout if name in self._warm else self.timeout + 200)
        self._warm.add(name)
        outcomes, consumer = [], "import"
        while True:
            answer = self._read(limit)
            if not answer:
                end = self.end()
                outcomes.append({"consumer": consumer, "end": "hang" if answer is None else f"crash {end}"})
                return outcomes
            facts = json.loads(answer)
            if "done" in facts:
                return outcomes
            if "starts" in facts:
                consumer = facts["starts"]
            else:
                outcomes.append(facts["outcome"])

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "stderr.txt").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, __file__, "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )

    def _read(self, timeout: float) -> bytes | None:
        """The next line; an empty one if the process has ended, None after the timeout."""
        assert self.process is not None
        assert self.process.stdout is not None
        end = time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = max(0.0, end - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return None
            part = os.read(self.process.stdout.fileno(), 2**20)
            if not part:
                return b""
            self._unread += part
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def end(self) -> int:
        """End the process; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process, self._unread = None, b""
        self._warm.clear()
        return code


class Fuzz:
    """All damages of one call, on a few workers.

    Args:
        out: the folder below which everything is written.
        seed: of the damages.
        workers: processes.
        timeout: seconds after which a consumer hangs.
        names: the originals of each kind of file.
    """

    def __init__(
        self, out: Path, seed: int, workers: int, timeout: float, names: dict[str, tuple[str, ...]]
    ) -> None:
        self.out, self.seed, self.originals, self.names = out, seed, out / "originals", names
        self.workers = [Worker(out / "work" / str(i), timeout) for i in range(workers)]
        self.expected: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self.seals: dict[tuple[str, str], list[Seal]] = {}
        self.notes: list[str] = []

    def prepare(self, kinds: list[str]) -> None:
        """Make the originals, unless they exist, and run all consumers on them, in all workers."""
        if not self.originals.exists():
            request = {"do": "make", "originals": str(self.originals), "names": self.names}
            outcomes = self.workers[0].ask(request, 600)
            if outcomes:
                raise RuntimeError(f"the files can't be made: {self.workers[0].folder / 'stderr.txt'}")
        for kind in kinds:
            for name in self.names[kind]:
                self.seals[kind, name], unknown = find_seals(self.originals / kind / name)
                self.notes += [f"{kind}/{name}: nobody knows how {field} is computed" for field in unknown]
        found = self._run_in_threads(lambda worker: self._run_undamaged(worker, kinds))
        for other in found[1:]:
            for key, outcomes in found[0].items():
                if other[key] != outcomes:
                    raise RuntimeError(f"two workers differ on undamaged files: {outcomes}, {other[key]}")
        self.expected = found[0]
        ends = json.loads((self.originals / "checkpoints" / "ends.json").read_text())
        for (kind, name), outcomes in self.expected.items():
            for consumer, outcome in outcomes.items():
                if "error" in outcome or "end" in outcome or outcome.get("code"):
                    raise RuntimeError(f"{consumer} of undamaged {kind}/{name}: {outcome}")
            if kind == "checkpoints" and outcomes["resume"]["output"] != ends[name]:
                raise RuntimeError(f"{name} resumed from undamaged files ends in other bits")

    def run(self, cases: list[tuple[str, int]]) -> list[dict[str, Any]]:
        """A result for each (kind, index), in this order."""
        results: dict[tuple[str, int], list[dict[str, Any]]] = {}
        queue, lock = iter(cases), threading.Lock()

        def drain(worker: Worker) -> None:
            while True:
                with lock:
                    case = next(queue, None)
                if case is None:
                    return
                results[case] = self._run_case(worker, *case)
                with lock:
                    if len(cases) > 1:
                        self._report(results[case])
                    if len(results) % 100 == 0:
                        print(f"{len(results)} of {len(cases)} damages", file=sys.stderr, flush=True)

        self._run_in_threads(drain)
        return [result for case in cases for result in results[case]]

    def _report(self, results: list[dict[str, Any]]) -> None:
        """Append the findings of a case to `findings.jsonl`."""
        with (self.out / "findings.jsonl").open("a") as file:
            for result in results:
                if result["verdict"] in VERDICTS:
                    only = f"--only {result['kind']}:{result['index']}"
                    few = " --few" if self.names is FEW else ""
                    command = f"python {sys.argv[0]} --seed {self.seed} --out {self.out}{few} {only}"
                    file.write(json.dumps(result | {"reproduce": command}) + "\n")

    def _run_in_threads(self, function: Callable[[Worker], Any]) -> list[Any]:
        with concurrent.futures.ThreadPoolExecutor(len(self.workers)) as pool:
            return list(pool.map(function, self.workers))

    def _copy(self, worker: Worker, kind: str, name: str) -> tuple[Path, Path]:
        place = worker.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        root, other = place / "damaged", place / "other"
        shutil.copytree(self.originals / kind / name, root)
        beside = sibling(name) if sibling(name) in self.names[kind] else name
        shutil.copytree(self.originals / kind / beside, other)
        return root, other

    def _consume(self, worker: Worker, kind: str, name: str, root: Path) -> list[dict[str, Any]]:
        request = {"do": "consume", "kind": kind, "original": name, "root": str(root)}
        outcomes = worker.ask(request | {"originals": str(self.originals)})
        place = str(worker.folder)
        text = json.dumps(outcomes).replace(place, "WORK")
        return json.loads(text)

    def _run_undamaged(self, worker: Worker, kinds: list[str]) -> Any:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for kind in kinds:
            for name in self.names[kind]:
                root, _ = self._copy(worker, kind, name)
                outcomes = self._consume(worker, kind, name, root)
                found[kind, name] = {outcome["consumer"]: outcome for outcome in outcomes}
        return found

    def _run_case(self, worker: Worker, kind: str, index: int) -> list[dict[str, Any]]:
        rng = random.Random(f"{self.seed}/{kind}/{index}")
        name = rng.choice(self.names[kind])
        root, other = self._copy(worker, kind, name)
        how, file, what = damage(Case(rng, root, other, kind), self.seals[kind, name])
        results = []
        for outcome in self._consume(worker, kind, name, root):
            expected = self.expected[kind, name].get(outcome["consumer"], {})
            verdict, reason = judge(outcome, expected, how)
            results.append(
                {"kind": kind, "index": index, "original": name, "damage": how, "file": file, "what": what}
                | {
                    "consumer": outcome["consumer"],
                    "verdict": verdict,
                    "reason": reason,
                    "outcome": outcome,
                }
            )
        return results


# ---------------------------------------------------------------------------- verdicts


def judge(outcome: dict[str, Any], expected: dict[str, Any], how: str) -> tuple[str, str]:
    """Verdict and reason; those of what is right are "same", "refused", "warned" and "accepted"."""
    if "end" in outcome:
        return outcome["end"].split()[0], outcome["end"]
    messages = " ".join(outcome["messages"])
    if (error := outcome.get("error")) is not None:
        return _judge_error(error)
    if outcome.get("code", 0) not in (0, 2):
        return "traceback", f"exit code {outcome['code']}"
    if outcome.get("code") == 2:
        return _judge_message(messages, lines=1)
    if "code" in outcome and (found := re.search(CONTROL, outcome["output"] + messages)):
        return "message", f"control character {found[0]!r} is printed"
    if outcome["consumer"] == "runs":
        return _judge_runs(outcome["output"], expected["output"], messages, how)
    if outcome["output"] == expected["output"]:
        return "same", ""
    # A resumed run must end in the same bits, whatever it warned of.
    if "damaged" in messages and NAMED in messages and outcome["consumer"] != "resume":
        return "warned", messages[:LONGEST]
    if how.endswith(RESEALED) or (how in UNNOTICED and outcome["consumer"] in ("show", "runs")):
        return "accepted", ""
    return "other output", messages[:LONGEST]


UNNOTICED = ("another's folder", "folder renamed")
"""Whole folders that were saved, in other places: only a resumed run has an identity to compare."""
NAMED = "WORK/case/damaged"
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]"


def _judge_error(error: dict[str, Any]) -> tuple[str, str]:
    first_line = error["message"].split("\n")[0][:200]
    short = f"{error['type']} in {error['place']}: {first_line}"
    if NAMED in error["named"]:  # what the operating system said of the file
        return "refused", short
    if not error["ours"] or error["type"] in ("MemoryError", "RecursionError", "AssertionError"):
        return "traceback", short
    return _judge_message(error["message"], lines=40)


def _judge_message(message: str, lines: int) -> tuple[str, str]:
    text = message.strip("\n")
    if NAMED not in text:
        return "message", f"no file is named: {text[:200]}"
    if len(text) > LONGEST:
        return "message", f"{len(text)} characters: {text[:200]}"
    if text.count("\n") >= lines:
        return "message", f"{text.count(chr(10)) + 1} lines: {text[:200]}"
    if re.search(CONTROL, text):
        return "message", f"control characters: {text[:200]!r}"
    return "refused", text


def _judge_runs(output: str, expected: str, messages: str, how: str) -> tuple[str, str]:
    """The intact run's row must be as it was; that of the damaged one may be replaced by a warning."""

    def rows(text: str, name: str) -> list[str]:
        return [" ".join(line.split()) for line in text.splitlines() if line.split()[:1] == [name]]

    if rows(output, "other") != rows(expected, "other"):
        return "other output", f"another run's row: {rows(output, 'other')}"
    found, before = rows(output, "damaged"), rows(expected, "damaged")
    if found == before:
        return "same", ""
    if NAMED in messages or any("damaged" in row.split(maxsplit=1)[-1] for row in found):
        return "warned", messages[:LONGEST]
    if how.endswith(RESEALED) or how in UNNOTICED:
        return "accepted", ""
    return "other output", f"the row is {found[0]!r}" if found else "the run is not listed"


# ---------------------------------------------------------------------------- the command


def print_verdicts(results: list[dict[str, Any]]) -> None:
    """A row for each kind of file and damage: how many, and how many of each verdict."""
    cases: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for result in results:
        row = result["kind"], result["damage"]
        cases[row].add(result["index"])
        cases[result["kind"], "all"].add(result["index"])
        counts[*row, result["verdict"]] += 1
        counts[result["kind"], "all", result["verdict"]] += 1
    columns = ("same", "refused", "warned", "accepted", *VERDICTS)
    print(f"{'files':12} {'damage':32} {'cases':>6} " + " ".join(f"{name:>12}" for name in columns))
    for kind, how in sorted(cases, key=lambda row: (KINDS.index(row[0]), row[1] == "all", row[1])):
        numbers = " ".join(f"{counts[kind, how, name] or '':>12}" for name in columns)
        print(f"{kind:12} {how:32} {len(cases[kind, how]):>6} {numbers}".rstrip())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    counts = {"models": 1200, "graphs": 500, "checkpoints": 300, "weights": 300, "whole": 300}
    for kind, count in counts.items():
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help="damages of this kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="everything is written below it")
    parser.add_argument(
        "--only", metavar="KIND:INDEX", help="one damage, in full, of the originals in --out"
    )
    parser.add_argument("--few", action="store_true", help="damage fewer originals, which are made sooner")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds after which a reader hangs")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    settings = parser.parse_args(argv)
    if settings.worker:
        work()
        return 0
    if settings.out is None:
        parser.error("--out is required")
    began = time.monotonic()
    out = settings.out.absolute()
    prepare_folder(out, MARK, "originals", keep=settings.only is not None)
    os.environ["XDG_CACHE_HOME"] = str(out / "cache")
    os.environ |= {"MPLBACKEND": "Agg", "COLUMNS": "200"}  # no window, and tables that are not cut
    if settings.only is not None:
        kind, index = settings.only.split(":")
        cases, workers = [(kind, int(index))], 1
    else:
        cases = [(kind, index) for kind in KINDS for index in range(getattr(settings, kind))]
        workers = max(1, settings.workers)
    fuzz = Fuzz(out, settings.seed, workers, settings.timeout, FEW if settings.few else ORIGINALS)
    try:
        fuzz.prepare([kind for kind in KINDS if any(case[0] == kind for case in cases)])
        results = fuzz.run(cases)
    finally:
        for worker in fuzz.workers:
            worker.end()
    if settings.only is not None:
        for result in results:
            print(json.dumps(result, indent=1).replace("\\n", "\n"))
        return 0
    findings = [result for result in results if result["verdict"] in VERDICTS]
    print_verdicts(results)
    for note in fuzz.notes:
        print(note)
    totals = collections.Counter(finding["verdict"] for finding in findings)
    print(", ".join(f"{name}: {totals[name]}" for name in VERDICTS))
    print(f"{len(findings)} findings of {len(cases)} damages in {time.monotonic() - began:.0f} s: {out}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
