"""The table of sibling calls: complete, without overlap, and what it is there for."""

from __future__ import annotations

from collections import Counter

import pytest

from stockade.kernel.architectures import AARCH64, X86_64
from stockade.policy.families import ALONE, FAMILIES, family_of, siblings
from stockade.policy.risk import LEVELS, risk

KERNEL = set(X86_64.syscalls) | set(AARCH64.syscalls)


def test_every_call_of_the_kernel_is_in_one_family_or_alone_on_purpose() -> None:
    listed = Counter(call for members in FAMILIES.values() for call in members)
    listed.update(ALONE)
    assert KERNEL - set(listed) == set(), "new calls: put them into a family, or say that they are alone"
    assert set(listed) - KERNEL == set(), "no such call"
    assert [call for call, count in listed.items() if count > 1] == []


def test_a_family_has_at_least_two_members() -> None:
    assert [name for name, members in FAMILIES.items() if len(members) < 2] == []


@pytest.mark.parametrize(
    "members",
    [
        "open openat openat2 creat",
        "execve execveat",
        "fork vfork clone clone3",
        "stat fstat lstat newfstatat statx",
        "rename renameat renameat2",
        "read readv pread64 preadv preadv2",
        "accept accept4",
    ],
)
def test_the_forms_of_one_call_are_siblings(members: str) -> None:
    names = members.split()
    for name in names:
        assert set(siblings(name)) == set(names) - {name}


def test_calls_that_are_alone_or_unknown_have_no_siblings() -> None:
    assert siblings("ioctl") == siblings("no_such_call") == ()
    assert family_of("ioctl") is family_of("no_such_call") is None
    assert family_of("openat2") == "open"


def test_the_risk_of_every_call_is_judged() -> None:
    for call in KERNEL:
        assert risk(call).level in LEVELS
        assert risk(call).reason.endswith(".")
        assert "not known" not in risk(call).reason, call
    assert "not known" in risk("no_such_call").reason
    assert risk("no_such_call").level == "high"


@pytest.mark.parametrize(
    ("call", "arguments", "level"),
    [
        ("mprotect", (0, 0, 1), "low"),
        ("mprotect", (0, 0, 5), "high"),
        ("mmap", (0, 0, 5, 0x802), "medium"),
        ("mmap", (0, 0, 5, 0x22), "high"),
        ("mmap", (0, 0, 7, 0x802), "high"),
        ("mmap", (0, 0, 3, 0x22), "low"),
        ("openat", (0, 0, 0x80000), "low"),
        ("openat", (0, 0, 0x241), "medium"),
        ("open", (0, 0, 0), "low"),
        ("open", (0, 2, 0), "medium"),
        ("socket", (1, 1, 0), "medium"),
        ("socket", (2, 1, 0), "high"),
        ("ioctl", (1, 0x5401), "low"),
        ("ioctl", (1, 0x5402), "medium"),
        ("clone", (0x50F00,), "low"),
        ("clone", (17,), "medium"),
        ("kill", (0, 0), "low"),
        ("kill", (0, 9), "medium"),
        ("prlimit64", (0, 3, 0), "low"),
        ("execve", (), "high"),
        ("getcwd", (), "low"),
    ],
)
def test_risk_depends_on_what_the_call_does(call: str, arguments: tuple[int, ...], level: str) -> None:
    assert risk(call, (*arguments, *(0,) * 6)[:6]).level == level
