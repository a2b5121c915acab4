"""Why an exec failed: each explanation is checked against what a real exec in a real root answers."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.host.diagnose import explain_exec_failure
from stockade.host.inside import Inside
from support.elf import make_elf, program_header

GZIP = [("/usr/bin/gzip", "/usr/bin/gzip", False)]


def test_a_program_of_the_host_that_is_not_in_the_box() -> None:
    reason, hint = explain_exec_failure([], "/usr/bin/gzip", errno.ENOENT)
    assert reason == '"/usr/bin/gzip" exists on the host, but not in the box'
    assert '.add_libraries_for_binary("/usr/bin/gzip")' in hint
    assert 'libraries_for_binary: "/usr/bin/gzip"' in hint


def test_a_program_that_is_nowhere() -> None:
    reason, hint = explain_exec_failure([], "/no/such/program", errno.ENOENT)
    assert reason == '"/no/such/program" is not in the box, and not on the host either'
    assert hint == ""


def test_a_program_without_its_loader() -> None:
    reason, hint = explain_exec_failure(GZIP, "/usr/bin/gzip", errno.ENOENT)
    assert '"/usr/bin/gzip" needs the loader "/lib' in reason
    assert reason.endswith("which exists on the host, but not in the box")
    assert '.add_libraries_for_binary("/usr/bin/gzip")' in hint


def test_the_loader_of_a_program_that_has_another_name_inside() -> None:
    reason, hint = explain_exec_failure([("/zip", "/usr/bin/gzip", False)], "/zip", errno.ENOENT)
    assert reason.startswith('"/zip" needs the loader')
    assert '.add_libraries_for_binary("/usr/bin/gzip")' in hint


def script(directory: Path, content: str | bytes, mode: int = 0o755) -> str:
    path = directory / "script"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def file_bind(path: str) -> list[tuple[str, str, bool]]:
    return [("/it", path, False)]


def test_a_script_without_its_interpreter(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/bin/sh -e\n")
    reason, hint = explain_exec_failure(file_bind(path), "/it", errno.ENOENT)
    assert reason == '"/it" needs the interpreter "/bin/sh", which exists on the host, but not in the box'
    assert '.add_libraries_for_binary("/bin/sh")' in hint


def test_a_script_whose_interpreter_is_nowhere(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/no/such/shell\n")
    reason, _ = explain_exec_failure(file_bind(path), "/it", errno.ENOENT)
    assert '"/no/such/shell", which is not in the box, and not on the host either' in reason


def test_a_script_whose_interpreter_lacks_its_loader(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/bin/sh\n")
    binds = [*file_bind(path), ("/bin/sh", "/bin/sh", False)]
    reason, hint = explain_exec_failure(binds, "/it", errno.ENOENT)
    assert reason.startswith('"/bin/sh" needs the loader')
    assert '.add_libraries_for_binary("/bin/sh")' in hint


def test_text_without_an_interpreter(tmp_path: Path) -> None:
    path = script(tmp_path, "echo hello\n")
    reason, hint = explain_exec_failure(file_bind(path), "/it", errno.ENOEXEC)
    assert reason == '"/it" is neither an ELF program nor a script with a #! line'
    assert "#!/bin/sh" in hint


def test_an_empty_file(tmp_path: Path) -> None:
    assert explain_exec_failure(file_bind(script(tmp_path, "")), "/it", errno.ENOEXEC)[0] == '"/it" is empty'


def test_another_architecture(tmp_path: Path) -> None:
    image = bytearray(make_elf())
    image[18] = 183
    reason, hint = explain_exec_failure(file_bind(script(tmp_path, bytes(image))), "/it", errno.ENOEXEC)
    assert reason == f'"/it" is made for aarch64, and this machine is {os.uname().machine}'
    assert os.uname().machine in hint


def test_a_broken_program(tmp_path: Path) -> None:
    image = make_elf(segments=[program_header(3, 1 << 40, 0, 100)])
    reason, _ = explain_exec_failure(file_bind(script(tmp_path, image)), "/it", errno.ENOEXEC)
    assert reason.startswith('"/it" is broken: it ends before offset')


@pytest.mark.parametrize(
    ("mode", "said", "hint"),
    [(0o644, "not executable (mode 0644)", "chmod a+x"), (0o750, "owner or group only", "o+x")],
)
def test_missing_permission(tmp_path: Path, mode: int, said: str, hint: str) -> None:
    path = script(tmp_path, "#!/bin/sh\n", mode)
    reason, advice = explain_exec_failure(file_bind(path), "/it", errno.EACCES)
    assert said in reason
    assert hint in advice
    assert f'"{path}"' in advice


def test_a_writable_mount_is_not_executable(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/bin/sh\n")
    binds = [("/workspace", str(tmp_path), True)]
    reason, hint = explain_exec_failure(binds, "/workspace/script", errno.EACCES, no_execution=["/workspace"])
    assert reason == '"/workspace/script" lies on "/workspace", which is writable and therefore not executable'
    assert "read-only" in hint
    # The control: without noexec there is another reason.
    assert "needs the interpreter" in explain_exec_failure(binds, "/workspace/script", errno.EACCES)[0]
    assert path


def test_directories_and_devices() -> None:
    assert explain_exec_failure([("/d", "/usr", True)], "/d/bin", errno.EACCES)[0] == '"/d/bin" is a directory'
    reason, _ = explain_exec_failure([("/d", "/dev/null", False)], "/d", errno.EACCES)
    assert reason == '"/d" is not a regular file'


def test_a_file_where_a_directory_should_be() -> None:
    reason, _ = explain_exec_failure(GZIP, "/usr/bin/gzip/x", errno.ENOTDIR)
    assert reason == '"/usr/bin/gzip/x" leads through "/usr/bin/gzip", which is a file and no directory'


def test_a_bare_name() -> None:
    reason, hint = explain_exec_failure([], "gzip", errno.ENOENT)
    assert "not along PATH" in reason
    assert '.add_libraries_for_binary("/usr/bin/gzip")' in hint
    assert explain_exec_failure([], "no-such-program", errno.ENOENT)[1] == ""


@pytest.mark.parametrize("number", [errno.E2BIG, errno.ENOMEM, errno.EAGAIN, errno.ETXTBSY, errno.ENAMETOOLONG])
def test_plain_errors(number: int) -> None:
    reason, hint = explain_exec_failure(GZIP, "/usr/bin/gzip", number)
    assert reason.startswith('"/usr/bin/gzip" ')
    assert hint


def test_a_number_without_a_known_cause(tmp_path: Path) -> None:
    path = script(tmp_path, make_elf())
    reason, _ = explain_exec_failure(file_bind(path), "/it", errno.EIO)
    assert reason == '"/it": the kernel answered Input/output error (EIO)'


# --- symbolic links ---


def test_links_of_the_box() -> None:
    box = Inside(GZIP, [("/bin", "usr/bin"), ("/zip", "/bin/../bin/gzip"), ("/a", "b"), ("/b", "/a")])
    for path in ("/bin/gzip", "/zip", "/./bin//gzip", "/bin/../../zip"):
        assert (box.locate(path).at, box.locate(path).host) == ("/usr/bin/gzip", "/usr/bin/gzip")
    assert box.locate("/a").fault == errno.ELOOP
    assert explain_exec_failure(GZIP, "/a", errno.ELOOP, symlinks=[("/a", "a")])[0].endswith("circle of symbolic links")


def test_links_of_the_host_are_followed_inside(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    (tmp_path / "relative").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "up").symlink_to("../../real")
    box = Inside([("/box", str(tmp_path), True)])
    assert box.locate("/box/relative").host == str(tmp_path / "real")
    # An absolute link means a path inside, where there is nothing.
    assert (box.locate("/box/absolute").host, box.locate("/box/absolute").at) == (None, str(tmp_path / "real"))
    assert box.locate("/box/up").at == "/real"
    reason, _ = explain_exec_failure([("/box", str(tmp_path), True)], "/box/absolute", errno.ENOENT)
    assert f'leads by a symbolic link to "{tmp_path}/real", which exists on the host' in reason


def test_inner_binds_win() -> None:
    box = Inside([("/a", "/usr", True), ("/a/bin/x", "/etc/passwd", False)])
    assert box.locate("/a/bin/x").host == "/etc/passwd"
    assert box.locate("/a/bin").host == "/usr/bin"
    assert box.locate("/ab").host is None


# --- against the kernel ---


def exec_errno(root: Path, program: str) -> int:
    """What execve of `program` answers when `root` is the root directory; 0 when it succeeds."""
    code = (
        "import os, sys\n"
        "os.chroot(sys.argv[1]); os.chdir('/')\n"
        "try: os.execve(sys.argv[2], ['x'], {})\n"
        "except OSError as error: os._exit(error.errno)\n"
    )
    python = os.path.realpath("/usr/bin/python3")
    command = ["unshare", "--user", "--map-root-user", python, "-I", "-S", "-c", code, str(root), program]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode


def test_the_kernel_fails_where_an_explanation_is_given(public_tmp: Path) -> None:
    """The errno that is explained is the one that the kernel gives, and what the hint adds makes it go away."""
    root = public_tmp / "root"
    (root / "usr/bin").mkdir(parents=True)
    assert exec_errno(root, "/usr/bin/gzip") == errno.ENOENT
    shutil.copy("/usr/bin/gzip", root / "usr/bin/gzip")
    assert exec_errno(root, "/usr/bin/gzip") == errno.ENOENT
    reason, _ = explain_exec_failure(GZIP, "/usr/bin/gzip", errno.ENOENT)
    loader = reason.split('"')[3]
    (root / loader.lstrip("/")).parent.mkdir(parents=True)
    shutil.copy(loader, root / loader.lstrip("/"))
    # Now it is executed: the loader itself ends it with 127, for want of a library.
    assert exec_errno(root, "/usr/bin/gzip") == 127
    for content, number in [(b"echo\n", errno.ENOEXEC), (b"", errno.ENOEXEC), (b"#!/no\n", errno.ENOENT)]:
        path = script(root, content)
        assert exec_errno(root, "/script") == number
        reason, _ = explain_exec_failure([("/script", path, False)], "/script", number)
        assert "the kernel answered" not in reason
    os.chmod(root / "script", 0o644)
    assert exec_errno(root, "/script") == errno.EACCES
    assert exec_errno(root, "/script/x") == errno.ENOTDIR


@given(st.binary(max_size=300), st.sampled_from([errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ELIBBAD, 0, 999]))
def test_no_file_breaks_it(tmp_path_factory: pytest.TempPathFactory, content: bytes, number: int) -> None:
    prefix = content[:1]
    whole = {b"\0": b"#!" + content, b"\1": make_elf(interpreter=content + b"\0")}.get(prefix, content)
    path = script(tmp_path_factory.getbasetemp(), whole)
    for text in explain_exec_failure(file_bind(path), "/it", number):
        assert text.isprintable()


@given(st.text(st.characters(codec=None)))
def test_no_path_breaks_it(program: str) -> None:
    for text in explain_exec_failure([("/usr", "/usr", True)], program, errno.ENOENT, symlinks=[("/a", "/usr")]):
        assert text.isprintable()
