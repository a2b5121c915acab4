"""`Process`: what `Executor.start` gives, under the names of `subprocess.Popen`."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from stockade import DEVNULL, PIPE, STDOUT, Executor, Limits, PolicyError, Process, SetupError, Status, Violation
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

# Answers each line on stdin: upper case on stdout, the count on stderr. "end" ends it with 7, the end of input with 3.
BODY = r"""
char line[1000];
int count = 0;
if (argc > 1) signal(SIGTERM, handler);
say("ready\n");
while (fgets(line, sizeof line, stdin)) {
    if (!strcmp(line, "end\n")) return 7;
    if (!strcmp(line, "violate\n")) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    for (char *c = line; *c; c++) if (*c >= 'a' && *c <= 'z') *c -= 32;
    say(line);
    dprintf(2, "%d\n", ++count);
}
return 3;
"""
HANDLER = 'static void handler(int signo) { say("handled\\n"); _exit(44); }'


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, before=HANDLER)


@pytest.fixture(scope="module")
def executor(program: Path) -> Executor:
    return Executor(everything_builder(program).kill_syscall("getppid").build())


def test_a_conversation_in_bytes(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert isinstance(process, Process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        assert process.pid > 0
        assert process.args == [program]
        assert process.returncode is None
        assert process.poll() is None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"HELLO\n"
        assert process.stderr.readline() == b"1\n"
        process.stdin.write(b"end\n")
        process.stdin.flush()
        assert process.wait() == 7
        assert process.poll() == process.returncode == 7
    assert process.stdin.closed
    assert process.stdout.closed
    assert process.stderr.closed
    assert process.result.status is Status.OK
    assert process.result.returncode == 7
    assert process.result.pid == process.pid
    assert (process.result.stdout, process.result.stderr) == (None, None)


def test_a_conversation_in_text(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE, text=True, encoding="utf-8") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("häh\n")
        process.stdin.flush()
        assert process.stdout.readline() == "HäH\n"
        process.stdin.write("end\n")
        process.stdin.close()
        assert process.wait() == 7


def test_the_pid_is_the_one_that_the_host_sees(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert command == bytes(program) + b"\0"


def test_streams_default_to_nothing(executor: Executor, program: Path) -> None:
    with executor.start([program]) as process:
        assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
        assert process.wait() == 3


def test_both_streams_as_one(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stderr is None
        assert process.communicate(b"a\n") == (b"ready\nA\n1\n", None)


def test_communicate(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.communicate(b"a\nb\n") == (b"ready\nA\nB\n", b"1\n2\n")
        assert process.returncode == 3
        assert process.communicate() == (b"ready\nA\nB\n", b"1\n2\n")
        with pytest.raises(ValueError, match="communicat"):
            process.communicate(b"more")
    assert (process.result.stdout, process.result.stderr) == (b"ready\nA\nB\n", b"1\n2\n")
    assert process.result.usage.output_bytes == 14


def test_communicate_in_text(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.communicate("a\n") == ("ready\nA\n", "1\n")


def test_communicate_with_what_is_not_piped(executor: Executor, program: Path) -> None:
    with executor.start([program], stdout=DEVNULL) as process:
        assert process.communicate() == (None, None)
        assert process.returncode == 3


def test_communicate_goes_on_after_a_time_out(executor: Executor, program: Path, compile_c: CCompiler) -> None:
    """The second call gets what the first one had read, and the rest; the input is sent once."""
    slow = main_program(
        compile_c,
        'char b[10] = {0}; read(0, b, 1); say("first "); write(2, b, 1); read(90, b + 1, 1); read(0, b + 2, 1);say(b);',
    )
    reader, writer = os.pipe()
    gate = os.dup2(reader, 90)
    try:
        executor = Executor(everything_builder(slow).build())
        with executor.start([slow], stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=[gate]) as process:
            partial: bytes = b""
            data: bytes | None = b"12"
            while b"first " not in partial:  # ends as soon as the program has said so, however long that takes
                with pytest.raises(subprocess.TimeoutExpired) as caught:
                    process.communicate(data, timeout=0.02)
                partial, data = caught.value.output or b"", None
            assert process.poll() is None
            os.write(writer, b"g")
            assert process.communicate(timeout=600) == (b"first 1g2", b"1")
            assert process.returncode == 0
    finally:
        for descriptor in (reader, writer, gate):
            os.close(descriptor)


def test_wait_with_a_time_out(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        for timeout in (0, 0.01, -5):
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                process.wait(timeout)
            assert caught.value.cmd == [program]
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(600) == 3
        assert process.wait(0) == 3


def test_kill(executor: Executor, program: Path) -> None:
    process = executor.start([program, "handle"], stdin=PIPE)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    result = process.result
    assert result.status is Status.EXTERNAL_KILL
    assert result.reason.killed_by == "kill"
    assert (result.exit_code, result.signal, result.limit) == (None, None, None)
    process.kill()
    process.terminate()
    process.send_signal(signal.SIGINT)
    process.close()
    process.kill()
    assert process.result.status is Status.EXTERNAL_KILL


def test_a_signal_number_nine_is_kill(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.result.status is Status.EXTERNAL_KILL


def test_kill_ends_the_whole_box(compile_c: CCompiler) -> None:
    program = main_program(
        compile_c, 'if (fork() == 0) { setsid(); if (fork()) _exit(0); say("up"); pause(); } pause();'
    )
    reader, writer = os.pipe()
    with Executor(everything_builder(program).build()).start([program], stdout=PIPE, pass_fds=[writer]) as process:
        os.close(writer)
        assert process.stdout is not None
        assert process.stdout.read(2) == b"up"
        process.kill()
        assert os.read(reader, 1) == b""
    os.close(reader)


def test_kill_after_the_end_changes_nothing(executor: Executor, program: Path) -> None:
    process = executor.start([program])
    assert process.wait() == 3
    process.kill()
    process.close()
    assert (process.result.status, process.returncode) == (Status.OK, 3)


def test_stop_and_continue(executor: Executor, program: Path) -> None:
    """A stopped program is stopped although it is traced, and goes on when it is told to."""
    with executor.start([program], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for word in (b"one\n", b"two\n"):
            process.send_signal(signal.SIGSTOP)
            process.stdin.write(word)
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == word.upper()
        process.send_signal(signal.SIGSTOP)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_signal_that_does_not_exist(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        with pytest.raises(OSError, match="Invalid argument"):
            process.send_signal(1000)
        assert process.poll() is None


def test_a_violation(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE) as process:
        output, _ = process.communicate(b"a\nviolate\nb\n")
    assert output == b"ready\nA\n"
    assert process.returncode == -signal.SIGSYS
    assert process.result.status is Status.VIOLATION
    assert process.result.violations[0].kind == Violation.SYSCALL


def test_the_context_closes_and_waits(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE) as process:
        pass  # leaving closes stdin, at the end of which the program leaves
    assert process.returncode in (3, -signal.SIGPIPE)
    with pytest.raises(ValueError, match="closed"):
        assert process.stdin is not None
        process.stdin.write(b"x")


def test_the_context_does_not_wait_for_output_that_nobody_reads(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "static char b[65536]; for (;;) write(1, b, sizeof b);")
    with Executor(everything_builder(program).build()).start([program], stdout=PIPE) as process:
        pass
    assert (process.result.status, process.result.signal) == (Status.SIGNALED, signal.SIGPIPE)


def test_closing_kills_and_may_be_repeated(executor: Executor, program: Path) -> None:
    process = executor.start([program], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    pidfd = os.pidfd_open(process.pid)
    process.close()
    assert select.select([pidfd], [], [], 0)[0] == [pidfd]  # nothing is left when close returns
    os.close(pidfd)
    process.close()
    process.close()
    assert process.returncode == -signal.SIGKILL
    assert process.result.status is Status.EXTERNAL_KILL


def test_repr(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        assert f"pid={process.pid}" in repr(process)
        assert "returncode=None" in repr(process)
    assert "returncode=3" in repr(process)
    assert "Result OK returncode=3" in repr(process.result)


def test_start_returns_when_the_program_runs(executor: Executor) -> None:
    with pytest.raises(SetupError):
        executor.start(["/nowhere"])


def test_many_wait_for_one(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(process.wait())) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert process.stdin is not None
        process.stdin.close()
        for thread in threads:
            thread.join()
    assert codes == [3] * 8


# Clocks.


def test_wall_time_ends_a_process_that_nobody_waits_for(program: Path) -> None:
    executor = Executor(everything_builder(program).build(), limits=Limits(wall_time=0.05))
    process = executor.start([program], stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert process.stdout.read() == b"ready\n"  # up to the end that only the clock can bring
    assert process.wait() == -signal.SIGKILL
    assert (process.result.status, process.result.limit) == (Status.TIMEOUT, "wall_time")
    process.close()


def test_set_wall_time_of_a_running_process(executor: Executor, program: Path) -> None:
    process = executor.start([program], stdin=PIPE)
    process.set_wall_time(3600)
    process.set_wall_time("30ms")
    assert process.wait() == -signal.SIGKILL
    assert (process.result.status, process.result.limit) == (Status.TIMEOUT, "wall_time")
    assert process.result.to_proto().limit.allowed == 0.03
    process.set_wall_time(5)
    process.close()


def test_a_longer_wall_time_of_a_running_process(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE) as process:
        process.set_wall_time(3600)
        process.set_wall_time(7200)
        process.set_wall_time(None)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 3
    assert process.result.limit is None


def test_the_wall_time_of_the_policy_cannot_be_raised(program: Path) -> None:
    executor = Executor(everything_builder(program).build(), limits=Limits(wall_time=0.05))
    for longer in (3600, None):
        process = executor.start([program], stdin=PIPE)
        process.set_wall_time(longer)
        assert process.wait() == -signal.SIGKILL
        assert process.result.to_proto().limit.allowed == 0.05
        process.close()


@pytest.mark.parametrize("nonsense", [0, -1, "soon", float("nan"), float("inf"), True])
def test_a_wall_time_that_is_none(executor: Executor, program: Path, nonsense: object) -> None:
    with executor.start([program], stdin=PIPE) as process:
        with pytest.raises(PolicyError, match="wall_time"):
            process.set_wall_time(nonsense)  # type: ignore[arg-type]
        assert process.poll() is None


def test_the_clock_does_not_run_into_the_verdict(program: Path) -> None:
    """A program that ends by itself is not said to have run out of time, whatever the clock says afterwards."""
    executor = Executor(everything_builder(program).build(), limits=Limits(wall_time=3600))
    with executor.start([program]) as process:
        assert process.wait() == 3
        process.set_wall_time(0.000001)
    assert process.result.status is Status.OK
