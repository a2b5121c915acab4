"""The form of a compiled program for the unotify monitor: every call that it refuses or traces becomes a notification.

Jumps and tests stay as they are, only returned values are exchanged, so that what was checked of the original holds:
the monitor runs the original on each notified call to learn what was meant.
"""

from __future__ import annotations

from stockade.errors import PolicyError
from stockade.kernel.seccomp_constants import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from stockade.policy.bpf.instructions import ALU, DIV, RET_A, RET_K, X, decode, encode

# What the monitor decides; and what stays the kernel's, which only makes calls fail or lets them be.
NOTIFIED = frozenset((SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRACE))
KEPT = frozenset((SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP))


def notifying(program: bytes) -> bytes:
    """Give `program` (an array of struct sock_filter) with its kills and traces turned into notifications.

    Raises PolicyError for a program that can return something by calculation, which no exchange of constants reaches.
    """
    exchanged = []
    for instruction in decode(program):
        if instruction.code == RET_K:
            action = instruction.k & SECCOMP_RET_ACTION_FULL
            if action in NOTIFIED:
                instruction = instruction._replace(k=SECCOMP_RET_USER_NOTIF)
            elif action not in KEPT:
                raise PolicyError(f"the filter returns {instruction.k:#010x}, which monitor='unotify' does not know")
        elif instruction.code == RET_A:
            raise PolicyError("the filter returns what it calculates, which monitor='unotify' cannot follow")
        elif instruction.code == ALU | DIV | X:
            raise PolicyError(
                "a raw filter divides by the register X: where that is 0 the kernel kills the thread without telling "
                "anybody, which monitor='unotify' would not see; divide by a constant, or use monitor='ptrace'"
            )
        exchanged.append(instruction)
    return encode(exchanged)
