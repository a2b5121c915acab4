"""Stops and continuations behave as without a tracer: in what a parent sees, in SIGCHLD,
in calls that are interrupted."""

from __future__ import annotations

import os
import pty
import tty
from collections.abc import Sequence
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder, Status
from support.compiler import CCompiler
from support.runs import everything_builder, main_program
from support.untraced import run_plain, same_as_plain

HELPERS = r"""
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <linux/futex.h>
#include <time.h>
#include <termios.h>
#define print(...) do { char text[300]; snprintf(text, sizeof text, __VA_ARGS__); say(text); } while (0)
static int child;
/* Wait for one change of the child and say what it is. */
static void show(int options) {
    siginfo_t info = {0};
    if (waitid(P_PID, child, &info, options) < 0) { print("waitid failed %d\n", errno); return; }
    print("code %d status %d signal %d own %d\n", info.si_code, info.si_status, info.si_signo, info.si_pid == child);
}
static void show_status(int options) {
    int status = 0, pid = waitpid(child, &status, options);
    print("own %d stopped %d continued %d signaled %d number %d\n", pid == child, WIFSTOPPED(status),
          WIFCONTINUED(status), WIFSIGNALED(status), WIFSTOPPED(status) ? WSTOPSIG(status)
          : WIFSIGNALED(status) ? WTERMSIG(status) : WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}
static char text_of[512];
static char *read_of(int pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int file = open(path, O_RDONLY);
    long size = read(file, text_of, sizeof text_of - 1);
    if (size < 0) _exit(9);
    text_of[size] = 0;
    close(file);
    return text_of;
}
static volatile int *is_ready;
/* Until the child sleeps in its call, for which a supervisor may have been asked before. */
static void await_sleep(void) {
    while (!*is_ready) sched_yield();
    for (;; sched_yield()) {
        read_of(child, "wchan");
        int asks = !strcmp(text_of, "0") || strstr(text_of, "seccomp");
        if (!asks && strrchr(read_of(child, "stat"), ')')[2] == 'S') return;
    }
}
"""

