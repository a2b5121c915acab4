"""Class A: newer and older forms of a call, of which a rule forgot one, and numbers that no table has."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.abilities import ABILITIES
from policy.calls import Call, calls
from stockade import Executor, PolicyBuilder
from stockade.kernel.architectures import X32_BIT, X86_64, native
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.refused import REFUSED
from support.attacks import (
    Attempt,
    assert_allowed,
    assert_killed,
    assert_refused,
    attack_program,
    open_wide,
    small,
    succeeds,
    unsandboxed,
)

HERE = native().name
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
# What the program of the attack can do, of the abilities of the table.
ATTEMPTS = [
    (name, call)
    for name, ability in ABILITIES.items()
    if ability.attacked
    for call in calls(ability.calls)
    if call.exists_on(HERE) and call.name not in ability.not_attacked
]
ALWAYS_REFUSED = {call for row in REFUSED for call in row.syscalls}
# Calls that are answered by groups which the program needs: by opening for reading, because the flags of openat2 lie in
# memory, where no filter sees them, and by starting.
ANSWERED = {"openat2": errno.ENOSYS, "readlink": errno.ENOENT, "readlinkat": errno.ENOENT}


@pytest.fixture
def siblings(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "siblings")


@pytest.fixture
def ground(public_tmp: Path) -> Path:
    """A directory in which everything can be tried, once."""
    directory = public_tmp / "ground"
    (directory / "d").mkdir(parents=True)
    (directory / "f").write_text("content")
    (directory / "l").symlink_to("f")
    for path, mode in ((directory, 0o777), (directory / "d", 0o777), (directory / "f", 0o666)):
        path.chmod(mode)
    return directory


def without(ability: str, siblings: Path, ground: Path) -> PolicyBuilder:
    """What the program needs to come to its call, and nothing of the ability."""
    builder = PolicyBuilder().add_file(siblings).add_directory(ground, inside="/ground", writable=True)
    builder.allow_static_startup().allow_exit().allow_working_directory().allow_unix_sockets()
    # "write" needs a file that is open for writing, everything else words about how it ended.
    return builder.allow_open() if ability == "write" else builder.allow_open_for_reading().allow_write()


# --- A11: siblings of a call ---


@pytest.mark.attack("A11")
@pytest.mark.parametrize(("ability", "call"), ATTEMPTS, ids=[f"{name}-{call.name}" for name, call in ATTEMPTS])
def test_no_sibling_gives_what_is_not_allowed(
    attack: Attempt, siblings: Path, ground: Path, ability: str, call: Call
) -> None:
    outside = ground.parent / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "f").write_text("content")
    (outside / "l").symlink_to("f")
    attack.control(succeeds(siblings, call.name, outside), f"{call.name} fails anyway")
    refused = Executor(without(ability, siblings, ground).build()).run([siblings, call.name, "/ground"])
    if call.name in ANSWERED:
        assert_refused(refused, ANSWERED[call.name])
    else:
        assert_killed(refused, call.name)
    granted = without(ability, siblings, ground)
    for group in ABILITIES[ability].groups:
        getattr(granted, f"allow_{group}")()
    if not ABILITIES[ability].groups:
        granted.allow_syscall(call.name)
    if ability == "write":
        granted.allow_write()
    assert_allowed(Executor(granted.build()).run([siblings, call.name, "/ground"]))


# --- A21: numbers above the table ---


def _numbers() -> list[int]:
    highest = max(native().names)
    return [9999, highest + 1, highest + 2, 0x3FFFFFFF, X32_BIT - 1]


@pytest.mark.attack("A21")
@pytest.mark.parametrize("number", _numbers())
@pytest.mark.parametrize("make", [small, open_wide], ids=["small", "allow-all"])
def test_an_unknown_number_is_refused_even_where_everything_is_allowed(
    attack: Attempt, compile_c: Callable[..., Path], make: Callable[[Path], PolicyBuilder], number: int
) -> None:
    abi = attack_program(compile_c, "abi", options=("-pthread",))
    # The kernel takes the call, which shows in that the program goes on: nobody but us refuses it.
    attack.control(unsandboxed(abi, "number", str(number)).returncode >= 0, "the kernel kills for it")
    policy = make(abi).build()
    verdict = evaluate(policy.resolve(), number)
    assert (verdict.decided_by, verdict.permits) == (DecidedBy.UNKNOWN_NUMBER, False)
    assert run(policy.compile(), SeccompData(number, native().audit_token)) == KILL_PROCESS
    assert_killed(Executor(policy).run([abi, "number", str(number)]), f"syscall_{number}")


@pytest.mark.attack("A21")
@pytest.mark.parametrize("number", _numbers())
@pytest.mark.parametrize("make", [small, open_wide], ids=["small", "allow-all"])
def test_an_unknown_number_answers_enosys_only_when_the_policy_says_so(
    attack: Attempt, compile_c: Callable[..., Path], make: Callable[[Path], PolicyBuilder], number: int
) -> None:
    abi = attack_program(compile_c, "abi", options=("-pthread",))
    attack.control(unsandboxed(abi, "number", str(number)).returncode >= 0, "the kernel kills for it")
    policy = make(abi).enosys_for_unknown_syscalls().build()
    assert not evaluate(policy.resolve(), number).permits
    assert run(policy.compile(), SeccompData(number, native().audit_token)) == 0x00050000 | errno.ENOSYS
    assert_refused(Executor(policy).run([abi, "number", str(number)]), errno.ENOSYS)


@pytest.mark.attack("A21")
def test_the_newest_numbers_of_the_table_need_a_rule(attack: Attempt, compile_c: Callable[..., Path]) -> None:
    """They are known, so that neither the deny-list nor the compatible mode says anything about them."""
    abi = attack_program(compile_c, "abi", options=("-pthread",))
    for number in sorted(native().names)[-6:]:
        name = native().name_of(number)
        attack.control(unsandboxed(abi, "number", str(number)).returncode >= 0, "the kernel kills for it")
        assert_killed(
            Executor(small(abi).enosys_for_unknown_syscalls().build()).run([abi, "number", str(number)]), name
        )
        denied = open_wide(abi).kill_syscall(name).build()
        assert_killed(Executor(denied).run([abi, "number", str(number)]), name)
        assert open_wide(abi).build().evaluate(number).permits is not (name in ALWAYS_REFUSED)


@pytest.mark.attack("A21")
@pytest.mark.parametrize("token", [X86_64.audit_token, 0xC00000B7])
def test_no_number_above_the_table_passes_any_compiled_program(attack: Attempt, token: int) -> None:
    architecture = "x86_64" if token == X86_64.audit_token else "aarch64"
    everything = PolicyBuilder().danger_default_allow_all().build()
    program, resolved = everything.compile(architecture), everything.resolve(architecture)
    attack.control(run(program, SeccompData(resolved.highest, token)) == ALLOW, "not even the highest is allowed")
    powers = [1 << bit for bit in range(10, 32)]
    above = {number for power in powers for number in (power - 1, power, power + 1)} | set(range(2000))
    for number in above:
        if number > resolved.highest:
            assert run(program, SeccompData(number, token)) == KILL_PROCESS or number & X32_BIT, number
            assert run(program, SeccompData(number, token)) != ALLOW, number
