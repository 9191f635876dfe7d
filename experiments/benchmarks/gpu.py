"""What does a training cost on a GPU: with funcnet, by hand in JAX, and in PyTorch?

    make bench-gpu
    python experiments/benchmarks/gpu.py --parts a,c --budget 120
    python experiments/benchmarks/gpu.py --short     # tiny, on the CPU: does everything run?

The workloads of `peers.py`, thousands of networks side by side, and one workload in several floating-point
formats. Data and weights stay on the device, and a time ends when the device has done its work. Each
framework has a process of its own, they are asked in turn, round after round, and a part that fails or that
the budget has no time for is a row with the reason.
"""

import argparse
import concurrent.futures
import contextlib
import csv
import dataclasses
import datetime
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import results
import whole_process
from jobs import BASE
from results import Result
from worker import Failed, Worker
from workloads import WORKLOADS, Workload

REST = 0.3
"""Seconds before a turn."""
LEAST = 3
"""Seconds: a part that has less is left out."""
FIT, SCAN, EAGER, COMPILED = "funcnet.fit", "JAX by hand, one scan", "PyTorch, eager", "torch.compile"
GRAPHS = "torch.compile, CUDA graphs"
NOTES = """\
float32 products are as JAX computes them by default, on a GPU that has it in TF32, and PyTorch's are set to
the same; its optimizers are the fused ones. Times are medians of rounds. Where a framework has several
variants, each has a row. "Ratio" is the median, over rounds, of the time by that of the first way's fastest
variant. "First" is setting up, compiling and training once in a running process. In (g) a process is timed
from its start to its end: cold with an empty folder of compiled programs, warm with what that process left.
JAX takes memory as it needs it (XLA_PYTHON_CLIENT_PREALLOCATE=false), since processes share the device.
"""


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to do a part.

    Args:
        title: its name in tables.
        peer: the module in `jobs`.
        settings: beside those of the peer's variants.
        process: ways of the same name share a process; by default the peer's name.
        keep: which of the peer's variants are measured.
        slow: whether it may be left out when setting it up takes more than the part's share of the budget.
    """

    title: str
    peer: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    process: str = ""
    keep: Callable[[dict[str, Any]], bool] = lambda variant: True
    slow: bool = False

    @property
    def name(self) -> str:
        return self.process or self.peer

    @property
    def torch(self) -> bool:
        return self.peer.startswith("torch")


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows of one table.

    Args:
        name: as in `--parts`.
        title: what is trained, as a format string of the workload's fields.
        work: makes the workload.
        ways: all times are divided by those of the first, or of its fastest variant.
        weight: its share of the budget.
        models: how many networks a step of it updates.
        check: whether all must end in the first way's loss.
    """

    name: str
    title: str
    work: Callable[[], Workload]
    ways: list[Way]
    weight: float
    models: int = 1
    check: bool = False

    @property
    def unit(self) -> str:
        if self.name == "g":
            return "s"
        return "µs a step" if self.models == 1 else "µs a model-step"


@dataclasses.dataclass
class Row:
    """A line of a table; without a time, `note` has the reason.

    Args:
        time: the median, in `unit`, as is `least`.
        ratio: the median over rounds of its time by that of the table's first way.
        first: seconds of setting up, compiling and training once.
        loss: the final one, the median of rounds.
        steps: updates in one training.
    """

    part: str
    what: str
    settings: str
    unit: str
    command: str
    time: float | None = None
    least: float | None = None
    ratio: float | None = None
    first: float | None = None
    loss: float | None = None
    steps: int = 0
    rounds: int = 0
    note: str = ""


@dataclasses.dataclass
class Turn:
    """A job that a process has ready under a number, its times, and where they are reported."""

    worker: Worker
    number: int
    result: Result
    row: Row


@dataclasses.dataclass
class Table:
    """What was measured of a part."""

    part: Part
    title: str
    rows: list[Row]


# --- What is measured ---------------------------------------------------------------------------------


