"""`stockade policy diff` and `policy merge`, from the outside: exit codes, output, files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from stockade import Policy
from support.command_line import CommandLine

OLD = """\
schema_version: 1
name: "old"
syscalls {
  rules { syscall: "getpid" action: ALLOW }
  rules { syscall: "openat" when { argument: 2 equal: "O_RDONLY" } action: ALLOW }
  rules { syscall: "getuid" action: ERRNO errno: "EPERM" }
}
"""
NEW = """\
schema_version: 1
name: "new"
syscalls {
  rules { syscall: "openat" when { argument: 2 one_of { value: "O_RDONLY" value: "O_RDWR" } } action: ALLOW }
  rules { syscall: "getuid" action: ERRNO errno: "EACCES" }
}
network { mode: LOOPBACK }
"""


@pytest.fixture
def files(public_tmp: Path) -> Path:
    """The directory, with both policies."""
    (public_tmp / "old.textproto").write_text(OLD)
    (public_tmp / "new.textproto").write_text(NEW)
    return public_tmp


def test_what_differs_is_said_with_a_witness(stockade: CommandLine, files: Path) -> None:
    done = stockade("policy", "diff", "old.textproto", "new.textproto")
    assert (done.returncode, done.stderr) == (1, "")
    allowed, refused = done.stdout.index("Becomes allowed:"), done.stdout.index("Becomes refused:")
    assert allowed < done.stdout.index("flags=O_RDWR") < refused < done.stdout.index("getpid")
    assert "getuid: was answered with EPERM, now answered with EACCES" in done.stdout
    back = stockade("policy", "diff", "new.textproto", "old.textproto").stdout
    assert back.index("Becomes refused:") < back.index("flags=O_RDWR")


def test_json(stockade: CommandLine, files: Path) -> None:
    done = stockade("policy", "diff", "--json", "--arch", "aarch64", "old.textproto", "new.textproto")
    assert (done.returncode, done.stderr) == (1, "")
    data = json.loads(done.stdout)
    assert (data["old"], data["new"], data["architecture"], data["equal"]) == ("old", "new", "aarch64", False)
    calls = {(each["kind"], each["syscall"]): each for each in data["calls"]}
    assert set(calls) == {("allowed", "openat"), ("refused", "getpid"), ("changed", "getuid")}
    witness = calls["allowed", "openat"]["witness"]["args"]
    assert not Policy.from_text(OLD).evaluate("openat", witness, "aarch64").permits
    assert Policy.from_text(NEW).evaluate("openat", witness, "aarch64").permits
    assert calls["changed", "getuid"]["old"]["action"] == "errno 1"
    assert calls["changed", "getuid"]["new"]["place"] == "new.textproto:5"
    assert [(each["kind"], each["field"]) for each in data["fields"]] == [("allowed", "network.mode")]


def test_the_same_meaning_written_in_another_way(stockade: CommandLine, files: Path) -> None:
    other = OLD.replace('"old"', '"other"').replace('equal: "O_RDONLY"', 'one_of { value: "0" value: "O_RDONLY" }')
    done = stockade("policy", "diff", "old.textproto", "-", input=other)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the policies mean the same" in done.stdout
    data = json.loads(stockade("policy", "diff", "--json", "old.textproto", "-", input=other).stdout)
    assert data["equal"] and data["calls"] == data["fields"] == []


def test_ready_made_policies(stockade: CommandLine) -> None:
    done = stockade("policy", "diff", "minimal", "io-heavy")
    assert done.returncode == 1
    assert "mkdir" in done.stdout and "Becomes refused" not in done.stdout
    assert "profile io-heavy:" in done.stdout


class TestMerge:
    """`policy merge`."""

    def test_the_union_allows_what_either_allows(self, stockade: CommandLine, files: Path) -> None:
        done = stockade("policy", "merge", "old.textproto", "new.textproto")
        assert done.returncode == 0
        merged = Policy.from_text(done.stdout)
        for call, args in (("getpid", ()), ("openat", (0, 0, "O_RDWR")), ("openat", (0, 0, "O_RDONLY"))):
            assert merged.evaluate(call, args).permits
        assert not merged.evaluate("openat", (0, 0, "O_WRONLY")).permits
        assert "getuid" in done.stderr and done.stderr.startswith("stockade: ")
        # The first decides what cannot be joined.
        assert merged.evaluate("getuid").action.errno == 1

    def test_into_a_new_file(self, stockade: CommandLine, files: Path) -> None:
        target = files / "merged.textproto"
        done = stockade("policy", "merge", "-o", target, "old.textproto", "new.textproto")
        assert (done.returncode, done.stdout) == (0, "")
        assert target.read_text() == stockade("policy", "merge", "old.textproto", "new.textproto").stdout
        assert stat.S_IMODE(target.stat().st_mode) & 0o444
        assert len(list(files.iterdir())) == 3

    def test_never_over_a_file_unless_forced(self, stockade: CommandLine, files: Path) -> None:
        target = files / "old.textproto"
        command = ("policy", "merge", "gzip", "jq", "--output", target)
        done = stockade(*command)
        assert done.returncode == 3
        assert done.stderr == f"stockade: {target}: cannot write it: File exists; --force replaces it\n"
        assert target.read_text() == OLD
        target.chmod(0o600)
        assert stockade(*command, "--force").returncode == 0
        assert Policy.load(target).name == "gzip+jq"
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert len(list(files.iterdir())) == 2

    def test_never_through_a_link_that_leads_nowhere(self, stockade: CommandLine, files: Path) -> None:
        (files / "link").symlink_to("elsewhere")
        done = stockade("policy", "merge", "gzip", "jq", "-o", files / "link")
        assert done.returncode == 3 and "File exists" in done.stderr
        assert not (files / "elsewhere").exists()

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (".", "stockade: .: cannot write it: Is a directory\n"),
            ("no/such/directory", "stockade: no/such/directory: cannot write it: No such file or directory\n"),
            ("/proc/x", "stockade: /proc/x: cannot write it: "),
        ],
    )
    def test_what_cannot_be_written(self, stockade: CommandLine, target: str, message: str) -> None:
        done = stockade("policy", "merge", "gzip", "jq", "-o", target)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(message)

    def test_what_has_no_union(self, stockade: CommandLine, files: Path) -> None:
        mount = 'filesystem {{ mounts {{ target: "/x" bind {{ source: "/{}" kind: DIRECTORY }} }} }}\n'
        (files / "old.textproto").write_text(OLD + mount.format("usr"))
        (files / "new.textproto").write_text(NEW + mount.format("etc"))
        done = stockade("policy", "merge", "old.textproto", "new.textproto")
        assert (done.returncode, done.stdout) == (3, "")
        assert "/x" in done.stderr
