"""Many violations in little memory: repetitions are counted, the rest is kept up to a bound and counted beyond."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from stockade._proto import report_pb2
from stockade.kernel.architectures import X86_64
from stockade.monitor import violations
from stockade.monitor.violations import MAXIMUM_KEPT, RESERVED, Call, ViolationLog

SYSCALL = report_pb2.Violation.SYSCALL
GETPPID, IOCTL, SOCKET = X86_64.number("getppid"), X86_64.number("ioctl"), X86_64.number("socket")


def call(number: int, *args: int, ip: int = 0x1000) -> Call:
    return Call(X86_64.name_of(number), number, "x86_64", (*args, *(0,) * 6)[:6], ip, 0x2000)


def log() -> ViolationLog:
    return ViolationLog(time.monotonic())


def made(kept: ViolationLog) -> int:
    return sum(violation.count for violation in kept.violations) + kept.dropped


@pytest.fixture
def no_description(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """Describe nothing, and note what would have been described."""
    described: list[Call] = []

    def describe(tid: int, call: Call, *_: object, **__: object) -> report_pb2.Violation:
        described.append(call)
        return report_pb2.Violation(syscall=call.name)

    monkeypatch.setattr("stockade.monitor.describe.describe", describe)
    yield described


def test_of_a_repetition_nothing_but_the_key_is_looked_at(no_description: list[Call]) -> None:
    kept = log()
    for index in range(1000):
        # What an argument points at, and numbers that select nothing, do not make another violation.
        kept.record(os.getpid(), call(IOCTL, index, 0x5401, index << 12), SYSCALL, "seccomp")
    assert len(no_description) == 1
    assert [violation.count for violation in kept.violations] == [1000]
    first = kept.violations[0]
    assert first.first_at < first.last_at


@pytest.mark.parametrize(
    "other",
    [
        call(IOCTL, 1, 0x5402),
        call(IOCTL, 1, 0x5401, ip=0x1001),
        call(SOCKET, 1, 0x5401),
        call(IOCTL, 1, 0x5401)._replace(architecture="i386"),
    ],
)
def test_what_differs_is_another_violation(no_description: list[Call], other: Call) -> None:
    kept = log()
    for each in (call(IOCTL, 1, 0x5401), other, call(IOCTL, 1, 0x5401)):
        kept.record(os.getpid(), each, SYSCALL, "seccomp")
    assert [violation.count for violation in kept.violations] == [2, 1]


def test_what_happened_and_what_was_refused_are_counted_apart(no_description: list[Call]) -> None:
    kept = log()
    for allowed in (True, False, True):
        kept.record(os.getpid(), call(GETPPID), SYSCALL, "seccomp", allowed=allowed)
    assert [(violation.allowed, violation.count) for violation in kept.violations] == [(True, 2), (False, 1)]


def test_the_number_is_bounded_however_they_differ(no_description: list[Call]) -> None:
    kept = log()
    calls = 0
    for index in range(20_000):
        for each in (
            call(IOCTL, 0, index),
            call(GETPPID, ip=0x400000 + index),
            call(IOCTL, 0, 0x5401),
            call(100_000 + index),
        ):
            kept.record(os.getpid(), each, SYSCALL, "seccomp")
            calls += 1
    assert len(kept.violations) == MAXIMUM_KEPT
    assert made(kept) == calls
    assert kept.dropped > 50_000
    # What the log holds besides is bounded too.
    assert len(kept._by_key) == MAXIMUM_KEPT
    assert len(kept._kept_calls) <= MAXIMUM_KEPT + RESERVED
    for cache in (violations._name_call, violations._selecting):
        assert (cache.cache_info().maxsize or 0) >= cache.cache_info().currsize


def test_a_flood_of_one_call_hides_no_other(no_description: list[Call]) -> None:
    kept = log()
    for index in range(3 * MAXIMUM_KEPT):
        kept.record(os.getpid(), call(IOCTL, 0, index), SYSCALL, "seccomp")
    for number in X86_64.names:
        kept.record(os.getpid(), call(number), SYSCALL, "seccomp")
    kept.record(os.getpid(), call(SOCKET, 10), SYSCALL, "seccomp")  # not the first of its call
    names = {violation.syscall for violation in kept.violations}
    assert names == set(X86_64.names.values())
    assert len(kept.violations) < MAXIMUM_KEPT + RESERVED
    assert made(kept) == 3 * MAXIMUM_KEPT + len(X86_64.names) + 1


def test_names_that_are_made_up_get_no_place_of_their_own(no_description: list[Call]) -> None:
    kept = log()
    for index in range(3 * MAXIMUM_KEPT):
        kept.record(os.getpid(), call(100_000 + index), SYSCALL, "seccomp")
    assert len(kept.violations) == MAXIMUM_KEPT


def test_every_text_of_a_description_is_bounded() -> None:
    """Of a real task, with addresses that lead anywhere: nothing in a violation grows with what the program made."""
    kept = log()
    for name, number in X86_64.syscalls.items():
        for value in (1, (1 << 64) - 1, id(name)):
            kept.record(os.getpid(), call(number, *[value] * 6), SYSCALL, "seccomp")
    assert max(violation.ByteSize() for violation in kept.violations) < 64 << 10
