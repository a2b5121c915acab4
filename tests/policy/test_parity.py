"""Whatever Sandbox2's PolicyBuilder says about system calls can be said here, with the same limits or tighter ones."""

from __future__ import annotations

import pytest

from policy.calls import mistakes
from policy.parity_cases import PARITY, Parity
from stockade.policy.builder import PolicyBuilder
from stockade.policy.groups import GROUPS

# Calls that there have no method, or that its groups leave out, and the method here that permits them.
FORGOTTEN = (
    ("allow_open", "openat2"),
    ("allow_stat", "statx"),
    ("allow_read", "preadv2"),
    ("allow_write", "pwritev2"),
    ("allow_wait", "waitid"),
    ("allow_close", "close_range"),
    ("allow_static_startup", "rseq"),
    ("allow_static_startup", "getrandom 0 8 GRND_NONBLOCK"),
    ("allow_time", "clock_getres"),
    ("allow_epoll_wait", "epoll_pwait2"),
    ("allow_access", "faccessat2"),
    ("allow_chmod", "fchmodat2"),
    ("allow_get_xattr", "getxattrat"),
    ("allow_set_xattr", "setxattrat"),
    ("allow_rename", "renameat2"),
    ("allow_alarm", "getitimer"),
    ("allow_get_pgids", "getsid"),
    ("allow_tcgets", "ioctl 0 TCGETS2"),
    ("allow_pidfd", "pidfd_send_signal"),
    ("allow_timerfd", "timerfd_create"),
    ("allow_signalfd", "signalfd4"),
)


@pytest.mark.parametrize("row", PARITY, ids=lambda row: row.method)
def test_a_method_there_has_its_like_here(row: Parity) -> None:
    assert mistakes(row.build(PolicyBuilder()).build(), row.allowed, row.refused) == []


@pytest.mark.parametrize(("method", "call"), FORGOTTEN, ids=[call for _, call in FORGOTTEN])
def test_what_is_forgotten_there_is_here(method: str, call: str) -> None:
    assert mistakes(getattr(PolicyBuilder(), method)().build(), call, "") == []


def test_there_is_one_method_for_each_group_and_no_second_spelling() -> None:
    groups = {f"allow_{name}" for name in GROUPS if not name.startswith("danger_")}
    groups |= {f"danger_allow_{name.removeprefix('danger_')}" for name in GROUPS if name.startswith("danger_")}
    methods = {name for name in dir(PolicyBuilder) if name.startswith(("allow_", "danger_allow_"))}
    others = {
        "allow_syscall",
        "allow_syscalls",
        "allow_loopback",
        "danger_allow_speculation",
        "danger_allow_host_network",
    }
    assert methods - groups == others
    assert groups - methods == set()


def test_no_two_groups_mean_the_same() -> None:
    meanings = [group.meaning for group in GROUPS.values()]
    assert len(meanings) == len(set(meanings))
    bodies = [
        (group.includes, tuple(str(row) for row in group.rows)) for group in GROUPS.values() if not group.parameter
    ]
    assert len(bodies) == len(set(bodies))
