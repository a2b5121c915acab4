"""Looking for a program on the host as a shell does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stockade.cli.program import find_program
from stockade.errors import SetupError


@pytest.fixture
def tree(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories `one` (holding a file that is no program), `two` and `three` along PATH, and the current one."""
    for name, mode in (("one", 0o644), ("two", 0o755), ("three", 0o755)):
        (public_tmp / name).mkdir()
        (public_tmp / name / "tool").write_text("#!/bin/sh\n")
        (public_tmp / name / "tool").chmod(mode)
    monkeypatch.chdir(public_tmp / "three")
    monkeypatch.setenv("PATH", ":".join(f"{public_tmp}/{name}" for name in ("none", "one", "two", "three")))
    return public_tmp


def test_first_that_can_be_executed(tree: Path) -> None:
    assert find_program("tool") == f"{tree}/two/tool"


def test_empty_and_relative_parts_of_path(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ":/none")
    assert find_program("tool") == f"{tree}/three/tool"
    monkeypatch.setenv("PATH", "../two")
    assert find_program("tool") == f"{tree}/two/tool"


def test_paths(tree: Path) -> None:
    assert find_program("./tool") == f"{tree}/three/tool"
    assert find_program("../two//tool") == f"{tree}/two/tool"
    assert find_program(f"{tree}/two/tool") == f"{tree}/two/tool"


def test_links_are_kept(tree: Path) -> None:
    (tree / "link").symlink_to("two/tool")
    assert find_program("../link") == f"{tree}/link"


def test_standard_directories_without_path(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert find_program("true") == "/usr/bin/true"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("missing", errno.ENOENT),
        ("../missing/tool", errno.ENOENT),
        ("../two/tool/x", errno.ENOENT),
        ("../one/tool", errno.EACCES),
        ("../one", errno.EISDIR),
        ("/dev/null", errno.EACCES),
    ],
)
def test_failures(tree: Path, name: str, number: int) -> None:
    with pytest.raises(SetupError) as raised:
        find_program(name)
    assert (raised.value.step, raised.value.errno) == ("find_program", number)
    assert raised.value.hint or number == errno.EACCES


def test_a_name_that_is_only_there_without_permission(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tree}/one:{tree}/none")
    with pytest.raises(SetupError) as raised:
        find_program("tool")
    assert (raised.value.errno, raised.value.path) == (errno.EACCES, f"{tree}/one/tool")
