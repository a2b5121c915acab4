"""Bindings about processes, against the real kernel. What changes the process is done in one of its own."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import signal

import pytest

from stockade.kernel import process
from stockade.kernel.calls import system_call
from support.attacks import run_script


def test_clone_gives_a_pid_and_a_pidfd_of_the_child() -> None:
    said = run_script(
        """
import os, select
from stockade.kernel import process
pid, pidfd = process.clone(0)
if pid == 0:
    assert pidfd == -1 and os.getppid() > 0
    os._exit(7)
assert not os.get_inheritable(pidfd)
assert select.select([pidfd], [], [], 60)[0]
assert os.waitpid(pid, 0) == (pid, 7 << 8)
print("fine")
"""
    )
    assert said.stdout == "fine\n"


def test_unshare_and_setns_change_namespaces() -> None:
    said = run_script(
        """
import os
from stockade.kernel import process
before = os.readlink("/proc/self/ns/uts")
process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWUTS)
process.sethostname(b"inside")
process.setdomainname(b"domain")
assert os.uname().nodename == "inside"
assert os.readlink("/proc/self/ns/uts") != before
own = os.open("/proc/self/ns/uts", os.O_RDONLY)
process.unshare(process.CLONE_NEWUTS)
process.sethostname(b"other")
process.setns(own, process.CLONE_NEWUTS)
assert os.uname().nodename == "inside"
try:
    process.setns(own, process.CLONE_NEWNET)
except OSError as error:
    print(error)
"""
    )
    assert said.stdout == "[Errno 22] setns: Invalid argument\n"


def test_a_pidfd_stays_with_its_process() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    pidfd = process.pidfd_open(child)
    assert not os.get_inheritable(pidfd)
    process.pidfd_send_signal(pidfd, 0)
    process.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 60)[0]
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError, match="pidfd_send_signal"):
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    with pytest.raises(OSError, match="pidfd_open") as caught:
        process.pidfd_open(-1)
    assert caught.value.errno == errno.EINVAL


def test_close_all_but_keeps_what_is_listed_and_nothing_else() -> None:
    said = run_script(
        """
import os
from stockade.kernel import process
for number in (5, 6, 9, 40, 900):
    os.dup2(1, number)
process.close_all_but([40, 1, 6, 6, 2])
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
left = [number for number in range(1024) if is_open(number)]
os.write(1, repr(left).encode())
process.close_range(6)
left = [number for number in range(1024) if is_open(number)]
os.write(1, repr(left).encode())
"""
    )
    assert said.stdout == "[1, 2, 6, 40][1, 2]"


def test_resource_limits_are_set_and_read() -> None:
    said = run_script(
        """
import os, resource
from stockade.kernel import process
process.set_resource_limit(resource.RLIMIT_NOFILE, 33, 44)
print(process.get_resource_limit(os.getpid(), resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    )
    assert said.stdout == "(33, 44) (33, 44)\n"
    with pytest.raises(OSError, match="prlimit"):
        process.get_resource_limit(os.getpid(), 999)


def test_memory_of_a_process_is_read_up_to_a_hole() -> None:
    size = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * size)
    area[size - 4 : size + 4] = b"beforeXX"[:8]
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert process.process_vm_readv(os.getpid(), address + size - 4, 8) == b"beforeXX"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect(ctypes.c_void_p(address + size), ctypes.c_size_t(size), 0)
    assert process.process_vm_readv(os.getpid(), address + size - 4, 8) == b"befo"
    with pytest.raises(OSError, match="process_vm_readv") as caught:
        process.process_vm_readv(os.getpid(), address + size, 8)
    assert caught.value.errno == errno.EFAULT
    libc.mprotect(ctypes.c_void_p(address + size), ctypes.c_size_t(size), 3)


def test_attributes_of_the_process() -> None:
    said = run_script(
        """
import os
from pathlib import Path
from stockade.kernel import process
process.set_name(b"a name that is too long")
process.set_no_new_privs()
process.disable_speculation()
process.personality(0x0040000)
status = Path("/proc/self/status").read_text()
assert "Name:\\ta name that is \\n" in status or "Name:\\ta name that is\\n" in status, status
assert "NoNewPrivs:\\t1\\n" in status
assert Path("/proc/self/personality").read_text() == "00040000\\n"
process.join_new_session_keyring()
assert process.prctl(3) == 1
print(process.read_small_file("/proc/self/comm"))
"""
    )
    assert said.stdout == "b'a name that is \\n'\n"


def test_execveat_is_made_with_its_cookie() -> None:
    said = run_script(
        """
import os
from stockade.kernel import process
program = os.open("/bin/echo", os.O_RDONLY)
execute = process.prepare_execveat(program, b"", [b"name", b"an argument"], [b"A=1"], process.AT_EMPTY_PATH, 7)
pid = os.fork()
if pid == 0:
    execute()
    os._exit(9)
assert os.waitpid(pid, 0)[1] == 0
failing = process.prepare_execveat(process.AT_FDCWD, b"/nonexistent", [b"x"], [], 0, 7)
failing()
print("came back")
"""
    )
    assert sorted(said.stdout.splitlines()) == ["an argument", "came back"]


def test_small_files_are_read_and_written_relative_to_a_directory() -> None:
    directory = os.open("/proc/self", os.O_RDONLY)
    assert process.read_small_file("comm", directory) == process.read_small_file("/proc/self/comm")
    score = process.read_small_file("oom_score_adj", directory)
    process.write_small_file("oom_score_adj", score, directory)
    assert process.read_small_file("/proc/self/stat", size=4) == process.read_small_file("/proc/self/stat")[:4]
    os.close(directory)


def test_a_call_that_is_not_known_on_this_machine_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    call = system_call("no_such_call")
    with pytest.raises(OSError, match="no_such_call: not known on") as caught:
        call()
    assert caught.value.errno == errno.ENOSYS
