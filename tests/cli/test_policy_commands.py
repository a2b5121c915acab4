"""What holds for all commands that run no program: usage, width, pipes, closed descriptors, hostile text, locale."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.command_line import CommandLine

COMMANDS = ["show", "check", "format", "groups", "diff", "merge"]
# Commands with texts for people, and commands of each way of printing, with the exit code.
WRAPPED = [
    (["profiles"], 0),
    (["profiles", "python3"], 0),
    (["policy", "groups"], 0),
    (["policy", "groups", "dynamic_startup", "futex_op"], 0),
    (["policy", "show", "--rules", "gzip"], 0),
    (["policy", "diff", "gzip", "python3"], 1),
    (["explain", "gzip"], 0),
    (["explain", "gzip", "openat"], 1),
]
PIPED = [
    (["profiles"], 0),
    (["policy", "show", "gzip"], 0),
    (["policy", "check", "--verbose", "--arch", "x86_64", "gzip"], 0),
    (["policy", "diff", "gzip", "jq"], 1),
    (["explain", "gzip", "openat"], 1),
]
HOSTILE = r"""
schema_version: 1
name: "plain"
description: "red \033[31m and \342\200\256 reordered\n\r\tlines"
tested_with { path: "/usr/bin/\033[31m" version: "\033]0;title\007" platform: "\177\302\233" }
syscalls {
  rules { syscall: "getpid" action: ALLOW reason: "\033[31m" }
  rules { syscall: "execve" action: TRACE hook: "\033[31m" }
  rules { syscall: "mprotect" action: ALLOW }
  groups { name: "danger_mmap_with_exec" }
}
filesystem { libraries_for_binary: "/usr/bin/\033[31m" }
"""


def name_of(parameter: object) -> str | None:
    """Name a case after its command line."""
    return "-".join(parameter) if isinstance(parameter, list) else None


def test_help_of_the_commands_fits_60_columns(stockade: CommandLine) -> None:
    for command in (["policy"], ["explain"], ["profiles"], *(["policy", name] for name in COMMANDS)):
        done = stockade(*command, "--help", env={"COLUMNS": "60"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "examples:" in done.stdout and "exit codes:" in done.stdout
        assert "125" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 60, command


def test_general_help_names_all_commands(stockade: CommandLine) -> None:
    assert re.findall(r"^  (\w+)  +\S", stockade("--help").stdout, re.MULTILINE) == [
        "run",
        "explain",
        "policy",
        "profiles",
    ]
    assert re.findall(r"^  (\w+)  +[a-z]", stockade("policy", "-h").stdout, re.MULTILINE)[:6] == COMMANDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy"], "stockade policy: a command is missing: show, check, format, groups, diff, merge"),
        (["policy", "grups"], "stockade policy: unknown command 'grups' (did you mean 'groups'?)"),
        (["policy", "--halp"], "stockade policy: unknown option '--halp' (did you mean '--help'?)"),
        (["policy", "\x1b[31m"], "stockade policy: unknown command '\\x1b[31m'"),
        (["polciy", "show"], "stockade: unknown command 'polciy' (did you mean 'policy'?)"),
        (["policy", "show"], "stockade policy show: POLICY is missing"),
        (["policy", "show", "a", "b"], "stockade policy show: one word too many: 'b'"),
        (
            ["policy", "show", "--ruls", "gzip"],
            "stockade policy show: unknown option '--ruls' (did you mean '--rules'?)",
        ),
        (["policy", "show", "--rules", "gzip", "--bpf"], "stockade policy show: --rules and --bpf exclude each other"),
        (["policy", "show", "--rules", "--rules", "gzip"], "stockade policy show: --rules is given twice"),
        (
            ["policy", "show", "--arch", "arm64", "gzip"],
            "stockade policy show: --arch 'arm64': write x86_64 or aarch64",
        ),
        (["policy", "show", "gzip", "--arch"], "stockade policy show: --arch needs a value: --arch NAME"),
        (["policy", "show", "--mode", "on", "gzip"], "stockade policy show: --mode: invalid choice: 'on'"),
        (["policy", "check"], "stockade policy check: POLICY is missing"),
        (["policy", "check", "--strickt", "gzip"], "stockade policy check: unknown option '--strickt' (did you mean"),
        (["policy", "format"], "stockade policy format: FILE is missing"),
        (["policy", "format", "--check", "--diff", "x"], "stockade policy format: --check and --diff exclude each"),
        (["policy", "format", "-", "-"], "stockade policy format: standard input can be read once only"),
        (["policy", "groups", "raed"], "stockade policy groups: there is no group 'raed' (did you mean 'read'?)"),
        (["policy", "diff", "gzip"], "stockade policy diff: B is missing"),
        (["policy", "diff"], "stockade policy diff: A is missing"),
        (["policy", "diff", "a", "b", "c"], "stockade policy diff: one word too many: 'c'"),
        (["policy", "merge", "gzip"], "stockade policy merge: B is missing"),
        (["policy", "merge", "--force", "gzip", "jq"], "stockade policy merge: --force is for --output FILE"),
        (["policy", "merge", "-o", "", "gzip", "jq"], "stockade policy merge: --output: the path is empty"),
        (["policy", "merge", "-o", "a", "--output=b", "gzip", "jq"], "stockade policy merge: --output is given twice"),
        (["explain"], "stockade explain: POLICY is missing"),
        (["explain", "gzip", "opnat"], "stockade explain: x86_64 has no system call named 'opnat' (did you mean 'op"),
        (["explain", "gzip", "openat", "_", "_", "O_RDW"], "stockade explain: unknown constant 'O_RDW' (did you mean"),
        (["explain", "gzip", "read", "0", "0", "0", "0"], "stockade explain: read has 3 arguments (fd, buf, count)"),
        (["explain", "gzip", "99999999999"], "stockade explain: 99999999999 is no number of a system call"),
        (["profiles", "jqq"], "stockade profiles: there is no ready-made policy 'jqq' (did you mean 'jq'?)"),
        (["profiles", "--jsno"], "stockade profiles: unknown option '--jsno' (did you mean '--json'?)"),
    ],
    ids=lambda value: "-".join(value).replace("\x1b", "ESC") if isinstance(value, list) else "",
)
def test_wrong_usage(stockade: CommandLine, arguments: list[str], message: str) -> None:
    if arguments[:1] == ["explain"] and "opnat" in arguments:
        arguments = ["explain", "--arch", "x86_64", *arguments[1:]]
    done = stockade(*arguments)
    assert (done.returncode, done.stdout) == (125, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(message), done.stderr
    assert len(lines) == 2 and lines[1].startswith("Try 'stockade") and lines[1].endswith(" --help'.")


@pytest.mark.parametrize(("command", "code"), WRAPPED, ids=name_of)
def test_60_columns(stockade: CommandLine, command: list[str], code: int) -> None:
    done = stockade(*command, env={"COLUMNS": "60"})
    assert (done.returncode, done.stderr) == (code, "")
    long = [line for line in done.stdout.splitlines() if len(line) > 60]
    # What may be copied is not broken within a word: paths, names, symbols.
    assert [line for line in long if not re.fullmatch(r" *(file: )?\S+", line)] == []


@pytest.mark.parametrize(("command", "code"), PIPED, ids=name_of)
def test_a_reader_that_has_gone(stockade: CommandLine, command: list[str], code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        stockade.command(*command), env=stockade.environment(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")


def test_head_gets_the_first_line(stockade: CommandLine) -> None:
    words = " ".join(stockade.command("policy", "show", "--bpf", "python3"))
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {words} | head -1"],
        env=stockade.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"# \d+ of 4096 instructions, \d+ bytes, \w+, mode enforce\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("command", [["policy", "show", "gzip"], ["profiles"], ["policy", "merge", "gzip", "jq"]])
def test_output_that_cannot_be_written(stockade: CommandLine, command: list[str]) -> None:
    """A policy that is cut short would be another policy: unlike a reader that has gone, this is an error."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            stockade.command(*command), env=stockade.environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 125
    assert done.stderr == b"stockade: cannot write to standard output: No space left on device\n"