FLOWS = {
    "each stop signal": """
        int signals[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
        if (!(child = fork())) { setpgid(0, 0); for (;;) pause(); }
        setpgid(child, child);
        for (int i = 0; i < 4; i++) {
            kill(child, signals[i]); show(WSTOPPED); show(WNOHANG|WSTOPPED|WCONTINUED|WEXITED);
            kill(child, SIGCONT); show(WCONTINUED);
            kill(child, signals[i]); show_status(WUNTRACED);
            kill(-child, SIGCONT); show_status(WCONTINUED);
        }
        kill(child, SIGTERM); show(WEXITED);
    """,
    "a child that stops itself": """
        if (!(child = fork())) { for (int i = 0; i < 50; i++) raise(SIGSTOP); _exit(7); }
        for (int i = 0; i < 50; i++) { show_status(WUNTRACED); kill(child, SIGCONT); }
        show(WEXITED|WCONTINUED|WNOWAIT); show_status(0);
    """,
    "waiting without asking for stops": """
        if (!(child = fork())) { raise(SIGSTOP); _exit(5); }
        show(WSTOPPED|WNOWAIT); print("%d\\n", waitpid(child, 0, WNOHANG));
        show(WSTOPPED); show(WNOHANG|WSTOPPED);
        kill(child, SIGCONT); show_status(0);
    """,
    "a stopped child is killed": """
        if (!(child = fork())) for (;;) pause();
        kill(child, SIGSTOP); show(WSTOPPED); kill(child, SIGKILL); show_status(WUNTRACED);
    """,
    "children that are killed while they stop": """
        for (int i = 0; i < 300; i++) {
            if (!(child = fork())) for (;;) pause();
            kill(child, SIGSTOP); if (i % 3) sched_yield(); kill(child, SIGKILL);
            int status = 0; waitpid(child, &status, 0); if (!WIFSIGNALED(status)) print("%d\\n", status);
        }
        say("all\\n");
    """,
    "a stopped child is terminated when it goes on": """
        if (!(child = fork())) for (;;) pause();
        kill(child, SIGSTOP); show(WSTOPPED); kill(child, SIGTERM); show(WNOHANG|WSTOPPED|WEXITED);
        kill(child, SIGCONT); show_status(0);
    """,
    "a continuation takes back a stop that waits": """
        sigset_t set; sigemptyset(&set); sigaddset(&set, SIGTSTP); sigaddset(&set, SIGCONT);
        if (!(child = fork())) {
            sigprocmask(SIG_BLOCK, &set, 0); setpgid(0, 0);
            raise(SIGTSTP); sigpending(&set); print("%d %d\\n", sigismember(&set, SIGTSTP), sigismember(&set, SIGCONT));
            raise(SIGCONT); sigpending(&set); print("%d %d\\n", sigismember(&set, SIGTSTP), sigismember(&set, SIGCONT));
            raise(SIGTSTP); sigpending(&set); print("%d %d\\n", sigismember(&set, SIGTSTP), sigismember(&set, SIGCONT));
            _exit(0);
        }
        show(WEXITED);
    """,
    "an orphaned group does not stop": """
        print("%d\\n", getpid() == getsid(0)); raise(SIGTSTP); raise(SIGTTIN); raise(SIGTTOU); say("here\\n");
    """,
    "a group that becomes an orphan is woken": """
        int ends[2]; pipe(ends);
        if (!(child = fork())) {
            setpgid(0, 0);
            if (!fork()) {
                signal(SIGHUP, hang_up); close(ends[0]); reports = ends[1]; raise(SIGSTOP); raise(SIGKILL);
            }
            siginfo_t info; waitid(P_ALL, 0, &info, WSTOPPED); _exit(info.si_status);
        }
        close(ends[1]); show(WEXITED);
        char text[10] = ""; read(ends[0], text, 9); say(text); print("%ld\\n", (long)read(ends[0], text, 9));
    """,
    "SIGCHLD says what happened": """
        struct sigaction action = {.sa_sigaction = changed, .sa_flags = SA_SIGINFO};
        sigaction(SIGCHLD, &action, 0);
        sigset_t set, none; sigemptyset(&none); sigemptyset(&set); sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, 0);
        int ends[2]; pipe(ends); char c;
        if (!(child = fork())) { raise(SIGSTOP); read(ends[0], &c, 1); _exit(33); }
        sigsuspend(&none); kill(child, SIGCONT); sigsuspend(&none); write(ends[1], "x", 1); sigsuspend(&none);
        show_status(0);
        if (!(child = fork())) for (;;) pause();
        kill(child, SIGUSR1); sigsuspend(&none); show_status(0);
        action.sa_flags |= SA_NOCLDSTOP; sigaction(SIGCHLD, &action, 0);
        if (!(child = fork())) { raise(SIGSTOP); _exit(34); }
        show(WSTOPPED); kill(child, SIGCONT); sigsuspend(&none); show_status(0);
    """,
    "all threads of a process stop": """
        counters = mmap(0, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);
        if (!(child = fork())) {
            pthread_t t;
            for (long i = 0; i < 4; i++) pthread_create(&t, 0, count, (void *)i);
            for (;;) pause();
        }
        for (int i = 0; i < 4; i++) while (!counters[i]) sched_yield();
        for (int round = 0; round < 10; round++) {
            long before[4];
            kill(child, SIGSTOP); show(WSTOPPED);
            for (int i = 0; i < 4; i++) before[i] = counters[i];
            for (volatile int i = 0; i < 1000000; i++);
            for (int i = 0; i < 4; i++) if (before[i] != counters[i]) print("thread %d runs\\n", i);
            kill(child, SIGCONT); show(WCONTINUED);
            for (int i = 0; i < 4; i++) while (before[i] == counters[i]) sched_yield();
        }
        kill(child, SIGKILL); show_status(0);
    """,
    "a thread that is made while the process stops": """
        counters = mmap(0, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);
        if (!(child = fork())) {
            for (;;) { pthread_t t; pthread_create(&t, 0, nothing, 0); counters[0]++; pthread_join(t, 0); }
        }
        for (int round = 0; round < 50; round++) {
            long before = counters[0];
            while (counters[0] == before) sched_yield();
            kill(child, SIGSTOP); show(WSTOPPED); kill(child, SIGCONT); show(WCONTINUED);
        }
        kill(child, SIGKILL); show_status(0);
    """,
}
BEFORE = (
    HELPERS
    + r"""
static int reports;
static volatile long *counters;
static void hang_up(int signo) { write(reports, "hang-up\n", 8); _exit(0); }
static void changed(int signo, siginfo_t *info, void *context) {
    print("SIGCHLD code %d status %d own %d\n", info->si_code, info->si_status, info->si_pid == child);
}
static void *count(void *which) { for (;;) counters[(long)which]++; return 0; }
static void *nothing(void *p) { return 0; }
"""
)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_parent_inside_sees_what_it_would_see_outside(compile_c: CCompiler, flow: str) -> None:
    program = main_program(compile_c, FLOWS[flow], before=BEFORE)
    assert same_as_plain(program).stdout


