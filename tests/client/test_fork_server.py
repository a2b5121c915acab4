"""Programs that initialise themselves once and fork a sandboxed copy of themselves for each request."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stockade import (
    PIPE,
    Executor,
    Limits,
    MonitorError,
    Policy,
    PolicyBuilder,
    PolicyError,
    Result,
    SetupError,
    Status,
    Syscall,
    Verdict,
)
from stockade.fork_server import ForkServer
from support.attacks import PATIENCE, descendants
from support.clients import ENVIRONMENT, client_builder, script
from support.runs import open_descriptors, run_python

POLICY = client_builder().add_proc().build()
# A copy executes its first argument with the rest in `args`.
SERVER = """
import ctypes, json, os, secrets, signal, socket, sys, threading, time
from stockade.client import Client, ClientError
client = Client()
token = secrets.token_hex()
{prepare}
client.become_fork_server()
args = client.args[1:]
exec(client.args[0])
"""


def serve(prepare: str = "", policy: Policy = POLICY, **options: Any) -> ForkServer:
    return Executor(policy, **options).start_fork_server(script(SERVER.format(prepare=prepare)), env=ENVIRONMENT)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with serve() as started:
        yield started


def ok(result: Result) -> Any:
    assert (result.status, result.returncode) == (Status.OK, 0), (result.stderr, result.violations)
    return result.stdout


# --- a copy is a run like any other ---


def test_each_copy_is_given_what_the_request_says(server: ForkServer) -> None:
    source = """
print(json.dumps([args, dict(os.environ), os.getcwd(), sys.stdin.read(), client.is_sandboxed(), os.getpid()]))
print("error", file=sys.stderr)
raise SystemExit(7)
"""
    for number in ("1", "two"):
        result = server.run([source, number, ""], env={"A": number}, cwd="/tmp", input=f"in {number}", text=True)
        assert (result.status, result.returncode, result.stderr) == (Status.OK, 7, "error\n")
        assert json.loads(result.stdout) == [[number, ""], {"A": number}, "/tmp", f"in {number}", True, 2]
        assert result.args == [source, number, ""]
    assert ok(server.run(["print(dict(os.environ), os.getcwd(), repr(sys.stdin.read()))"])) == b"{} / ''\n"


def test_it_is_initialised_once(server: ForkServer) -> None:
    first, second = (server.run(["print(token)"]) for _ in range(2))
    assert ok(first) == ok(second)
    assert len(first.stdout) == 65
    assert first.pid != second.pid


def test_the_policy_holds_in_copies(server: ForkServer) -> None:
    result = server.run(["print('before', flush=True); os.fork(); print('GOES ON')"])
    assert (result.status, result.returncode, result.stdout) == (Status.VIOLATION, -31, b"before\n")
    assert [violation.syscall for violation in result.violations] == ["clone"]
    ordinary = Executor(POLICY).run(script("pass"), env=ENVIRONMENT)
    assert [(layer.name, layer.state) for layer in result.layers] == [
        (layer.name, layer.state) for layer in ordinary.layers
    ]
    with pytest.raises(Exception, match="clone"):
        server.run(["os.fork()"], check=True)


def test_modes_hooks_and_limits_hold_in_copies() -> None:
    def answer(call: Syscall) -> Verdict:
        return Verdict.returning(4711)

    policy = PolicyBuilder().trace("getppid", "parent").include(POLICY).build()
    limits = Limits(open_files=64, address_space="1G", wall_time=PATIENCE)
    with serve(policy=policy, hooks={"parent": answer}, mode="refuse", limits=limits) as server:
        source = """
import resource
print(os.getppid(), resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS)[0] >> 30)
try:
    os.fork()
except PermissionError:
    print("refused")