def test_closed_standard_streams(stockade: CommandLine, writable: Path) -> None:
    """No file of ours lands on a standard descriptor."""
    target = writable / "merged"
    words = " ".join(stockade.command("policy", "merge", "-o", target, "gzip", "jq"))
    done = subprocess.run(["/bin/bash", "-c", f"{words} <&- >&- 2>&-"], env=stockade.environment(), check=False)
    assert done.returncode == 0
    assert target.read_text().startswith("schema_version: 1\n")
    words = " ".join(stockade.command("policy", "show", target))
    done = subprocess.run(["/bin/bash", "-c", f"{words} >&-"], env=stockade.environment(), check=False)
    assert done.returncode == 125
    words = " ".join(stockade.command("policy", "show", "-"))
    shown = subprocess.run(
        ["/bin/bash", "-c", f"{words} <&-"], env=stockade.environment(), capture_output=True, text=True, check=False
    )
    assert shown.returncode == 3
    assert shown.stderr.startswith("stockade: <stdin>:1:1: schema_version is missing")  # it is empty


def test_hostile_text_is_escaped(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "hostile.textproto").write_text(HOSTILE.lstrip())
    (public_tmp / "\x1b[31m.textproto").write_text(HOSTILE.lstrip())
    (public_tmp / "broken.textproto").write_text('schema_version: 1\nname: "x" \x1b[31m: 5\n')
    for command in (
        ["policy", "show", "hostile.textproto"],
        ["policy", "show", "--rules", "hostile.textproto"],
        ["policy", "show", "--rules", "\x1b[31m.textproto"],
        ["policy", "check", "hostile.textproto", "\x1b[31m.textproto", "broken.textproto"],
        ["policy", "check", "--json", "\x1b[31m.textproto"],
        ["policy", "format", "--diff", "hostile.textproto", "\x1b[31m.textproto", "broken.textproto", "\x1b[m"],
        ["policy", "format", "--check", "\x1b[31m.textproto"],
        ["policy", "diff", "hostile.textproto", "jq"],
        ["policy", "diff", "--json", "\x1b[31m.textproto", "jq"],
        ["policy", "merge", "hostile.textproto", "jq"],
        ["explain", "hostile.textproto"],
        ["explain", "\x1b[31m.textproto", "execve"],
        ["explain", "--json", "\x1b[31m.textproto", "getpid"],
        ["explain", "gzip", "\x1b[31m"],
        ["profiles", "\x1b[31m"],
    ):
        done = stockade(*command)
        shown = done.stdout + done.stderr
        assert shown, command
        assert [line for line in shown.split("\n") if not line.isprintable()] == [], command


def test_a_locale_that_knows_ascii_only(stockade: CommandLine, public_tmp: Path) -> None:
    """What is for people is escaped; what is a policy stays as it is, in UTF-8."""
    text = 'schema_version: 1\n# ж\nname: "x"\ndescription: "ж"\n'
    (public_tmp / "x.textproto").write_text(text)
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert stockade("explain", "x.textproto", env=env).stdout.isascii()
    done = subprocess.run(
        stockade.command("policy", "format", "-"),
        env=stockade.environment(env),
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    assert done.stdout == text.encode()


@pytest.mark.parametrize("home", [None, "/no/such/directory", "/dev/null"])
def test_without_a_home(stockade: CommandLine, public_tmp: Path, home: str | None) -> None:
    (public_tmp / "x.textproto").write_text('schema_version: 1\nname: "x"\n')
    for command in (["policy", "show", "gzip"], ["policy", "check", "x.textproto"], ["explain", "jq", "getpid"]):
        done = stockade(*command, env={"HOME": home})
        assert done.returncode in (0, 1) and done.stderr == "", command
        assert done.stdout