# A12: the child sleeps in a call, is stopped and let go on, and says what came of the call in the end: (the call, what
# the parent does to end it). Those of the second table fail with EINTR on any Linux then, and are made again.
WRITE = 'write(ends[1], "x", 1);'
STOP_RESISTANT = {
    "nanosleep": ("long r = nanosleep(&day, &rest);", "kill(child, SIGUSR1);"),
    "clock_nanosleep": ("long r = clock_nanosleep(CLOCK_REALTIME, 0, &day, &rest);", "kill(child, SIGUSR1);"),
    "poll": ("struct pollfd f = {ends[0], POLLIN, 0}; long r = poll(&f, 1, 86400000);", WRITE),
    "ppoll": ("struct pollfd f = {ends[0], POLLIN, 0}; long r = ppoll(&f, 1, &day, 0);", WRITE),
    "select": ("fd_set s; FD_ZERO(&s); FD_SET(ends[0], &s); long r = select(ends[0] + 1, &s, 0, 0, 0);", WRITE),
    "futex": (
        "long r = syscall(SYS_futex, word, FUTEX_WAIT, 0, &day, 0, 0);",
        "*word = 1; syscall(SYS_futex, word, FUTEX_WAKE, 1, 0, 0, 0);",
    ),
    "read": ("char c; long r = read(ends[0], &c, 1);", WRITE),
    "wait4": ("int s; long r = waitpid(kid, &s, 0) == kid;", WRITE),
    "pause": ("long r = pause();", "kill(child, SIGUSR1);"),
}
INTERRUPTED_BY_STOPS = {
    "epoll_wait": ("long r = epoll_wait(queue, &event, 1, 86400000);", WRITE),
    "rt_sigtimedwait": ("long r = sigtimedwait(&set, 0, &day);", "kill(child, SIGUSR2);"),
}
INTERRUPTED = """
struct timespec day = {86400, 0}, rest = {0};
struct epoll_event event = {.events = EPOLLIN};
int ends[2], queue = epoll_create1(0), *word = mmap(0, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);
sigset_t set;
is_ready = word + 1;
pipe(ends);
epoll_ctl(queue, EPOLL_CTL_ADD, ends[0], &event);
signal(SIGUSR1, handled);
if (!(child = fork())) {
    int kid = fork();
    if (!kid) { char c; read(ends[0], &c, 1); _exit(4); }
    if (strcmp(argv[1], "wait4")) { kill(kid, SIGKILL); waitpid(kid, 0, 0); }
    sigemptyset(&set); sigaddset(&set, SIGUSR2); sigprocmask(SIG_BLOCK, &set, 0);
    *is_ready = 1;
again:  errno = 0;
    CALL
    int error = r < 0 ? errno : 0;
    if (error == EINTR && AGAIN) goto again;
    print("%ld %d %d\\n", r, error, rest.tv_sec > 80000);
    _exit(0);
}
for (int i = 0; i < 4; i++) {
    await_sleep(); kill(child, SIGSTOP); show(WSTOPPED); kill(child, SIGCONT); show(WCONTINUED);
}
await_sleep(); END show(WEXITED);
"""
ALL_CALLS = STOP_RESISTANT | INTERRUPTED_BY_STOPS


@pytest.mark.parametrize("call", ALL_CALLS)
@pytest.mark.parametrize("traced", [False, True])
def test_a_call_that_is_stopped_goes_on_as_outside(compile_c: CCompiler, call: str, traced: bool) -> None:
    """The kernel carries on with the very call (restart_syscall), or makes it again; it never hangs, and never fails
    where it would not.
    """
    (make, end), again = ALL_CALLS[call], call in INTERRUPTED_BY_STOPS
    body = INTERRUPTED.replace("CALL", make).replace("END", end).replace("AGAIN", str(int(again)))
    program = main_program(compile_c, body, before=HELPERS + "static void handled(int signo) {}")

    def build(builder: PolicyBuilder) -> PolicyBuilder:
        return (builder.log_syscall(call) if traced else builder).add_proc(full=True)

    assert same_as_plain(program, call, build=build).stdout


SHELL_JOBS = r"""
int master = number_of(argv[1]), terminal = number_of(argv[2]);
signal(SIGTTOU, SIG_IGN);
if (ioctl(terminal, TIOCSCTTY, 0)) print("no terminal: %d\n", errno);
if (!(child = fork())) {
    setpgid(0, 0); tcsetpgrp(terminal, getpid());
    signal(SIGTTOU, SIG_DFL);
    write(master, "x", 1);
    char c; read(terminal, &c, 1);
    say("in front\n");
    raise(SIGSTOP);
    for (;;) read(terminal, &c, 1);
}
setpgid(child, child); tcsetpgrp(terminal, child);
show(WSTOPPED); tcsetpgrp(terminal, getpgrp());
kill(-child, SIGCONT); show(WCONTINUED); show(WSTOPPED);          /* it reads in the background: SIGTTIN */
tcsetpgrp(terminal, child); kill(-child, SIGCONT); show(WCONTINUED);
write(master, "\x1a", 1); show(WSTOPPED);                         /* ^Z */
kill(-child, SIGCONT); show(WCONTINUED);
write(master, "\x03", 1); show(WEXITED);                          /* ^C */
"""


def test_job_control_at_a_terminal(compile_c: CCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal is never handed over: here it is all the same, because nothing else shows ^Z and the background."""
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    program = main_program(compile_c, SHELL_JOBS, before=HELPERS)
    outputs = []
    for run in (run_plain, _run_inside):
        master, terminal = pty.openpty()  # a terminal is one session's
        try:
            tty.setcbreak(terminal)
            outputs.append(run([program, str(master), str(terminal)], pass_fds=[master, terminal])[1])
        finally:
            os.close(master)
            os.close(terminal)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"code") == 7


def _run_inside(argv: Sequence[str | Path], pass_fds: Sequence[int]) -> tuple[int, bytes]:
    program = argv[0]
    assert isinstance(program, Path)
    result = Executor(everything_builder(program).build()).run(argv, pass_fds=pass_fds)
    assert result.status is Status.OK, result.report()
    return result.returncode, result.stdout
