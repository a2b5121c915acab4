"""Giving up capabilities, in a user namespace where there are some to give up."""

from __future__ import annotations

from support.attacks import run_script


def test_all_five_sets_are_emptied_and_the_bits_locked() -> None:
    said = run_script(
        """
import ctypes, os
from pathlib import Path
from stockade.kernel import process
from stockade.kernel.capabilities import drop_all_capabilities
from stockade.sandboxee import identity
def sets():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}
ids = os.geteuid(), os.getegid()
process.unshare(process.CLONE_NEWUSER)
identity.write_id_maps(None, "self", (0, 0), ids)
# One that every process may make inheritable, and then ambient.
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None, use_errno=True)
assert libc.capget(header, data) == 0
data[2] = 1
assert libc.capset(header, data) == 0
assert libc.prctl(47, 2, 0, 0, 0) == 0
before = sets()
assert all(before.values()), before
drop_all_capabilities()
assert not any(sets().values()), sets()
# Uid 0 of this namespace gains nothing by an exec, and cannot unlock that.
assert process.prctl(27) == 0b11101111
status = os.popen("grep Cap /proc/self/status").read().split()
assert {int(value, 16) for value in status[1::2]} == {0}, status
try:
    drop_all_capabilities()
except OSError as error:
    print(error.errno)
"""
    )
    assert said.stdout == "1\n"
