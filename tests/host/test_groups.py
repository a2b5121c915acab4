"""Sources that only a supplementary group opens are refused for an unprivileged caller, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.errors import PolicyError
from stockade.host.groups import check_groups

UID, GID, GROUP = 61300, 61301, 61302


def as_member(check: Callable[[], None]) -> str:
    """Run `check` in a child that is no root and has one supplementary group; the text of its PolicyError, or ""."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            os.setgroups([GROUP])
            os.setresgid(GID, GID, GID)
            os.setresuid(UID, UID, UID)
            check()
        except PolicyError as error:
            text = str(error)
        finally:
            os.write(writer, text.encode() or b"\0")
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read().strip(b"\0").decode()


@pytest.fixture
def tree(public_tmp: Path) -> Path:
    for name, mode, group in (("open", 0o644, 0), ("members", 0o640, GROUP), ("closed", 0o600, GROUP)):
        path = public_tmp / name
        path.write_text("x")
        os.chown(path, 0, group)
        path.chmod(mode)
    inner = public_tmp / "directory"
    inner.mkdir()
    (inner / "file").write_text("x")
    os.chown(inner, 0, GROUP)
    inner.chmod(0o750)
    return public_tmp


@pytest.mark.needs_root
def test_a_file_that_only_the_group_opens_is_refused(tree: Path) -> None:
    text = as_member(lambda: check_groups([str(tree / "members")]))
    assert str(tree / "members") in text
    assert str(GROUP) in text


@pytest.mark.needs_root
def test_a_file_beneath_a_directory_that_only_the_group_opens_is_refused(tree: Path) -> None:
    assert str(tree / "directory") in as_member(lambda: check_groups([str(tree / "directory" / "file")]))


@pytest.mark.needs_root
def test_neighbours_pass(tree: Path) -> None:
    # Open to all; closed to all but its owner, which the set-up itself reports; missing.
    names = [str(tree / name) for name in ("open", "closed", "missing")]
    assert as_member(lambda: check_groups(names)) == ""


@pytest.mark.needs_root
def test_root_drops_its_groups_and_is_not_asked(tree: Path) -> None:
    check_groups([str(tree / "members")])
