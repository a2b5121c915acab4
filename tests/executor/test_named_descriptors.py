"""Descriptors that a program finds by name, sockets of which we keep an end, and typed values with a real program."""

from __future__ import annotations

import os
import pty
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade import PIPE, SOCKETPAIR, Executor, Limits, Policy, PolicyError, SetupError, Status
from stockade._proto import report_pb2
from stockade.comms.values import Comms, CommsClosedError, CommsError, CommsStatus, CommsTimeoutError
from support.compiler import CCompiler
from support.library import ENVIRONMENT, client_policy, python
from support.runs import everything_builder, main_program, open_descriptors, static_builder

PATIENCE = 30.0
# Says the variable and, of each descriptor from 3 to 20, whether it is open.
SHOW = """
char *value = getenv("STOCKADE_FDS");
say(value ? value : "none");
say("|");
for (int i = 3; i < 20; i++) if (fcntl(i, F_GETFD) >= 0) { char text[8]; snprintf(text, 8, "%d ", i); say(text); }
"""


@pytest.fixture(scope="module")
def show(compile_c: CCompiler) -> Path:
    return main_program(compile_c, SHOW)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def said(program: Path, **options: Any) -> str:
    """What the program says about its descriptors."""
    result = Executor(everything_builder(program).build()).run([program], **options)
    assert result.status is Status.OK, result.report()
    output: bytes = result.stdout
    return output.decode()


def test_names_are_announced_at_free_numbers(show: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert said(show, named_fds={"config": reader, "log.file": writer}) == "config=3,log.file=4|3 4 "


def test_numbers_that_are_passed_stay_free(show: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    duplicate = os.dup2(reader, 4) if 4 not in (reader, writer) and not _is_open(4) else None
    passed = [duplicate] if duplicate is not None else [reader]
    expected = next(number for number in range(3, 9) if number not in passed)
    try:
        assert said(show, pass_fds=passed, named_fds={"x": writer}).startswith(f"x={expected}|")
    finally:
        if duplicate is not None:
            os.close(duplicate)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_nothing_is_added_unless_asked(show: Path, pipe: tuple[int, int]) -> None:
    assert said(show) == "none|"
    assert said(show, named_fds={}) == "none|"
    own = {"STOCKADE_FDS": "of the program's own"}
    assert said(show, env=own) == "of the program's own|"
    assert said(show, env={"A": "b"}, named_fds={"x": pipe[0]}) == "x=3|3 "


def test_the_descriptor_is_the_one_that_was_given(compile_c: CCompiler, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"by name")
    with open("/dev/null", "wb") as null:
        program = main_program(compile_c, "char b[10]; return write(1, b, read(3, b, 10)) != write(4, b, 7);")
        executor = Executor(everything_builder(program).build())
        result = executor.run([program], named_fds={"a": reader, "b": null})
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 0, b"by name")


def test_what_opens_the_box_is_refused_by_name(show: Path, tmp_path: Path) -> None:
    executor = Executor(static_builder(show).build())
    directory = os.open(tmp_path, os.O_RDONLY)
    controller, terminal = pty.openpty()
    before = open_descriptors()
    try:
        for descriptor, reason in ((directory, "is a directory"), (terminal, "is a terminal"), (999, "is not open")):
            for start in (executor.run, executor.start):
                with pytest.raises(PolicyError, match=f"named_fds: door {reason}"):
                    start([show], named_fds={"first": 0 if not os.isatty(0) else controller, "door": descriptor})
        assert set(open_descriptors()) <= set(before)
    finally:
        for descriptor in (directory, controller, terminal):
            os.close(descriptor)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "stockade.logs", "é"])
def test_wrong_names_are_refused(show: Path, name: str) -> None:
    executor = Executor(static_builder(show).build())
    with pytest.raises(PolicyError, match=r"named_fds: .* no name for a descriptor"):
        executor.run([show], named_fds={name: 0})


def test_our_variable_in_the_environment_is_refused(show: Path, pipe: tuple[int, int]) -> None:
    executor = Executor(static_builder(show).build())
    with pytest.raises(PolicyError, match="STOCKADE_FDS announces"):
        executor.start([show], named_fds={"x": pipe[0]}, env={"STOCKADE_FDS": "y=3"}, comms=True)


def test_run_has_nobody_to_keep_an_end(show: Path) -> None:
    with pytest.raises(PolicyError, match=r"use start\(\)"):
        Executor(static_builder(show).build()).run([show], named_fds={"x": SOCKETPAIR})


def test_a_socket_of_which_we_keep_an_end(compile_c: CCompiler) -> None:
    body = 'char b[10]; say(getenv("STOCKADE_FDS")); long n = read(3, b, 10); write(3, "back:", 5); write(3, b, n);'
    program = main_program(compile_c, body)
    before = open_descriptors()
    with Executor(everything_builder(program).build()).start(
        [program], named_fds={"talk": SOCKETPAIR}, stdout=PIPE
    ) as process:
        ours = process.sockets["talk"]
        assert isinstance(ours, socket.socket)
        ours.sendall(b"forth")
        assert ours.recv(100, socket.MSG_WAITALL) == b"back:forth"  # and the end, as the program has the only other end
        assert process.stdout is not None
        assert process.stdout.read() == b"talk=3"
    assert ours.fileno() == -1
    assert process.returncode == 0
    del process
    assert set(open_descriptors()) <= set(before)


def test_a_run_that_fails_leaves_nothing_open(show: Path) -> None:
    executor = Executor(static_builder(show).build(), limits=Limits(wall_time=60))
    before = open_descriptors()
    with pytest.raises(SetupError):
        executor.start(["/not/there"], named_fds={"x": SOCKETPAIR}, comms=True, forward_logs=True)
    assert set(open_descriptors()) <= set(before)


