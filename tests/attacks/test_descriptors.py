"""Class D: descriptors of the caller, and its terminal."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import Executor, PolicyError, SetupError
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

TIOCSTI = 0x5412


@pytest.fixture
def descriptors(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "descriptors")


@pytest.fixture
def secret(public_tmp: Path) -> Path:
    path = public_tmp / "secret"
    path.write_text("secret")
    return path


# --- D1 and D2: descriptors that nobody meant to pass ---


@pytest.mark.attack("D1")
@pytest.mark.parametrize("number", [3, 7, 200])
def test_an_inheritable_file_does_not_reach_the_program(
    attack: Attempt, descriptors: Path, secret: Path, number: int
) -> None:
    file = os.open(secret, os.O_RDONLY)
    kept = os.dup(number) if _is_open(number) else None
    os.dup2(file, number, inheritable=True)
    try:
        attack.control(succeeds(descriptors, "read", close_fds=False), "descriptors are not inherited")
        executor = Executor(open_wide(descriptors).build())
        # Both a box that was made anew and one that was made ahead.
        for _ in range(3):
            assert_refused(executor.run([descriptors, "read"]), errno.EBADF)
            assert executor.run([descriptors, "list"], text=True).stdout.split() == ["0", "1", "2"]
        assert_refused(without_rules(open_wide(descriptors).build()).run([descriptors, "read"]), errno.EBADF)
        passed = executor.run([descriptors, "list"], text=True, pass_fds=[file])
        assert passed.stdout.split() == ["0", "1", "2", str(file)]
        assert_allowed(executor.run([descriptors, "read"], pass_fds=[file]))
    finally:
        os.close(number)
        if kept is not None:
            os.dup2(kept, number, inheritable=False)
            os.close(kept)
        if file != number:
            os.close(file)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.attack("D2")
def test_an_inheritable_directory_does_not_reach_the_program(attack: Attempt, descriptors: Path, secret: Path) -> None:
    directory = os.open(secret.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(directory, True)
    try:
        attack.control(succeeds(descriptors, "openat", "secret", close_fds=False), "descriptors are not inherited")
        for executor in (Executor(open_wide(descriptors).build()), without_rules(open_wide(descriptors).build())):
            assert_refused(executor.run([descriptors, "openat", "secret"]), errno.EBADF)
        with pytest.raises(PolicyError, match=f"descriptor {directory} is a directory"):
            Executor(open_wide(descriptors).build()).run([descriptors, "list"], pass_fds=[directory])
        path_only = os.open(secret.parent, os.O_PATH)
        with pytest.raises(PolicyError, match="is a directory"):
            Executor(open_wide(descriptors).build()).run([descriptors, "list"], pass_fds=[path_only])
        os.close(path_only)
    finally:
        os.close(directory)


# --- D6: typing into the caller's terminal ---


@pytest.fixture
def terminal() -> Iterator[int]:
    main, end = os.openpty()
    yield end
    os.close(main)
    os.close(end)


@pytest.mark.attack("D6")
@pytest.mark.parametrize("request_number", [TIOCSTI, TIOCSTI | 1 << 32, TIOCSTI | 1 << 63])
def test_nothing_is_typed_into_the_terminal(
    attack: Attempt, descriptors: Path, terminal: int, request_number: int
) -> None:
    number = str(request_number)
    attack.control(succeeds(descriptors, "type", "own", number, stdin=terminal), "TIOCSTI is switched off")
    policies = (open_wide(descriptors).build(), small(descriptors).allow_syscall("ioctl").build())
    for policy in policies:
        found = assert_killed(Executor(policy).run([descriptors, "type", "given", number], stdin=terminal), "ioctl")
        assert "TIOCSTI" in found.arguments[1].text
        assert found.patch.refused_because
    # The other layers: what the program holds is no terminal, and it has no controlling one.
    bare = without_rules(policies[0]).run([descriptors, "type", "given", number], stdin=terminal)
    assert_refused(bare, errno.ENOTTY)


@pytest.mark.attack("D6")
def test_the_terminal_itself_is_never_handed_over(attack: Attempt, descriptors: Path, terminal: int) -> None:
    attack.control(unsandboxed(descriptors, "winsize", stdin=terminal).returncode == 0, "there are no terminals")
    with pytest.raises(PolicyError, match="is a terminal"):
        Executor(open_wide(descriptors).build()).run([descriptors, "list"], pass_fds=[terminal])
    assert_refused(Executor(open_wide(descriptors).build()).run([descriptors, "open-tty"]), errno.ENOENT)
    assert_refused(without_rules(open_wide(descriptors).build()).run([descriptors, "open-tty"]), errno.ENOENT)
    with pytest.raises(SetupError, match="device nodes cannot be used inside"):
        Executor(open_wide(descriptors).add_file("/dev/tty").build()).run([descriptors, "open-tty"])


def test_other_requests_on_the_stream_stay_allowed(descriptors: Path, terminal: int) -> None:
    result = Executor(open_wide(descriptors).build()).run([descriptors, "winsize"], stdin=terminal)
    assert_allowed(result)
