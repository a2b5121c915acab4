"""The base profiles run what they claim, on the real kernel: programs times profiles, each with its outcome."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from policy.calls import calls
from policy.profile_cases import LADDER, PRESETS, ROWS, permitted_by
from stockade import Executor, Result, Status
from stockade._proto import policy_pb2
from stockade.kernel.architectures import native
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind
from support.compiler import CCompiler
from support.runs import main_program

TEXT = "beta\nalpha\nbeta\n"
PYTHON = "/usr/bin/python3"
TALK = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    with connection:
        connection.sendall(connection.recv(9).upper())
thread = threading.Thread(target=serve)
thread.start()
with socket.create_connection(server.getsockname()) as client:
    client.sendall(b"over loopback")
    print(client.recv(9).decode())
thread.join()
"""
# Whatever a shell or another program of a row starts.
STARTED = ("cat", "sort", "uniq", "head", "echo", "wc", "xz")


@dataclass(frozen=True, slots=True)
class Row:
    """A command, its output (None: whatever), the narrowest profile that runs it, and what narrower ones refuse."""

    command: tuple[str, ...]
    narrowest: str
    output: str | None = ""
    refused: tuple[str, ...] = ()


def _row(command: str, narrowest: str, output: str | None = "", refused: str = "") -> Row:
    return Row(tuple(command.split(" ")), narrowest, output, tuple(refused.split()))


MATRIX = (
    _row("true", "minimal"),
    _row("cat", "minimal", TEXT),
    _row("cat f", "minimal", TEXT),
    _row("ls", "minimal", "f\ng\nx.tar\n"),
    _row("ls -l /dev", "minimal", None),
    _row("id -u", "minimal", "1000\n"),
    _row("date -u -d @0 +%Y", "minimal", "1970\n"),
    _row("head -n1", "minimal", "beta\n"),
    _row("tail -n1 f", "minimal", "beta\n"),
    _row("wc -l", "minimal", "3\n"),
    _row("grep -c beta", "minimal", "2\n"),
    _row("cut -c1", "minimal", "b\na\nb\n"),
    _row("tr a-z A-Z", "minimal", TEXT.upper()),
    _row("cp f h", "io-heavy", "", "openat"),
    _row("cp -a f h", "io-heavy", "", "openat"),
    _row("mv f h", "io-heavy", "", "renameat2"),
    _row("rm g", "io-heavy", "", "unlinkat"),
    _row("mkdir d", "io-heavy", "", "mkdir"),
    _row("touch h", "io-heavy", "", "openat"),
    _row("tee h", "io-heavy", TEXT, "openat"),
    _row("ln -s f h", "io-heavy", "", "symlinkat"),
    _row("dd if=f of=h status=none", "io-heavy", "", "openat"),
    _row("tar -cf h.tar f g", "io-heavy", "", "creat openat"),
    _row("tar -xf x.tar", "io-heavy", "", "umask openat"),
    _row("sort -n -S 1K -T /tmp -o /dev/null large", "io-heavy", "", "openat"),
    _row("sort --parallel=2 -S 64M -o /dev/null larger", "compute", "", "openat clone set_robust_list"),
    _row("xargs -n1 echo x", "compute", "x beta\nx alpha\nx beta\n", "pipe2"),
    Row(("sh", "-c", "cat | sort | uniq -c | head -n1"), "compute", "      1 alpha\n", ("pipe2",)),
    Row(("bash", "-c", "echo $(cat f) & wait"), "compute", "beta alpha beta\n", ("openat", "getpeername", "pipe2")),
    Row(("sh", "-c", "xz -T2 --block-size=8192 -c large | xz -T2 -dc | wc -l"), "compute", "20000\n", ("pipe2",)),
    _row("env A=1 cat f", "compute", TEXT, "execve"),
    Row((PYTHON, "-I", "-c", TALK), "network", "OVER LOOP\n", ("epoll_create1", "socket")),
)


@cache
def executor(profile: str, directory: str) -> Executor:
    """The profile with every program of the matrix, and a directory of the host that is writable."""
    message = Policy.profile(profile).message
    programs = {row.command[0] for row in MATRIX} - {PYTHON} | set(STARTED)
    message.filesystem.libraries_for_binary.extend(f"/usr/bin/{name}" for name in sorted(programs))
    message.filesystem.python.append(PYTHON)
    bind = policy_pb2.Bind(source=directory, kind=policy_pb2.Bind.DIRECTORY, writable=True)
    message.filesystem.mounts.add(target="/scratch", bind=bind)
    return Executor(Policy.from_message(message))


