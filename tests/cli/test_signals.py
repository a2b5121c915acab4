"""Ctrl-C, termination and readers that go away: nothing of the box is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format

from stockade._proto import report_pb2
from support.command_line import CommandLine

# Deaf to everything that can be ignored, with a child that is too. Holds standard output open for as long as it lives.
STUBBORN = "trap '' INT TERM HUP; echo ready; (while :; do read x; done) & while :; do read x; done"


def _start(stockade: CommandLine, *options: str, script: str = STUBBORN) -> subprocess.Popen[bytes]:
    """Start the stubborn program, or another script, in a process group of its own, and wait until it runs."""
    process = subprocess.Popen(
        stockade.command("run", "--quiet", *options, "/bin/sh", "-c", script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=stockade.directory,
        env=stockade.environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize(
    ("signo", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_signals_end_the_whole_tree(stockade: CommandLine, public_tmp: Path, signo: int, code: int) -> None:
    with _start(stockade, "--json", "result.json") as process:
        assert process.stdout is not None and process.stderr is not None
        os.killpg(process.pid, signo)
        assert process.stdout.read() == b""  # ends when nobody has the pipe open any more
        assert process.stderr.read() == b""
        assert process.wait() == code
    report = json_format.Parse((public_tmp / "result.json").read_text(), report_pb2.Report())
    assert report.status == report_pb2.STATUS_EXTERNAL_KILL
    assert report.reason.killed_by == "interrupt"


def test_killing_the_command_itself_leaves_nothing(stockade: CommandLine) -> None:
    with _start(stockade) as process:
        assert process.stdout is not None
        process.kill()
        assert process.stdout.read() == b""
        assert process.wait() == -signal.SIGKILL


def test_ignored_interrupts_stay_ignored(stockade: CommandLine) -> None:
    """As for `nohup`, and for background jobs of a shell."""
    command = stockade.command("run", "--quiet", "cat")
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=stockade.environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one\n"
        process.send_signal(signal.SIGINT)
        process.stdin.write(b"two\n")
        process.stdin.close()
        assert process.stdout.read() == b"two\n"
        assert process.wait() == 0


def test_reader_that_goes_away(stockade: CommandLine) -> None:
    done = stockade.shell('"$@" yes | head -1; echo "${PIPESTATUS[0]}"')
    assert (done.stdout, done.stderr) == ("y\n141\n", "")


def test_report_to_a_reader_that_has_gone(stockade: CommandLine) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        stockade.command("run", "/bin/sh", "-c", "kill -SEGV $$"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        env=stockade.environment(),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stdout) == (139, b"")


POLITE = "trap 'echo bye; exit 5' TERM; echo ready; while :; do read x; done"


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_program_may_have_time_to_end(stockade: CommandLine, public_tmp: Path, signo: int) -> None:
    with _start(stockade, "--terminate-grace", "60s", "--json", "result.json", script=POLITE) as process:
        assert process.stdout is not None and process.stderr is not None
        os.kill(process.pid, signo)
        said = process.stdout.read(), process.stderr.read(), process.wait()
        assert said == (b"bye\n", b"", 128 + signo)
    report = json_format.Parse((public_tmp / "result.json").read_text(), report_pb2.Report())
    assert (report.status, report.reason.exit_code) == (report_pb2.STATUS_OK, 5)


def test_one_that_does_not_use_it_is_killed(stockade: CommandLine, public_tmp: Path) -> None:
    with _start(stockade, "--terminate-grace", "200ms", "--json", "result.json") as process:
        assert process.stdout is not None
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.read() == b""
        assert process.wait() == 143
    report = json_format.Parse((public_tmp / "result.json").read_text(), report_pb2.Report())
    assert (report.status, report.reason.killed_by) == (report_pb2.STATUS_EXTERNAL_KILL, "terminate")


def test_a_second_signal_does_not_wait_for_it(stockade: CommandLine) -> None:
    with _start(stockade, "--terminate-grace", "1h") as process:
        assert process.stdout is not None
        os.kill(process.pid, signal.SIGTERM)
        while process.poll() is None:  # whenever the first one has been noticed, the next one ends it
            os.kill(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert process.returncode == 143
        assert process.stdout.read() == b""


@pytest.mark.parametrize("grace", ["soon", "-1s", ""])
def test_a_grace_that_is_no_time(stockade: CommandLine, grace: str) -> None:
    done = stockade.run("--terminate-grace", grace, "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--terminate-grace" in done.stderr
