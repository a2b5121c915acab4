"""Classes N and P: races with a monitor that decides about paths, and opening files for the program."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, PolicyBuilder, Result, Status, Syscall, Verdict, hook
from stockade.monitor.emulate import ARGUMENTS
from support.attacks import PATIENCE, Attempt, assert_refused, attack_program, succeeds, unsandboxed

TIMES = 100_000
# Seconds after which a race that must not be won has been tried long enough.
LONG_ENOUGH = 3
# How often the races that shall be won may be started.
ATTEMPTS = 5


@pytest.fixture
def brokered(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "brokered", options=("-pthread",))


def box(program: Path) -> PolicyBuilder:
    """The hook "open" decides what is opened; everything else is as open as can be."""
    builder = PolicyBuilder().add_file(program).add_tmpfs("/data").add_proc()
    for name in ARGUMENTS:
        builder.trace(name, "open")
    return builder.danger_default_allow_all()


def run(
    program: Path, decide: Callable[[Syscall], Any], *arguments: object, monitor: str = "unotify", **options: Any
) -> Result:
    """Run the program with `decide` deciding what it opens, in an executor whose limit of time only ends a hang."""
    declared = hook(opens=True)(lambda call: decide(call)) if monitor == "unotify" else decide
    executor = Executor(box(program).build(), hooks={"open": declared}, monitor=monitor)
    return executor.run([program, *map(str, arguments)], timeout=PATIENCE, **options)


def counts(output: bytes) -> dict[str, int]:
    """What a race says of itself."""
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", output.decode())}


def natively(program: Path, public_tmp: Path, kind: str, *arguments: object) -> dict[str, int]:
    """Make the race without a sandbox."""
    return counts(unsandboxed(program, "race", public_tmp, kind, *map(str, arguments)).stdout)


def is_evil(path: bytes, flags: int) -> bool:
    """The rule: the file of this name may not be opened, nor anything in the directory of this name."""
    return b"/evil/" in path or (path.endswith(b"/evil") and not flags & os.O_DIRECTORY)


def checked_then_allowed(call: Syscall) -> Verdict:
    """What cannot work: look at the path in the program's memory, and let the kernel read it again."""
    is_refused = is_evil(os.fsencode(call.path()), call.args[2])
    return Verdict.errno(errno.EACCES) if is_refused else Verdict.ALLOW


def opened_from_copy(call: Syscall) -> Verdict:
    """What works: decide about the copy, and open the copy."""
    request = call.open_request()
    return Verdict.errno(errno.EACCES) if is_evil(request.full_path, request.flags) else request.open()


def opened_then_checked(call: Syscall) -> Verdict:
    """What works with symbolic links as well: decide about what has been opened."""
    request = call.open_request()
    verdict = request.open()
    return Verdict.errno(errno.EACCES) if is_evil(request.opened_path(), request.flags) else verdict


