"""Init while a program runs: what the host sees of it, what signals do, what it reaps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Limits, Process, Status
from stockade.request import MONITORS
from support.attacks import open_wide, parents, small

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text) { if (write(1, text, strlen(text)) < 0) _exit(9); }
static void caught(int number) {
    char text[] = "signal 00\n";
    text[7] += number / 10;
    text[8] += number % 10;
    say(text);
}

int main(int argc, char **argv) {
    char byte;
    if (!strcmp(argv[1], "wait")) {
        struct sigaction action = {.sa_handler = caught, .sa_flags = SA_RESTART};
        for (int number = 1; number < 32; number++) sigaction(number, &action, NULL);
        say("running\n");
        while (read(0, &byte, 1) > 0) continue;
        return 0;
    }
    if (!strcmp(argv[1], "attack")) {
        for (int number = 1; number < 65; number++) {
            siginfo_t forged = {.si_signo = number, .si_code = SI_QUEUE};
            kill(1, number);
            syscall(SYS_tgkill, 1, 1, number);
            syscall(SYS_rt_sigqueueinfo, 1, number, &forged);
        }
        if (getppid() != 1) return 1;
        say("alive\n");
        while (read(0, &byte, 1) > 0) continue;
        return 0;
    }
    if (!strcmp(argv[1], "orphans")) {
        for (int round = 0; round < 20; round++) {
            int ends[2];
            pid_t orphan, child;
            if (pipe(ends) != 0) return 1;
            child = fork();
            if (child == 0) {
                orphan = fork();
                if (orphan == 0) _exit(0);
                if (write(ends[1], &orphan, sizeof orphan) < 0) _exit(1);
                _exit(0);
            }
            if (read(ends[0], &orphan, sizeof orphan) != sizeof orphan) return 2;
            waitpid(child, NULL, 0);
            /* As long as it is a zombie it can be sent a signal. */
            while (kill(orphan, 0) == 0) continue;
            if (errno != ESRCH) return 3;
            close(ends[0]);
            close(ends[1]);
        }
        return 0;
    }
    return 9;
}
"""


@pytest.fixture
def program(compile_c: Callable[..., Path]) -> Path:
    found: Path = compile_c(SOURCE, name="signals")
    return found


@pytest.fixture(params=MONITORS)
def monitor(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def running(program: Path, monitor: str) -> Iterator[Process]:
    executor = Executor(open_wide(program).build(), monitor=monitor)
    with executor.start([program, "wait"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        yield process


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_init_is_no_prey(running: Process) -> None:
    init = parents()[running.pid]
    status = status_of(init)
    assert status["NSpid"].split()[-1] == "1"
    assert status["Name"] == "stockade-init"
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert "0" not in status["Uid"].split() + status["Gid"].split()
    # The files of a process that is not dumpable belong to root (of no namespace below the host's).
    assert os.stat(f"/proc/{init}/environ").st_uid == 0
    assert os.stat(f"/proc/{running.pid}/environ").st_uid != 0


@pytest.mark.needs_root
def test_init_holds_no_descriptor_and_nothing_of_the_host(running: Process, monitor: str) -> None:
    init = parents()[running.pid]
    held = [os.readlink(f"/proc/{init}/fd/{name}") for name in os.listdir(f"/proc/{init}/fd")]
    if monitor == "unotify":  # but for the pipe on which it reports the end, which nobody inside has
        assert held.pop().startswith("pipe:[")
    assert held == []
    assert os.readlink(f"/proc/{init}/cwd") == "/" == os.readlink(f"/proc/{init}/root")
    roots = [line.split()[4] for line in Path(f"/proc/{init}/mountinfo").read_text().splitlines()]
    assert roots.count("/") == 1
    assert os.readlink(f"/proc/{init}/ns/user") == os.readlink(f"/proc/{running.pid}/ns/user")


@pytest.mark.needs_unprivileged
def test_the_caller_cannot_look_into_init(running: Process) -> None:
    init = parents()[running.pid]
    for name in ("mem", "environ", "maps"):
        with pytest.raises(PermissionError):
            Path(f"/proc/{init}/{name}").read_bytes()
    with pytest.raises(PermissionError):
        os.listdir(f"/proc/{init}/fd")


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_a_signal_to_init_reaches_the_program(running: Process, signo: signal.Signals) -> None:
    init = os.pidfd_open(parents()[running.pid])
    signal.pidfd_send_signal(init, signo)
    os.close(init)
    assert running.stdout is not None
    assert running.stdout.readline() == b"signal %02d\n" % signo


def test_nothing_inside_can_make_init_act(program: Path) -> None:
    executor = Executor(open_wide(program).build())
    with executor.start([program, "attack"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"alive\n"
        assert status_of(parents()[process.pid])["Name"] == "stockade-init"
    assert process.result.status is Status.OK
    assert process.returncode == 0


def test_init_reaps_orphans(program: Path) -> None:
    policy = small(program).allow_fork().allow_wait().allow_pipe().allow_kill().allow_read().allow_close().build()
    # Without a reaper the program waits forever.
    result = Executor(policy, limits=Limits(wall_time=60)).run([program, "orphans"])
    assert (result.status, result.returncode) == (Status.OK, 0)
