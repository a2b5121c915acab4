"""User notification with two processes of our own: a child under a filter with a listener, and its supervisor."""

from __future__ import annotations

import os

from stockade.kernel import seccomp_notify
from stockade.kernel.seccomp_constants import SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
from support.attacks import run_script

# The child asks for getppid as often as told, and says what it got; the parent has its listener.
START = """
import ctypes, errno, os, select, signal, struct
from stockade.kernel import process, seccomp, seccomp_notify as notify
from stockade.kernel.architectures import native
number = native().number("getppid")
MARK = b"".join(struct.pack("<HBBI", *each) for each in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000)))
libc = ctypes.PyDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def getppid(*arguments):
    result = libc.syscall(number, *map(ctypes.c_long, arguments))
    return result if result >= 0 else -ctypes.get_errno()
def child(body):
    ours, its = os.pipe()
    answers, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        process.set_no_new_privs()
        listener = seccomp.prepare_listener(MARK, notify.listener_flags())()
        os.write(its, bytes([listener]))
        try:
            os.write(say, repr(body()).encode())
        finally:
            os._exit(0)
    number_of_listener = os.read(ours, 1)[0]
    os.close(say)
    return pid, notify.take_descriptor(os.pidfd_open(pid), number_of_listener), answers
def said(answers):
    return os.read(answers, 1000).decode()
"""


def test_the_flags_are_known_here_and_others_are_not() -> None:
    assert seccomp_notify.listener_flags() & SECCOMP_FILTER_FLAG_NEW_LISTENER
    assert seccomp_notify.knows_filter_flags(SECCOMP_FILTER_FLAG_NEW_LISTENER)
    assert not seccomp_notify.knows_filter_flags(1 << 20)
    # It means nothing by itself.
    assert not seccomp_notify.knows_filter_flags(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)


def test_asking_for_flags_installs_nothing() -> None:
    def filters() -> str:
        with open("/proc/self/status") as status:
            return next(line for line in status if line.startswith("Seccomp_filters"))

    before = filters()
    assert seccomp_notify.knows_filter_flags(seccomp_notify.listener_flags())
    assert filters() == before


def test_the_structures_are_at_least_as_long_as_we_know_them() -> None:
    notification, response = seccomp_notify.notification_sizes()
    assert notification >= seccomp_notify.NOTIFICATION.size == 80
    assert response >= 24


def test_calls_are_received_and_answered() -> None:
    script = (
        START
        + """
pid, listener, answers = child(lambda: [getppid(1, 2, 3, 4, 5, 6), getppid(-1), getppid(), getppid()])
notify.wake_synchronously(listener)
receiver, answerer = notify.Receiver(listener), notify.Answerer(listener)
for step in range(4):
    assert receiver.receive()
    identity, tid, flags, called, token, pointer, *registers = receiver.fields()
    assert (tid, called, token, flags) == (pid, number, native().audit_token, 0) and pointer
    assert receiver.words()[:2] == (number, token) and len(receiver.words()) == 16
    assert answerer.still_waits(identity) and not answerer.still_waits(identity + 1)
    if step == 0:
        assert registers == [1, 2, 3, 4, 5, 6]
        assert answerer.give(identity, 77)
    elif step == 1:
        assert registers[0] == (1 << 64) - 1
        assert answerer.fail(identity, errno.EXDEV)
    elif step == 2:
        assert answerer.give(identity, -1 << 62)
    else:
        assert answerer.let_go_on(identity)
    assert not answerer.still_waits(identity) and not answerer.let_go_on(identity)
heard = said(answers)
assert heard.startswith("[77, -18, ") and heard.endswith(f"{os.getpid()}]"), heard
poll = select.poll()
poll.register(listener, select.POLLIN)
os.waitpid(pid, 0)
assert poll.poll() == [(listener, select.POLLHUP)]
print("fine")
"""
    )
    assert run_script(script).stdout == "fine\n"


