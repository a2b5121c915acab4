"""Signal state of the calling process, in one of its own."""

from __future__ import annotations

from support.attacks import run_script


def test_dispositions_and_mask_become_the_defaults() -> None:
    said = run_script(
        """
import signal
from pathlib import Path
from stockade.kernel import signals
def masks():
    lines = Path("/proc/self/status").read_text().splitlines()
    wanted = ("SigIgn:", "SigCgt:", "SigBlk:")
    return {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith(wanted)}
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: None)
for number in (32, 33):  # the C library keeps these for itself, and would not set them
    signals.set_disposition(number, signals.SIG_IGN)
assert masks()["SigIgn:"] & 3 << 31 == 3 << 31
signals.set_signal_mask(signals.ALL_SIGNALS)
before = masks()
assert all(before.values()), before
signals.reset_dispositions()
signals.set_signal_mask(0)
assert not any(masks().values()), masks()
signals.set_disposition(signals.SIGCHLD, signals.SIG_IGN)
assert masks()["SigIgn:"] == 1 << 16
signals.set_signal_mask(1 << 9 | 1)
print(f"{masks()['SigBlk:']:x}")
"""
    )
    assert said.stdout == "201\n"


def test_waiting_tells_which_signal_came_and_whether_from_outside() -> None:
    said = run_script(
        """
import ctypes, os, signal
from stockade.kernel import process, signals
signals.set_signal_mask(signals.ALL_SIGNALS)
os.kill(os.getpid(), signal.SIGUSR1)
print(*signals.wait_for_signal(signals.ALL_SIGNALS))
os.kill(os.getpid(), signal.SIGUSR2)
os.kill(os.getpid(), signal.SIGHUP)
print(signals.wait_for_signal(1 << signal.SIGUSR2 - 1)[0], signals.wait_for_signal(signals.ALL_SIGNALS)[0])

# In a pid namespace: from outside of it, and forged within it.
process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWPID)
ready, say_ready = os.pipe()
answer, say = os.pipe()
child = os.fork()
if child == 0:
    forger = os.fork()
    if forger == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        forged = (ctypes.c_int32 * 32)(signal.SIGUSR1, 0, -1, 0, 0)  # SI_QUEUE from pid 0
        assert libc.syscall(129, 1, signal.SIGUSR1, forged) == 0
        as_kill = (ctypes.c_int32 * 32)(signal.SIGUSR1, 0, 0, 0, 0)  # SI_USER, which only the kernel may say
        assert libc.syscall(129, 1, signal.SIGUSR1, as_kill) == -1
        os._exit(0)
    os.waitpid(forger, 0)
    os.write(say, repr(signals.wait_for_signal(1 << signal.SIGUSR1 - 1)).encode())
    os.write(say_ready, b"x")
    os.write(say, repr(signals.wait_for_signal(1 << signal.SIGUSR2 - 1)).encode())
    os._exit(0)
os.read(ready, 1)
os.kill(child, signal.SIGUSR2)
os.waitpid(child, 0)
print(os.read(answer, 100).decode())
"""
    )
    assert said.stdout.splitlines() == ["10 False", "12 1", "(10, False)(12, True)"]
