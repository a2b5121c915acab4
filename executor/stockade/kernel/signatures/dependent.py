"""Arguments whose constants hang on another argument of the same call.

A line of the table is `call argument by argument: VALUE family, ...` with arguments counted from 0; the family `-` says
that no symbols fit where those of the signature would mislead.
"""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXT = """
fcntl 2 by 1: F_SETFD descriptor_flags, F_SETFL status_flags, F_SETLEASE lock_type, F_NOTIFY dnotify_events
fcntl 2 by 1: F_ADD_SEALS seals, F_SETSIG signal
prctl 1 by 0: PR_SET_PDEATHSIG signal, PR_SET_SECCOMP seccomp_mode, PR_SET_SECUREBITS securebits, PR_SET_MM prctl_mm
prctl 1 by 0: PR_CAPBSET_READ capability, PR_CAPBSET_DROP capability, PR_CAP_AMBIENT prctl_cap_ambient
prctl 1 by 0: PR_SET_TSC prctl_tsc, PR_SET_VMA prctl_vma, PR_SET_MDWE prctl_mdwe
prctl 1 by 0: PR_GET_SPECULATION_CTRL prctl_speculation, PR_SET_SPECULATION_CTRL prctl_speculation
prctl 1 by 0: PR_SET_SYSCALL_USER_DISPATCH prctl_dispatch
prctl 2 by 0: PR_CAP_AMBIENT capability
ptrace 3 by 0: PTRACE_SETOPTIONS ptrace_options, PTRACE_SEIZE ptrace_options, PTRACE_CONT signal, PTRACE_SYSCALL signal
ptrace 3 by 0: PTRACE_DETACH signal, PTRACE_SINGLESTEP signal, PTRACE_LISTEN -
socket 2 by 0: AF_UNIX -, AF_NETLINK netlink_protocol, AF_PACKET -, AF_BLUETOOTH -, AF_CAN -, AF_VSOCK -, AF_ALG -
socketpair 2 by 0: AF_UNIX -
getsockopt 2 by 1: SOL_IP ip_option, SOL_IPV6 ipv6_option, SOL_TCP tcp_option, SOL_UDP udp_option
getsockopt 2 by 1: SOL_PACKET packet_option, SOL_NETLINK netlink_option, SOL_SOCKET socket_option, * -
setsockopt 2 by 1: SOL_IP ip_option, SOL_IPV6 ipv6_option, SOL_TCP tcp_option, SOL_UDP udp_option
setsockopt 2 by 1: SOL_PACKET packet_option, SOL_NETLINK netlink_option, SOL_SOCKET socket_option, * -
"""

NO_SYMBOLS = "-"
_ANY_OTHER = "*"


def dependent_family(call: str, index: int, arguments: Sequence[int]) -> str | None:
    """Give the family for argument `index` of a call by its other `arguments`: a name, NO_SYMBOLS, or None.

    None when nothing hangs on another argument here; the family of the signature then holds.
    """
    row = _rows().get((call, index))
    if row is None or row[0] >= len(arguments):
        return None
    decider, families = row
    return families.get(arguments[decider] & 0xFFFFFFFF, families.get(_ANY_OTHER))


@cache
def _rows() -> dict[tuple[str, int], tuple[int, dict[int | str, str]]]:
    from stockade.kernel import constants

    rows: dict[tuple[str, int], tuple[int, dict[int | str, str]]] = {}
    for line in _TEXT.strip().splitlines():
        head, _, choices = line.partition(": ")
        call, index, _, decider = head.split()
        _, families = rows.setdefault((call, int(index)), (int(decider), {}))
        for choice in choices.split(", "):
            symbol, family = choice.split()
            families[symbol if symbol == _ANY_OTHER else constants.value(symbol)] = family
    return rows