def parts(device: str, short: bool) -> list[Part]:
    """All parts, in the order in which they are measured."""
    from jobs.funcnet_precision import FORMATS  # imports JAX: not in every process that imports this file

    torch = {"device": device}
    graphs = torch | {"mode": "reduce-overhead"}
    members = (32, 64) if short else (1_000, 100_000)
    single = lambda variant: variant.get("threads") == 1 and variant.get("fused", True)  # noqa: E731
    scans = lambda variant: variant["order"] != "permutation"  # noqa: E731

    def ways(name: str) -> list[Way]:
        native = {"native": True} if name == "d" and device != "cpu" else {}
        plain = [
            Way(SCAN, BASE, native, keep=scans),
            Way(FIT, "funcnet_fit"),
            Way(EAGER, "torch_loop", torch, keep=single),
        ]
        compiled = [Way(COMPILED, "torch_compile", torch, keep=single, slow=True)]
        if device != "cpu" and name != "g":  # a process of its own, which may be ended for its slowness
            compiled.append(Way(GRAPHS, "torch_compile", graphs, "torch_graphs", single, slow=True))
        return plain if short and name != "a" else plain + compiled

    def ensemble(size: int, epochs: int, peers: list[str]) -> Part:
        epochs, members = min(epochs, 2) if short else epochs, {"members": size}
        ways = [
            Way("fn.study.ensemble, blocks by default", "funcnet_ensemble", members),
            Way("fn.study.ensemble, one block", "funcnet_ensemble", members | {"block": size}),
            Way("torch.func", "torch_ensemble", members | torch, keep=single),
        ]
        return Part(
            f"ensemble-{size}",
            f"{size:,} networks, each {{title}}; {epochs} epochs",
            lambda: dataclasses.replace(WORKLOADS["a"](), epochs=epochs),
            [way for way in ways if way.peer in peers],
            weight=1.0,
            models=size,
        )

    def precision(name: str, weight: float) -> Part:
        # Each way is the peer's only variant but for its format.
        first = lambda variant: variant["format"] == FORMATS[0]  # noqa: E731
        ways = [
            Way(f"fn.fit, {kind}", "funcnet_precision", {"format": kind}, keep=first) for kind in FORMATS
        ]
        double = {"title": "fn.fit, float64 on the CPU", "process": "float64"}
        ways[-1] = dataclasses.replace(ways[-1], **double)
        return Part(f"precision-{name}", "{title}", WORKLOADS[name], ways, weight)

    workloads = [
        Part(name, "{title}", make, ways(name), 1.3 if name in "ad" else 1.0, check=True)
        for name, make in WORKLOADS.items()
    ]
    process = "the first training of a fresh process: {title}"
    after = [
        ensemble(members[0], 200, ["funcnet_ensemble", "torch_ensemble"]),
        ensemble(members[1], 5, ["funcnet_ensemble"]),
        precision("c", 1.0),
        precision("b", 0.8),
        Part("g", process, WORKLOADS["a"], ways("g"), 1.5),
    ]
    # In short no code runs twice for its speed's sake.
    return workloads + (after[:1] + after[3:] if short else after)


# --- How it is measured -------------------------------------------------------------------------------


