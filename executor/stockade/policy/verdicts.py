"""How an action becomes the number that the filter returns; shared by the compiler, the self-check and the monitor.

The data of SECCOMP_RET_TRACE tells the monitor why it was called. It is a hint, never a proof: a filter that the
sandboxee stacked itself could return the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from stockade.errors import PolicyError
from stockade.kernel.seccomp_constants import (
    DETECTION_ERRNO,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
)
from stockade.policy.rules import LENIENT_MODES, Action, Kind

FREE_EXEC_CALL, FREE_EXEC_ARGUMENT = "execveat", 5

# Data of SECCOMP_RET_TRACE. A hook has HOOK_BASE plus its index in `ResolvedPolicy.hooks`.
DATA_FREE_EXEC = 1
DATA_VIOLATION = 2
DATA_LOG = 3
# A violation that stays refused in the modes that let violations happen.
DATA_REFUSED = 4
HOOK_BASE = 0x100
MAX_HOOKS = SECCOMP_RET_DATA - HOOK_BASE + 1

# What the data says, for listings.
DATA_WORDS = {
    DATA_FREE_EXEC: "the free exec",
    DATA_VIOLATION: "a violation",
    DATA_LOG: "logged",
    DATA_REFUSED: "a violation that stays refused",
}

# Filter values that no policy can change.
FREE_EXEC_VALUE = SECCOMP_RET_TRACE | DATA_FREE_EXEC
FOREIGN_VALUE = SECCOMP_RET_KILL_PROCESS
DETECTION_VALUE = SECCOMP_RET_ERRNO | DETECTION_ERRNO


def filter_value(action: Action, mode: str, hooks: Sequence[str], *, refused: bool = False) -> int:
    """Give the 32-bit value that a filter returns for `action`.

    `mode` is one of `rules.MODES`; `hooks` are those of the resolved policy. Raises PolicyError for a hook that is not
    among them. In enforce mode the kernel itself kills; in the others the monitor is asked about a violation. `refused`
    says that the call is an always-refused one, or one that nobody knows: no mode lets these happen.
    """
    match action.kind:
        case Kind.ALLOW:
            return SECCOMP_RET_ALLOW
        case Kind.ERRNO:
            return SECCOMP_RET_ERRNO | action.errno
        case Kind.LOG:
            return SECCOMP_RET_TRACE | DATA_LOG
        case Kind.TRAP:
            return SECCOMP_RET_TRAP
        case Kind.TRACE:
            if action.hook not in hooks:
                raise PolicyError(f"hook {action.hook!r} is not among the hooks of the resolved policy")
            return SECCOMP_RET_TRACE | (HOOK_BASE + hooks.index(action.hook))
        case Kind.KILL:
            if mode == "enforce":
                return SECCOMP_RET_KILL_PROCESS
            return SECCOMP_RET_TRACE | (DATA_REFUSED if refused and mode in LENIENT_MODES else DATA_VIOLATION)
