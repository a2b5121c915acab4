"""What the sandboxee checks before it becomes the program, and failures on the way that name their step."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest

from stockade import Executor, Limits, SetupError, Status, UnsupportedError
from stockade._proto.lean import CompiledProgram, Launch
from stockade.kernel.architectures import AARCH64, native
from stockade.sandboxee.launch import check_program, program_digest
from stockade.sandboxee.steps import StepError
from support.attacks import open_wide, small, without_rules

ALLOW = bytes((6, 0, 0, 0, 0, 0, 0xFF, 0x7F))


def launch(policy: bytes = b"policy", *, mode: str = "enforce", instructions: bytes = ALLOW) -> Launch:
    digest = blake2b(policy, digest_size=32).digest()
    program = CompiledProgram(architecture=native().audit_token, instructions=instructions, mode=mode)
    program.digest = program_digest(digest, program)
    return Launch(policy=policy, policy_digest=digest, programs=[program])


def refusal(message: Launch) -> str:
    with pytest.raises(StepError) as caught:
        check_program(message)
    assert caught.value.step == "check_policy"
    return caught.value.detail


def test_a_program_that_belongs_to_its_policy_is_taken() -> None:
    assert check_program(launch()).instructions == ALLOW


def test_each_change_of_policy_program_mode_or_architecture_is_noticed() -> None:
    message = launch()
    message.policy += b"x"
    assert "the policy does not have the digest" in refusal(message)
    message = launch()
    message.programs[0].instructions = bytes(8)
    assert "does not belong to the policy" in refusal(message)
    message = launch(mode="refuse")
    message.programs[0].mode = "enforce"
    assert "does not belong to the policy" in refusal(message)
    message = launch()
    message.programs = launch(b"another policy").programs
    assert "does not belong to the policy" in refusal(message)
    message = launch()
    message.programs[0].architecture = AARCH64.audit_token
    assert "0 programs" in refusal(message)
    message = launch()
    message.programs.append(message.programs[0])
    assert "2 programs" in refusal(message)


@pytest.mark.parametrize("instructions", [b"", ALLOW[:-1], ALLOW * 4097])
def test_what_is_no_program_is_refused(instructions: bytes) -> None:
    assert f"{len(instructions)} bytes" in refusal(launch(instructions=instructions))


@pytest.fixture
def program(compile_c: Callable[..., Path]) -> Path:
    found: Path = compile_c("int main(void) { return 0; }", name="nothing")
    return found


def failure(executor: Executor, program: Path, **options: object) -> SetupError:
    with pytest.raises(SetupError) as caught:
        executor.run([program], **options)  # type: ignore[arg-type]
    assert caught.value.result is not None
    assert caught.value.result.status is Status.SETUP_ERROR
    assert not caught.value.result.layers
    return caught.value


def test_a_filter_that_the_kernel_refuses_ends_the_start(program: Path) -> None:
    nonsense = bytes((0xFF, 0, 0, 0, 0, 0, 0, 0))
    with pytest.raises(UnsupportedError, match="the kernel refused the filter") as caught:
        without_rules(open_wide(program).build(), nonsense).run([program])
    assert caught.value.layer == "seccomp"
    assert caught.value.result is not None
    assert caught.value.result.status is Status.SETUP_ERROR


def test_a_mount_point_that_is_missing_in_a_mounted_directory(program: Path, public_tmp: Path) -> None:
    policy = small(program).add_directory(public_tmp).add_tmpfs(public_tmp / "missing").build()
    with pytest.raises(SetupError, match="where nothing is made") as caught:
        Executor(policy).run([program])
    assert (caught.value.step, caught.value.errno) == ("mount_point", 2)
    assert caught.value.path == str(public_tmp / "missing")
    assert os.listdir(public_tmp) == []
    (public_tmp / "missing").mkdir()
    assert Executor(policy).run([program]).returncode == 0


@pytest.mark.parametrize(("cwd", "errno"), [("/none", 2), ("relative", 2), ("{program}", 20)])
def test_a_directory_that_cannot_be_entered(program: Path, cwd: str, errno: int) -> None:
    place = cwd.format(program=program)
    found = failure(Executor(small(program).build()), program, cwd=place)
    assert (found.step, found.errno, found.path) == ("cwd", errno, place)


def test_a_resource_limit_is_in_force(program: Path) -> None:
    result = Executor(small(program).build(), limits=Limits(open_files=7, stack="1M")).run([program])
    assert (result.limits["open_files"], result.limits["stack"]) == (7, 1 << 20)
