"""Suggestions for the violations of a run: bounded in time, however many different calls a program makes."""

from __future__ import annotations

import pytest

from stockade import Policy, PolicyBuilder
from stockade._proto import report_pb2
from stockade.kernel.architectures import X86_64
from stockade.policy import suggestions
from stockade.policy.suggest import Call
from stockade.policy.suggestions import MAXIMUM_EXPLAINED, add_suggestions

Violation = report_pb2.Violation


def violation(syscall: str, *args: int) -> Violation:
    number = X86_64.syscalls.get(syscall) or int(syscall.removeprefix("syscall_"))
    kind = Violation.SYSCALL
    registers = (*args, *(0,) * 6)[:6]
    return Violation(kind=kind, syscall=syscall, number=number, architecture="x86_64", raw_arguments=registers)


@pytest.fixture
def policy() -> Policy:
    return PolicyBuilder().allow_exit().build()


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls for which suggestions were worked out."""
    calls: list[Call] = []

    def patch(policy: Policy, call: Call) -> report_pb2.Patch:
        calls.append(call)
        return report_pb2.Patch(builder_call=f".allow_syscall({call.syscall!r})")

    monkeypatch.setattr(suggestions, "patch", patch)
    monkeypatch.setattr(suggestions, "wider_patch", lambda policy, call: None)
    monkeypatch.setattr(suggestions, "nearest_rule", lambda policy, call: report_pb2.NearestRule(rule="near"))
    return calls


def test_the_same_call_from_many_places_is_worked_out_once(policy: Policy, worked_out: list[Call]) -> None:
    found = [violation("ioctl", 0, 0x5401, 1) for _ in range(1000)]
    add_suggestions(policy, found)
    assert len(worked_out) == 1
    assert {each.patch.builder_call for each in found} == {".allow_syscall('ioctl')"}
    assert {each.nearest_rule.rule for each in found} == {"near"}


def test_the_number_is_bounded_and_no_system_call_is_left_out(policy: Policy, worked_out: list[Call]) -> None:
    found = [violation("ioctl", 0, index) for index in range(1000)]
    found += [violation(f"syscall_{100_000 + index}") for index in range(100)]
    found += [violation("getcwd"), violation("getcwd", 1)]
    add_suggestions(policy, found)
    assert len(worked_out) == MAXIMUM_EXPLAINED + 1
    assert found[MAXIMUM_EXPLAINED - 1].patch.builder_call
    said = f"{MAXIMUM_EXPLAINED} other calls have suggestions already"
    assert all(each.patch.refused_because.startswith(said) for each in found[MAXIMUM_EXPLAINED:-2])
    assert found[-2].patch.builder_call
    assert found[-1].patch.refused_because.startswith(said)


def test_real_suggestions_and_hooks(policy: Policy) -> None:
    hooked = Violation(kind=Violation.HOOK, syscall="getcwd", hook="ask")
    found = [violation("getcwd"), violation("ptrace"), hooked]
    add_suggestions(policy, found)
    assert found[0].patch.builder_call == '.allow_syscall("getcwd")'
    assert "always refused" in found[1].patch.refused_because
    assert hooked.patch.refused_because == "the hook 'ask' decides this call, not a rule"
