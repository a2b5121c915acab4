"""Installing filters, in processes of their own."""

from __future__ import annotations

import errno

from support.attacks import run_script

INSTALL = """
import errno, os, struct, sys
from pathlib import Path
from stockade.kernel import process, seccomp
from stockade.kernel.architectures import native
def program(*instructions):
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
# getppid answers with an error number that it never has.
number = native().number("getppid")
MARK = program((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 99), (0x06, 0, 0, 0x7FFF0000))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def getppid():
    result = libc.syscall(number)
    return result if result >= 0 else -ctypes.get_errno()
def lines():
    return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Seccomp:")]
"""


def test_a_filter_is_in_force_once_installed() -> None:
    said = run_script(
        INSTALL
        + """
assert getppid() > 0
process.set_no_new_privs()
seccomp.install_filter(MARK)
print(getppid(), lines())
"""
    )
    assert said.stdout == "-99 ['Seccomp:\\t2']\n"


def test_a_prepared_filter_is_installed_by_one_call_later() -> None:
    said = run_script(
        INSTALL
        + """
install = seccomp.prepare_filter(MARK)
process.set_no_new_privs()
import gc
gc.collect()
assert getppid() > 0
print(install(), getppid())
"""
    )
    assert said.stdout == "0 -99\n"


def test_what_the_kernel_refuses_is_an_error() -> None:
    said = run_script(
        INSTALL
        + """
process.set_no_new_privs()
for bad in (b"\\xff" * 8, b"", program((0x20, 0, 0, 0))):
    try:
        seccomp.install_filter(bad)
    except OSError as error:
        print(error.errno)
    print(seccomp.prepare_filter(bad)())
"""
    )
    assert said.stdout.split() == [str(errno.EINVAL)] * 6
