"""Class C: namespaces, capabilities, set-uid programs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder
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
    without_rules,
)

CLONE_NEW = {
    "user": 0x10000000,
    "time": 0x00000080,
    "mount": 0x10000000 | 0x00020000,
    "cgroup": 0x10000000 | 0x02000000,
    "uts": 0x10000000 | 0x04000000,
    "ipc": 0x10000000 | 0x08000000,
    "pid": 0x10000000 | 0x20000000,
    "net": 0x10000000 | 0x40000000,
}
CLONE_NEWUSER, CLONE_FILES, CLONE_NEWTIME = 0x10000000, 0x400, 0x80
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
LOCKED_SECURE_BITS = 0b11101111


@pytest.fixture
def namespaces(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "namespaces")


def forking(program: Path) -> PolicyBuilder:
    return small(program).allow_fork().allow_wait().allow_threads()


# --- C1: nested user namespaces ---


@pytest.mark.attack("C1")
@pytest.mark.parametrize("kind", [kind for kind in CLONE_NEW if kind != "time"])
@pytest.mark.parametrize("call", ["unshare", "clone"])
@pytest.mark.parametrize("make", [forking, open_wide])
def test_no_new_namespaces_inside(
    attack: Attempt, namespaces: Path, call: str, kind: str, make: Callable[[Path], PolicyBuilder]
) -> None:
    flags = str(CLONE_NEW[kind])
    attack.control(succeeds(namespaces, call, flags), "namespaces cannot be made here")
    found = assert_killed(Executor(make(namespaces).build()).run([namespaces, call, flags]), call)
    assert "CLONE_NEWUSER" in found.arguments[0].text
    refused = Executor(make(namespaces).build(), mode="refuse").run([namespaces, call, flags])
    assert_refused(refused, errno.EPERM)
    assert [violation.syscall for violation in refused.violations] == [call]


@pytest.mark.attack("C1")
def test_a_time_namespace_is_refused_as_well(attack: Attempt, namespaces: Path) -> None:
    flags = str(CLONE_NEWUSER | CLONE_NEWTIME)
    attack.control(succeeds(namespaces, "unshare", flags), "the kernel has no time namespaces")
    assert_killed(Executor(open_wide(namespaces).build()).run([namespaces, "unshare", str(CLONE_NEWTIME)]), "unshare")


@pytest.mark.attack("C1")
def test_clone3_makes_no_namespaces_either(attack: Attempt, namespaces: Path) -> None:
    attack.control(succeeds(namespaces, "clone3", str(CLONE_NEWUSER)), "namespaces cannot be made here")
    for make in (forking, open_wide):
        result = Executor(make(namespaces).build()).run([namespaces, "clone3", str(CLONE_NEWUSER)])
        assert_refused(result, errno.ENOSYS)


def test_unshare_of_descriptors_and_plain_children_stay_allowed(namespaces: Path) -> None:
    executor = Executor(open_wide(namespaces).build())
    assert_allowed(executor.run([namespaces, "unshare", str(CLONE_FILES)]))
    assert_allowed(executor.run([namespaces, "clone", "0"]))


# --- C2: other processes' namespaces ---


@pytest.mark.attack("C2")
@pytest.mark.parametrize("how", ["pidfd", "proc"])
def test_no_namespace_of_another_process_is_entered(attack: Attempt, namespaces: Path, how: str) -> None:
    attack.control(succeeds(namespaces, "setns-child", how), "namespaces cannot be entered here")
    policy = open_wide(namespaces).add_proc(full=True).build()
    if how == "pidfd":
        found = assert_killed(Executor(policy).run([namespaces, "setns-init", how]), "setns")
        assert found.patch.refused_because
    else:
        # Init does not even show its namespaces.
        assert_refused(Executor(policy).run([namespaces, "setns-init", how]), errno.EACCES, errno.ENOENT)
    bare = without_rules(policy).run([namespaces, "setns-init", how])
    assert_refused(bare, errno.EPERM, errno.EACCES, errno.ENOENT)
    assert_allowed(Executor(policy).run([namespaces, "pidfd"]))


# --- C4: capabilities that are left ---


def _capabilities(status: str) -> dict[str, int]:
    pairs = (line.split() for line in status.splitlines() if line.startswith("Cap"))
    return {name.rstrip(":"): int(value, 16) for name, value in pairs}


@pytest.mark.attack("C4")
def test_all_five_sets_are_empty_and_locked(attack: Attempt, namespaces: Path) -> None:
    status = unsandboxed("unshare", "--user", "cat", "/proc/self/status").stdout.decode()
    before = _capabilities(status)
    attack.control(before.get("CapBnd"), "a process in a new user namespace has no capabilities")
    cat = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary("/bin/cat").add_proc().build()
    for executor in (Executor(cat), without_rules(cat)):
        inside = executor.run(["/bin/cat", "/proc/self/status"], text=True).stdout
        assert _capabilities(inside) == dict.fromkeys(SETS, 0)
        assert "\nNoNewPrivs:\t1\n" in inside
    said = Executor(open_wide(namespaces).build()).run([namespaces, "securebits"], text=True)
    assert int(said.stdout) == LOCKED_SECURE_BITS


@pytest.mark.attack("C4")
def test_no_capability_can_be_taken_again(attack: Attempt, namespaces: Path) -> None:
    attack.control(succeeds(namespaces, "unshare-and-raise"), "capset fails even for those who have them")
    policy = open_wide(namespaces).build()
    for executor in (Executor(policy), without_rules(policy)):
        assert_refused(executor.run([namespaces, "raise"]), errno.EPERM)
    root = Executor(open_wide(namespaces).build()).run([namespaces, "set-uid", "0"])
    assert_refused(root, errno.EPERM, errno.EINVAL)


# --- C5: set-uid programs ---


@pytest.mark.attack("C5")
@pytest.mark.needs_root
def test_a_set_uid_program_gains_nothing(attack: Attempt, namespaces: Path, public_tmp: Path) -> None:
    program = public_tmp / "set-uid"
    shutil.copy(namespaces, program)
    program.chmod(0o4755)
    done = subprocess.run([program, "ids"], capture_output=True, text=True, user=65534, group=65534, check=False)
    attack.control(done.stdout == "65534 0\n", "the file system ignores the set-uid bit")
    policy = open_wide(namespaces).add_file(program).build()
    for executor in (Executor(policy), without_rules(policy)):
        commands: tuple[list[str | Path], ...] = ([program, "ids"], [namespaces, "exec-ids", program])
        for argv in commands:
            result = executor.run(argv, text=True)
            assert result.returncode == 0
            real, effective = result.stdout.split()
            assert real == effective == "1000"
            assert os.stat(program).st_uid == 0


@pytest.mark.attack("C5")
def test_no_new_privs_is_on_before_anything_runs(attack: Attempt, namespaces: Path) -> None:
    own = Path("/proc/self/status").read_text()
    attack.control("\nNoNewPrivs:\t0\n" in own, "everything runs with no_new_privs here")
    result = Executor(small(namespaces).allow_get_ids().build()).run([namespaces, "ids"], text=True)
    assert result.stdout == "1000 1000\n"
    assert "no_new_privs" in [layer.name for layer in result.layers]