def test_descriptors_are_handed_over() -> None:
    script = (
        START
        + """
import resource
def body():
    found = [getppid()]
    found.append(os.read(found[0], 10))
    found.append(os.get_inheritable(found[0]))
    found.append(getppid())
    found.append(os.get_inheritable(found[3]))
    found.append(getppid())
    found.append(os.read(100, 10))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    found.append(getppid())
    return found
pid, listener, answers = child(body)
receiver, answerer = notify.Receiver(listener), notify.Answerer(listener)
def file(text):
    descriptor = os.memfd_create("x")
    os.write(descriptor, text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
def received():
    assert receiver.receive()
    return receiver.fields()[0]
assert answerer.give_descriptor(received(), file(b"one"))
assert answerer.give_descriptor(received(), file(b"two"), close_on_exec=True)
identity = received()
assert answerer.replace_descriptor(identity, file(b"three"), 100)
assert answerer.add_descriptor(identity, file(b"four")) > 2
assert answerer.give(identity, 100)
identity = received()
for descriptor, error in ((file(b"five"), errno.EMFILE), (10**6, errno.EBADF)):
    try:
        answerer.give_descriptor(identity, descriptor)
    except OSError as failure:
        assert failure.errno == error, failure
    else:
        raise AssertionError("it was handed over")
assert answerer.still_waits(identity) and answerer.fail(identity, errno.EMFILE)
assert not answerer.give_descriptor(identity, 0) and answerer.add_descriptor(identity, 0) is None
heard = eval(said(answers))
assert heard[1:3] == [b"one", True] and heard[4:] == [False, 100, b"three", -errno.EMFILE], heard
os.waitpid(pid, 0)
print("fine")
"""
    )
    assert run_script(script).stdout == "fine\n"


def test_a_call_that_is_gone_is_not_received_and_cannot_be_answered() -> None:
    script = (
        START
        + """
pid, listener, answers = child(getppid)
receiver, answerer = notify.Receiver(listener), notify.Answerer(listener)
poll = select.poll()
poll.register(listener, select.POLLIN)
assert poll.poll() == [(listener, select.POLLIN)]
os.kill(pid, signal.SIGKILL)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
assert not receiver.receive()
os.waitpid(pid, 0)
pid, listener, answers = child(getppid)
receiver, answerer = notify.Receiver(listener), notify.Answerer(listener)
assert receiver.receive()
identity = receiver.fields()[0]
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
assert not answerer.still_waits(identity) and not answerer.give(identity, 1)
assert not answerer.give_descriptor(identity, 0)
print("fine")
"""
    )
    assert run_script(script).stdout == "fine\n"


def test_a_second_listener_is_refused() -> None:
    script = (
        START
        + """
process.set_no_new_privs()
assert seccomp.prepare_listener(MARK, notify.listener_flags())() > 0
print(seccomp.prepare_listener(MARK, notify.listener_flags())(), os.getpid() > 0)
"""
    )
    assert run_script(script).stdout == "-16 True\n"


def test_a_trap_tells_its_tracer_a_number() -> None:
    script = """
import os, signal
from stockade.kernel import ptrace
from stockade.kernel.trap import prepare_trap
ours, its = os.pipe()
pid = os.fork()
if pid == 0:
    trap = prepare_trap()
    os.read(ours, 1)
    trap(4711)
    trap(5)
    os._exit(9)
ptrace.seize(pid, ptrace.PTRACE_O_EXITKILL)
os.write(its, b"x")
for expected in (4711, 5):
    _, status = os.waitpid(pid, ptrace.WALL)
    assert os.WSTOPSIG(status) == signal.SIGTRAP and status >> 16 == 0
    assert ptrace.signal_info(pid).code > 0 and ptrace.get_registers(pid).rdi == expected
    ptrace.resume(pid)
_, status = os.waitpid(pid, 0)
assert os.WEXITSTATUS(status) == 9
pid = os.fork()
if pid == 0:
    prepare_trap()(1)
    os._exit(9)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTRAP
print("fine")
"""
    assert run_script(script).stdout == "fine\n"


def test_taking_a_descriptor_that_is_not_there() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        own = seccomp_notify.take_descriptor(pidfd, pidfd)
        assert own != pidfd and not os.get_inheritable(own)
        os.close(own)
        try:
            seccomp_notify.take_descriptor(pidfd, 10**6)
        except OSError as error:
            assert error.errno == 9
        else:
            raise AssertionError("it was taken")
    finally:
        os.close(pidfd)
