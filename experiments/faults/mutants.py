"""Does the suite find faults? Puts one at a time into funcnet, and runs the quick tests.

    python experiments/faults/mutants.py --learn    # one run of the suite: which tests run which lines
    python experiments/faults/mutants.py            # thirty mutants, of all pairs of function and operator
    python experiments/faults/mutants.py --checkout ../before   # the same mutants, another commit's tests

The faults are those of `mutation_operators.py`. Each is put into a copy of the checkout, below
`runs/mutants`. There the quick tests that run the changed line are run first, then all that run its file
and all that start processes, until one fails; a mutant that stops the tests for ten minutes is found,
too. One that can't change any result stands in `equivalent_mutants.toml` with its reason, and another is
drawn in its place.

`--learn` needs pytest-cov (`pip install pytest-cov`): once, and again when many tests have moved.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutation_operators import OPERATORS, Mutation, mutations

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runs/mutants"
LIMIT = 600.0  # seconds
NO_TESTS = 5  # pytest's exit code if the tests have other names by now


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A mutation of a file."""

    file: str
    mutation: Mutation

    @property
    def name(self) -> str:
        """What names it in `equivalent_mutants.toml`: it outlives changes of other lines."""
        fault = self.mutation
        return f"{self.file}::{fault.function} [{fault.operator}] {fault.old} -> {fault.text}"


def draw(seed: int, count: int, equivalent: dict[str, str]) -> list[Mutant]:
    """`count` mutants of different pairs of a function and an operator, without the equivalent ones."""
    places: dict[tuple[str, str, str], list[Mutation]] = collections.defaultdict(list)
    for path in sorted((ROOT / "funcnet").rglob("*.py")):
        file = str(path.relative_to(ROOT))
        for mutation in mutations(path.read_text()):
            places[file, mutation.function, mutation.operator].append(mutation)
    print(f"{len(places)} pairs of a function and an operator; {sum(map(len, places.values()))} mutants")

    def draw_number(*what: str) -> bytes:  # the same for the same code, whatever else has changed
        return hashlib.sha256(repr((seed, *what)).encode()).digest()

    drawn = []
    for pair in sorted(places, key=lambda pair: draw_number(*pair)):
        mutants = [Mutant(pair[0], mutation) for mutation in places[pair]]
        mutant = min(mutants, key=lambda mutant: draw_number(mutant.name))
        if mutant.name in equivalent:
            print(f"equivalent: {mutant.name}: {equivalent[mutant.name]}")
        else:
            drawn.append(mutant)
        if len(drawn) == count:
            break
    return drawn


def copy(checkout: Path, to: Path) -> Path:
    """The files of a checkout that git knows, at an empty place."""
    shutil.rmtree(to, ignore_errors=True)
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    for file in filter(None, files.stdout.split("\0")):
        if (checkout / file).exists():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / file, to / file)
    if checkout != ROOT:  # its tests, on the code of this one
        shutil.rmtree(to / "funcnet")
        shutil.copytree(ROOT / "funcnet", to / "funcnet", ignore=shutil.ignore_patterns("__pycache__"))
    return to


