"""`stockade policy format`: in place, atomically, and never at the price of the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stockade.cli.files import FileError, KnownFile, write_new
from support.command_line import CommandLine

UGLY = 'schema_version:1\n   name  : "x" # why\n\n\n\n# ж\nsyscalls{rules{syscall:["getpid","getppid"]action:ALLOW}}'
NICE = """\
schema_version: 1
name: "x"  # why

# ж
syscalls {
  rules { syscall: "getpid" syscall: "getppid" action: ALLOW }
}
"""


@pytest.fixture
def nice(stockade: CommandLine) -> str:
    """What the command makes of UGLY."""
    done = stockade("policy", "format", "-", input=UGLY)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_file_in_place(stockade: CommandLine, public_tmp: Path, nice: str) -> None:
    file = public_tmp / "p.textproto"
    file.write_text(UGLY)
    file.chmod(0o640)
    os.setxattr(file, "user.note", b"kept")
    done = stockade("policy", "format", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_text() == nice != UGLY
    assert "# why" in nice and "# ж" in nice
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.getxattr(file, "user.note") == b"kept"
    assert list(public_tmp.iterdir()) == [file]


def test_a_formatted_file_is_not_touched(stockade: CommandLine, public_tmp: Path, nice: str) -> None:
    file = public_tmp / "p.textproto"
    file.write_text(nice)
    before = file.stat()
    assert stockade("policy", "format", file).returncode == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_owner_stays(stockade: CommandLine, public_tmp: Path, privileged: bool) -> None:
    file = public_tmp / "p.textproto"
    file.write_text(UGLY)
    owner = (61234, 61235) if privileged else (os.getuid(), [os.getgid(), *os.getgroups()][-1])
    os.chown(file, *owner)
    assert stockade("policy", "format", file).returncode == 0
    assert (file.stat().st_uid, file.stat().st_gid) == owner


def test_a_link_stays_one(stockade: CommandLine, public_tmp: Path, nice: str) -> None:
    (public_tmp / "p.textproto").write_text(UGLY)
    (public_tmp / "link").symlink_to("p.textproto")
    assert stockade("policy", "format", "./link").returncode == 0
    assert (public_tmp / "link").is_symlink()
    assert (public_tmp / "p.textproto").read_text() == nice


def test_check_and_diff_change_nothing(stockade: CommandLine, public_tmp: Path, nice: str) -> None:
    (public_tmp / "ugly.textproto").write_text(UGLY)
    (public_tmp / "nice.textproto").write_text(nice)
    both = ("ugly.textproto", "nice.textproto")
    done = stockade("policy", "format", "--check", *both)
    assert (done.returncode, done.stdout, done.stderr) == (1, "ugly.textproto\n", "")
    done = stockade("policy", "format", "--diff", *both)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("--- ugly.textproto\n+++ ugly.textproto (formatted)\n@@ ")
    assert "-schema_version:1\n" in done.stdout and "+schema_version: 1\n" in done.stdout
    assert "\\ No newline at end of file\n" in done.stdout
    assert (public_tmp / "ugly.textproto").read_text() == UGLY
    for option in ("--check", "--diff"):
        done = stockade("policy", "format", option, "nice.textproto")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_and_diff_of_standard_input(stockade: CommandLine, nice: str) -> None:
    assert stockade("policy", "format", "--check", "-", input=nice).returncode == 0
    done = stockade("policy", "format", "--check", "-", input=UGLY)
    assert (done.returncode, done.stdout) == (1, "<stdin>\n")
    assert stockade("policy", "format", "--diff", "-", input=UGLY).stdout.startswith("--- <stdin>\n")


def test_an_error_leaves_the_file_and_the_others_are_done(stockade: CommandLine, public_tmp: Path, nice: str) -> None:
    (public_tmp / "bad.textproto").write_text("name: {\n")
    (public_tmp / "good.textproto").write_text(UGLY)
    done = stockade("policy", "format", "bad.textproto", "good.textproto")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("stockade: bad.textproto:1:") and len(done.stderr.splitlines()) == 1
    assert (public_tmp / "bad.textproto").read_text() == "name: {\n"
    assert (public_tmp / "good.textproto").read_text() == nice
    assert sorted(path.name for path in public_tmp.iterdir()) == ["bad.textproto", "good.textproto"]
    bad = stockade("policy", "format", "-", input="name: {\n")
    assert (bad.returncode, bad.stdout) == (1, "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "stockade: missing: cannot read it: No such file or directory"),
        (".", "stockade: .: cannot read it: it is no regular file"),
        ("pipe", "stockade: pipe: cannot read it: it is no regular file"),
        ("/dev/null", "stockade: /dev/null: cannot read it: it is no regular file"),
        ("two-names", "stockade: two-names: cannot replace it: it has other names (hard links)"),
        ("binary", "stockade: binary:1: the file holds NUL bytes"),
        ("latin-1", "stockade: latin-1:2: the policy is not valid UTF-8"),
    ],
)
def test_what_is_refused(stockade: CommandLine, public_tmp: Path, name: str, message: str) -> None:
    os.mkfifo(public_tmp / "pipe")
    (public_tmp / "two-names").write_text(UGLY)
    (public_tmp / "other-name").hardlink_to(public_tmp / "two-names")
    (public_tmp / "binary").write_bytes(b"\x7fELF\0")
    (public_tmp / "latin-1").write_bytes(b"# \n# \xe4\n")
    done = stockade("policy", "format", name)
    assert done.returncode == (1 if name in ("binary", "latin-1") else 3)
    assert done.stderr.startswith(message), done.stderr
    assert (public_tmp / "two-names").read_text() == UGLY


def test_a_file_or_directory_that_may_not_be_written(public_tmp: Path, stockade: CommandLine, privileged: bool) -> None:
    directory = public_tmp / "d"
    directory.mkdir()
    file = directory / "p.textproto"
    file.write_text(UGLY)
    for path, mode in ((file, 0o444), (directory, 0o555)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        done = stockade("policy", "format", "--", file)
        path.chmod(before)
        if not privileged:
            assert done.returncode == 3
            assert done.stderr == f"stockade: {file}: cannot replace it: Permission denied\n"
            assert file.read_text() == UGLY and list(directory.iterdir()) == [file]
        file.write_text(UGLY)


def test_a_file_that_was_changed_meanwhile_is_left(public_tmp: Path) -> None:
    path = public_tmp / "p"
    path.write_text("old")
    file = KnownFile(str(path), 100)
    path.write_text("somebody else's")
    with pytest.raises(FileError, match="somebody else has just changed it"):
        file.replace(b"new")
    assert path.read_text() == "somebody else's"
    assert list(public_tmp.iterdir()) == [path]


def test_a_file_that_was_replaced_meanwhile_is_left(public_tmp: Path) -> None:
    path = public_tmp / "p"
    path.write_text("old")
    file = KnownFile(str(path), 100)
    (public_tmp / "q").write_text("old")
    (public_tmp / "q").rename(path)
    with pytest.raises(FileError, match="somebody else has just changed it"):
        file.replace(b"new")
    assert path.read_text() == "old"


def test_a_write_that_fails_leaves_the_file(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = public_tmp / "p"
    path.write_text("old")

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    file = KnownFile(str(path), 100)
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(FileError, match="No space left"):
        file.replace(b"new")
    with pytest.raises(FileError, match="No space left"):
        write_new(str(public_tmp / "new"), b"new", force=False, hint="")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(public_tmp.iterdir()) == [path]


def test_the_name_of_a_file_stays_on_one_line(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "a\nb\x1b[2J.textproto").write_text(UGLY)
    done = stockade("policy", "format", "--check", "a\nb\x1b[2J.textproto")
    assert (done.returncode, done.stdout) == (1, "a\\nb\\x1b[2J.textproto\n")
