"""Class G: what a program does to the report about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from stockade import Executor, Status
from stockade.monitor.violations import MAXIMUM_KEPT, RESERVED
from support.attacks import Attempt, attack_program, small, succeeds

# Calls that the program makes, in thousands; and the one at the end.
THOUSANDS = 100
MADE = THOUSANDS * 1000 + 1


@pytest.fixture
def flood(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "flood")


def texts(message: Message) -> Iterator[str]:
    """Every text in a message, deeply."""
    for field, value in message.ListFields():
        for each in value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]:
            if isinstance(each, Message):
                yield from texts(each)
            elif field.cpp_type == field.CPPTYPE_STRING and isinstance(each, str):
                yield each


# --- G16: thousands of violations a second ---


@pytest.mark.attack("G16")
@pytest.mark.parametrize(
    ("mode", "monitor"), [("refuse", "ptrace"), ("permissive", "ptrace"), ("permissive", "unotify")]
)
def test_a_flood_of_violations_is_counted_in_bounded_memory(
    attack: Attempt, flood: Path, mode: str, monitor: str
) -> None:
    attack.control(succeeds(flood, str(THOUSANDS)), "the calls cannot be made")
    result = Executor(small(flood).build(), mode=mode, monitor=monitor).run([flood, str(THOUSANDS)])
    assert (result.status, result.returncode) == (Status.OK, 0), result.stdout
    kept, report = result.violations, result.to_proto()
    assert sum(violation.count for violation in kept) + report.violations_dropped == MADE
    assert {violation.allowed for violation in kept} == {mode == "permissive"}
    # Bounded: how many are kept, how large each is, how long every text, how many events are recorded.
    assert len(kept) <= MAXIMUM_KEPT + RESERVED
    assert report.violations_dropped > 0
    assert max(violation.ByteSize() for violation in kept) < 64 << 10
    assert max(len(text) for text in texts(report)) < 8 << 10
    assert all(text.isprintable() for text in texts(report))
    assert not result.flight_recorder
    # The first are there in full, with their stacks, and no call is lost among the others.
    first = kept[0]
    assert (first.syscall, first.count) == ("ioctl", 1)
    assert first.stack and first.patch.builder_call
    assert {violation.syscall for violation in kept} == {"ioctl", "getppid", "openat", "getpgid", "getcwd"}
    same = next(violation for violation in kept if violation.syscall == "getpgid")
    assert same.count == THOUSANDS * 1000 - THOUSANDS * 600
    assert same.first_at < same.last_at


def test_the_violations_of_a_modest_program_are_all_kept(flood: Path) -> None:
    result = Executor(small(flood).build(), mode="refuse").run([flood, "1"])
    assert sum(violation.count for violation in result.violations) == 1001
    assert not result.to_proto().violations_dropped
