"""Streams of a run: much data both ways, streams that are closed early or held long, and what is never handed in."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stockade import DEVNULL, INHERIT, PIPE, STDOUT, Executor, LimitError, Limits, PolicyError, Status
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, python_environment, static_builder

TEN_MEGABYTES = 10_000_000


@pytest.fixture(scope="module")
def idle(compile_c: CCompiler) -> Path:
    return main_program(compile_c, "pause();")


@pytest.mark.parametrize("gather", ["run", "start"])
def test_ten_megabytes_in_three_directions_at_once(compile_c: CCompiler, gather: str) -> None:
    """Input comes back on stdout while a thread fills stderr."""
    before = """
    static char noise[65536];
    static void *fill(void *bytes) {
        for (long left = (long)bytes; left > 0;) left -= write(2, noise, left < 65536 ? left : 65536);
        return 0;
    }
    """
    body = """
    static char buffer[65536];
    pthread_t t;
    long n, done, size = number_of(argv[1]);
    memset(noise, 'e', sizeof noise);
    pthread_create(&t, 0, fill, (void *)size);
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        for (done = 0; done < n;) done += write(1, buffer + done, n - done);
    pthread_join(t, 0);
    """
    program = main_program(compile_c, body, before=before)
    executor = Executor(everything_builder(program).build())
    data = os.urandom(1000) * (TEN_MEGABYTES // 1000)
    if gather == "run":
        result = executor.run([program, str(TEN_MEGABYTES)], input=data)
        stdout, stderr = result.stdout, result.stderr
    else:
        with executor.start([program, str(TEN_MEGABYTES)], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
            stdout, stderr = process.communicate(data)
        result = process.result
    assert result.status is Status.OK
    assert stdout == data
    assert stderr == b"e" * TEN_MEGABYTES
    assert result.usage.output_bytes == 2 * TEN_MEGABYTES


def test_a_program_that_closes_its_output_and_lives_on(compile_c: CCompiler) -> None:
    """The end of the streams is not the end of the run."""
    program = main_program(compile_c, 'say("x"); close(1); close(2); char b; while (read(0, &b, 1) > 0); return 5;')
    executor = Executor(everything_builder(program).build())
    with executor.start([program], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        assert process.stdout.read() == b"x"
        assert process.stderr.read() == b""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait() == 5
    assert executor.run([program], input=b"abc").returncode == 5


def test_a_program_that_never_reads_its_input(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'say("deaf"); return 6;')
    result = Executor(static_builder(program).build()).run([program], input=bytes(TEN_MEGABYTES))
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 6, b"deaf")


def test_a_program_that_closes_its_input(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'close(0); say("closed"); return 6;')
    result = Executor(everything_builder(program).build()).run([program], input=bytes(TEN_MEGABYTES))
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 6, b"closed")


def test_what_the_program_leaves_behind_ends_with_it(compile_c: CCompiler) -> None:
    """A grandchild that holds stdout does not hold up the run: it is killed with its box."""
    body = """
    if (fork() == 0) { if (fork() == 0) { say("held "); pause(); } _exit(0); }
    wait(0);
    return 3;
    """
    program = main_program(compile_c, body)
    reader, writer = os.pipe()
    try:
        result = Executor(everything_builder(program).build()).run([program], pass_fds=[writer])
        os.close(writer)
        assert (result.status, result.returncode) == (Status.OK, 3)
        assert result.stdout in (b"", b"held ")
        assert os.read(reader, 1) == b""  # all who held the other end are gone
    finally:
        os.close(reader)


def test_nothing_is_inherited_unless_asked(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'say("out"); write(2, "err", 3); char b; return read(0, &b, 1) == 1 ? b : 0;')
    script = """
import sys
from pathlib import Path
from stockade import INHERIT, Executor
from support.runs import everything_builder
streams = dict.fromkeys(sys.argv[2:], INHERIT)
executor = Executor(everything_builder(Path(sys.argv[1])).build())
with executor.start([sys.argv[1]], **streams) as process:
    sys.exit(process.wait())
