"""`stockade explain`, from the outside: what it says, in which order, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import CommandLine

POLICY = """\
schema_version: 1
name: "example"
description: "an example"
syscalls {
  rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
  rules { syscall: "kill" when { argument: 0 equal: "-1" } action: ERRNO errno: "EPERM" }
  rules { syscall: "getuid" action: TRACE hook: "ask" }
  rules { syscall: "read" action: ALLOW }
  groups { name: "kill" }
}
"""


@pytest.fixture
def example(public_tmp: Path) -> Path:
    """The policy as a file."""
    (public_tmp / "p.textproto").write_text(POLICY)
    return public_tmp / "p.textproto"


def test_a_whole_policy(stockade: CommandLine, example: Path) -> None:
    done = stockade("explain", "p.textproto")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("an example", "Send signals to processes of the box.", "request is TCGETS", "EPERM", "hook", "ptrace"):
        assert text in done.stdout
    assert '"read"' not in done.stdout  # the policy file's text is not repeated


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        (["ioctl", "fd", "TCGETS"], 0, "allowed when request is TCGETS, by p.textproto:5"),
        (["ioctl", "_", "TCGETS"], 0, "allowed"),
        (["ioctl", "0", "0x5401", "_"], 0, "allowed"),
        (["ioctl", "3", "TIOCGWINSZ"], 1, "a violation: no rule decides it"),
        (["ioctl"], 1, "it depends on the arguments"),
        (["ioctl", "fd", "request"], 1, "it depends on the arguments"),
        (["kill", "-1", "SIGKILL"], 1, "answered with EPERM"),
        (["kill", "--", "-1", "SIGKILL"], 1, "answered with EPERM"),
        (["kill", "1", "SIGTERM|0"], 0, "p.textproto:9"),
        (["getuid"], 0, "decided by the hook ask"),
        (["ptrace"], 1, "ptrace is always refused"),
        (["0x3e8"], 1, "number 1000 is not known to this version"),
        (["read", "--", "-0x1"], 0, "allowed"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_one_call(stockade: CommandLine, example: Path, call: list[str], code: int, said: str) -> None:
    done = stockade("explain", "p.textproto", *call, env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout


def test_what_would_change_it(stockade: CommandLine, example: Path) -> None:
    """The offered line, put into the policy, does it."""
    question = ("ioctl", "fd", "TIOCGWINSZ")
    done = stockade("explain", "--json", "p.textproto", *question)
    assert done.returncode == 1
    [case] = json.loads(done.stdout)["cases"]
    assert not case["permitted"] and case["risk"]["level"] == "low"
    example.write_text(POLICY.replace("  groups", f"  {case['change']['text_line']}\n  groups"))
    assert stockade("explain", "p.textproto", *question).returncode == 0


def test_both_architectures(stockade: CommandLine, example: Path) -> None:
    assert stockade("explain", "--arch", "x86_64", "p.textproto", "open").returncode == 1
    done = stockade("explain", "--arch", "aarch64", "p.textproto", "open")
    assert (done.returncode, done.stdout) == (125, "")
    assert "aarch64 has no system call named 'open'; it is a call of x86_64" in done.stderr


def test_json_of_a_policy(stockade: CommandLine, example: Path) -> None:
    data = json.loads(stockade("explain", "--json", "p.textproto").stdout)
    assert (data["policy"], data["description"]) == ("example", "an example")
    assert all(section["title"] and section["lines"] for section in data["sections"])


def test_ready_made_and_standard_input(stockade: CommandLine) -> None:
    assert stockade("explain", "gzip", "ioctl", "fd", "TCGETS").returncode == 0
    assert stockade("explain", "-", "read", input=POLICY).returncode == 0
