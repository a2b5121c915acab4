"""Bindings of the mount API. What changes mounts is tested in tests/sandboxee/test_mounts.py."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stockade.kernel import mount


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "root"
    (inside / "directory").mkdir(parents=True)
    (inside / "file").write_text("inside")
    (tmp_path / "file").write_text("outside")
    (inside / "up").symlink_to("../file")
    (inside / "absolute").symlink_to("/file")
    (inside / "magic").symlink_to(f"/proc/{os.getpid()}/root")
    return inside


@pytest.mark.parametrize("path", ["file", "/file", "../file", "/../../file", "up", "absolute", "directory/../../file"])
def test_no_path_leads_out_of_the_root(root: Path, path: str) -> None:
    top = os.open(root, mount.O_PATH_FLAGS)
    descriptor = mount.open_beneath(top, path, os.O_RDONLY)
    assert os.read(descriptor, 100) == b"inside"
    os.close(descriptor)
    os.close(top)


def test_magic_links_are_refused() -> None:
    proc = os.open("/proc", mount.O_PATH_FLAGS)
    with pytest.raises(OSError, match="openat2") as caught:
        mount.open_beneath(proc, f"{os.getpid()}/cwd")
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == f"{os.getpid()}/cwd"
    os.close(proc)


def test_the_identity_of_a_file_changes_when_it_is_replaced(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("one")
    other.write_text("two")
    before = mount.identity(str(file))
    assert before is not None
    assert before == mount.identity(str(file))
    assert before[2] == file.stat().st_ino
    file.write_text("in place")
    assert mount.identity(str(file)) == before
    os.replace(other, file)
    assert mount.identity(str(file)) != before
    link = tmp_path / "link"
    link.symlink_to(file)
    assert mount.identity(str(link)) == mount.identity(str(file))
    assert mount.identity(str(tmp_path / "none")) is None


@pytest.mark.needs_root
def test_failures_name_the_call_and_the_object(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="open_tree") as caught:
        mount.open_tree(str(tmp_path / "none"), recursive=True)
    assert caught.value.filename == str(tmp_path / "none")
