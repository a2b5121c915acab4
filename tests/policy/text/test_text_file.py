"""Saving policies: as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.builder import PolicyBuilder
from stockade.policy.policy import Policy


def some() -> Policy:
    return PolicyBuilder("some").allow_read().add_file("/etc/hosts", inside="/$x").build()


def test_a_saved_policy_is_loaded_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "some.textproto"
    some().save(path)
    assert Policy.load(path) == some()
    assert path.read_text() == some().to_text()
    path.write_text("something longer than the policy" * 1000)
    some().save(str(path))
    assert path.read_text() == some().to_text()
    assert os.listdir(tmp_path) == ["some.textproto"]


def test_permissions(tmp_path: Path) -> None:
    path = tmp_path / "some.textproto"
    before = os.umask(0o027)
    try:
        some().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        some().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.textproto").write_text("before")
    link = tmp_path / "link.textproto"
    link.symlink_to("real.textproto")
    some().save(link)
    assert link.is_symlink()
    assert (tmp_path / "real.textproto").read_text() == some().to_text()


@pytest.mark.parametrize("failing", ["fsync", "replace", "fchmod"])
def test_a_file_survives_an_error(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.textproto"
    path.write_text("before")

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(PolicyError, match="cannot write the policy: No space left on device") as caught:
        some().save(path)
    monkeypatch.undo()
    assert caught.value.path == str(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["some.textproto"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    for path, message in {
        tmp_path: "Is a directory",
        tmp_path / "missing" / "x": "No such file or directory",
        Path("/dev/null"): "Not a regular file",
    }.items():
        with pytest.raises(PolicyError, match=message):
            some().save(path)
    with pytest.raises(PolicyError, match="no file can be named"):
        some().save("a\0b")
    assert os.listdir(tmp_path) == []


def test_a_policy_that_was_taken_from_a_message_is_saved_too(tmp_path: Path) -> None:
    message = policy_pb2.Policy(schema_version=1, name="é", description="two\nlines")
    Policy.from_message(message).save(tmp_path / "x")
    assert Policy.load(tmp_path / "x").message == message


def test_a_link_that_leads_nowhere_is_not_its_own_suggestion(tmp_path: Path) -> None:
    link = tmp_path / "some.textproto"
    link.symlink_to("gone.textproto")
    with pytest.raises(PolicyError, match="a symbolic link to something that is not there") as caught:
        Policy.load(link)
    assert caught.value.suggestion is None
    (tmp_path / "same.textproto").write_text("")
    with pytest.raises(PolicyError) as caught:
        Policy.load(link)
    assert caught.value.suggestion == str(tmp_path / "same.textproto")