def held_files() -> list[str]:
    """Where the descriptors of this process lead to."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


# --- P1, P2, N1: what is looked at and what is opened ---

RACES = [
    pytest.param("thread", opened_from_copy, marks=[pytest.mark.attack("P1")]),
    pytest.param("sibling", opened_from_copy, marks=[pytest.mark.attack("P2")]),
    pytest.param("dirfd", opened_from_copy, marks=[pytest.mark.attack("N1")]),
    pytest.param("cwd", opened_from_copy, marks=[pytest.mark.attack("N1")]),
    pytest.param("link", opened_then_checked, marks=[pytest.mark.attack("N1")]),
]


@pytest.mark.parametrize(("kind", "decide"), RACES)
def test_a_file_that_is_opened_from_the_copy_is_the_one_that_was_decided_about(
    attack: Attempt, brokered: Path, public_tmp: Path, kind: str, decide: Callable[[Syscall], Verdict]
) -> None:
    control = natively(brokered, public_tmp, kind, 10_000_000, PATIENCE, 1)
    attack.control(control["evil"] == 1, "the path is never exchanged")
    result = run(brokered, decide, "race", "/data", kind, TIMES, LONG_ENOUGH, 0)
    assert (result.status, result.returncode) == (Status.OK, 0), result.stdout
    found = counts(result.stdout)
    assert (found["evil"], found["others"], found["full"]) == (0, 0, 0)
    # Both were tried, and the one is still opened.
    assert found["good"] > 0
    assert found["refused"] > 0
    assert result.advisory_hooks == ()
    assert not result.violations


@pytest.mark.parametrize("monitor", ["ptrace", "unotify"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("thread", marks=[pytest.mark.attack("P1")]),
        pytest.param("sibling", marks=[pytest.mark.attack("P2")]),
    ],
)
def test_a_hook_that_looks_and_then_allows_can_be_raced_and_is_called_advisory(
    attack: Attempt, brokered: Path, public_tmp: Path, kind: str, monitor: str
) -> None:
    """This is no defence: the race is won, in one of some runs at the latest. The report says what it is worth."""
    control = natively(brokered, public_tmp, kind, 10_000_000, PATIENCE, 1)
    attack.control(control["evil"] == 1, "the path is never exchanged")
    for _ in range(ATTEMPTS):
        result = run(brokered, checked_then_allowed, "race", "/data", kind, 10_000_000, LONG_ENOUGH, 1, monitor=monitor)
        assert (result.status, result.returncode) == (Status.OK, 0), result.stdout
        assert result.advisory_hooks == ("open",)
        assert "Advisory hooks: open." in result.report()
        if counts(result.stdout)["evil"]:
            break
    assert counts(result.stdout)["evil"] == 1


# --- N3: the program has no room for the descriptor ---


@pytest.mark.attack("N3")
def test_a_call_whose_descriptor_has_no_room_fails_and_never_goes_on(
    attack: Attempt, brokered: Path, public_tmp: Path
) -> None:
    """The path in memory names another file than the one that is handed over: it would be opened if the call went on.

    Whether there is room changes all the time, so that a call that went on would find some.
    """
    control = natively(brokered, public_tmp, "table", 100_000, PATIENCE, 0)
    attack.control(control["evil"] > 0, "the file cannot be opened")
    (public_tmp / "handed").write_bytes(b"1")  # of the size of the good file

    def decide(call: Syscall) -> Verdict:
        assert call.open_request().path == b"/data/evil"
        return Verdict.descriptor(os.open(public_tmp / "handed", os.O_RDONLY | os.O_CLOEXEC))

    result = run(brokered, decide, "race", "/data", "table", TIMES, LONG_ENOUGH, 0)
    assert (result.status, result.returncode) == (Status.OK, 0), result.stdout
    found = counts(result.stdout)
    assert found["evil"] == found["others"] == found["refused"] == 0
    assert found["full"] > 0
    assert found["good"] > 0
    # Ours are closed, whether they were handed over or not.
    assert str(public_tmp / "handed") not in held_files()


# --- N8: whose root, directory, rights and links ---

# Ways to a file, %s being its path on the host, that do not lead out of the box.
ESCAPES = [
    *("%s", "/..%s", "/../../../../../../../../..%s", "../../../../../../../../../..%s", "/data/..%s", "/proc/../..%s"),
    *("/proc/self/root%s", "/proc/self/cwd/../../../..%s", "/proc/thread-self/root%s", "/proc/1/root%s"),
    *("/proc/self/task/../../../..%s", "/proc/self/fd/0/..%s"),
]


@pytest.mark.attack("N8")
def test_no_path_leads_out_of_the_box(attack: Attempt, brokered: Path, public_tmp: Path) -> None:
    secret = public_tmp / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    attack.control(succeeds(brokered, "open", secret), "the file cannot be read")
    for escape in ESCAPES:
        result = run(brokered, lambda call: call.open(), "open", escape % secret)
        assert_refused(result, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENXIO)


@pytest.mark.attack("N8")
def test_no_link_leads_out_of_the_box_or_to_a_process_of_ours(
    attack: Attempt, brokered: Path, public_tmp: Path
) -> None:
    secret = public_tmp / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    attack.control(succeeds(brokered, "open", secret), "the file cannot be read")
    targets = {"absolute": str(secret), "relative": f"../../../../..{secret}", "root": f"/proc/self/root{secret}"}
    targets |= {"self": "/proc/self/status", "thread": "/proc/thread-self/status", "magic": "/proc/self/exe"}
    policy = box(brokered)
    for name, target in targets.items():
        policy.add_symlink(f"/links/{name}", target)
    executor = Executor(policy.build(), hooks={"open": hook(opens=True)(lambda call: call.open())}, monitor="unotify")
    for name in targets:
        # "self" and "thread-self" mean the program only at the beginning of its path; behind a link they mean nothing.
        assert_refused(executor.run([brokered, "open", f"/links/{name}"]), errno.ENOENT)


@pytest.mark.attack("N8")
@pytest.mark.parametrize("name", ["self", "thread-self"])
def test_proc_self_is_the_program(attack: Attempt, brokered: Path, name: str) -> None:
    status = f"/proc/{name}/status"
    attack.control(succeeds(brokered, "open", status), "there is no proc")
    result = run(brokered, lambda call: call.open(), "open", status)
    assert (result.status, result.returncode) == (Status.OK, 0)
    assert result.stdout.startswith(b"Name:\tbrokered\n")


@pytest.mark.attack("N8")
def test_our_rights_do_not_help(attack: Attempt, brokered: Path, public_tmp: Path) -> None:
    """A file that we can read, and the program cannot, stays closed to it."""
    secret = public_tmp / "secret"
    secret.write_text("secret")
    attack.control(succeeds(brokered, "open", secret), "the file cannot be read")
    neighbour = public_tmp / "neighbour"
    neighbour.write_text("for all")
    neighbour.chmod(0o644)
    secret.chmod(0o600 if os.geteuid() == 0 else 0o000)
    policy = box(brokered).add_directory(public_tmp, inside="/files").build()
    executor = Executor(policy, hooks={"open": hook(opens=True)(lambda call: call.open())}, monitor="unotify")
    assert_refused(executor.run([brokered, "open", "/files/secret"]), errno.EACCES)
    assert executor.run([brokered, "open", "/files/neighbour"]).stdout == b"for all"


# --- N10: what would wait ---


@pytest.mark.attack("N10")
def test_a_fifo_without_a_writer_holds_nobody_up(attack: Attempt, brokered: Path, public_tmp: Path) -> None:
    attack.control(unsandboxed(brokered, "fifo", public_tmp).stdout == b"it waited\n", "opening a FIFO does not wait")

    def decide(call: Syscall) -> Verdict:
        return Verdict.ALLOW if call.name == "open" else call.open()

    assert_refused(run(brokered, decide, "fifo", "/data"), errno.ENXIO)


@pytest.mark.attack("N10")
def test_a_pipe_is_not_opened_again(attack: Attempt, brokered: Path) -> None:
    attack.control(succeeds(brokered, "open", "/proc/self/fd/0"), "it cannot be opened")
    assert_refused(run(brokered, lambda call: call.open(), "open", "/proc/self/fd/1"), errno.ENXIO)


@pytest.mark.attack("N10")
def test_a_fifo_that_takes_the_place_of_a_file_holds_nobody_up(
    attack: Attempt, brokered: Path, public_tmp: Path
) -> None:
    """It is looked at before it is opened, and exchanged in between."""
    control = natively(brokered, public_tmp, "fifo", 10_000, PATIENCE, 1)
    attack.control(control["others"] > 0, "the FIFO is never met")
    result = run(brokered, lambda call: call.open(), "race", "/data", "fifo", TIMES, LONG_ENOUGH, 0)
    assert (result.status, result.returncode) == (Status.OK, 0), result.stdout
    found = counts(result.stdout)
    assert (found["evil"], found["others"]) == (0, 0)
    assert found["good"] > 0
    assert found["refused"] > 0