class Bench:
    """The processes, the clock, and what every part's measurement needs to know."""

    def __init__(self, settings: argparse.Namespace, torch_trouble: str) -> None:
        self.short, self.torch_trouble = settings.short, torch_trouble
        self.rounds = settings.rounds or (1 if settings.short else 5)
        self.end = time.monotonic() + settings.budget
        self.workers: dict[str, Worker] = {}
        given = {"--short": settings.short, "--device cpu": settings.device == "cpu" and not settings.short}
        given |= {f"--rounds {settings.rounds}": settings.rounds}
        self.command = " ".join(["python experiments/benchmarks/gpu.py", *filter(given.get, given)])

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.workers):
            self.drop(name)

    def start(self, chosen: list[Part]) -> None:
        """Start all processes at once and have each train for some steps, so that no part pays for that."""
        ways = {way.name: way for part in reversed(chosen) if part.name != "g" for way in part.ways}
        deadline = time.monotonic() + 0.2 * (self.end - time.monotonic())

        def train(way: Way) -> None:
            with contextlib.suppress(Failed):  # the parts report it
                worker = self.worker(way, file)
                worker.deadline = deadline
                variant = next(filter(way.keep, worker.variants()))
                if not self.short:  # there, compiling is most of the work
                    worker.prepare(0, variant | way.settings)

        with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor() as pool:
            file = WORKLOADS["a"]().shortened().save(Path(folder))
            list(pool.map(train, (way for way in ways.values() if not (way.torch and self.torch_trouble))))
        self.drop_failed()

    def worker(self, way: Way, file: Path) -> Worker:
        """The way's process, which is started if there is none."""
        if way.name not in self.workers:
            self.workers[way.name] = Worker(way.peer, file)
        return self.workers[way.name]

    def drop_failed(self) -> None:
        """Have the next part start new processes: after a CUDA error one is of no use."""
        for name in [name for name, worker in self.workers.items() if worker.failed]:
            self.drop(name)

    def drop(self, name: str) -> None:
        self.workers.pop(name).end()

    def row(self, part: Part, what: str, settings: dict[str, Any] | None = None, note: str = "") -> Row:
        text = ", ".join(f"{key} {value}" for key, value in (settings or {}).items())
        return Row(part.name, what, text, part.unit, f"{self.command} --parts {part.name}", note=note)

    def tables(self, left: list[Part]) -> Iterator[Table]:
        """One part after another, each with its share of the time that is left."""
        while left:
            part, now = left[0], time.monotonic()
            share = (self.end - now) * part.weight / sum(other.weight for other in left)
            left = left[1:]
            if share < LEAST:
                note = f"left out: {max(0.0, share):.0f} s of the budget were left for it"
                yield Table(part, "left out", [self.row(part, "all", note=note)])
            else:
                yield self.measure(part, now + share)

    def measure(self, part: Part, until: float) -> Table:
        """A part's rows, whatever happens; `until` is of `time.monotonic()`."""
        try:
            work = part.work()
            title = part.title.format(title=work.title)
            work = work.shortened() if self.short else work
            with tempfile.TemporaryDirectory() as folder:
                file = work.save(Path(folder))
                run = self.processes if part.name == "g" else self.interleave
                return Table(part, title, run(part, work, file, until))
        except Exception as error:
            return Table(part, "failed", [self.row(part, "all", note=f"{type(error).__name__}: {error}")])

    def interleave(self, part: Part, work: Workload, file: Path, until: float) -> list[Row]:
        """Set all ways up, and then run them in turn."""
        share = until - time.monotonic()
        ready = until - 0.25 * share  # the rest is for the rounds
        # What must not be missing may take more, at the expense of later parts.
        latest = min(self.end, until + share)
        needed = latest - 0.25 * (latest - time.monotonic())
        rows: list[Row] = []
        turns: list[Turn] = []
        for worker in self.workers.values():  # those that have no way here release what they hold
            worker.deadline = latest
            with contextlib.suppress(Failed):
                worker.open(file)
        for way in part.ways:
            row = self.row(part, way.title, note=self.torch_trouble if way.torch else "")
            deadline = ready if way.slow else needed
            # Ending a process would lose what it has ready: its next way may take as long as the last.
            mine = [turn.row.first for turn in turns if turn.worker is self.workers.get(way.name)]
            if not row.note and deadline - time.monotonic() < max([1.0, *mine]):
                row.note = "left out: setting the others up took this part's time"
            if row.note:
                rows.append(row)
                continue
            try:
                worker = self.worker(way, file)
                worker.deadline = deadline
                chosen = [variant for variant in worker.variants() if way.keep(variant)]
                for variant in chosen[:1] if self.short else chosen:
                    own = {key: value for key, value in variant.items() if key not in way.settings}
                    rows.append(row := self.row(part, way.title, own))
                    row.steps, row.first = work.steps, worker.prepare(len(turns), variant | way.settings)
                    band = work.band(self.rounds)
                    result = Result(part.name, way.title, row.settings, work.steps, band, row.first)
                    turns.append(Turn(worker, len(turns), result, row))
            except Failed as failed:
                row.note = str(failed)
                if row not in rows:
                    rows.append(row)
        # The judge, in numpy, takes seconds for images.
        self.rounds_of(turns, until, latest, 1 if work.convolutions else self.rounds)
        self._fill(part, work, [(turn.row, turn.result) for turn in turns])
        self.drop_failed()
        return rows

    def rounds_of(self, turns: list[Turn], until: float, latest: float, judged: int) -> None:
        """As many rounds as there is time for, at least one; the first `judged` of them with a loss."""
        longest = 0.0
        for seed in range(self.rounds):
            began = time.monotonic()
            if seed and began + longest > until:
                return
            for turn in random.Random(seed).sample(turns, len(turns)):
                if turn.row.note:
                    continue
                turn.worker.deadline = latest
                try:
                    seconds, loss = turn.worker.train(turn.number, seed, REST, judge=seed < judged)
                    turn.result.seconds.append(seconds)
                    turn.result.losses += [loss] if seed < judged else []
                except Failed as failed:
                    turn.row.note = str(failed)
            longest = time.monotonic() - began

    def _fill(self, part: Part, work: Workload, measured: list[tuple[Row, Result]]) -> None:
        """Write what was measured into the rows."""
        firsts = [r for row, r in measured if row.what.startswith(part.ways[0].title) and r.seconds]
        base = min(firsts, key=lambda result: result.median, default=None)
        for row, result in measured:
            row.rounds, row.steps = len(result.seconds), work.steps
            if row.note or not result.seconds:
                row.note = row.note or "left out: no time left for a round"
                continue
            scale = 1.0 if part.unit == "s" else 1e6 / work.steps / part.models
            row.time, row.least = result.median * scale, min(result.seconds) * scale
            row.loss = None if part.models > 1 else result.loss
            if base is None:
                continue
            pairs = zip(result.seconds, base.seconds, strict=False)  # the base may have failed later
            row.ratio = statistics.median(ours / first for ours, first in pairs)
            result.band = work.band(len(result.losses))
            if part.check and not self.short and not result.agrees(base):
                row.note = f"its loss is not that of ratio 1, {base.loss:.4g}, orders of rows allowed for"

    def processes(self, part: Part, work: Workload, file: Path, until: float) -> list[Row]:
        """Processes that train once: with an empty folder of compiled programs, and with what that left."""
        kinds: list[tuple[Way, str, Row, Result, list[float]]] = []
        for way in part.ways:
            for kind in ("cold",) if way.peer in whole_process.KEEPING_NOTHING else ("cold", "warm"):
                note = self.torch_trouble if way.torch else ""
                row = self.row(part, f"{way.title}, {kind}", note=note)
                result = Result(part.name, row.what, "", work.steps, work.band(self.rounds), 0.0)
                kinds.append((way, kind, row, result, []))
        for seed in range(1 if self.short else min(3, self.rounds)):
            for way, _, row, result, inner in kinds:
                left = until - time.monotonic() - REST
                if row.note or left < LEAST:
                    continue
                keeps = way.peer not in whole_process.KEEPING_NOTHING
                cache = file.parent / f"{way.peer}-{seed}" if keeps else None
                time.sleep(REST)
                try:
                    seconds, printed = whole_process.run(way.peer, file, cache, seed, way.settings, left)
                except Failed as failed:
                    row.note = "" if result.seconds else str(failed)
                    continue
                result.add(seconds, printed["loss"])
                inner.append(printed["seconds"])
        for kind in ("cold", "warm"):
            self._fill(part, work, [(row, result) for _, named, row, result, _ in kinds if named == kind])
        for _, _, row, _, inner in kinds:
            row.first = statistics.median(inner) if inner else None
        return [row for _, _, row, _, _ in kinds]