def run_tests(tree: Path, tests: list[str]) -> Any:
    """pytest in a copy of the checkout, on `tests` in their order, until one fails."""
    listed = tree / ".tests.json"
    listed.write_text(json.dumps(tests))
    files = dict.fromkeys(test.split("::")[0] for test in tests)
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "mutants", "--quiet", "--numprocesses=0"),
            *("--exitfirst", "--tb=no", "-rfE", *(file for file in files if (tree / file).exists())),
        ],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": path, "MUTANT_TESTS": str(listed)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """As a plugin of pytest: only the tests in $MUTANT_TESTS, in their order."""
    if "MUTANT_TESTS" in os.environ:
        order = {test: i for i, test in enumerate(json.loads(Path(os.environ["MUTANT_TESTS"]).read_text()))}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda i: order[i.nodeid])


def pytest_runtest_logreport(report: Any) -> None:
    """As a plugin of pytest: one line a test in $MUTANT_SECONDS."""
    if report.when == "call" and "MUTANT_SECONDS" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["MUTANT_SECONDS"], "a") as file:
            print(json.dumps([report.nodeid, report.duration]), file=file)


def learn(checkout: Path, path: Path) -> None:
    """Run the quick suite once, and write which tests run which lines, and their seconds."""
    import coverage

    tree = copy(checkout, FOLDER / "learn")
    options = ["--numprocesses=2", "--cov=funcnet", "--cov-context=test", "--cov-report="]
    seconds = tree / ".seconds"
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{Path(__file__).parent}"}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "mutants", "--quiet", *options],
        cwd=tree,
        env=environment | {"MUTANT_SECONDS": str(seconds)},
        check=True,
    )
    data = coverage.CoverageData(str(tree / ".coverage"))
    data.read()
    files = {}
    for file in data.measured_files():
        contexts = data.contexts_by_lineno(file)
        files[str(Path(file).relative_to(tree))] = {
            line: sorted({test.split("|")[0] for test in tests if test}) for line, tests in contexts.items()
        }
    took = dict(map(json.loads, seconds.read_text().splitlines()))
    path.write_text(json.dumps({"tests": files, "seconds": took}))


def tests_of(mutant: Mutant, tree: Path, known: dict[str, Any]) -> list[list[str]]:
    """The tests that run a changed line; the others of its file, and those that start processes.

    Those first that end soonest. Which lines a process runs that a test starts is not known.
    """
    lines, fault = known["tests"].get(mutant.file, {}), mutant.mutation
    of_line = set(lines.get(str(fault.line), ()))
    of_file = {test for tests in lines.values() for test in tests} - of_line
    for test in known["seconds"]:
        path = tree / test.split("::")[0]
        if path.exists() and "subprocess" in path.read_text():
            of_file.add(test)
    seconds = known["seconds"]
    return [sorted(tests, key=lambda test: (seconds.get(test, 0.0), test)) for tests in (of_line, of_file)]


def judge(mutant: Mutant, tree: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Whether a test fails on the mutant in `tree`: which, and after how many seconds."""
    path, began = tree / mutant.file, time.monotonic()
    source = path.read_text()

    def fails_alone(test: str, text: str) -> bool:
        path.write_text(text)
        return run_tests(tree, [test]).returncode not in (0, NO_TESTS)

    mutated = mutant.mutation.apply(source)
    path.write_text(mutated)
    try:
        found = _failure(
            tree,
            tests_of(mutant, tree, known),
            # Not by a test that fails only after others, nor by one that fails without the mutant.
            lambda test: not fails_alone(test, source) and fails_alone(test, mutated),
        )
    finally:
        path.write_text(source)
    result = {"mutant": mutant.name, "line": mutant.mutation.line, "found by": found}
    return result | {"seconds": round(time.monotonic() - began, 1)}


def _failure(tree: Path, rounds: list[list[str]], finds: Callable[[str], bool]) -> str:
    """The first test that fails and `finds` the mutant, or what stops the tests; empty if nothing does."""
    for tests in rounds:
        while tests:
            try:
                done = run_tests(tree, tests)
            except subprocess.TimeoutExpired:
                return f"the tests did not end within {LIMIT:.0f} s"
            if done.returncode in (0, NO_TESTS):
                break
            failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            if not failed:
                return f"pytest ended with {done.returncode}: {done.stdout[-200:]}"
            place = next((i for i, test in enumerate(tests) if f" {test} " in f"{failed[0]} "), None)
            if place is None or finds(tests[place]):
                return failed[0]
            tests = tests[place + 1 :]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--learn", action="store_true", help="find out which tests run which lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=30, help="how many mutants")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument(
        "--checkout",
        type=Path,
        default=ROOT,
        help="whose tests to run on the code of this one (default: its own)",
    )
    parser.add_argument("--list", action="store_true", help="print the mutants, and run nothing")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    checkout = options.checkout.resolve()
    known = FOLDER / f"{checkout.name}.json"
    if options.learn:
        return learn(checkout, known)

    equivalent = tomllib.loads((Path(__file__).parent / "equivalent_mutants.toml").read_text())
    drawn = draw(options.seed, options.count, equivalent)
    if options.list:
        return print(*(f"{mutant.name} (line {mutant.mutation.line})" for mutant in drawn), sep="\n")
    if not known.exists():
        parser.error(f"{known} is missing: run it with --learn first")
    known_tests = json.loads(known.read_text())
    trees: queue.Queue[Path] = queue.Queue()
    for i in range(options.jobs):
        trees.put(copy(checkout, FOLDER / f"{checkout.name}-{i}"))

    def work(mutant: Mutant) -> dict[str, Any]:
        tree = trees.get()
        try:
            return judge(mutant, tree, known_tests)
        finally:
            trees.put(tree)

    results = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(work, drawn):
            results.append(result)
            print(f"{result['seconds']:6.0f} s  {result['mutant']}")
            print(f"          {result['found by'] or 'NOT FOUND'}", flush=True)
    found = sum(bool(result["found by"]) for result in results)
    print(f"{found} of {len(results)} mutants found (seed {options.seed}, {len(OPERATORS)} operators)")
    name = f"{checkout.name}-seed-{options.seed}.json"
    (FOLDER / name).write_text(json.dumps(results, indent=1))
    return None


if __name__ == "__main__":
    main()
