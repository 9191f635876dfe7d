"""Files of the user: what is written to, what is replaced, and what is refused."""

import json
import os
import pty
import socket
import stat
import threading

import pytest

from funcnet import _files
from funcnet._text import printable


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_the_umask_and_nothing_stays_beside_it(tmp_path):
    before = os.umask(0o027)
    try:
        _files.write(tmp_path / ("n" * 250), b"text")
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert (path.read_bytes(), mode(path)) == (b"text", 0o640)


@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o666, 0o755])
def test_a_replaced_file_keeps_its_permissions(permissions, tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(permissions)
    for writer in (lambda: _files.write(path, b"new"), lambda: _files.open_log(path).close()):
        writer()
        assert mode(path) == permissions
    assert path.read_bytes() == b""


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_replaced(exists, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link, second = tmp_path / "folder" / "f", tmp_path / "link", tmp_path / "second"
    link.symlink_to("folder/f")
    second.symlink_to(link)
    if exists:
        target.write_text("old")
        target.chmod(0o600)
    _files.write(second, b"new")
    assert (second.readlink(), str(link.readlink())) == (link, "folder/f")
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert not exists or mode(target) == 0o600
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["f", "folder", "link", "second"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    for writer in (lambda: _files.write(path, b"rows"), lambda: _write_log(path)):
        reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
        reader.start()
        writer()
        reader.join(timeout=20)
        assert stat.S_ISFIFO(path.lstat().st_mode)
    assert received == [b"rows", b"a line\n"]
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def _write_log(path):
    with _files.open_log(path) as file:
        file.write("a line\n")


def test_a_terminal_is_written_to_and_stays(tmp_path):
    ours, theirs = pty.openpty()
    link = tmp_path / "terminal"
    link.symlink_to(os.ttyname(theirs))
    _files.write(link, b"rows")
    assert os.read(ours, 100) == b"rows"
    assert stat.S_ISCHR(link.stat().st_mode)
    os.close(ours)
    os.close(theirs)


def test_a_descriptor_of_this_process_is_continued_and_not_replaced(tmp_path):
    path, link = tmp_path / "log", tmp_path / "link"
    path.write_text("first\n")
    with open(path, "a") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        inode = path.stat().st_ino
        _files.write(link, b"second\n")
        file.write("third\n")
    assert path.read_text() == "first\nsecond\nthird\n"
    assert path.stat().st_ino == inode


def test_what_is_not_a_file_is_refused_by_name(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    cases = {"": "is a folder", "socket": "is not a regular file", "loop": "symbolic links"}
    cases |= {"none/f": "No such file", "file/f": "Not a directory", "f" * 300: "File name too long"}
    for name, words in cases.items():
        for writer in (lambda path: _files.write(path, b""), _files.open_log, _files.check_target):
            if name == "none/f" and writer is _files.check_target:
                continue
            with pytest.raises(OSError, match=words) as caught:
                writer(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop", "socket"]


def test_a_read_only_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("mine")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write to everything
    with pytest.raises(PermissionError, match="read-only"):
        _files.write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_text() == "mine"


SEALED = {"format": 3, "n": 1, "x": [0.1, None], "who": {"é": "ü\n"}}
FIELDS = {"n": int, "x": [(float, None)], "who": {str: str}}


def test_a_sealed_file_comes_back_and_each_changed_bit_is_refused(tmp_path):
    path = tmp_path / "s.json"
    _files.write_sealed(path, SEALED)
    assert _files.read_sealed(path, 3, FIELDS) == SEALED
    whole = path.read_bytes()
    for i in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            with pytest.raises(ValueError, match=r"s\.json"):
                _files.read_sealed(path, 3, FIELDS)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"s\.json is not a JSON file"):
            _files.read_sealed(path, 3, FIELDS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, r"must have format 3 for this version of funcnet, got 2"),
        ({"format": "3"}, "'format' of s.json has an unexpected type"),
        *(({"n": value}, "'n' of s.json") for value in (True, 1.5, "1", None, [1], 10**30)),
        *(({"x": value}, "'x' of s.json") for value in (1.5, ["a"], [[1]], {"a": 1}, [10**400])),
        *(({"who": value}, "'who' of s.json") for value in ([], {"a": 1}, "b", {"a": "\ud800"})),
    ],
)
def test_a_sealed_file_of_other_types_is_refused(change, words, tmp_path):
    _files.write_sealed(tmp_path / "s.json", SEALED | change)
    with pytest.raises(ValueError, match=words):
        _files.read_sealed(tmp_path / "s.json", 3, FIELDS)


@pytest.mark.parametrize("missing", SEALED)
def test_a_sealed_file_without_a_field_is_refused(missing, tmp_path):
    _files.write_sealed(tmp_path / "s.json", {k: v for k, v in SEALED.items() if k != missing})
    with pytest.raises(ValueError, match=f"the field '{missing}' of s.json is missing"):
        _files.read_sealed(tmp_path / "s.json", 3, FIELDS)


@pytest.mark.parametrize("content", ["", "[]", "5", "null", "[" * 100_000, "1" * 5000, '{"a": ', "\x00"])
def test_what_is_not_a_sealed_file_is_refused(content, tmp_path):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ValueError, match=r"s\.json"):
        _files.read_sealed(tmp_path / "s.json", 3, FIELDS)


def test_control_characters_are_escaped_and_letters_are_not():
    assert printable("é 你 😀\u00a0x\n\ty") == "é 你 😀\u00a0x\n\ty"
    text = printable("a\x1b[31mb\x9b2Jc\rd\x07e\x7ff\u202eg\ud800h\u2028")
    assert text == r"a\x1b[31mb\x9b2Jc\rd\x07e\x7ff\u202eg\ud800h\u2028"
    assert json.loads(json.dumps(text)).encode()