"""

    def run(*names: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", script, str(program), *names]
        return subprocess.run(command, env=python_environment(), input=b"\x07", capture_output=True, check=False)

    nothing = run()
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, b"", b"")
    everything = run("stdin", "stdout", "stderr")
    assert (everything.returncode, everything.stdout, everything.stderr) == (7, b"out", b"err")


def test_a_terminal_is_copied_through_a_pipe_and_never_handed_over(compile_c: CCompiler) -> None:
    body = """
    char text[100];
    int n = read(0, text, 99);
    text[n] = 0;
    dprintf(1, "%d%d%d:%s", isatty(0), isatty(1), isatty(2), text);
    """
    program = main_program(compile_c, body)
    executor = Executor(everything_builder(program).build())
    controller, terminal = pty.openpty()
    try:
        os.write(controller, b"typed\n")
        with executor.start([program], stdin=terminal, stdout=terminal, stderr=terminal) as process:
            assert process.wait() == 0
        seen = b""
        while b":typed" not in seen:
            seen += os.read(controller, 1000)
        assert b"000:typed" in seen
        for descriptor in (controller, terminal):
            assert os.isatty(descriptor)
            with pytest.raises(PolicyError, match="terminal"):
                executor.run([program], pass_fds=[descriptor])
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.parametrize("place", ["stdin", "stdout", "stderr", "pass_fds"])
def test_a_directory_is_never_handed_over(idle: Path, place: str) -> None:
    """From the descriptor of a directory outside the whole host could be reached."""
    executor = Executor(static_builder(idle).build())
    for flags in (os.O_RDONLY | os.O_DIRECTORY, os.O_PATH | os.O_DIRECTORY):
        descriptor = os.open("/", flags)
        try:
            with pytest.raises(PolicyError, match="directory"):
                executor.run([idle], **{place: [descriptor] if place == "pass_fds" else descriptor})  # type: ignore[arg-type]
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("descriptor", [987, -1, -7])
def test_descriptors_that_are_not_open(idle: Path, descriptor: int) -> None:
    executor = Executor(static_builder(idle).build())
    with pytest.raises((PolicyError, ValueError), match=r"not open|descriptor"):
        executor.run([idle], pass_fds=[descriptor])
    if descriptor == 987:
        with pytest.raises(PolicyError, match="not open"):
            executor.run([idle], stdout=descriptor)


def test_descriptors_are_passed_once_and_not_as_streams(idle: Path) -> None:
    executor = Executor(static_builder(idle).build())
    with tempfile.TemporaryFile() as file:
        for numbers in ([file.fileno()] * 2, [1], [0], [2]):
            with pytest.raises(PolicyError, match="pass_fds"):
                executor.run([idle], pass_fds=numbers)


LOUD = """
static char chunk[4096];
long left = number_of(argv[1]);
memset(chunk, 'x', sizeof chunk);
while (left > 0) left -= write(left & 4096 ? 2 : 1, chunk, left < 4096 ? left : 4096);
"""


@pytest.mark.parametrize("written", [10_001, 1 << 20, 1 << 26])
def test_more_output_than_allowed(compile_c: CCompiler, written: int) -> None:
    program = main_program(compile_c, LOUD)
    executor = Executor(static_builder(program).build(), limits=Limits(output=10_000))
    result = executor.run([program, str(written)])
    assert (result.status, result.limit, result.returncode) == (Status.LIMIT, "output", -signal.SIGKILL)
    assert len(result.stdout) + len(result.stderr) == 10_000
    report = result.to_proto()
    assert (report.limit.name, report.limit.allowed) == ("output", 10_000)
    assert report.limit.measured > 10_000
    assert result.reason.limit == "output"
    with pytest.raises(LimitError, match="output") as caught:
        executor.run([program, str(written)], check=True)
    assert caught.value.result is not None
    assert caught.value.result.limit == "output"


@pytest.mark.parametrize("written", [0, 1, 9_999, 10_000])
def test_output_up_to_the_limit(compile_c: CCompiler, written: int) -> None:
    program = main_program(compile_c, LOUD)
    result = Executor(static_builder(program).build(), limits=Limits(output=10_000)).run([program, str(written)])
    assert (result.status, result.limit) == (Status.OK, None)
    assert len(result.stdout) + len(result.stderr) == written


def test_output_to_files_is_not_counted(compile_c: CCompiler) -> None:
    program = main_program(compile_c, LOUD)
    executor = Executor(static_builder(program).build(), limits=Limits(output=0))
    with tempfile.TemporaryFile() as file:
        assert executor.run([program, "100000"], stdout=file, stderr=DEVNULL).status is Status.OK
        assert file.seek(0, os.SEEK_END) > 0
    assert executor.run([program, "0"]).status is Status.OK
    assert executor.run([program, "1"]).status is Status.LIMIT


def test_output_that_is_no_text(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'say("\\xff");')
    executor = Executor(static_builder(program).build())
    with pytest.raises(UnicodeDecodeError):
        executor.run([program], encoding="utf-8")
    assert executor.run([program]).stdout == b"\xff"


def test_streams_that_are_none_of_the_names(idle: Path) -> None:
    executor = Executor(static_builder(idle).build())
    with pytest.raises(ValueError, match="PIPE"):
        executor.run([idle], stdout=-9)
    assert len({INHERIT, PIPE, DEVNULL, STDOUT}) == 4
