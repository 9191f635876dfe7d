"""What does training cost with funcnet, by hand, and with other libraries?

    make bench
    python experiments/benchmarks/peers.py --workloads a,b --peers funcnet_fit,torch_loop
    python experiments/benchmarks/peers.py --draw runs/a/peers.csv runs/b/peers.csv  # a picture of two

All programs get the same data, network, initial weights, optimizer, batch size and epochs
(`workloads.py`). Each is the best code that users of that library would write (`jobs/`), in a process of
its own, and they take turns, round after round (`worker.py`). Before that, all train for two short epochs
without shuffling and must end with the same loss. experiments/benchmarks/NOTES.md says how to read it.
"""

import argparse
import contextlib
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import results
import whole_process
from jobs import BASE, PEERS
from results import Result
from worker import Worker, noted
from workloads import WORKLOADS, Workload


def main() -> int:
    settings = _arguments()
    out: Path = settings.out
    out.mkdir(parents=True, exist_ok=True)
    if settings.draw:
        measured = [result for path in settings.draw for result in results.read_csv(path)]
        results.draw(measured, _titles(result.workload for result in measured), out / "peers.png")
        print(f"Written: {out / 'peers.png'}")
        return 0
    print(results.machine())
    if os.getloadavg()[0] > 0.5:
        print("This machine is busy: the times are not reliable.", file=sys.stderr)

    measured = []
    failures: list[str] = []
    titles: dict[str, str] = {}
    for name in settings.workloads:
        work = WORKLOADS["a" if name == "g" else name]()
        work = work.shortened() if settings.quick else work
        rounds = settings.repeats or (2 if settings.quick else work.rounds)
        if name == "g":
            rounds = settings.repeats or (1 if settings.quick else 5)
            titles |= whole_process.TITLES
            measured += whole_process.measure(work, settings.peers, rounds, failures)
            continue
        titles[name] = _title(work)
        measured += measure(work, settings.peers, rounds, failures)

    # After two epochs the loss still depends on the order of rows, so only the probe is compared.
    if not settings.quick:
        _check_bands(measured)
    text = results.markdown(measured, titles, failures)
    print(text)
    results.write_csv(measured, out / "peers.csv")
    results.draw(measured, titles, out / "peers.png")
    settings.markdown.write_text(text)
    print(f"Written: {out / 'peers.csv'}, {out / 'peers.png'}, {settings.markdown}")
    return 1 if any(r.wrong for r in measured) else 0


def _title(work: Workload) -> str:
    return f"{work.title}; {work.steps:,} steps"


def _titles(names: Iterable[str]) -> dict[str, str]:
    """The titles of these workloads, in the order of their letters."""
    wholes = whole_process.TITLES
    return {name: wholes.get(name) or _title(WORKLOADS[name]()) for name in sorted(set(names))}


Turn = tuple[Worker, int, Result]  # the variant of a peer, and the result that its times are added to


def measure(work: Workload, peers: list[str], rounds: int, failures: list[str]) -> list[Result]:
    """Probe, warm up and time all peers on one workload, in turn."""
    turns: list[Turn] = []
    expected = math.nan
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = work.save(Path(folder))
        for peer in peers:
            worker = stack.enter_context(Worker(peer, file))
            with noted(failures, work.name, peer):
                if not worker.variants():
                    continue
                loss = worker.probe(0)
                expected = loss if peer == BASE else expected
                ways = _prepared(worker, work, peer, rounds)
                for result in ways:
                    result.wrong = _difference(loss, expected, work.equal)
                turns += [(worker, number, result) for number, result in enumerate(ways)]
                status = f"first call {ways[0].first:6.2f} s, probe {loss:.6g}"
                print(f"{work.name} {PEERS[peer]:24} {status}", flush=True)
        for seed in range(rounds):
            _round(turns, seed, failures)
    return [result for *_, result in turns if len(result.seconds) == rounds]


def _round(turns: list[Turn], seed: int, failures: list[str]) -> None:
    """Every peer that has not failed so far trains once."""
    # In another order each round, so that no peer always follows the same one.
    for worker, number, result in random.Random(seed).sample(turns, len(turns)):
        if len(result.seconds) == seed:
            with noted(failures, result.workload, result.peer):
                result.add(*worker.train(number, seed))


def _prepared(worker: Worker, work: Workload, peer: str, rounds: int) -> list[Result]:
    ways = []
    for number, variant in enumerate(worker.variants()):
        settings = ", ".join(f"{name} {value}" for name, value in variant.items())
        first = worker.prepare(number)
        ways.append(Result(work.name, peer, settings, work.steps, work.band(rounds), first))
    return ways


def _difference(loss: float, expected: float, equal: float) -> str:
    if abs(loss - expected) <= equal * abs(expected):
        return ""
    return f"loss {loss:.6g} after the same batches, not {expected:.6g}"


def _check_bands(measured: list[Result]) -> None:
    """Mark results whose final loss differs from the scan's by more than the order of rows explains."""
    bases = {r.workload: r for r in measured if r.peer == BASE}
    for result in measured:
        if not (result.wrong or result.agrees(bases[result.workload])):
            result.wrong = f"final loss {result.loss:.5g}, outside its band"


def _arguments() -> argparse.Namespace:
    def names(known):
        def parse(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := [name for name in chosen if name not in known]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
            return [name for name in known if name in chosen]

        return parse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    letters = (*WORKLOADS, "g")
    parser.add_argument("--workloads", type=names(letters), default=list(letters), help=", ".join(letters))
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument("--repeats", type=int, default=0, help="rounds; each workload has its own number")
    parser.add_argument(
        "--quick", action="store_true", help="two short epochs: does everything run and agree?"
    )
    parser.add_argument("--draw", type=Path, nargs="+", help="CSV files of earlier runs; measures nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of CSV and picture")
    parser.add_argument(
        "--markdown", type=Path, help="file for the tables (default: peers.md in the folder)"
    )
    settings = parser.parse_args()
    settings.peers = [BASE, *(peer for peer in settings.peers if peer != BASE)]  # the base of all ratios
    settings.markdown = settings.markdown or settings.out / "peers.md"
    return settings


if __name__ == "__main__":
    sys.exit(main())