"""
        result = server.run([source], text=True)
        assert ok(result) == "4711 (64, 64) 1\nrefused\n"
        assert [violation.syscall for violation in result.violations] == ["clone"]


def test_statuses_of_copies() -> None:
    with serve(limits=Limits(wall_time=0.3, output=100)) as server:
        assert server.run(["time.sleep(1000)"]).status is Status.TIMEOUT
        assert server.run(["print('x' * 1000, flush=True); time.sleep(1000)"]).limit == "output"
        killed = server.run(["os.kill(os.getpid(), signal.SIGUSR1)"])
        assert (killed.status, killed.signal) == (Status.SIGNALED, signal.SIGUSR1)
        assert ok(server.run(["print(1)"])) == b"1\n"


def test_start_gives_a_process(server: ForkServer) -> None:
    source = "print('ready', flush=True); print(sys.stdin.readline(), end='', flush=True); time.sleep(1000)"
    with server.start([source], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.is_sandboxed
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("line\n")
        process.stdin.flush()
        assert process.stdout.readline() == "line\n"
        process.kill()
    assert process.result.status is Status.EXTERNAL_KILL


def test_descriptors_by_name_and_typed_values() -> None:
    """Each copy has its own; that the program itself has looked for its own does not matter."""
    reader, writer = os.pipe()
    os.write(writer, b"through a pipe")
    os.close(writer)
    named = {"name": reader}
    try:
        source = "print(os.read(client.descriptor('name'), 100))"
        with serve("assert not client.has_descriptor('name')") as server:
            assert ok(server.run([source], named_fds=named)) == b"b'through a pipe'\n"
            assert b"no descriptor named 'name'" in server.run([source]).stderr
    finally:
        os.close(reader)
    socket_policy = PolicyBuilder().allow_syscall("sendmsg").allow_syscall("recvmsg").include(POLICY).build()
    with (
        serve(policy=socket_policy) as other,
        other.start(["comms = client.comms; comms.send_int(comms.recv_int() + 1)"], comms=True) as process,
    ):
        process.comms.send_int(41)
        assert process.comms.recv_int(timeout=PATIENCE) == 42


def test_requests_from_many_threads_at_once(server: ForkServer) -> None:
    found: dict[str, Any] = {}

    def ask(name: str) -> None:
        found[name] = [server.run(["print(args[0])", f"{name}.{number}"], text=True).stdout for number in range(4)]

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {str(name): [f"{name}.{number}\n" for number in range(4)] for name in range(8)}


def test_a_server_with_threads_signal_handlers_and_blocked_signals() -> None:
    """Threads stay behind; handlers and mask come along, as with any fork."""
    prepare = """
for _ in range(4):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
"""
    source = """
