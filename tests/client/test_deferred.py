"""Programs that put themselves under their policy when they have initialised themselves."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    PIPE,
    Executor,
    Limits,
    Policy,
    PolicyBuilder,
    PolicyError,
    Result,
    SetupError,
    Status,
    Syscall,
    Verdict,
)
from support.attacks import PATIENCE
from support.clients import ENVIRONMENT, client_builder, script
from support.runs import open_descriptors, run_python

POLICY = client_builder().build()
EXECUTOR = Executor(POLICY)
# What most programs here begin with. `forks` is what the policy refuses.
PREFIX = """
import ctypes, os, signal, socket, struct, sys, threading, time
from stockade.client import Client, ClientError
from stockade.client.connection import announced
client = Client()
def forks():
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
"""


def run(source: str, *arguments: str, executor: Executor = EXECUTOR, **options: Any) -> Result:
    return executor.run(script(PREFIX + source, *arguments), env=ENVIRONMENT, sandbox_at="client", text=True, **options)


def refused(source: str, *arguments: str, executor: Executor = EXECUTOR, **options: Any) -> SetupError:
    """The run ended before the program was under its policy, and says so."""
    with pytest.raises(SetupError) as caught:
        run(source, *arguments, executor=executor, **options)
    assert caught.value.result is not None
    assert caught.value.result.status is Status.SETUP_ERROR
    assert caught.value.result.layers == ()
    assert "GOES ON" not in caught.value.result.stdout
    return caught.value


# --- from outside ---


def test_before_the_call_everything_after_it_the_policy() -> None:
    result = run("print(forks(), client.is_sandboxed(), flush=True); client.sandbox_me_here(); print('under'); forks()")
    assert result.status is Status.VIOLATION
    assert [violation.syscall for violation in result.violations] == ["clone"]
    allowed = run("forks(); client.sandbox_me_here(); print(client.is_sandboxed(), end='')")
    assert (allowed.status, allowed.returncode, allowed.stdout) == (Status.OK, 0, "True")


def test_all_layers_are_those_read_back_at_the_call() -> None:
    ordinary = EXECUTOR.run(script("pass"), env=ENVIRONMENT)
    deferred = run("client.sandbox_me_here()")
    assert ordinary.returncode == deferred.returncode == 0
    states = [{layer.name: layer.state for layer in result.layers} for result in (ordinary, deferred)]
    assert states[0] == states[1]
    seccomp = next(layer for layer in deferred.layers if layer.name == "seccomp")
    assert seccomp.detail.startswith("1 filter; installed by the program itself")


def test_every_thread_that_runs_already_is_filtered() -> None:
    source = """
answers, go, done = [], threading.Event(), threading.Event()
def work():
    before = forks()
    ready.wait()
    go.wait()
    try:
        forks()
        after = True
    except PermissionError:
        after = False
    answers.append((before, after))
ready = threading.Barrier(9)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
ready.wait()
client.sandbox_me_here()
go.set()
[thread.join() for thread in threads]
print(answers == 8 * [(True, False)])
"""
    result = run(source, executor=Executor(POLICY, mode="refuse"))
    assert (result.status, result.stdout) == (Status.OK, "True\n"), result.stderr
    assert [(violation.syscall, violation.count) for violation in result.violations] == [("clone", 8)]


def test_a_thread_that_runs_already_breaks_the_policy() -> None:
    source = """
go = threading.Event()
thread = threading.Thread(target=lambda: (go.wait(), forks()))
thread.start()
client.sandbox_me_here()
go.set()
thread.join()
print("GOES ON")
"""
    result = run(source)
    assert (result.status, result.stdout) == (Status.VIOLATION, "")


def test_any_thread_of_the_program_may_make_the_call() -> None:
    source = """
thread = threading.Thread(target=client.sandbox_me_here)
thread.start()
thread.join()
print(client.is_sandboxed(), flush=True)
forks()
"""
    result = run(source)
    assert (result.status, result.stdout) == (Status.VIOLATION, "True\n")


def test_start_returns_before_the_call_and_the_process_says_when_it_was_made() -> None:
    source = (
        PREFIX
        + """
