"""The base profiles and presets by their meaning: each permits what the one before does, and no more than it says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from policy.calls import BOTH, mistakes
from policy.profile_cases import LADDER, NOBODY, PRESETS, ROWS, permitted_by
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.limits import Limits
from stockade.policy import profiles
from stockade.policy.evaluate import DecidedBy, Verdict, evaluate
from stockade.policy.meaning.diff import diff
from stockade.policy.policy import Policy
from stockade.policy.rules import ResolvedPolicy
from stockade.policy.selfcheck import Case, cases

ONES = ((1 << 64) - 1,) * 6


@cache
def profile(name: str) -> Policy:
    return Policy.profile(name)


def all_cases(machine: Architecture, *resolved: ResolvedPolicy) -> Iterator[Case]:
    """Every number with arguments of zeros and ones, and the boundaries of every condition of the policies."""
    for number in range(max(machine.names) + 3):
        yield number, machine.audit_token, (0,) * 6
        yield number, machine.audit_token, ONES
    for each in resolved:
        yield from cases(each)


def compare(first: str, second: str) -> Iterator[tuple[str, Verdict, Verdict]]:
    """What two profiles say about each case."""
    for architecture in BOTH:
        machine = ARCHITECTURES[architecture]
        one, other = profile(first).resolve(machine), profile(second).resolve(machine)
        for number, token, registers in all_cases(machine, one, other):
            shown = f"{architecture}: {machine.name_of(number)}({', '.join(map(hex, registers))})"
            yield shown, evaluate(one, number, registers, token), evaluate(other, number, registers, token)


@pytest.mark.parametrize("name", LADDER)
@pytest.mark.parametrize("row", ROWS)
def test_a_profile_permits_and_refuses_what_it_says(name: str, row: str) -> None:
    calls, narrowest = ROWS[row]
    listed = (calls, "") if permitted_by(name, narrowest) else ("", calls)
    assert mistakes(profile(name), *listed) == []


@pytest.mark.parametrize("narrower", LADDER[:-1])
def test_each_profile_permits_all_that_the_one_before_it_permits(narrower: str) -> None:
    wider = LADDER[LADDER.index(narrower) + 1]
    lost = [shown for shown, before, after in compare(narrower, wider) if before.permits and not after.permits]
    assert lost == []
    assert any(after.permits and not before.permits for _, before, after in compare(narrower, wider))


@pytest.mark.parametrize("narrower", LADDER[:-1])
def test_by_exact_comparison_no_call_is_lost(narrower: str) -> None:
    wider = LADDER[LADDER.index(narrower) + 1]
    for architecture in BOTH:
        changes = diff(profile(narrower), profile(wider), architecture).changes
        assert [change for change in changes if change.kind == "refused"] == []
        assert [change for change in changes if change.kind == "allowed"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_profile_with_limits(preset: str) -> None:
    assert [shown for shown, before, after in compare(preset, PRESETS[preset]) if before.action != after.action] == []
    mine, base = profile(preset).message, profile(PRESETS[preset]).message
    assert (mine.filesystem, mine.network, mine.options) == (base.filesystem, base.network, base.options)
    assert not base.HasField("limits")
    limits = Limits.from_policy(mine.limits)
    limits.check_enforceable()
    assert limits.wall_time and limits.processes and limits.file_size and limits.output


def test_presets_get_wider() -> None:
    strict, moderate, permissive = (Limits.from_policy(profile(name).message.limits) for name in PRESETS)
    for name in ("wall_time", "processes", "open_files", "file_size", "output"):
        amounts = [each.value(name) for each in (strict, moderate, permissive)]
        assert None not in amounts
        assert amounts == sorted(amounts, key=lambda amount: amount or 0), name
        assert amounts[0] != amounts[2], name


def test_the_default_profile_decides_as_compute_does() -> None:
    """The same calls; but nothing is writable there, while compute has a /tmp in memory."""
    assert diff(profile("default"), profile("compute")).changes == ()
    assert [shown for shown, before, after in compare("default", "compute") if before.action != after.action] == []
    kinds = {mount.WhichOneof("kind") for mount in profile("default").message.filesystem.mounts}
    assert kinds == {"bind"}
    assert not any(mount.bind.writable for mount in profile("default").message.filesystem.mounts)


@pytest.mark.parametrize("architecture", BOTH)
def test_unrestricted_refuses_only_what_is_always_refused(architecture: str) -> None:
    machine = ARCHITECTURES[architecture]
    resolved = profile("unrestricted").resolve(machine)
    for number in machine.names:
        for registers in ((0,) * 6, (1,) * 6, ONES):
            verdict = evaluate(resolved, number, registers)
            assert verdict.permits is not (verdict.decided_by is DecidedBy.REFUSED), machine.name_of(number)
    assert any(narrowest == NOBODY for _, narrowest in ROWS.values())


@pytest.mark.parametrize("name", [*LADDER, *PRESETS])
def test_a_base_profile_is_for_any_program(name: str) -> None:
    message = profile(name).message
    assert not message.filesystem.libraries_for_binary and not message.filesystem.python
    assert {mount.WhichOneof("kind") for mount in message.filesystem.mounts} <= {"dev", "tmpfs"}
    assert not any(mount.tmpfs.danger_executable for mount in message.filesystem.mounts)


@pytest.mark.parametrize("name", [*LADDER, *PRESETS])
def test_a_base_profile_describes_itself(name: str) -> None:
    message, source = profile(name).message, profiles.find(name).read_text()
    assert message.name == name
    assert message.description and "\n" not in message.description and len(message.description) < 120
    assert message.tested_with and all(program.version and program.platform for program in message.tested_with)
    assert any(line.startswith("# Version ") for line in source.splitlines())