os.kill(os.getpid(), signal.SIGUSR1)
print(threading.active_count(), len(os.listdir("/proc/self/task")), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    with serve(prepare) as server:
        for _ in range(2):
            assert ok(server.run([source], text=True)) == "handled\n1 1 {<Signals.SIGUSR2: 12>}\n"


def test_output_that_the_server_has_not_written_yet_is_not_repeated() -> None:
    with serve("print('twice?', end=''); print('twice?', end='', file=sys.stderr)") as server:
        result = server.run(["print('once')"])
        assert (ok(result), result.stderr) == (b"once\n", b"")
        assert server.stderr == b"twice?"


def test_a_directory_of_the_host_is_the_same_for_all(public_tmp: Any) -> None:
    shared = public_tmp / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    (public_tmp / "read").write_text("read")
    builder = PolicyBuilder.from_policy(POLICY).add_directory(shared, inside="/shared", writable=True)
    with serve(policy=builder.add_file(public_tmp / "read", inside="/tmp/read").build()) as server:
        assert ok(server.run(["open('/shared/x', 'w').write(open('/tmp/read').read())"])) == b""
        assert (shared / "x").read_text() == "read"
        assert ok(server.run(["print(open('/shared/x').read(), os.listdir('/tmp'))"])) == b"read ['read']\n"
        refused = server.run(["open('/tmp/read', 'w')"])
        assert b"Read-only file system" in refused.stderr
        assert ok(server.run(["open('/dev/null', 'w').write('x'); print(len(open('/dev/zero', 'rb').read(3)))"]))


def test_a_policy_without_any_mount_of_a_runs_own() -> None:
    message = POLICY.message
    for index in reversed(range(len(message.filesystem.mounts))):
        if message.filesystem.mounts[index].target in ("/proc", "/tmp", "/dev"):
            del message.filesystem.mounts[index]
    with serve(policy=Policy.from_message(message)) as server:
        source = "print(os.path.exists('/proc'), os.path.exists('/tmp'), os.getpid())"
        assert ok(server.run([source])) == b"False False 2\n"


# --- copies are strangers to one another ---

# Everything is allowed: what keeps copies apart here are the namespaces alone.
OPEN = (
    PolicyBuilder()
    .danger_default_allow_all()
    .danger_reopen_ptrace()
    .danger_reopen_mount()
    .danger_reopen_namespaces()
    .add_python("/usr/bin/python3")
    .add_client()
    .add_proc()
    .add_tmpfs("/tmp")
    .build()
)


@pytest.fixture(scope="module")
def open_server() -> Iterator[ForkServer]:
    prepare = """
os.write(os.open("/tmp/of the server", os.O_WRONLY | os.O_CREAT), b"secret")
held = {
    "file": os.open("/tmp/of the server", os.O_RDWR),
    "directory": os.open("/tmp", os.O_RDONLY),
    "root": os.open("/", os.O_PATH),
    "memory": os.memfd_create("memory"),
    "pipe": os.pipe()[1],
    "socket": socket.socketpair()[0].detach(),
}
assert os.read(held["file"], 6) == b"secret" and os.stat("tmp/of the server", dir_fd=held["root"]).st_size == 6
def attempt(what):
    try:
        return what()
    except OSError as error:
        return error.errno
"""
    with serve(prepare, policy=OPEN) as started:
        yield started


def test_siblings_neither_see_nor_signal_nor_trace_each_other(open_server: ForkServer) -> None:
    waits = "print(os.getpid(), flush=True); sys.stdin.read()"
    attack = """
def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.ptrace(16, pid, None, None) else 0
processes = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
others = [attempt(lambda: os.kill(pid, 0)) for pid in range(3, 300)]
named = [attempt(lambda: os.kill(int(pid), 0)) or trace(int(pid)) for pid in args]
reached = attempt(lambda: os.kill(-1, signal.SIGKILL))
child = os.fork()
if child == 0:
    signal.pause()
control = [trace(child), attempt(lambda: os.kill(child, signal.SIGKILL))]
print(json.dumps([processes, sorted(set(others)), named, reached, control]))
"""
    with open_server.start([waits], stdin=PIPE, stdout=PIPE) as sibling:
        assert sibling.stdout is not None and sibling.stdin is not None
        assert sibling.stdout.readline() == b"2\n"
        host = [str(sibling.pid), str(open_server.pid), str(os.getpid())]
        result = open_server.run([attack, *host], text=True)
        processes, others, named, reached, control = json.loads(ok(result))
        assert (processes, others, named) == ([2], [3], [3, 3, 3])
        assert reached == 3  # but for itself and its init there is nobody
        assert control == [1, None]  # traced already: seen, and refused by its monitor's being there
        assert sibling.poll() is None
        sibling.stdin.close()
        assert sibling.wait(PATIENCE) == 0


def test_nothing_that_one_copy_writes_reaches_another(open_server: ForkServer) -> None:
    writes = """
open("/tmp/of a copy", "w").write("x")
print(json.dumps([os.listdir("/tmp"), os.stat("/tmp").st_dev]))
"""
    first, second = (json.loads(ok(open_server.run([writes]))) for _ in range(2))
    assert first[0] == second[0] == ["of a copy"]
    assert first[1] != second[1]
    token = "global_token = token; token = 'changed'; print(global_token)"
    assert ok(open_server.run([token])) == ok(open_server.run([token]))


def test_what_the_server_has_open_is_dead_in_copies(open_server: ForkServer) -> None:
    source = """
found = {}
for name, number in held.items():
    found[name] = [
        attempt(lambda: len(os.read(number, 100))), attempt(lambda: os.write(number, b"x")),
        attempt(lambda: os.listdir(number)), attempt(lambda: os.stat("tmp/of the server", dir_fd=number).st_size),
        attempt(lambda: os.stat("of the server", dir_fd=number).st_size), attempt(lambda: os.ftruncate(number, 1)),
    ]
links = [str(attempt(lambda: os.readlink(f"/proc/self/fd/{name}"))) for name in os.listdir("/proc/self/fd")]
print(json.dumps([found, sorted({link.split(":")[0] for link in links})]))
[os.close(number) for number in held.values()]
"""
    found, inside = json.loads(ok(open_server.run([source])))
    assert all(answers == [0, 9, 20, 20, 20, 22] for answers in found.values()), found
    assert inside == ["2", "pipe"]  # 2: the listing's own, closed meanwhile


def test_what_the_server_has_mounted_cannot_be_uncovered(open_server: ForkServer) -> None:
    """The server's own /tmp lies beneath that of the copy, out of reach even with the capability of a new namespace."""
    source = """
libc = ctypes.CDLL(None, use_errno=True)
def unmount(path):
    return libc.umount2(path, 2) and ctypes.get_errno()
found = [unmount(b"/tmp"), os.listdir("/tmp")]
assert libc.unshare(0x10020000) == 0
found += [unmount(b"/tmp"), os.listdir("/tmp")]
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
found += [unmount(b"/tmp"), os.listdir("/tmp")]
print(json.dumps(found))
"""
    assert json.loads(ok(open_server.run([source]))) == [errno.EPERM, [], errno.EINVAL, [], 0, []]


def test_namespaces_are_each_copys_own(open_server: ForkServer) -> None:
    source = "print(json.dumps([os.readlink(f'/proc/self/ns/{n}') for n in args]))"
    names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
    found = [json.loads(ok(open_server.run([source, *names]))) for _ in range(2)]
    found.append([os.readlink(f"/proc/{open_server.pid}/ns/{name}") for name in names])
    assert all(len(set(each)) == 3 for each in zip(*found, strict=True)), found


def test_the_init_of_a_copy_is_no_prey(open_server: ForkServer) -> None:
    """It has no capability and its own filter, and the copy can neither trace nor kill it."""
    source = """
libc = ctypes.CDLL(None, use_errno=True)
traced = libc.ptrace(16, 1, None, None), ctypes.get_errno()
os.kill(1, signal.SIGKILL)
print(json.dumps([traced, attempt(lambda: os.open("/proc/1/mem", os.O_RDWR))]), flush=True)
sys.stdin.read()
"""
    with open_server.start([source], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        traced, memory = json.loads(process.stdout.readline())
        assert traced == [-1, 1]
        assert memory in (2, 13)
        init = next(pid for pid in descendants(os.getpid()) if process.pid in descendants(pid)[:1])
        with open(f"/proc/{init}/status") as status:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        assert (fields["Name"], fields["Seccomp"], fields["NoNewPrivs"]) == ("stockade-init", "2", "1")
        assert [int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")] == [0, 0, 0]
        process.stdin.close()


# --- a server that fails, ends, or is closed ---


def broken(source: str, **options: Any) -> SetupError:
    with pytest.raises(SetupError) as caught:
        Executor(POLICY).start_fork_server(script(source), env=ENVIRONMENT, **options)
    return caught.value


def test_a_program_that_fails_before_it_serves() -> None:
    error = broken("import sys\nsys.stdout.write('x')\nraise RuntimeError('no \\x1b[31m model')")
    assert error.step == "fork_server"
    assert "ended with exit status 1 before it called Client.become_fork_server()" in str(error)
    assert "RuntimeError: no \\x1b[31m model" in str(error)
    assert "with exit status 0 before" in str(broken("pass"))
    assert "with signal 6 before" in str(broken("import os; os.abort()"))
    with pytest.raises(SetupError, match="/nowhere"):
        Executor(POLICY).start_fork_server(["/nowhere"])


def test_a_program_that_never_serves() -> None:
    before = open_descriptors()
    error = broken("import signal; signal.pause()", start_timeout=0.3)
    assert "did not call Client.become_fork_server() in time" in str(error)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "message",
    [
        "struct.pack('<II', 0xFFFFFFFF, 0)",
        "struct.pack('<II', 100, 0) + os.urandom(100)",
        "struct.pack('<II', 0, 0)",
        "struct.pack('<II', 100, 3)",
    ],
)
def test_hostile_messages_of_the_server_are_bounded(message: str) -> None:
    source = f"""
import os, signal, socket, struct
from stockade.client.connection import announced
socket.socket(fileno=announced().channel.fileno()).send({message})
signal.pause()
"""
    before = open_descriptors()
    error = broken(source, start_timeout=PATIENCE)
    assert error.step == "fork_server"
    assert open_descriptors() == before


def test_half_a_message_of_the_server_waits_no_longer_than_asked() -> None:
    source = """
import signal, socket, struct
from stockade.client.connection import announced
control = socket.socket(fileno=announced().channel.fileno())
control.send(struct.pack('<II', 100, 0))
signal.pause()
"""
    assert "in time" in str(broken(source, start_timeout=1.0))


def test_the_end_of_the_server_ends_its_copies() -> None:
    with serve() as server:
        with server.start(["print(1, flush=True); time.sleep(1000)"], stdout=PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"1\n"
            assert server.is_running
            os.kill(server.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            with pytest.raises(MonitorError, match="fork server"):
                process.result  # noqa: B018
        assert not server.is_running
        for _ in range(2):
            with pytest.raises(SetupError):
                server.run(["pass"])
    assert not server.is_running


def test_closing_kills_copies_and_leaves_nothing() -> None:
    before = open_descriptors()
    server = serve()
    process = server.start(["print(1, flush=True); time.sleep(1000)"], stdout=PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    pidfds = [os.pidfd_open(server.pid), os.pidfd_open(process.pid)]
    server.close()
    server.close()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
    process.wait(PATIENCE)
    assert process.result.status is Status.EXTERNAL_KILL
    process.close()
    with pytest.raises(SetupError, match="was closed"):
        server.run(["pass"])
    assert open_descriptors() == before


def test_copies_leave_neither_zombies_nor_descriptors(server: ForkServer) -> None:
    with server.start(["pass"]):
        pass
    before, held = open_descriptors(), sorted(os.listdir(f"/proc/{server.pid}/fd"))
    for source in ("pass", "os.fork()", "os.kill(os.getpid(), signal.SIGKILL)"):
        for _ in range(3):
            with server.start([source]):
                pass
    assert len(open_descriptors()) == len(before)
    wait_until(lambda: sorted(os.listdir(f"/proc/{server.pid}/fd")) == held)  # it makes the next copy meanwhile
    wait_until(lambda: not zombies_below(server.pid))


def zombies_below(pid: int) -> list[int]:
    """Processes of the server's box that have ended and that nobody has reaped."""
    with open(f"/proc/{pid}/stat") as stat:
        init = int(stat.read().rpartition(")")[2].split()[1])
    found = []
    for child in descendants(init):
        try:
            with open(f"/proc/{child}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    found.append(child)
        except OSError:
            continue
    return found


def wait_until(reached: Callable[[], bool]) -> None:
    """Look again and again: reaping is announced to nobody but the parent."""
    for _ in range(1000):
        if reached():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come")


def test_a_forked_copy_of_the_users_process_keeps_its_hands_off() -> None:
    source = """
import os
from stockade import Executor, SetupError
from support.clients import ENVIRONMENT, client_builder, script
program = "from stockade.client import Client; client = Client(); client.become_fork_server(); print(client.args)"
server = Executor(client_builder().build()).start_fork_server(script(program), env=ENVIRONMENT)
child = os.fork()
if child == 0:
    try:
        server.run(["x"])
    except SetupError as error:
        print(error, flush=True)
    server.close()
    os._exit(0)
os.waitpid(child, 0)
print(server.is_running, server.run(["x"]).stdout)
server.close()
"""
    said = run_python(source).stdout.splitlines()
    assert "belongs to the process that this one was forked from" in said[0]
    assert said[1:] == ["True b\"['x']\\n\""]


def test_the_death_of_the_executor_ends_the_server() -> None:
    source = """
import os, select
from stockade import Executor
from support.clients import ENVIRONMENT, client_builder, script
program = "from stockade.client import Client; client = Client(); client.become_fork_server(); print(client.args)"
server = Executor(client_builder().build()).start_fork_server(script(program), env=ENVIRONMENT)
pidfd, parent = os.pidfd_open(server.pid), os.pidfd_open(os.getpid())
if os.fork() == 0:
    select.select([parent], [], [])
    select.select([pidfd], [], [])
    os.write(1, b"gone")
os._exit(0)
"""
    assert run_python(source).stdout == "gone"


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="nobody who reads its streams"):
        Executor(POLICY).start_fork_server(script(""), stdout=PIPE)
    with pytest.raises(PolicyError, match="needs monitor='ptrace'"):
        Executor(POLICY, monitor="unotify").start_fork_server(script(""))
    with pytest.raises(PolicyError, match="needs monitor='ptrace'"):
        Executor(POLICY, monitor="unotify").run(script(""), sandbox_at="client")


def test_each_kind_of_connection_is_for_its_own_call() -> None:
    source = """
from stockade.client import Client, ClientError
for _ in range(2):
    try:
        Client().{call}()
    except ClientError as error:
        print(error, flush=True)
"""
    error = broken(source.format(call="sandbox_me_here") + "import sys; sys.stderr.write('ended')")
    assert "exit status 0" in str(error)
    with pytest.raises(SetupError):
        Executor(POLICY).run(script(source.format(call="become_fork_server")), env=ENVIRONMENT, sandbox_at="client")


LIAR = """
import os, socket, struct, sys
from stockade._proto.lean import Reply, Serving, Started
from stockade._proto.wire import encode
from stockade.client import connection
from stockade.comms.channel import Channel

server = connection.take(connection.FORK).channel
server.send(encode(Reply(serving=Serving())))
kept = []
while True:
    _, descriptors = server.receive()
    run = Channel.from_descriptor(descriptors[0])
    kept.append(run)
    if sys.argv[1] == "executor":
        of_peer = socket.socket(fileno=os.dup(run.fileno())).getsockopt(socket.SOL_SOCKET, 77, 4)  # SO_PEERPIDFD
        named = struct.unpack("i", of_peer) * 2
    elif sys.argv[1] == "itself":
        named = (os.pidfd_open(os.getpid()),) * 2
    else:
        named = (os.open("/", os.O_RDONLY),) * 2
    run.send(encode(Reply(started=Started())), named)
"""


@pytest.mark.parametrize("named", ["executor", "itself", "directory"])
def test_a_server_is_not_believed_about_what_is_no_copy_of_it(named: str) -> None:
    """What it names is killed in the end, with the rights of the executor."""
    source = f"""
from stockade import Executor, SetupError
from support.clients import ENVIRONMENT, client_builder, script
program = [*script({LIAR!r}), {named!r}]
with Executor(client_builder().build()).start_fork_server(program, env=ENVIRONMENT) as server:
    for _ in range(2):
        try:
            print(server.run(["x"], timeout=60).status)
        except SetupError as error:
            print(error)
    print(server.is_running)
"""
    said = run_python(source).stdout.splitlines()
    assert len(said) == 3, said
    assert all("named something as its copy that is none" in line for line in said[:2]), said
    assert said[2] == "True"