# --- with the client library ---

TALK = """
import os, sys
from stockade.client import named
assert "STOCKADE_FDS" in os.environ
config = named.descriptor("config")
print(os.read(config, 100).decode(), named.has_descriptor("config"), named.has_descriptor("nothing"), flush=True)
assert "STOCKADE_FDS" not in os.environ and not os.get_inheritable(config)
try:
    named.descriptor("confg")
except named.ClientError as error:
    print(error, flush=True)
named.comms().limit = 1000
comms = named.comms()
assert comms.limit == 1000 and comms is named.comms()
assert comms.recv_int() == -7
comms.send_uint(2**64 - 1)
comms.send_string(comms.recv_string() + "!")
comms.send_status(3, "all is well")
comms.send_credentials()
print(os.read(comms.recv_descriptor(), 100).decode(), flush=True)
reader, writer = os.pipe()
os.write(writer, b"from inside")
comms.send_descriptor(reader)
print(comms.recv_credentials().pid, flush=True)
"""


def test_values_and_descriptors_both_ways_with_a_program(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"the configuration")
    executor = Executor(client_policy())
    with executor.start(
        python(TALK), env=ENVIRONMENT, named_fds={"config": reader}, comms=True, stdout=PIPE, stderr=sys.stderr
    ) as process:
        comms = process.comms
        comms.send_int(-7)
        assert comms.recv_uint(timeout=PATIENCE) == 2**64 - 1
        comms.send_string("é")
        assert comms.recv_string(timeout=PATIENCE) == "é!"
        assert comms.recv_status(timeout=PATIENCE) == CommsStatus(3, "all is well")
        credentials = comms.recv_credentials(timeout=PATIENCE)
        assert credentials.pid == process.pid  # as the kernel translates it
        assert credentials.uid == os.getuid() or os.getuid() == 0
        assert credentials.uid != 0
        os.write(writer, b"from outside")
        comms.send_descriptor(reader)
        received = comms.recv_descriptor(timeout=PATIENCE)
        assert os.read(received, 100) == b"from inside"
        os.close(received)
        comms.send_credentials()
        output, _ = process.communicate(timeout=PATIENCE)
        with pytest.raises(CommsClosedError):
            comms.recv_int(timeout=PATIENCE)
    lines = output.decode().splitlines()
    assert lines == [
        "the configuration True False",
        "this process was given no descriptor named 'confg'; there is config",
        "from outside",
        "0",  # there is no process of that kind in its box
    ]
    assert process.result.status is Status.OK
    with pytest.raises(CommsError, match="of no use any more"):
        comms.send_int(1)


def test_what_opens_the_box_is_not_sent_either(tmp_path: Path) -> None:
    script = "from stockade.client import named; named.comms().recv_descriptor()"
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with Executor(client_policy()).start(python(script), env=ENVIRONMENT, comms=True) as process:
            with pytest.raises(PolicyError, match="is a directory"):
                process.comms.send_descriptor(directory)
            process.comms.send_descriptor(0 if not os.isatty(0) else _null())
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(directory)


def _null() -> int:
    return os.open(os.devnull, os.O_RDONLY)


HOSTILE = """
import socket, struct, sys
from stockade.client import named
raw = socket.socket(fileno=named.descriptor("stockade.comms"))
match sys.argv[1]:
    case "long": raw.sendall(struct.pack("<II", 0xFFFFFFFF, 0))
    case "half": raw.sendall(struct.pack("<II", 100, 0) + b"half"); raw.recv(1)
    case "descriptors": socket.send_fds(raw, [struct.pack("<II", 0, 50)], [0] * 50)
    case "nonsense": raw.sendall(b"nonsense" * 100)
    case "flood":
        while True: raw.sendall(struct.pack("<II", 4, 0) + bytes((0x0A, 2, 8, 5)))
    case "nothing": raw.recv(1)
"""


@pytest.mark.parametrize("kind", ["long", "half", "descriptors", "nonsense", "flood", "nothing"])
def test_a_hostile_program_only_causes_errors(kind: str) -> None:
    executor = Executor(client_policy())
    before = open_descriptors()
    with executor.start(python(HOSTILE, kind), env=ENVIRONMENT, comms=True) as process:
        if kind == "flood":
            assert [process.comms.recv_int(timeout=PATIENCE) for _ in range(1000)] == [5] * 1000
        else:
            with pytest.raises(CommsTimeoutError if kind in ("half", "nothing") else CommsError):
                process.comms.recv_message(
                    report_pb2.Violation, timeout=0.3 if kind in ("half", "nothing") else PATIENCE
                )
        process.kill()
    assert set(open_descriptors()) <= set(before)


def test_comms_are_there_only_when_asked_for(show: Path) -> None:
    with Executor(everything_builder(show).build()).start([show]) as process:
        with pytest.raises(PolicyError, match="comms=True"):
            _ = process.comms
        assert process.sockets == {}
    script = """
from stockade.client import named
try:
    named.comms()
except named.ClientError as error:
    print(error)
"""
    result = Executor(client_policy()).run(python(script), env=ENVIRONMENT)
    assert b"comms=True" in result.stdout, result.stderr


def test_comms_are_what_the_annotation_says(show: Path) -> None:
    with Executor(everything_builder(show).build()).start([show], comms=True) as process:
        assert isinstance(process.comms, Comms)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("named", [["a"], 5, {"a": "x"}, {"a": None}, {"a": True}, {"a": 1.5}])
def test_what_is_no_descriptor_is_said_to_be_none(named: Any) -> None:
    with pytest.raises(TypeError, match="named_fds"):
        Executor(Policy.profile("minimal")).run(["true"], named_fds=named)
