"""What cannot be started: which error, which number, which hint; and that nothing is left of it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder, PolicyError, SetupError, Status
from stockade.host import forkserver
from support.compiler import CCompiler
from support.elf import make_elf
from support.runs import everything_builder, main_program, open_descriptors, static_builder

AARCH64 = 183


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'say("ran");')


def executable(directory: Path, name: str, content: bytes, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(policy: PolicyBuilder, command: list[str | Path], **options: object) -> SetupError:
    """Run and start a command that cannot be started; both must fail alike and leave no descriptor."""
    executor = Executor(policy.build())
    with pytest.raises(SetupError):
        executor.run(command, **options)  # type: ignore[arg-type]
    before = open_descriptors()
    with pytest.raises(SetupError) as by_run:
        executor.run(command, **options)  # type: ignore[arg-type]
    with pytest.raises(SetupError) as by_start:
        executor.start(command, **options)  # type: ignore[arg-type]
    error, other = by_run.value, by_start.value
    assert (error.step, error.errno, error.path, error.hint) == (other.step, other.errno, other.path, other.hint)
    assert open_descriptors() == before
    if error.result is not None:
        assert error.result.status is Status.SETUP_ERROR
        assert error.result.returncode != 0
        assert error.result.to_proto().setup_failure.step == error.step
        # The exec is the last step: the layers were in force by then, and read back.
        assert bool(error.result.layers) == (error.step == "exec")
    return error


def test_a_program_that_is_nowhere(program: Path) -> None:
    error = refused(static_builder(program), ["/nowhere/at/all"])
    assert (error.errno, error.path) == (errno.ENOENT, "/nowhere/at/all")
    assert "not on the host either" in str(error)


def test_a_program_that_only_the_host_has(program: Path) -> None:
    error = refused(static_builder(program), ["/usr/bin/env"])
    assert error.errno == errno.ENOENT
    assert error.hint
    assert 'add_libraries_for_binary("/usr/bin/env")' in error.hint
    assert Executor(everything_builder(Path("/usr/bin/env")).build()).run(["/usr/bin/env"]).status is Status.OK


def test_a_bare_name_that_only_the_host_has(program: Path) -> None:
    error = refused(static_builder(program), ["env"])
    assert error.errno == errno.ENOENT
    assert error.hint
    assert "add_libraries_for_binary" in error.hint
    assert Executor(everything_builder(Path("/usr/bin/env")).build()).run(["env"]).status is Status.OK


def test_a_bare_name_is_looked_up_along_the_path_of_the_given_environment(program: Path) -> None:
    executor = Executor(static_builder(program).build())
    directory = str(program.parent)
    assert executor.run([program.name], env={"PATH": f"/nowhere:{directory}"}).stdout == b"ran"
    error = refused(static_builder(program), [program.name], env={"PATH": "/nowhere"})
    assert error.errno == errno.ENOENT


def test_a_program_that_is_not_executable(public_tmp: Path, program: Path) -> None:
    path = executable(public_tmp, "plain", program.read_bytes(), 0o644)
    error = refused(static_builder(path), [path])
    assert error.errno == errno.EACCES
    assert error.hint is not None
    assert "chmod a+x" in error.hint
    path.chmod(0o755)
    assert Executor(static_builder(path).build()).run([path]).stdout == b"ran"


def test_a_directory_as_program(program: Path) -> None:
    builder = static_builder(program).add_directory("/usr/lib", inside="/library")
    error = refused(builder, ["/library"])
    assert error.errno == errno.EACCES
    assert "directory" in str(error)


def test_a_program_on_a_writable_mount(public_tmp: Path, program: Path) -> None:
    executable(public_tmp, "copy", program.read_bytes())
    public_tmp.chmod(0o777)
    error = refused(PolicyBuilder().add_directory(public_tmp, writable=True), [public_tmp / "copy"])
    assert error.errno == errno.EACCES
    assert "writable" in str(error)


def test_a_program_for_another_architecture(public_tmp: Path) -> None:
    image = bytearray(make_elf())
    image[18:20] = struct.pack("<H", AARCH64)
    path = executable(public_tmp, "foreign", bytes(image))
    error = refused(PolicyBuilder().add_file(path), [path])
    assert error.errno == errno.ENOEXEC
    assert "aarch64" in str(error)
    assert error.hint
    assert "x86_64" in error.hint


def test_text_without_an_interpreter_line(public_tmp: Path) -> None:
    path = executable(public_tmp, "text", b"echo no\n")
    error = refused(PolicyBuilder().add_file(path), [path])
    assert error.errno == errno.ENOEXEC
    assert "#!" in str(error)


def test_an_empty_file(public_tmp: Path) -> None:
    error = refused(PolicyBuilder().add_file(executable(public_tmp, "empty", b"")), [public_tmp / "empty"])
    assert error.errno == errno.ENOEXEC
    assert "empty" in str(error)


def test_a_script_whose_interpreter_is_not_in_the_box(public_tmp: Path) -> None:
    path = executable(public_tmp, "script", b"#!/usr/bin/env -S sh\n")
    error = refused(PolicyBuilder().add_file(path), [path])
    assert error.errno == errno.ENOENT
    assert "interpreter" in str(error)
    assert "/usr/bin/env" in str(error)
    assert error.hint


def test_a_script_with_its_interpreter_runs(public_tmp: Path) -> None:
    path = executable(public_tmp, "script", b"#!/usr/bin/dash\necho hello $1\n")
    builder = everything_builder(Path("/usr/bin/dash")).add_file(path)
    assert Executor(builder.build()).run([path, "you"]).stdout == b"hello you\n"


def test_a_dynamic_program_without_its_loader(compile_c: CCompiler) -> None:
    path = main_program(compile_c, 'puts("ran");', static=False)
    error = refused(PolicyBuilder().add_file(path), [path])
    assert error.errno == errno.ENOENT
    assert "loader" in str(error)
    assert error.hint
    assert f'add_libraries_for_binary("{path}")' in error.hint
    assert Executor(everything_builder(path).build()).run([path]).stdout == b"ran\n"


def test_a_script_by_descriptor_says_why_not(public_tmp: Path) -> None:
    path = executable(public_tmp, "script", b"#!/usr/bin/dash\n")
    builder = everything_builder(Path("/usr/bin/dash")).add_file(path)
    with open(path, "rb") as file:
        error = refused(builder, ["script"], executable=file)
    assert error.errno == errno.ENOEXEC
    assert "script" in str(error)
    assert "path" in str(error)


def test_something_else_by_descriptor(program: Path, public_tmp: Path) -> None:
    text = executable(public_tmp, "text", b"no program")
    with open(text, "rb") as file:
        assert refused(static_builder(program), ["x"], executable=file).errno == errno.ENOEXEC
    plain = executable(public_tmp, "plain", program.read_bytes(), 0o644)
    with open(plain, "rb") as file:
        assert refused(static_builder(program), ["x"], executable=file).errno == errno.EACCES
    descriptor = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises((SetupError, PolicyError)):
            Executor(static_builder(program).build()).run(["x"], executable=descriptor)
    finally:
        os.close(descriptor)


def test_a_working_directory_that_is_not_inside(program: Path) -> None:
    for cwd, number in (("/nowhere", errno.ENOENT), ("/usr", errno.ENOENT), (str(program), errno.ENOTDIR)):
        error = refused(static_builder(program), [program], cwd=cwd)
        assert (error.step, error.errno, error.path) == ("cwd", number, cwd)
        assert error.hint
    assert Executor(static_builder(program).build()).run([program], cwd=program.parent).stdout == b"ran"


@pytest.mark.parametrize("method", ["run", "start"])
def test_a_missing_source_is_found_before_anything_starts(program: Path, method: str) -> None:
    builder = static_builder(program).add_file("/nowhere/file")
    forkserver.stop()
    with pytest.raises(SetupError) as caught:
        getattr(Executor(builder.build()), method)([program])
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, "/nowhere/file")
    assert forkserver.current_pid() is None
    optional = static_builder(program).add_file("/nowhere/file", if_exists=True)
    assert Executor(optional.build()).run([program]).stdout == b"ran"
    assert forkserver.current_pid() is not None


def test_a_source_that_goes_away_between_two_runs(program: Path, public_tmp: Path) -> None:
    file = public_tmp / "file"
    file.write_text("x")
    executor = Executor(static_builder(program).add_file(file).build())
    assert executor.run([program]).status is Status.OK
    file.unlink()
    with pytest.raises(SetupError) as caught:
        executor.run([program])
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, str(file))
    file.write_text("y")
    assert executor.run([program]).status is Status.OK


def test_a_directory_where_a_file_is_wanted(program: Path, public_tmp: Path) -> None:
    error = refused(static_builder(program).add_file(public_tmp), [program])
    assert error.errno == errno.EISDIR
    assert error.hint
    assert "add_directory" in error.hint
    error = refused(static_builder(program).add_directory(program, inside="/d"), [program])
    assert error.errno == errno.ENOTDIR
    assert error.hint
    assert "add_file" in error.hint


def test_arguments_that_are_too_long(program: Path) -> None:
    executor = Executor(static_builder(program).build())
    assert executor.run([program, "x" * 100_000]).stdout == b"ran"
    error = refused(static_builder(program), [program, "x" * 140_000])
    assert error.errno == errno.E2BIG
    assert "too long" in str(error)


def test_a_failed_start_does_not_spoil_the_next_run(program: Path) -> None:
    executor = Executor(static_builder(program).build())
    for _ in range(5):
        with pytest.raises(SetupError):
            executor.run(["/nowhere"])
        assert executor.run([program]).stdout == b"ran"


def test_a_hostile_name_is_escaped(program: Path) -> None:
    error = refused(static_builder(program), ["/no\x1b[2J\nwhere"])
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    assert error.result is not None
    assert "\x1b" not in error.result.report()
