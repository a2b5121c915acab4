"""Class P, and A12: a program that tries to get out of the monitor's sight by what tracers find hard to follow."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Limits, Notify, PolicyBuilder, ProcessEvent, Status, Syscall, Verdict, hook
from stockade.request import MONITORS
from support.attacks import Attempt, assert_allowed, assert_killed, open_wide, small, succeeds, unsandboxed
from support.compiler import CCompiler
from support.runs import main_program, python_environment

PATIENCE = 60


@pytest.fixture(params=MONITORS)
def monitor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def allow(call: Syscall) -> Verdict:
    return Verdict.ALLOW


# --- P4: exec from a thread that is not the leader ---

EXEC = r"""
pthread_t t; own_name = argv[0]; gate = number_of(argv[2]);
if (argc > 3) {
    if (!strcmp(argv[1], "violate")) return raw(SYS_getppid, 0, 0, 0, 0, 0, 0) < 0;
    dprintf(1, "%ld;%d", raw(SYS_getpgid, 0, 0, 0, 0, 0, 0), getpid() == (int)raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
    return 0;
}
word = argv[1];
for (int i = 0; i < 8; i++) pthread_create(&t, 0, rest, 0);
pthread_create(&t, 0, exec_again, 0);
raw(SYS_getsid, 1, 2, 3, 4, 5, 6); /* the leader stands here while another thread executes a program */
for (;;) pause();
"""
EXEC_BEFORE = """
static const char *own_name, *word;
static int gate;
static void *exec_again(void *p) {
    char c;
    if (gate) read(gate, &c, 1); /* until the leader stands in its call */
    execl(own_name, own_name, word, "0", "again", (char *)0);
    _exit(9);
}
static void *rest(void *p) { for (;;) pause(); return 0; }
"""


@pytest.fixture
def executing(compile_c: CCompiler) -> Path:
    return main_program(compile_c, EXEC, before=EXEC_BEFORE)


@pytest.mark.attack("P4")
def test_the_program_after_an_exec_of_a_thread_is_watched(attack: Attempt, executing: Path, monitor: str) -> None:
    attack.control(succeeds(executing, "violate", "0"), "a thread cannot execute a program")
    policy = open_wide(executing).kill_syscall("getppid").build()
    for _ in range(5):
        found = assert_killed(Executor(policy, monitor=monitor).run([executing, "violate", "0"]), "getppid")
        assert (found.pid, found.tid, found.inner_pid) == (found.pid, found.pid, 2)


@pytest.mark.attack("P4")
def test_the_verdict_about_the_old_program_does_not_reach_the_new_one(attack: Attempt, executing: Path) -> None:
    """The leader waits in a slow hook; a thread executes a program and so takes the leader's number; then the hook
    answers. The answer was for a call that nobody makes any more.
    """
    control = unsandboxed(executing, "hooked", "0").stdout
    attack.control(control.endswith(b";1"), "a thread cannot execute a program")
    executed, asked_again, answered = threading.Event(), threading.Event(), threading.Event()

    class Watch(Notify):
        def exec(self, event: ProcessEvent) -> None:
            executed.set()

    @hook(slow=True)
    def old(call: Syscall) -> Verdict:
        os.write(writer, b"x")
        assert executed.wait(PATIENCE)
        assert asked_again.wait(PATIENCE)  # by now the new program stands in a call of its own, under the same number
        answered.set()
        return Verdict.returning(4711)

    @hook(slow=True)
    def new(call: Syscall) -> Verdict:
        asked_again.set()
        assert answered.wait(PATIENCE)
        return Verdict.returning(42)

    policy = open_wide(executing).trace("getsid", "old").trace("getpgid", "new").build()
    reader, writer = os.pipe()
    executor = Executor(policy, hooks={"old": old, "new": new}, notify=Watch())
    result = executor.run([executing, "hooked", str(reader)], pass_fds=[reader])
    os.close(reader)
    os.close(writer)
    assert answered.is_set()
    assert (result.status, result.stdout) == (Status.OK, b"42;1")


# --- P7: a storm of events ---

STORM = """
for (int i = 0; i < 200; i++) if (!fork()) for (;;) { raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    if (i % 10 == 0) raise(SIGUSR1); }
say("storm\\n");
for (;;) pause();
"""


@pytest.mark.attack("P7")
def test_a_storm_of_200_processes_hides_nothing(attack: Attempt, compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, "signal(SIGUSR1, SIG_IGN);" + STORM)
    with subprocess.Popen([program], stdout=subprocess.PIPE, start_new_session=True) as storm:
        assert storm.stdout is not None
        attack.control(storm.stdout.readline() == b"storm\n" and storm.poll() is None, "it ends by itself")
        # Its children are its process group, which is this test's own.
        signal_group(storm)
    policy = open_wide(program).trace("getppid", "hook").build()
    executor = Executor(policy, hooks={"hook": allow}, monitor=monitor)
    with executor.start([program], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"storm\n"
        other = Executor(small(program).build(), monitor=monitor).run([program])
        assert other.status is Status.VIOLATION  # served beside the storm
        process.set_wall_time(0.001)
        assert process.wait() == -signal.SIGKILL
    assert process.result.status is Status.TIMEOUT


def signal_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process group that this test has made, whose leader is not reaped yet."""
    os.killpg(leader.pid, signal.SIGKILL)


# --- P8: stops ---

STOPS = """
int main_pid = getpid();
if (!fork()) { for (int i = 0; i < 200; i++) { kill(main_pid, SIGCONT); sched_yield(); } for (;;) kill(main_pid,
    SIGCONT); }
for (int i = 0; i < 20; i++) raise(SIGSTOP);
raise(SIGTSTP);
say("on;");
raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
say("made");
_exit(0);
"""


@pytest.mark.attack("P8")
def test_a_program_that_was_stopped_is_still_watched(attack: Attempt, compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, STOPS)
    with subprocess.Popen([program], stdout=subprocess.PIPE, start_new_session=True) as plain:
        assert plain.stdout is not None
        attack.control(plain.stdout.read(7) == b"on;made", "a stopped program is not woken by its child")
        signal_group(plain)
    result = Executor(open_wide(program).kill_syscall("getppid").build(), monitor=monitor).run([program])
    assert_killed(result, "getppid", output=b"on;")


@pytest.mark.attack("P8")
def test_a_limit_comes_while_everything_is_stopped(attack: Attempt, compile_c: CCompiler, monitor: str) -> None:
    body = """
    pthread_t t; for (int i = 0; i < 5; i++) pthread_create(&t, 0, rest, 0);
    if (!fork()) { raise(SIGSTOP); }
    say("stopping\\n"); raise(SIGSTOP); return 1;
    """
    program = main_program(compile_c, body, before=EXEC_BEFORE)
    with subprocess.Popen([program], stdout=subprocess.PIPE, start_new_session=True) as plain:
        stopped = os.waitid(os.P_PID, plain.pid, os.WSTOPPED)
        attack.control(stopped and stopped.si_status == signal.SIGSTOP, "the program does not stop")
        signal_group(plain)
    for limit in (0.05, 0.2):
        result = Executor(open_wide(program).build(), limits=Limits(wall_time=limit), monitor=monitor).run([program])
        assert (result.status, result.limit) == (Status.TIMEOUT, "wall_time")


# --- P10: vfork with a traced child ---

SPAWN = r"""
extern char **environ;
if (argc > 1) return raw(SYS_getppid, 0, 0, 0, 0, 0, 0) > 1 ? 0 : 5;
char *arguments[] = {argv[0], "x", 0};
for (int i = 0; i < 100; i++) {
    int pid, status;
    if (i % 2) {
        if (posix_spawn(&pid, argv[0], 0, 0, arguments, environ)) return 4;
    } else if (!(pid = vfork())) {
        raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
        execl(argv[0], argv[0], "x", (char *)0);
        _exit(4);
    }
    if (waitpid(pid, &status, 0) != pid || status) return 4;
}
return 0;
"""


@pytest.mark.attack("P10")
def test_vfork_and_spawn_in_a_loop_do_not_deadlock(attack: Attempt, compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, SPAWN, before="#include <spawn.h>")
    attack.control(succeeds(program), "posix_spawn does not work")
    pids: set[int] = set()

    def see(call: Syscall) -> Verdict:
        pids.add(call.tid)
        return Verdict.ALLOW

    executor = Executor(open_wide(program).trace("getppid", "see").build(), hooks={"see": see}, monitor=monitor)
    assert_allowed(executor.run([program]))
    assert len(pids) >= 100  # each child was seen, also those that borrow their parent's memory


# --- P11: somebody else traces already ---

TRACED = """
import sys
from pathlib import Path
from stockade import Executor, UnsupportedError
from support.compiler import CCompiler
from support.runs import everything_builder
try:
    result = Executor(everything_builder(Path(sys.argv[1])).build(), monitor=sys.argv[2]).run([sys.argv[1]])
    print("ran", result.status.name)
except UnsupportedError as error:
    print("unsupported", error.layer, error.result.status.name, error.result.returncode)
    print(error)
    print(error.remedy)
"""
# Follows everything that the script starts, as a debugger or `strace -f` does.
TRACER = """
import os, subprocess, sys
from stockade.kernel import ptrace
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.read(reader, 1)
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
options = ptrace.PTRACE_O_TRACEFORK | ptrace.PTRACE_O_TRACEVFORK | ptrace.PTRACE_O_TRACECLONE | ptrace.PTRACE_O_EXITKILL
ptrace.seize(child, options)
os.write(writer, b"g")
while True:
    try:
        pid, status = os.waitpid(-1, ptrace.WALL)
    except ChildProcessError:
        break
    if os.WIFSTOPPED(status):
        signo = 0 if status >> 16 else os.WSTOPSIG(status)
        try:
            ptrace.resume(pid, signo)
        except ProcessLookupError:
            continue
    elif pid == child:
        sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.attack("P11")
def test_under_a_debugger_nothing_runs_and_the_reason_is_said(
    attack: Attempt, compile_c: CCompiler, monitor: str, public_tmp: Path
) -> None:
    public_tmp.chmod(0o777)
    program = main_program(compile_c, 'say("ran"); return 0;')
    environment = python_environment()
    free = subprocess.run(
        [sys.executable, "-c", TRACED, program, monitor], env=environment, capture_output=True, text=True, check=True
    )
    attack.control(free.stdout == "ran OK\n", "it does not run without a tracer either")
    traced = subprocess.run(
        [sys.executable, "-c", TRACER, TRACED, program, monitor],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert traced.returncode == 0, traced.stderr
    first, *rest = traced.stdout.splitlines()
    assert first == "unsupported ptrace SETUP_ERROR -9"
    assert "traced already, by python" in rest[0]
    assert "debugger" in rest[-1]


# --- P12: a handler that would cover the traces ---

COVER = r"""
struct sigaction action = {.sa_sigaction = rewrite, .sa_flags = SA_SIGINFO};
sigaction(SIGSYS, &action, 0);
if (argc > 1) { /* without a sandbox: a filter of its own that traps the call */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD|BPF_W|BPF_ABS, 0), BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_TRAP), BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 4;
}
long got = raw(SYS_getppid, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66);
say("went on");
return got == 4711 ? 0 : 3;
"""
COVER_BEFORE = """
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <ucontext.h>
static void rewrite(int signo, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    registers[REG_RAX] = 4711; registers[REG_RDI] = 0;
}
"""


@pytest.mark.attack("P12")
def test_no_handler_runs_between_the_call_and_its_report(attack: Attempt, compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, COVER, before=COVER_BEFORE)
    attack.control(succeeds(program, "own filter"), "a handler cannot rewrite the registers of a trapped call")
    result = Executor(open_wide(program).kill_syscall("getppid").build(), monitor=monitor).run([program])
    found = assert_killed(result, "getppid")
    assert list(found.raw_arguments) == [0x11, 0x22, 0x33, 0x44, 0x55, 0x66]


# --- A12: restart_syscall ---

SLEEPER = r"""
struct timespec long_time = {86400, 0}, rest = {0};
signal(SIGUSR1, handle);
char text[50];
if (argc > 2) { snprintf(text, 50, "%ld;", raw(SYS_restart_syscall, 0, 0, 0, 0, 0, 0)); say(text); }
say("sleeping\n");
long got = raw(SYS_nanosleep, (long)&long_time, (long)&rest, 0, 0, 0, 0);
snprintf(text, 50, "%ld %d", got, rest.tv_sec > 80000); say(text);
return 0;
"""


@pytest.fixture
def sleeper(compile_c: CCompiler) -> Path:
    return main_program(compile_c, SLEEPER, before="#include <time.h>\nstatic void handle(int signo) {}")


# EINTR; or EFAULT, where the call that an ancestor was interrupted in is what goes on: with pointers that are nobody's.
NOTHING_TO_RESTART = (b"-4;sleeping\n", b"-14;sleeping\n")


def stop_and_go(pid: int, send: Callable[[int], None]) -> None:
    """Stop the program in its sleep and let it go on, some times; then wake it for good."""
    for _ in range(5):
        await_state(pid, "S")
        send(signal.SIGSTOP)
        await_state(pid, "Tt")
        send(signal.SIGCONT)
    await_state(pid, "S")
    send(signal.SIGUSR1)


def await_state(pid: int, states: str) -> None:
    """Until the process is in one of the states of proc_pid_stat(5), and in no call of a filter's."""
    directory = Path("/proc", str(pid))
    while "seccomp" in (directory / "wchan").read_text() or (
        (directory / "stat").read_text().rpartition(")")[2].split()[0] not in states
    ):
        pass


