"""Capabilities: giving up all of them, in all five sets. capabilities(7)."""

from __future__ import annotations

import ctypes

from stockade.kernel.calls import Address, system_call
from stockade.kernel.process import prctl

PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# Uid 0 means nothing, keep-caps and ambient raise are off, and each of these is locked.
SECURE_NOROOT_NOFIXUP_NOAMBIENT_LOCKED = 0b11101111

_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_capset = system_call("capset", Address, Address)


def drop_all_capabilities() -> None:
    """Empty the ambient, bounding, inheritable, permitted and effective sets and lock the secure bits.

    Needs CAP_SETPCAP in the caller's user namespace (a process that has just made one has it).
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    prctl(PR_SET_SECUREBITS, SECURE_NOROOT_NOFIXUP_NOAMBIENT_LOCKED)
    _drop_bounding_set()
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _capset(ctypes.addressof(header), ctypes.addressof(nothing))


def _drop_bounding_set() -> None:
    """Drop every capability that this kernel knows; EINVAL marks the end of them."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == 22 and capability > 30:
                return
            raise
