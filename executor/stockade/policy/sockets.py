"""Whether anything that runs under a policy can come to have a socket."""

from __future__ import annotations

from stockade.policy.rules import LENIENT_MODES, Action, Kind, ResolvedPolicy

# Every way to a first socket. The others (accept, recvmsg, …) need one. io_uring is refused unless it is reopened.
SOCKET_MAKERS = ("socket", "socketpair", "io_uring_setup")


def admits_sockets(resolved: ResolvedPolicy) -> bool:
    """Whether some call that makes a socket may be permitted, by whatever rule, hook or default, or as a violation that
    the mode lets happen.
    """
    if _permits(resolved, resolved.default):
        return True
    makers = {resolved.architecture.syscalls.get(name) for name in SOCKET_MAKERS}
    filters = [raw for raw in resolved.raw if raw.numbers & makers]
    actions = [rule.action for rule in resolved.rules if rule.number in makers and not rule.danger]
    actions += [action for raw in filters for action in raw.actions if action.kind is Kind.KILL]
    return any(_permits(resolved, action) for action in actions)


def _permits(resolved: ResolvedPolicy, action: Action) -> bool:
    return action.kind.permits or (action.kind is Kind.KILL and resolved.mode in LENIENT_MODES)
