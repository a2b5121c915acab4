"""What standard error says about violations, and about policies that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

TWO_CALLS = """
    raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
    raw(SYS_ptrace, 0, 0, 0, 0, 0, 0);
    say("went on\\n");
    return 0;
"""
POLICY = """\
schema_version: 1
name: "mine"
syscalls {{
  groups {{ name: "static_startup" }}
  groups {{ name: "write" }}
  groups {{ name: "exit" }}
  {more}
}}
filesystem {{ mounts {{ target: "/program" bind {{ source: "{program}" kind: FILE }} }} }}
"""


@pytest.fixture
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, TWO_CALLS)


def _policy(directory: Path, program: Path, more: str = "") -> Path:
    path = directory / "mine.textproto"
    path.write_text(POLICY.format(program=program, more=more))
    return path


def test_enforce_stops_at_the_first(stockade: CommandLine, program: Path) -> None:
    done = stockade.run(program)
    assert (done.returncode, done.stdout) == (159, "")
    assert f'stockade: {program} was killed: it breached the policy "default"' in re.sub(r"\n +", " ", done.stderr)
    assert "Violation: socket(AF_INET, SOCK_STREAM, IPPROTO_IP)" in done.stderr
    assert "ptrace" not in done.stderr


def test_refuse_shows_them_all(stockade: CommandLine, program: Path) -> None:
    done = stockade.run("--mode", "refuse", program)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert "Violation 1 of 2: socket(" in done.stderr
    assert "Violation 2 of 2: ptrace(" in done.stderr
    assert "  no change ptrace is always refused" in done.stderr


def test_no_report(stockade: CommandLine, program: Path) -> None:
    done = stockade.run("--no-report", program)
    assert (done.returncode, done.stdout, done.stderr) == (159, "", "")


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_report_fits(stockade: CommandLine, program: Path, columns: int) -> None:
    done = stockade.run("--mode", "refuse", program, env={"COLUMNS": str(columns)})
    prose = [line for line in done.stderr.splitlines() if not line.startswith("    ") or line.startswith(" " * 12)]
    assert max(map(len, prose)) <= columns
    assert max(map(len, done.stderr.splitlines())) > 40 or columns == 40


def test_suggested_line_applied_verbatim_allows_the_call(
    stockade: CommandLine, public_tmp: Path, program: Path
) -> None:
    policy = _policy(public_tmp, program)
    arguments = ["--mode", "refuse", "--policy", str(policy), "/program"]
    first = stockade.run(*arguments, env={"COLUMNS": "200"})
    assert "socket(" in first.stderr
    (line,) = re.findall(r"^ +(rules \{.*\})$", first.stderr, re.MULTILINE)
    _policy(public_tmp, program, line)
    second = stockade.run(*arguments)
    assert second.stdout == "went on\n"
    assert "socket(" not in second.stderr
    assert "Violation: ptrace(" in second.stderr


def test_nearest_rule_names_file_and_line(stockade: CommandLine, public_tmp: Path, program: Path) -> None:
    rule = 'rules { syscall: "socket" when { argument: 0 equal: "AF_UNIX" } action: ALLOW }'
    policy = _policy(public_tmp, program, rule)
    # With a mount added on the command line the places stay those of the file.
    done = stockade.run("--policy", policy, "--ro", "/etc/hosts", "/program", env={"COLUMNS": "300"})
    assert f"  rule      {policy}:7: {rule}\n" in done.stderr
    assert "is AF_INET, the rule wants AF_UNIX" in done.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('rules { syscall: "sokcet" action: ALLOW }', ":7:20: unknown system call 'sokcet' (did you mean 'socket'?)"),
        ('groups { name: "reed" }', ":7:18: unknown group 'reed' (did you mean 'read'?)"),
        ('ruels { syscall: "socket" }', ":7:3: unknown field \"ruels\" in SyscallPolicy (did you mean 'rules'?)"),
        ('rules { syscall: "ptrace" action: ALLOW }', ":7:3: ptrace is always refused"),
        ("}", ":8:1: "),
    ],
)
def test_policy_errors_name_file_and_line(
    stockade: CommandLine, public_tmp: Path, program: Path, more: str, message: str
) -> None:
    policy = _policy(public_tmp, program, more)
    done = stockade.run("--policy", policy, "/program")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"stockade: {policy}{message}"), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_policy_that_needs_a_hook_is_refused(stockade: CommandLine, public_tmp: Path, program: Path) -> None:
    policy = _policy(public_tmp, program, 'rules { syscall: "socket" action: TRACE hook: "ask" }')
    done = stockade.run("--policy", policy, "/program")
    assert (done.returncode, done.stdout) == (125, "")
    assert "the hook 'ask'" in done.stderr


def test_what_is_not_enforced_is_refused(stockade: CommandLine, public_tmp: Path, program: Path) -> None:
    policy = _policy(public_tmp, program)
    policy.write_text(policy.read_text() + 'limits { memory: "64M" }\n')
    done = stockade.run("--policy", policy, "/program")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("stockade: limit memory: ")


def test_hostile_output_reaches_the_program_s_reader_only(stockade: CommandLine, compile_c: CCompiler) -> None:
    """What a program calls itself cannot write escapes to the terminal through a report."""
    program = main_program(compile_c, "raw(SYS_mount, (long)argv[1], (long)argv[1], 0, 0, 0, 0);", name="esc\x1b[31m")
    done = stockade.run(program, "\x1b]0;title\x07\u202e")
    assert done.returncode == 159
    assert done.stderr.replace("\n", "").isprintable()
    assert "\\x1b]0;title\\x07\\u202e" in re.sub(r"\n +", "", done.stderr)
