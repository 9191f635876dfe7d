"""Several processes on this machine: one program, one result, and an end of all when one ends."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import funcnet as fn
from funcnet import _processes
from funcnet.train._directory import lock_directory

HERE = Path(__file__).parent
COUNT = 2
LIMIT = 300
"""Seconds after which a case has failed."""


def start(case, folder, count=COUNT, **environment):
    """Start a case of process_cases.py in several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent)}
    env = {**os.environ, **settings, **environment}
    command = [sys.executable, "-u", str(HERE / "process_cases.py"), case, address, str(count)]
    return [
        subprocess.Popen(
            [*command, str(process), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for process in range(count)
    ]


def finish(started, limit=LIMIT):
    """What each process has printed, its errors, and its exit code."""
    deadline = time.monotonic() + limit
    try:
        texts = [process.communicate(timeout=deadline - time.monotonic()) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(out, err, process.returncode) for process, (out, err) in zip(started, texts, strict=True)]


def wait_for(word, started):
    """Wait until every process has printed a line that starts with `word`."""
    for process in started:
        for line in process.stdout:
            if line.startswith(word):
                break
        else:
            raise AssertionError(process.stderr.read())


OTHER_DATA = "ValueError: data differs between processes: .*from_process_local_data"
REFUSED = {
    "too few devices": "ValueError: devices must be those of all 2 processes, or of this one",
    "fit with own rows": "data differs between processes: 8 rows, sha.*, 13 rows, sha.* process 1",
    "fit with another key": "ValueError: key differs between processes: .*the same seed",
    "fit from another start": "ValueError: start differs between processes: sha256.*from the same key",
    "fit with another rate": "ValueError: program of a step differs between processes: .*the same script",
    "fit with another setting": "ValueError: setting epochs differs between processes: 3 in process 0",
    "fit with another rate in the state": "ValueError: program of the start differs between processes",
    "fit in one, evaluate in another": "OutOfStepError: the processes are at different points",
    "evaluate another loss": "ValueError: program differs between processes",
    "an ensemble of another rate": "ValueError: program of the study differs between processes",
    "a callback fails, others wait": "OutOfStepError: the processes are at different points",
    "rows of a bad step": "FloatingPointError: step 2 .*Rows of its batch: 16, 17, 18, 19, 20",
    "evaluate own rows": OTHER_DATA,
    "predict own rows": OTHER_DATA,
    "an ensemble of own rows": OTHER_DATA,
    "Trainer with own rows": OTHER_DATA,
    "a stream of another version": OTHER_DATA,
    "a stream with another last batch": "ValueError: batch 1 of the stream differs between processes",
    "two directories": "ValueError: directory of the Trainer differs between processes",
    "a directory that is not shared": "OSError: run must be a folder that all processes share",
    "outside of use": "RuntimeError: from_process_local_data must be called inside `with fn.mesh.use",
    "other arrays": r"ValueError: .*arrays\[1\] differs between processes: none in process 0",
}


# What process 0 and process 1 report when one of them stops.
STOPPED = {
    **dict.fromkeys(
        ["fit with a bad row in one", "a bad row of one process"],
        (
            "RuntimeError: process 1 stopped with ValueError: data.* must be finite",
            r"^ValueError: data.* must be finite, got nan at \[4",
        ),
    ),
    **dict.fromkeys(
        ["a callback fails in one", "a callback of a study fails in one"],
        ("RuntimeError: process 1 stopped with LookupError", "^LookupError"),
    ),
}
EQUAL = {
    "a callback stops one": "REQUESTED at step 6",
    "a callback measures": "FINISHED at step 12",
    "one directory": "FINISHED at step 12",
    "one directory again": "FINISHED at step 12",
    "one directory, rows of each process": "FINISHED at step 12",
    "rows of each process": "21 rows, equal",
    "a stream by shares": "equal: True, at most 12 rows read at once",
    "views of rows of each process": "2 rows, 10 rows, True",
    "one comes late": "FINISHED at step 12",
    "each alone": "True",
    "a study in a Trainer": "equal",
    "the study again": "equal",
    "the stopped study again": "equal",
    "members on an axis": "equal",
    "a model in parts": "0.50 of the weights, equal",
}


# What process 0 and process 1 print, as patterns.
EXPECTED = {
    **{case: (pattern, pattern) for case, pattern in REFUSED.items()},
    **STOPPED,
    **{case: (f"^{re.escape(text)}$",) * 2 for case, text in EQUAL.items()},
    "a callback stops a study": ("a callback stopped the study; 4 of 6 members are done",) * 2,
    "a callback sets another rate": ("learning_rate", ""),
    "a time limit on one": ("^RUNNING", "^RUNNING"),
    "results are local": (r"^-?\d\.\d+$", "not used"),
}


# One test for many cases, so that the processes start once.
@pytest.mark.parametrize("script", ["sentences", pytest.param("more sentences", marks=pytest.mark.slow)])
def test_what_each_process_says_in_cases_that_do_not_end_it(script, tmp_path):
    results = finish(start(script, tmp_path))
    for _, errors, code in results:
        assert code == 0, errors[-3000:]
    lines = [[line for line in out.splitlines() if " | " in line] for out, _, _ in results]
    said = [dict(line.split(" | ", 1) for line in one) for one in lines]
    wrong = [
        f"{case} in process {process}: {text!r} does not match {EXPECTED[case][process]!r}"
        for process, texts in enumerate(said)
        for case, text in texts.items()
        if not re.search(EXPECTED[case][process], text)
    ]
    assert not wrong, "\n".join(wrong)
    assert said[0].keys() == said[1].keys()
    assert said[0].get("a time limit on one") == said[1].get("a time limit on one")


def test_every_expected_sentence_belongs_to_a_case():
    cases = re.findall(r'report\(\s*"(.*?)"', (HERE / "process_cases.py").read_text())
    assert sorted(cases) == sorted(EXPECTED)


def test_a_folder_that_only_one_process_sees_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_processes, "count", lambda: 2)
    monkeypatch.setattr(_processes, "together", contextlib.nullcontext)
    monkeypatch.setattr(_processes, "share_text", lambda own: [own, ""])  # the other reads nothing there
    lock = lock_directory(tmp_path, tmp_path / "checkpoints", lambda: None)
    with pytest.raises(OSError, match="all processes share, but process 1 does not"), lock:
        pass
    monkeypatch.setattr(_processes, "share_text", lambda own: [own, own])
    with lock_directory(tmp_path, tmp_path / "checkpoints", lambda: None):
        pass


@pytest.mark.parametrize("count", [1, 2])
def test_only_an_error_in_one_of_several_processes_ends_the_others(count, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **settings: None)
    monkeypatch.setattr(jax, "process_count", lambda: count)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = sys.excepthook
    fn.mesh.initialize("127.0.0.1:1234", count, 0)
    assert (sys.excepthook is before) == (count == 1)


def test_a_signal_to_one_process_ends_all_and_the_same_command_resumes(tmp_path):
    started = start("long run", tmp_path)
    wait_for("began", started)
    started[1].send_signal(signal.SIGTERM)
    results = finish(started)
    assert [code for _, _, code in results] == [143, 143], results
    assert "SIGTERM: stopped after step" in results[0][1]
    assert "SIGTERM: stopped" not in results[1][1]  # process 0 speaks for all
    (checkpoint,) = [max((tmp_path / "run" / "checkpoints").iterdir())]
    stopped_at = int(checkpoint.name)
    results = finish(start("long run", tmp_path, MAX_SECONDS="1"))
    assert [code for _, _, code in results] == [0, 0], results
    assert all(f"resumed at {stopped_at}" in out for out, _, _ in results)
    assert results[0][0].split("ended at")[1] == results[1][0].split("ended at")[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_others_end_and_say_so(victim, tmp_path):
    started = start("long run", tmp_path)
    wait_for("began", started)
    started[victim].kill()
    began = time.monotonic()
    results = finish(started, limit=60)
    assert time.monotonic() - began < 60
    out, errors, code = results[1 - victim]
    assert code not in (0, None)
    assert "ended at" not in out
    named = f"Task {victim} heartbeat timeout" if victim else "leader task"
    assert named in errors, errors[-3000:]


@pytest.mark.slow
def test_an_error_in_one_process_ends_the_others(tmp_path):
    started = start("fail alone", tmp_path)
    wait_for("began", started)
    results = finish(started, limit=60)
    assert all(code not in (0, None) for _, _, code in results)
    assert "LookupError: 'of the last process'" in results[1][1] or "LookupError: of" in results[1][1]
    assert "Process 1 of 2 ends with an error" in results[1][1]


@pytest.mark.slow
def test_any_number_of_processes_and_devices_ends_in_the_same_numbers():
    script = HERE.parent / "experiments" / "processes.py"
    command = [sys.executable, str(script), "--processes", "2", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
