"""Spare boxes: used once, never after a source has changed, never by another caller, not kept for long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder
from stockade.host import spares

TRUE_C = "int main(void) { return 0; }"
PRINT_C = '#include <unistd.h>\nint main(void) { return write(1, "%s", 3) != 3; }'


@pytest.fixture(autouse=True)
def _no_spares_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "_spares", [])


def policy(*programs: Path) -> Policy:
    builder = PolicyBuilder().allow_static_startup().allow_write().allow_exit()
    for program in programs:
        builder.add_file(program)
    return builder.build()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each time a spare was asked for: whether one was had."""
    seen: list[bool] = []
    take = spares.take

    def watch(request: bytes, sources: list[str]) -> object:
        found = take(request, sources)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(spares, "take", watch)
    return seen


def test_from_the_third_run_on_boxes_are_spares(compile_c, taken: list[bool]) -> None:  # type: ignore[no-untyped-def]
    program = compile_c(TRUE_C, static=True, name="spare-true")
    executor = Executor(policy(program))
    pids = {executor.run([program]).pid for _ in range(5)}
    # The first run asks for none: it may be the only one. The second has none yet and asks for the third's.
    assert taken == [False, True, True, True]
    assert len(pids) == 5, "a box was used twice"


def test_a_replaced_source_makes_the_spare_useless(compile_c, public_tmp: Path, taken: list[bool]) -> None:  # type: ignore[no-untyped-def]
    old = compile_c(PRINT_C % "old", static=True, name="spare-old")
    new = compile_c(PRINT_C % "new", static=True, name="spare-new")
    program = public_tmp / "program"
    program.write_bytes(old.read_bytes())
    program.chmod(0o755)
    executor = Executor(policy(program))
    assert [executor.run([program]).stdout for _ in range(3)] == [b"old"] * 3
    replacement = public_tmp / "replacement"
    replacement.write_bytes(new.read_bytes())
    replacement.chmod(0o755)
    os.rename(replacement, program)
    assert executor.run([program]).stdout == b"new"
    assert taken[-1] is False


def test_a_spare_is_not_for_another_request(compile_c, taken: list[bool]) -> None:  # type: ignore[no-untyped-def]
    program = compile_c(TRUE_C, static=True, name="spare-true")
    first = Executor(policy(program))
    second = Executor(PolicyBuilder().allow_static_startup().allow_exit().add_file(program).add_tmpfs("/tmp").build())
    for executor in (first, second, first, second, first, second):
        assert executor.run([program]).returncode == 0
    assert taken == [False, False, True, True]


def test_a_forked_copy_of_the_user_process_does_not_use_the_parents_spare(compile_c) -> None:  # type: ignore[no-untyped-def]
    program = compile_c(TRUE_C, static=True, name="spare-true")
    executor = Executor(policy(program))
    for _ in range(3):
        executor.run([program])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if not spares._spares and executor.run([program]).returncode == 0 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.run([program]).returncode == 0


def test_a_dead_spare_is_not_used(compile_c, taken: list[bool]) -> None:  # type: ignore[no-untyped-def]
    program = compile_c(TRUE_C, static=True, name="spare-true")
    executor = Executor(policy(program))
    for _ in range(3):
        executor.run([program])
    spares._spares[0].channel.shutdown()  # its sandboxee ends
    assert executor.run([program]).returncode == 0
    assert taken[-1] is False


def test_there_are_never_many(compile_c) -> None:  # type: ignore[no-untyped-def]
    program = compile_c(TRUE_C, static=True, name="spare-true")
    for number in range(spares.MAXIMUM_SPARES + 3):
        builder = PolicyBuilder().allow_static_startup().allow_exit().add_file(program).add_tmpfs(f"/t{number}")
        executor = Executor(builder.build())
        for _ in range(2):
            assert executor.run([program]).returncode == 0
    assert len(spares._spares) == spares.MAXIMUM_SPARES


def test_idle_ones_go(compile_c, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(spares, "IDLE_SECONDS", 0.0)
    program = compile_c(TRUE_C, static=True, name="spare-true")
    executor = Executor(policy(program))
    for _ in range(2):
        executor.run([program])
    keeper = spares._keeper
    if keeper is not None:
        keeper.join()
    assert not spares._spares