@pytest.mark.attack("A12")
@pytest.mark.parametrize("mode", ["allowed", "hooked", "inspected"])
def test_a_sleep_that_is_stopped_goes_on_with_the_same_verdict(
    attack: Attempt, sleeper: Path, monitor: str, mode: str
) -> None:
    if mode == "inspected" and monitor == "unotify":
        monitor = "ptrace"  # what a call returns is seen by a tracer only
    with subprocess.Popen([sleeper], stdout=subprocess.PIPE) as plain:
        assert plain.stdout is not None
        plain.stdout.readline()
        stop_and_go(plain.pid, plain.send_signal)
        attack.control(plain.stdout.read() == b"-4 1", "a sleep does not go on after a stop")
    asked, returned = [], []

    @hook(inspects=True)
    def inspect(call: Syscall) -> Verdict:
        asked.append(call.name)
        return Verdict.INSPECT

    def only_allow(call: Syscall) -> Verdict:
        asked.append(call.name)
        return Verdict.ALLOW

    class Returns(Notify):
        def syscall_return(self, call: Syscall, value: int) -> None:
            returned.append((call.name, value))

    builder = small(sleeper).allow_syscall("rt_sigaction").allow_handle_signals()
    builder = builder.allow_syscall("nanosleep") if mode == "allowed" else builder.trace("nanosleep", "hook")
    hooks = {} if mode == "allowed" else {"hook": inspect if mode == "inspected" else only_allow}
    notify = Returns() if mode == "inspected" else None
    with Executor(builder.build(), hooks=hooks, notify=notify, monitor=monitor).start(
        [sleeper], stdout=PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sleeping\n"
        stop_and_go(process.pid, process.send_signal)
        assert process.stdout.read() == b"-4 1"
    assert process.result.status is Status.OK
    assert asked == ([] if mode == "allowed" else ["nanosleep"])  # once: going on is no new call
    assert returned == ([("nanosleep", -errno.EINTR)] if mode == "inspected" else [])


@pytest.mark.attack("A12")
def test_restart_syscall_makes_no_call_that_was_not_allowed(attack: Attempt, sleeper: Path, monitor: str) -> None:
    with subprocess.Popen([sleeper, "x", "y"], stdout=subprocess.PIPE) as plain:
        assert plain.stdout is not None
        said = plain.stdout.readline()
        plain.kill()
    attack.control(said in NOTHING_TO_RESTART, "restart_syscall is something else here")
    policy: PolicyBuilder = small(sleeper).allow_handle_signals()
    result = Executor(policy.build(), monitor=monitor).run([sleeper, "x", "y"])
    assert result.stdout in NOTHING_TO_RESTART
    assert_killed(result, "nanosleep", output=result.stdout)


@pytest.mark.attack("A12")
def test_a_stop_is_no_violation_of_a_policy_that_knows_no_signals(
    attack: Attempt, compile_c: CCompiler, monitor: str
) -> None:
    """The kernel itself makes restart_syscall: whoever may sleep may also be stopped in it."""
    body = 'struct timespec day = {86400, 0}; say("sleeping\\n"); raw(SYS_nanosleep, (long)&day, 0, 0, 0, 0, 0);'
    program = main_program(compile_c, body, before="#include <time.h>")
    with subprocess.Popen([program], stdout=subprocess.PIPE) as plain:
        assert plain.stdout is not None
        plain.stdout.readline()
        stop_and_go(plain.pid, plain.send_signal)
    attack.control(plain.returncode == -signal.SIGUSR1, "a sleep does not go on after a stop")
    policy = small(program).allow_sleep().build()
    with Executor(policy, monitor=monitor).start([program], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sleeping\n"
        stop_and_go(process.pid, process.send_signal)
    assert (process.result.status, process.result.signal) == (Status.SIGNALED, signal.SIGUSR1)
