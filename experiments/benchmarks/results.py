"""The measurements, and their output: CSV, markdown tables, a bar chart."""

import csv
import dataclasses
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from jobs import BASE, PEERS

PACKAGES = (
    *("funcnet", "jax", "jaxlib", "optax", "torch", "lightning", "keras", "flax", "equinox"),
    *("scikit-learn", "numpy"),
)


@dataclasses.dataclass
class Result:
    """The times of one variant of one peer on one workload.

    Args:
        workload: its letter, and for whole processes "g cold" or "g warm".
        variant: its settings; empty if there is only one variant.
        steps: updates in one run.
        band: the allowed relative difference of its final loss from the hand-written scan's.
        first: seconds for setup and one run, including compilation.
        seconds: of each round; the median if a turn contained several runs.
        losses: the final loss of each round.
        wrong: what is wrong with its losses; empty if nothing is.
    """

    workload: str
    peer: str
    variant: str
    steps: int
    band: float
    first: float
    seconds: list[float] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)
    wrong: str = ""

    def add(self, seconds: float, loss: float) -> None:
        """Add a round."""
        self.seconds.append(seconds)
        self.losses.append(loss)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def loss(self) -> float:
        return statistics.median(self.losses)

    def agrees(self, base: "Result") -> bool:
        """Whether its final loss lies within the band around the base's."""
        return abs(self.loss - base.loss) <= self.band * base.loss

    def ratio(self, base: "Result") -> float:
        """The median over rounds of this time divided by the base's in the same round."""
        return statistics.median(a / b for a, b in zip(self.seconds, base.seconds, strict=True))


Table = dict[tuple[str, str], Result]


def fastest(results: Iterable[Result]) -> Table:
    """The fastest variant of each workload and peer."""
    best: Table = {}
    for result in results:
        place = result.workload, result.peer
        if place not in best or result.median < best[place].median:
            best[place] = result
    return best


def markdown(results: list[Result], titles: dict[str, str], failures: list[str]) -> str:
    """All tables: ratios, times, first calls, losses; then variants, machine and versions."""
    best = fastest(results)
    workloads = [name for name in titles if any(name == w for w, _ in best)]
    inner = [name for name in workloads if not name.startswith("g")]
    parts = [
        "".join(f"- **{name}**: {titles[name]}\n" for name in workloads),
        f"Time as a multiple of the hand-written scan's time in the same round, medians (≠: {UNEQUAL}):\n",
        _table(best, workloads, lambda r: f"{r.ratio(best[r.workload, BASE]):.2f}{'≠' * bool(r.wrong)}"),
        "Median time: µs a step; for whole processes, seconds:\n",
        _table(best, workloads, _time),
    ]
    if inner:
        parts += [
            "Setup and one run, including compilation, seconds:\n",
            _table(best, inner, lambda r: f"{r.first:.2f}"),
        ]
    parts += [
        "Final loss over all rows, median:\n",
        _table(best, workloads, lambda r: f"{r.loss:.4g}"),
    ]
    if chosen := [r for r in best.values() if r.variant]:
        parts += [
            "The fastest variants:\n",
            "".join(f"- {r.workload}, {PEERS[r.peer]}: {r.variant}\n" for r in chosen),
        ]
    troubles = [f"{r.workload}, {PEERS[r.peer]} {r.variant}: {r.wrong}" for r in results if r.wrong]
    if troubles + failures:
        parts += ["Failures:\n", "".join(f"- {line}\n" for line in troubles + failures)]
    return "\n".join([*parts, machine()])


UNEQUAL = "its loss differs from the others'"


def _table(best: Table, workloads: list[str], cell: Callable[[Result], str]) -> str:
    peers = [peer for peer in PEERS if any((name, peer) in best for name in workloads)]
    lines = ["| | " + " | ".join(workloads) + " |", "|---|" + "---:|" * len(workloads)]
    for peer in peers:
        row = [best.get((name, peer)) for name in workloads]
        cells = " | ".join("–" if r is None else cell(r) for r in row)
        lines.append(f"| {PEERS[peer]} | {cells} |")
    return "\n".join(lines) + "\n"


def _time(result: Result) -> str:
    if result.workload.startswith("g"):
        return f"{result.median:.2f} s"
    micros = result.median / result.steps * 1e6
    return f"{micros:,.0f}" if micros >= 100 else f"{micros:.1f}"


def machine() -> str:
    """Processor, load, Python, and the versions of the installed packages."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        cpu = named[0].split(":", 1)[1].strip() if named else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"Machine: {cpu}, {cores} cores, {platform.system()} {platform.release()}, load {load:.1f}; "
        f"Python {platform.python_version()}; {', '.join(versions)}.\n"
    )


def write_csv(results: list[Result], path: Path) -> None:
    """One line for each timed run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["workload", "peer", "variant", "round", "seconds", "steps", "loss", "first_call"])
        for r in results:
            for number, (seconds, loss) in enumerate(zip(r.seconds, r.losses, strict=True)):
                writer.writerow([r.workload, r.peer, r.variant, number, seconds, r.steps, loss, r.first])


def read_csv(path: Path) -> list[Result]:
    """The results in a file of `write_csv`; their losses were checked when they were measured."""
    results: dict[tuple[str, str, str], Result] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            place = row["workload"], row["peer"], row["variant"]
            if place not in results:
                results[place] = Result(*place, int(row["steps"]), math.inf, float(row["first_call"]))
            results[place].add(float(row["seconds"]), float(row["loss"]))
    return list(results.values())


def draw(results: list[Result], titles: dict[str, str], path: Path) -> None:
    """A panel for each workload: bars of the ratio to the hand-written scan's time, on a log scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    best = fastest(results)
    workloads = [name for name in titles if any(name == w for w, _ in best)]
    columns = min(2, len(workloads))
    rows = math.ceil(len(workloads) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(7 * columns, 3.2 * rows), squeeze=False)
    for axis, name in zip(axes.flat, workloads, strict=False):
        panel = [best[name, peer] for peer in reversed(PEERS) if (name, peer) in best]
        ratios = [r.ratio(best[name, BASE]) for r in panel]
        colours = ["tab:orange" if r.peer == "funcnet_fit" else "tab:gray" for r in panel]
        bars = axis.barh([PEERS[r.peer] for r in panel], ratios, color=colours)
        behind = {"color": "white", "pad": 1}  # so that the line at 1 does not cross a number
        axis.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=4, bbox=behind)
        axis.set_xscale("log")
        # The lengths of bars are comparable only if all begin at the same number.
        axis.set_xlim(left=min(0.1, *ratios), right=max(10, 3 * max(ratios)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{name}: {titles[name]}", fontsize=8, loc="right")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(workloads) :]:
        axis.set_visible(False)
    figure.suptitle("Time as a multiple of the hand-written JAX scan's (1: as fast; shorter is better)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