print('ready', flush=True)
sys.stdin.readline()
client.sandbox_me_here()
print('under', flush=True)
sys.stdin.readline()
"""
    )
    command = script(source)
    with EXECUTOR.start(command, env=ENVIRONMENT, sandbox_at="client", stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert not process.is_sandboxed
        with pytest.raises(Exception, match="timed out"):
            process.wait_until_sandboxed(timeout=0)
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait_until_sandboxed(timeout=PATIENCE)
        assert process.is_sandboxed
        assert process.stdout.readline() == "under\n"
        process.stdin.close()
    assert process.result.status is Status.OK
    with EXECUTOR.start(script("import sys; sys.stdin.read()"), env=ENVIRONMENT, stdin=PIPE) as ordinary:
        assert ordinary.is_sandboxed
        ordinary.wait_until_sandboxed(timeout=0)


def test_hooks_and_limits_hold_after_the_call() -> None:
    def answer(call: Syscall) -> Verdict:
        return Verdict.returning(4711)

    policy = PolicyBuilder().trace("getppid", "parent").include(POLICY).build()
    executor = Executor(policy, hooks={"parent": answer}, limits=Limits(open_files=64))
    result = run(
        "print(os.getppid()); client.sandbox_me_here(); print(os.getppid())\n"
        "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))",
        executor=executor,
    )
    assert result.stdout == "1\n4711\n(64, 64)\n", result.stderr


def test_small_limits_do_not_keep_the_policy_from_the_program() -> None:
    result = run("client.sandbox_me_here()", executor=Executor(POLICY, limits=Limits(file_size=1)))
    assert (result.status, result.returncode) == (Status.OK, 0), result.stderr


def test_permissive_mode_holds_too() -> None:
    result = run("client.sandbox_me_here(); print(forks())", executor=Executor(POLICY, mode="permissive"))
    assert (result.status, result.stdout) == (Status.OK, "True\n")
    assert [violation.syscall for violation in result.violations] == ["clone", "wait4"]


def test_a_program_may_be_started_through_others() -> None:
    """An interpreter's own exec of another program keeps the connection, and is seen as what it is."""
    source = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    last = PREFIX + "client.sandbox_me_here(); print('under', flush=True); forks()"
    result = EXECUTOR.run(script(source, last), env=ENVIRONMENT, sandbox_at="client", text=True)
    assert (result.status, result.stdout) == (Status.VIOLATION, "under\n")


# --- ends before the call ---


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("os.kill(os.getpid(), signal.SIGUSR1)", "signal 10"),
        ("os.execv('/usr/bin/python3', ['python3', '-c', ''])", "exit status 0"),
    ],
)
def test_a_program_that_ends_before_is_no_success(source: str, how: str) -> None:
    error = refused(source)
    assert (error.step, error.errno) == ("client", 0)
    assert f"ended with {how} before it called Client.sandbox_me_here()" in str(error)


