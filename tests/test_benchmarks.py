"""The benchmark's own parts: everybody ends in the same loss, and what is reported is what was measured."""

import dataclasses
import importlib
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments" / "benchmarks"))

import gpu
import results
import workloads
from jobs import BASE, channels_first
from reference import mean_loss
from results import Result
from worker import Failed, Worker

PEERS = (BASE, "funcnet_fit", "jax_steps", "sklearn_fit")  # the others are not among the tests' packages


def images():
    """A small workload of the shape of (d): odd sizes, so that pools leave a row and a column."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 1, 2), (2,), (3, 3, 2, 5), (5,), (2 * 2 * 5, 3), (3,)]
    return dataclasses.replace(
        workloads.iris(),
        x=rng.standard_normal((40, 15, 15, 1)).astype(np.float32),
        y=rng.integers(0, 3, 40).astype(np.int32),
        start=[0.3 * rng.standard_normal(shape).astype(np.float32) for shape in shapes],
    )


WORKLOADS = {"classes": workloads.iris, "numbers": workloads.line, "images": images}


@pytest.mark.parametrize("name", ["classes", "numbers", pytest.param("images", marks=pytest.mark.slow)])
def test_all_end_in_the_same_loss(name):
    work = dataclasses.replace(WORKLOADS[name]().shortened(), shuffle=False)
    found = {}
    for peer in PEERS:
        module = importlib.import_module(f"jobs.{peer}")
        for variant in module.variants(work)[:1]:
            job = module.prepare(work, **variant)
            found[peer] = [mean_loss(work, job.weights(job.train(seed))) for seed in (0, 1)]
    assert len(found) == len(PEERS) - work.convolutions
    assert found[BASE][0] < 0.99 * mean_loss(work, work.start)
    for losses in found.values():  # and a second training begins where the first did
        np.testing.assert_allclose(losses, found[BASE][0], rtol=work.equal)


def test_every_variant_of_the_scan_visits_every_row():
    from jobs import jax_scan

    work = dataclasses.replace(workloads.line(), epochs=1, shuffle=True, batch_size=7)
    plain = mean_loss(work, _trained(jax_scan, dataclasses.replace(work, shuffle=False), "rows"))
    for order in ("bijection", "permutation"):
        loss = mean_loss(work, _trained(jax_scan, work, order))
        assert loss != plain
        assert abs(loss - plain) < 0.5 * mean_loss(work, work.start)
        rows = jax_scan.ORDERS[order](jax_scan.jax.random.key(3), 120)(np.arange(120))
        assert sorted(rows.tolist()) == list(range(120))


def _trained(module, work, order):
    job = module.prepare(work, order=order)
    return job.weights(job.train(0))


def test_lesson_p11_is_workload_e():
    from jobs import jax_scan

    slope, bias = _trained(jax_scan, dataclasses.replace(workloads.line(), epochs=10), "rows")
    assert (f"{slope[0, 0]:.4f}", f"{bias[0]:.4f}") == ("1.8617", "1.0711")


def test_operations_are_those_that_xla_counts():
    import jax
    import jax.numpy as jnp

    import matmul

    work = dataclasses.replace(workloads.digits(), batch_size=256)
    layers, x = [jnp.asarray(kernel) for kernel, _ in work.layers], jnp.asarray(work.x[:256])
    loss = lambda layers, x: jnp.sum(jnp.square(jnp.tanh(x @ layers[0]) @ layers[1]))  # noqa: E731
    for counted, by in zip(matmul.operations(work), (0, (0, 1)), strict=True):
        program = jax.jit(jax.grad(loss, by)).lower(layers, x).compile()
        assert abs(program.cost_analysis()["flops"] / counted - 1) < 0.05


def test_weights_turned_channels_first_and_back():
    work = images()
    turned = channels_first.turned(work)
    assert [weight.shape for weight, _ in turned] == [(2, 1, 3, 3), (5, 2, 3, 3), (3, 20)]
    back = channels_first.turned_back(work, turned)
    for ours, first in zip(back, work.start, strict=True):
        np.testing.assert_array_equal(ours, first)
    # An image's pixel meets the same weight in both orders.
    image = np.arange(20.0).reshape(2, 2, 5)
    dense, kernel = turned[-1][0], work.start[4]
    np.testing.assert_allclose(dense @ image.transpose(2, 0, 1).ravel(), image.ravel() @ kernel, rtol=1e-5)


def test_a_workload_survives_its_file(tmp_path):
    work = images()
    read = workloads.Workload.read(work.save(tmp_path))
    assert (read.steps, read.title, read.classes) == (work.steps, work.title, True)
    for ours, theirs in zip((read.x, read.y, *read.start), (work.x, work.y, *work.start), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_worker_trains_and_a_failure_is_a_sentence(tmp_path):
    file = workloads.line().shortened().save(tmp_path)
    with Worker("sklearn_fit", file) as worker:
        assert worker.prepare(0) > 0
        seconds, loss = worker.train(0, 0)
        assert seconds > 0
        assert loss == pytest.approx(worker.probe(0), rel=1e-5)
        with pytest.raises(Failed, match="KeyError: 5"):
            worker.train(5, 0)
        worker.deadline = time.monotonic()
        with pytest.raises(Failed, match="budget"):
            worker.probe(0)
    with Worker("no_such_peer", file) as worker, pytest.raises(Failed, match="No module named"):
        worker.variants()


def test_tables_tell_ratios_of_the_same_round_and_whose_loss_is_off(tmp_path):
    slow = Result("a", "funcnet_fit", "", 10, 0.1, 1.0, [2.0, 6.0, 60.0], [0.5, 0.5, 0.5])
    base = Result("a", BASE, "unroll 1", 10, 0.1, 1.0, [1.0, 2.0, 30.0], [0.49, 0.5, 0.7])
    slower = dataclasses.replace(base, variant="unroll 4", seconds=[9.0, 9.0, 90.0])
    assert slow.ratio(base) == 2.0
    assert slow.agrees(base)
    assert not dataclasses.replace(slow, losses=[0.6] * 3).agrees(base)

    slow.wrong = "final loss"
    measured = [slower, base, slow]
    text = results.markdown(measured, {"a": "a test"}, ["b, Keras: no"])
    for line in (
        "| JAX by hand, one scan | 1.00 |",
        "| funcnet.fit | 2.00≠ |",
        "- a, JAX by hand, one scan: unroll 1",
        "- b, Keras: no",
    ):
        assert line in text
    results.write_csv(measured, tmp_path / "all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 9
    read = [dataclasses.replace(result, band=0.1) for result in results.read_csv(tmp_path / "all.csv")]
    assert read == [slower, base, dataclasses.replace(slow, wrong="")]
    results.draw(measured, {"a": "a test"}, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 5000


def test_tables_of_a_gpu_have_a_row_for_everything(tmp_path):
    parts = gpu.parts("cuda", short=False)
    names = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "ensemble-1000",
        "ensemble-100000",
        "precision-c",
        "precision-b",
        "g",
    ]
    assert [part.name for part in parts] == names
    command = "gpu.py --parts a"
    rows = [
        gpu.Row("a", gpu.SCAN, "unroll 1", "µs a step", command, 1234.5, 1000.0, 1.0, 2.5, 0.25, 10, 5),
        gpu.Row("a", gpu.FIT, "", "µs a step", command, 12.345, 12.0, 0.01, 2.5, 0.25, 10, 5),
        gpu.Row("a", gpu.EAGER, "", "µs a step", command, note="no PyTorch"),
    ]
    text = gpu.write(tmp_path, ["a machine"], [gpu.Table(parts[0], "a test", rows)])
    for line in (
        "- a machine",
        "| a: a test | 1,234 (1) | 12.35 (0.01) | – | – | – |",
        f"`{command}`",
        f"| {gpu.SCAN} | unroll 1 | 1,234 | 1,000 | 1 | 2.5 | 0.25 | 5 |  |",
        f"| {gpu.EAGER} |  | – | – | – | – | – | 0 | no PyTorch |",
    ):
        assert line in text.splitlines()
    assert (tmp_path / "gpu.md").read_text() == text
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"][1]["time"] == 12.345
    assert len((tmp_path / "gpu.csv").read_text().splitlines()) == 1 + 3


def test_lines_are_counted_of_every_definition():
    script = Path(gpu.__file__).parents[1] / "peers" / "lines.py"
    lines = runpy.run_path(str(script))
    for job, parts in lines["JOBS"].items():
        for folder, names in zip((script.parents[1], script.parent), parts, strict=True):
            counts = [lines["count_lines"](folder / f"{job}.py", [name]) for name in names]
            assert min(counts) > 0
            assert lines["count_lines"](folder / f"{job}.py", names) == sum(counts)


@pytest.mark.slow
def test_gpu_in_short_measures_all_that_is_there(tmp_path):
    script = Path(gpu.__file__)
    root = str(script.parents[2])
    command = [sys.executable, str(script), "--short", "--budget", "600", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["part"] for row in rows} == {*"abcdefg", "ensemble-32", "precision-b"}
    for row in rows:
        if row["what"] == "all":  # without Debian's dataset-fashion-mnist
            assert row["part"] in "cd"
            assert row["note"].startswith("FileNotFoundError: Fashion-MNIST is not in")
        elif row["what"].startswith(gpu.COMPILED):  # needs a C++ compiler, and a while
            assert row["time"] or row["note"]
        elif "torch" in row["what"].lower():
            assert row["time"] or row["note"] == "PyTorch is not installed"
        else:
            assert row["time"] > 0, row["note"]
            assert (row["note"], row["rounds"]) == ("", 1)


def test_gpu_leaves_out_what_the_budget_has_no_time_for(tmp_path):
    settings = gpu.argparse.Namespace(short=True, rounds=0, budget=0.5, device="cpu")
    with gpu.Bench(settings, "no PyTorch") as bench:
        tables = list(bench.tables(gpu.parts("cpu", short=True)))
    notes = [row.note for table in tables for row in table.rows]
    assert len(notes) == 9
    assert all(note == "left out: 0 s of the budget were left for it" for note in notes)