# --- The machine, the tables, the command line --------------------------------------------------------

ASK_JAX = """
import jax, json
devices = jax.devices()
print(json.dumps({"platform": devices[0].platform, "devices": [d.device_kind for d in devices]}))
"""
ASK_TORCH = """
import json, torch
cuda = torch.version.cuda or torch.version.hip
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": cuda, "devices": names}))
"""


def ask(program: str) -> dict[str, Any]:
    """What a process of Python prints as JSON; its error's last line under "trouble" if it fails."""
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return {"trouble": "no answer after 120 s"}
    if done.returncode:
        return {"trouble": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def output(*command: str) -> str:
    """What a command prints, on one line; empty if it can't be run."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return "; ".join(done.stdout.strip().splitlines())
    return ""


def torch_trouble(torch: dict[str, Any], device: str) -> str:
    """Why PyTorch can't be measured on this device; empty if it can."""
    if "trouble" in torch:
        missing = "No module named 'torch'" in torch["trouble"]
        return "PyTorch is not installed" if missing else f"PyTorch: {torch['trouble']}"
    if device != "cpu" and not torch["cuda"]:
        return f"PyTorch {torch['version']} is a build without CUDA"
    if device != "cpu" and not torch["devices"]:
        return f"PyTorch {torch['version']} sees no CUDA device"
    return ""


def header(jax: dict[str, Any], torch: dict[str, Any]) -> list[str]:
    root = str(Path(__file__).parents[2])
    commit = output("git", "-C", root, "rev-parse", "--short", "HEAD") or "unknown"
    changed = output("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
    query = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    torch_devices = ", ".join(torch.get("devices", [])) or "none but the CPU"
    return [
        f"JAX's devices: {', '.join(jax['devices'])} ({jax['platform']})",
        f"PyTorch's: {torch.get('trouble', torch_devices)}"
        + (f" (CUDA {torch['cuda']})" if torch.get("cuda") else ""),
        f"GPU and driver: {output(*query) or 'nvidia-smi does not answer'}",
        results.machine().strip(),
        f"Date: {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}; commit {commit}"
        + (" with changes" if changed else ""),
    ]


def figure(value: float | None, digits: int = 4) -> str:
    """A number in so many digits; a dash without one."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def summary(tables: list[Table]) -> list[str]:
    """The workloads' fastest variants side by side."""
    names = [SCAN, FIT, EAGER, COMPILED, GRAPHS]
    text = [f"| µs a step (ratio) | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for table in tables:
        if not table.part.check:
            continue
        cells = []
        for name in names:
            rows = [row for row in table.rows if row.what == name and row.time is not None]
            best = min(rows, key=lambda row: row.time, default=None)
            cells.append(f"{figure(best.time)} ({figure(best.ratio, 3)})" if best else "–")
        text.append(f"| {table.part.name}: {table.title} | {' | '.join(cells)} |")
    return [*text, ""]


def markdown(lines: list[str], tables: list[Table]) -> str:
    """All tables."""
    text = ["# What a training costs on this device", "", *(f"- {line}" for line in lines), "", NOTES]
    text += summary(tables)
    for table in tables:
        inner = "training in it, s" if table.part.name == "g" else "first, s"
        columns = [
            "way",
            "settings",
            table.part.unit,
            "least",
            "ratio",
            inner,
            "final loss",
            "rounds",
            "note",
        ]
        text += [f"## {table.part.name}: {table.title}", "", f"`{table.rows[0].command}`", ""]
        text += [f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * 6 + "---|"]
        for row in table.rows:
            numbers = (figure(row.time), figure(row.least), figure(row.ratio, 3), figure(row.first, 3))
            cells = [row.what, row.settings, *numbers, figure(row.loss), str(row.rounds), row.note]
            text.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        text.append("")
    return "\n".join(text)


def write(out: Path, lines: list[str], tables: list[Table]) -> str:
    """The three files; what the Markdown one holds."""
    text = markdown(lines, tables)
    rows = [dataclasses.asdict(row) for table in tables for row in table.rows]
    (out / "gpu.md").write_text(text)
    (out / "gpu.json").write_text(json.dumps({"header": lines, "rows": rows}, indent=1))
    with (out / "gpu.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(rows)
    return text


def main() -> int:
    settings = arguments()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share the memory
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if settings.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    began = time.monotonic()
    jax_info, torch_info = ask(ASK_JAX), ask(ASK_TORCH)
    if "trouble" in jax_info or (settings.device != "cpu" and jax_info["platform"] == "cpu"):
        reason = jax_info.get("trouble", "its only device is the CPU")
        print(f"JAX sees no GPU: {reason}. On the CPU: --device cpu", file=sys.stderr)
        return 2
    lines = header(jax_info, torch_info)
    print("\n".join(lines), flush=True)

    import jax  # for this process: it only reads data, and leaves the GPU to the others

    jax.config.update("jax_platforms", "cpu")
    settings.out.mkdir(parents=True, exist_ok=True)
    left = parts(settings.device, settings.short)
    unknown = sorted(set(settings.parts) - {part.name for part in left})
    if unknown:
        print(f"No part {', '.join(unknown)}: {', '.join(part.name for part in left)}", file=sys.stderr)
        return 2
    left = [part for part in left if part.name in settings.parts or not settings.parts]
    tables: list[Table] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        settings.budget -= time.monotonic() - began
        with Bench(settings, torch_trouble(torch_info, settings.device)) as bench:
            bench.start(left)
            for table in bench.tables(left):
                for row in table.rows:
                    print(
                        f"{row.part:14} {row.what:38} {figure(row.time):>8} {row.unit} {row.note}",
                        flush=True,
                    )
                tables.append(table)
                write(settings.out, lines, tables)  # what there is, should anybody end the script
    lines.append(f"All of it took {time.monotonic() - began:.0f} s")
    print(f"\n{write(settings.out, lines, tables)}")
    print(f"Written: {', '.join(str(settings.out / f'gpu.{kind}') for kind in ('md', 'csv', 'json'))}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=[], help="such as a,g; all by default"
    )
    parser.add_argument("--budget", type=float, help="seconds that all may take: 540, and in short 55")
    parser.add_argument("--rounds", type=int, default=0, help="5 by default, and in short 1")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="cuda, and in short cpu")
    parser.add_argument("--short", action="store_true", help="tiny, on the CPU: does everything run?")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench-gpu"), help="folder of the three files"
    )
    settings = parser.parse_args()
    settings.device = settings.device or ("cpu" if settings.short else "cuda")
    settings.budget = settings.budget or (55 if settings.short else 540)
    return settings


if __name__ == "__main__":
    sys.exit(main())