def test_the_clock_runs_and_kills_work_before_the_call() -> None:
    endless = "print('x', flush=True); signal.pause()"
    result = run(endless, executor=Executor(POLICY, limits=Limits(wall_time=0.3)))
    assert (result.status, result.limit) == (Status.TIMEOUT, "wall_time")
    command = script(PREFIX + endless)
    with EXECUTOR.start(command, env=ENVIRONMENT, sandbox_at="client", stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"x\n"
        process.kill()
        process.wait_until_sandboxed()
        assert not process.is_sandboxed
    assert process.result.status is Status.EXTERNAL_KILL


def test_a_program_that_cannot_be_executed_is_said_to_be_so(public_tmp: Path) -> None:
    with pytest.raises(SetupError) as caught:
        EXECUTOR.run(["/nowhere"], sandbox_at="client")
    assert caught.value.step == "find_program"
    (public_tmp / "x").write_text("#!/nowhere\n")
    (public_tmp / "x").chmod(0o755)
    with pytest.raises(SetupError) as caught:
        Executor(client_builder().add_file(public_tmp / "x", inside="/x").build()).run(["/x"], sandbox_at="client")
    assert (caught.value.step, caught.value.errno) == ("exec", errno.ENOENT)
    assert "/nowhere" in str(caught.value)


# --- attacks, and mistakes ---


def test_a_second_call_is_an_error_and_changes_nothing() -> None:
    source = """
client.sandbox_me_here()
for each in (client, Client()):
    try:
        each.sandbox_me_here()
    except ClientError as error:
        print("under its policy already" in str(error), flush=True)
forks()
"""
    result = run(source)
    assert (result.status, result.stdout) == (Status.VIOLATION, "True\nTrue\n")


COOKIE_CALL = """
def cookie_call():
    libc = ctypes.CDLL(None, use_errno=True)
    cookie = ctypes.c_uint64(0x53544F434B414445)
    answer = libc.syscall(ctypes.c_long(322), -100, b"/usr/bin/python3", None, None, 0, cookie)
    return answer, ctypes.get_errno()
"""


def test_the_call_that_asks_the_monitor_works_once() -> None:
    """Whoever repeats it breaks the policy; nothing is executed. Before there is a filter it is an ordinary exec."""
    result = run(COOKIE_CALL + "client.sandbox_me_here(); cookie_call(); print('GOES ON')")
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    assert [violation.syscall for violation in result.violations] == ["execveat"]
    error = refused(COOKIE_CALL + "cookie_call(); print('GOES ON')", input="")
    assert "ended with exit status" in str(error)


@pytest.mark.parametrize("kind", ["child", "orphan", "thread group of its own", "untraced"])
def test_a_process_made_before_would_have_no_filter(kind: str) -> None:
    source = """
kind = sys.argv[1]
SIGCHLD, UNTRACED = 17, 0x00800000
def child():
    threading.current_thread()
    signal.pause()
    os._exit(0)
if kind == "orphan":
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            os.setsid()
            child()
        os._exit(0)
    os.waitpid(middle, 0)
elif kind == "untraced":
    if ctypes.CDLL(None).syscall(56, SIGCHLD | UNTRACED, 0, 0, 0, 0) == 0:
        child()
elif os.fork() == 0:
    threading.Thread(target=signal.pause, daemon=True).start()
    child()
client.sandbox_me_here()
print("GOES ON", flush=True)
"""
    error = refused(source, kind)
    assert error.step == "client"
    assert "processes before Client.sandbox_me_here(), which are not under the policy" in str(error)
    assert "(python3" in str(error)


def test_processes_that_have_ended_before_do_not_matter() -> None:
    """Not even one that nobody has waited for yet."""
    source = """
forks()
if os.fork() == 0:
    os._exit(0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
client.sandbox_me_here()
print("under")
"""
    result = run(source)
    assert (result.status, result.stdout) == (Status.OK, "under\n"), result.stderr


OWN_FILTER = """
from stockade.kernel.seccomp import install_filter
ALLOW_ALL = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
def traced(number, data):
    return struct.pack("<HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, number, 6, 0, 0, 0x7FF00000 | data,
                       6, 0, 0, 0x7FFF0000)
"""


def test_a_thread_that_cannot_take_the_filter_ends_the_run() -> None:
    """One with a filter of its own is such a thread. The program cannot go on by catching the error."""
    source = (
        OWN_FILTER
        + """
ready = threading.Event()
threading.Thread(target=lambda: (install_filter(ALLOW_ALL), ready.set(), signal.pause()), daemon=True).start()
ready.wait()
try:
    client.sandbox_me_here()
finally:
    print("GOES ON", flush=True)
"""
    )
    error = refused(source)
    assert error.step == "client"
    assert "this thread has a filter of its own" in str(error)


def test_filters_of_the_programs_own_are_noticed() -> None:
    error = refused(OWN_FILTER + "install_filter(ALLOW_ALL); client.sandbox_me_here(); print('GOES ON')")
    assert "number of seccomp filters" in str(error)


def test_a_filter_that_speaks_for_ours_is_not_believed() -> None:
    """It hands another call than ours to the monitor, with the data that ours would give."""
    error = refused(OWN_FILTER + "install_filter(traced(110, 1)); os.getppid(); print('GOES ON')")
    assert "a filter that is not the policy's asked the monitor about getppid" in str(error)
    child = "if os.fork() == 0:\n    cookie_call()\nos.wait(); print('GOES ON')"
    error = refused(OWN_FILTER + COOKIE_CALL + "install_filter(traced(322, 1))\n" + child)
    assert "only the program itself can call" in str(error)


@pytest.mark.parametrize("flags", ["0x10000000", "0x50000000"])
def test_a_program_that_has_left_its_box_is_not_admitted(flags: str) -> None:
    """A user namespace of its own would give it capabilities; with ids mapped and capabilities dropped it stays out."""
    source = f"""
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare({flags}) == 0
from stockade.kernel.capabilities import drop_all_capabilities
if len(sys.argv) > 1:
    drop_all_capabilities()
client.sandbox_me_here()
print("GOES ON")
"""
    assert "capabilities" in str(refused(source))
    assert "namespace" in str(refused(source, "drop"))


HOSTILE = {
    "a length that is too large": "control.send(struct.pack('<II', 0xFFFFFFFF, 0))",
    "a message that never ends": "control.send(struct.pack('<II', 1 << 20, 0) + b'x' * 1000)",
    "half a header": "control.send(b'abc')",
    "garbage": "control.send(os.urandom(4096))",
    "something well-formed": "announced().channel.send(b'')",
    "descriptors": "announced().channel.send(b'x', [0, 1, 2] * 80)",
    "as much as it takes": (
        "control.setblocking(False)\ntry:\n    while True: control.send(bytes(65536))\nexcept BlockingIOError: pass"
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_messages_end_the_run(what: str) -> None:
    """On the connection that the library uses; whether the program then makes the call or ends."""
    source = "control = socket.socket(fileno=os.dup(announced().channel.fileno()))\n" + HOSTILE[what]
    before = open_descriptors()
    error = refused(source + "\nclient.sandbox_me_here(); print('GOES ON')")
    assert "uses its connection to the executor" in str(error)
    error = refused(source + "\nraise SystemExit(5)")
    assert "exit status 5" in str(error)
    assert open_descriptors() == before


def test_children_that_keep_the_connection_open_hold_nobody_up() -> None:
    source = """
control = socket.socket(fileno=os.dup(announced().channel.fileno()))
control.send(struct.pack('<II', 1000, 0))
for _ in range(10):  # all of them have something to tell the monitor as the program ends
    if os.fork() == 0:
        signal.pause()
raise SystemExit(5)
"""
    assert "exit status 5" in str(refused(source))


def test_a_closed_connection_ends_the_run() -> None:
    source = """
control = socket.socket(fileno=os.dup(announced().channel.fileno()))
control.shutdown(socket.SHUT_RDWR)
client.sandbox_me_here()
print('GOES ON')
"""
    assert "or has closed it" in str(refused(source))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("announced().second = os.memfd_create('x'); os.write(announced().second, b'x' * 100)", "WireError"),
        ("announced().second = os.memfd_create('x')", "the policy does not have the digest"),
        ("announced().second = os.memfd_create('x'); os.truncate(announced().second, 1 << 30)", "a launch of"),
    ],
)
def test_a_launch_that_is_none_is_refused(place: str, said: str) -> None:
    assert said in str(refused(place + "; client.sandbox_me_here(); print('GOES ON')"))


def test_the_launch_cannot_be_changed() -> None:
    source = """
launch = announced().second
for change in (lambda: os.pwrite(launch, b"x", 0), lambda: os.truncate(launch, 0), lambda: os.truncate(launch, 9999)):
    try:
        change()
        print("changed")
    except PermissionError:
        continue
client.sandbox_me_here()
print("under")
"""
    assert run(source).stdout == "under\n"


def test_violations_between_filter_and_confirmation_count() -> None:
    """A thread may break the policy before the monitor has read everything back: that is no failure of the set-up."""
    source = """
def work():
    while True:
        socket.socket(socket.AF_INET).close()
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
client.sandbox_me_here()
threads[0].join()
"""
    for _ in range(3):
        result = run(source)
        assert (result.status, result.violations[0].syscall) == (Status.VIOLATION, "socket")


def test_threads_that_come_and_go_meanwhile_do_not_matter() -> None:
    source = """
stop = threading.Event()
def work():
    while not stop.is_set():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
client.sandbox_me_here()
stop.set()
[thread.join() for thread in threads]
print("under")
"""
    for _ in range(3):
        assert run(source).stdout == "under\n"


# --- never by accident, never from inside ---


def test_deferral_is_asked_for_by_its_name() -> None:
    with pytest.raises(PolicyError, match="sandbox_at is 'exec' or 'client', not 'later'"):
        EXECUTOR.run(script(""), sandbox_at="later")
    with pytest.raises(ValueError, match="STOCKADE_CLIENT is stockade's own"):
        EXECUTOR.run(script(""), env={"STOCKADE_CLIENT": "check-in:3:4"})


def test_an_ordinary_run_has_no_connection() -> None:
    source = """
import os
from stockade.client import Client, ClientError
os.environ["STOCKADE_CLIENT"] = "check-in:0:1"
try:
    Client().sandbox_me_here()
except ClientError as error:
    print(error)
"""
    result = EXECUTOR.run(script(source), env=ENVIRONMENT, text=True)
    assert (result.returncode, result.stdout[:52]) == (0, "the variable STOCKADE_CLIENT names the descriptor 0,"[:52])
    again = EXECUTOR.run(script(source.replace('os.environ["STOCK', "#")), env=ENVIRONMENT, text=True)
    assert "under its policy already" in again.stdout


def test_nothing_of_the_connection_reaches_what_the_program_executes() -> None:
    source = """
os.set_inheritable(0, False)
import subprocess
print(subprocess.run([sys.executable, "-c", "import os; print('STOCKADE_CLIENT' in os.environ)"],
    capture_output=True, text=True, close_fds=False).stdout, end="")
print(os.get_inheritable(announced().channel.fileno()), os.get_inheritable(announced().second))
client.sandbox_me_here()
"""
    assert run(source).stdout == "False\nFalse False\n"


def test_the_network_is_private_while_there_is_no_filter() -> None:
    """A box without any network shares an empty one only with those that cannot have a socket."""
    source = "print(os.readlink('/proc/self/ns/net')); client.sandbox_me_here()"
    message = client_builder().add_proc().build().message
    kept = [rule for rule in message.syscalls.rules if "socketpair" not in rule.syscall]
    del message.syscalls.rules[:]
    message.syscalls.rules.extend(kept)
    executor = Executor(Policy.from_message(message))
    first, second = (run(source, executor=executor).stdout for _ in range(2))
    assert first != second
    command = script("import os; print(os.readlink('/proc/self/ns/net'))")
    third, fourth = (executor.run(command, env=ENVIRONMENT).stdout for _ in range(2))
    assert third == fourth


def test_the_death_of_the_executor_ends_a_program_before_the_call() -> None:
    source = """
import os, sys
from stockade import PIPE, Executor
from support.clients import ENVIRONMENT, client_builder, script
program = "import signal; print(1, flush=True); signal.pause()"
process = Executor(client_builder().build()).start(script(program), env=ENVIRONMENT, sandbox_at="client", stdout=PIPE)
process.stdout.readline()
print(process.pid, flush=True)
pidfd, parent = os.pidfd_open(process.pid), os.pidfd_open(os.getpid())
if os.fork() == 0:
    import select
    select.select([parent], [], [])
    select.select([pidfd], [], [])
    os.write(1, b"gone")
    os._exit(0)
os._exit(0)
"""
    assert run_python(source).stdout.endswith("gone")


def test_signals_reach_the_program_before_the_call() -> None:
    source = (
        PREFIX
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
print(signal.sigwait([signal.SIGUSR1]) == signal.SIGUSR1, flush=True)
client.sandbox_me_here()
"""
    )
    with EXECUTOR.start(script(source), env=ENVIRONMENT, sandbox_at="client", stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"True\n"
        assert process.wait(PATIENCE) == 0
