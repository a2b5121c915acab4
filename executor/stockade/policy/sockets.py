"""Whether anything that runs under a policy can come to have a socket."""

from __future__ import annotations

from stockade.policy.rules import ResolvedPolicy

# Every way to a first socket. The others (accept, recvmsg, …) need one. io_uring is refused unless it is reopened.
SOCKET_MAKERS = ("socket", "socketpair", "io_uring_setup")


def admits_sockets(resolved: ResolvedPolicy) -> bool:
    """Whether some call that makes a socket may be permitted, by whatever rule, hook or default."""
    if resolved.default.kind.permits:
        return True
    return any(rule.syscall in SOCKET_MAKERS and rule.action.kind.permits for rule in resolved.rules)