@pytest.fixture(scope="module")
def shared(session_directory: Path) -> Iterator[Path]:
    """The directory that the boxes of this module have as /scratch."""
    directory = session_directory / "base-profiles"
    directory.mkdir()
    directory.chmod(0o777)
    yield directory
    executor.cache_clear()


@pytest.fixture
def place(shared: Path, request: pytest.FixtureRequest) -> Path:
    """A fresh directory in it, with files to work on."""
    directory = shared / f"{len(os.listdir(shared))}"
    directory.mkdir()
    for name in ("f", "g"):
        (directory / name).write_text(TEXT)
        (directory / name).chmod(0o666)
    subprocess.run(["tar", "-cf", "x.tar", "f", "g"], cwd=directory, check=True)
    directory.chmod(0o777)
    return directory


def run(profile: str, place: Path, command: tuple[str, ...]) -> Result:
    # More than fits into the memory that sort is given, and more than it sorts with one thread.
    if any("large" in word for word in command):
        (place / "large").write_text("".join(f"{number * 7919 % 20011}\n" for number in range(20000)))
        (place / "larger").write_text("b\na\n" * 140_000 if "larger" in command else "")
    made = executor(profile, str(place.parent))
    return made.run(command, input=TEXT, text=True, cwd=f"/scratch/{place.name}")


def assert_runs(result: Result, row: Row) -> None:
    assert result.status is Status.OK, [found.summary for found in result.violations]
    assert (result.returncode, result.stderr) == (0, "")
    if row.output is not None:
        assert result.stdout == row.output


@pytest.mark.parametrize("profile", LADDER)
@pytest.mark.parametrize("row", MATRIX, ids=lambda row: " ".join(row.command)[:24].strip())
def test_a_profile_runs_what_it_claims_and_nothing_else(place: Path, profile: str, row: Row) -> None:
    result = run(profile, place, row.command)
    if permitted_by(profile, row.narrowest):
        assert_runs(result, row)
    else:
        assert result.status is Status.VIOLATION, (result.status, result.stdout, result.stderr)
        assert result.violations[0].syscall in row.refused


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("narrowest", LADDER[:4])
def test_a_preset_runs_what_its_profile_runs(place: Path, preset: str, narrowest: str) -> None:
    for row in [row for row in MATRIX if row.narrowest == narrowest][-3:]:
        result = run(preset, place, row.command)
        if permitted_by(PRESETS[preset], narrowest):
            assert_runs(result, row)
        else:
            assert result.status is Status.VIOLATION


# --- what they say they refuse, call by call ---

# Child of a fork that the row permits; calls that need a stack of their own are left to the evaluator.
PROBE = """
    long given[7], result;
    for (int i = 0; i < 7; i++) given[i] = strtoul(argv[1 + i], NULL, 0);
    result = raw(given[0], given[1], given[2], given[3], given[4], given[5], given[6]);
    if (result == 0 && (given[0] == SYS_clone || given[0] == SYS_fork)) _exit(0);
    char text[32];
    snprintf(text, sizeof text, "went on: %ld", result < 0 ? result : 0);
    say(text);
    _exit(0);
"""
UNSUITABLE = {"vfork", "mseal", "brk", "close_range", "exit", "pause"}


def probes(row: str) -> list[tuple[str, tuple[int, ...]]]:
    """The calls of a row that can be made for real, with their registers."""
    here = [call for call in calls(ROWS[row][0]) if call.exists_on(native().name) and call.name not in UNSUITABLE]
    return [(call.name, call.registers(native().name)) for call in here][:3]


@cache
def probing(profile: str, program: str) -> Executor:
    message = Policy.profile(profile).message
    message.filesystem.mounts.add(target="/program", bind=policy_pb2.Bind(source=program, kind=policy_pb2.Bind.FILE))
    return Executor(Policy.from_message(message))


@pytest.mark.parametrize("row", [row for row in ROWS if row != "make threads"])
def test_a_profile_refuses_on_the_real_kernel_what_it_says(compile_c: CCompiler, row: str) -> None:
    program = main_program(compile_c, PROBE)
    for profile in LADDER:
        made = probing(profile, str(program))
        for name, registers in probes(row):
            verdict = made.policy.evaluate(name, registers)
            result = made.run(["/program", str(native().number(name)), *map(hex, registers)], text=True)
            if verdict.action.kind is Kind.KILL:
                assert (result.status, result.violations[0].syscall) == (Status.VIOLATION, name), profile
                assert result.stdout == ""
            else:
                assert result.status is Status.OK, (profile, [found.summary for found in result.violations])
                assert result.stdout.startswith("went on: "), profile
            if verdict.action.kind is Kind.ERRNO:
                assert result.stdout == f"went on: -{verdict.action.errno}", profile
