"""gcc under policies/gcc.textproto: the same files as without a sandbox, and nothing that it makes can run there."""

from __future__ import annotations

import errno
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stockade import Executor, Policy, SetupError
from stockade._proto import policy_pb2
from support.programs import POLICIES, PROBE, Done, Runner, outside, through_api, through_cli

# Without PATH, gcc does not find its own parts, in a sandbox or not.
PATH = {"PATH": "/usr/bin"}
SOURCES = {
    "main.c": '#include <math.h>\n#include <stdio.h>\n#include "lib/twice.h"\n'
    'int main(int argc, char **argv) { printf("%d %.3f %s\\n", twice(argc + 20), sqrt(argc + 1), argv[argc - 1]); }\n',
    "lib/twice.h": "int twice(int);\n",
    "lib/twice.c": '#include "twice.h"\nint twice(int x) { return x * FACTOR; }\n',
    "wrong.c": "int f(void) { return undeclared; }\n",
    "warn.c": "int f(int x) { if (x = 1) return 2; return 3; }\n",
    "unresolved.c": "int missing(void);\nint main(void) { return missing(); }\n",
    "more.s": "    .globl more\nmore:\n    ret\n",
    "constructor.c": "#include <stdio.h>\n"
    '__attribute__((constructor)) static void f(void) { puts("ran"); fflush(stdout); }\n',
    "wrapper.c": '#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n',
}
TWO = ["main.c", "lib/twice.c", "-DFACTOR=2", "-lm"]
# Copies itself to the place that its argument names, and executes the copy, which says so.
COPY = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char block[4096];
    ssize_t length;
    int from, to;

    if (argc < 2)
        return puts("ran") < 0;
    from = open(argv[0], O_RDONLY);
    to = open(argv[1], O_WRONLY | O_CREAT | O_EXCL, 0755);
    while ((length = read(from, block, sizeof block)) > 0)
        if (write(to, block, length) != length)
            return 125;
    close(to);
    execl(argv[1], argv[1], (char *)0);
    return errno;
}
"""


@pytest.fixture
def project(public_tmp: Path) -> Path:
    """A small project in C."""
    (public_tmp / "lib").mkdir()
    for name, text in SOURCES.items():
        (public_tmp / name).write_text(text)
    return public_tmp


def _gcc(arguments: Sequence[str], directory: Path, run: Runner = through_api) -> Done:
    return run("gcc", ["gcc", *arguments], directory=directory, env=PATH)


def _same_as_outside(arguments: Sequence[str], project: Path, run: Runner = through_api) -> dict[str, bytes]:
    """Compile in the box and outside of it, and compare all that comes of it; return the files that were made."""
    found = _gcc(arguments, project, run)
    made = _take_new_files(project)
    assert found == outside(["gcc", *arguments], directory=project, env=PATH)
    assert made == _take_new_files(project)
    return made


def _take_new_files(project: Path) -> dict[str, bytes]:
    new = [path for path in sorted(project.rglob("*")) if path.is_file() and _name(path, project) not in SOURCES]
    made = {_name(path, project): path.read_bytes() for path in new}
    for path in new:
        path.unlink()
    return made


def _name(path: Path, project: Path) -> str:
    return str(path.relative_to(project))


@pytest.mark.parametrize(
    "arguments",
    [
        [*TWO, "-o", "program"],
        ["-O2", "-Wall", "-Wextra", *TWO, "-o", "program"],
        ["-static", *TWO, "-o", "program"],
        ["-flto", "-O2", *TWO, "-o", "program"],
        ["-pipe", "-fsanitize=address,undefined", *TWO, "-o", "program"],
    ],
    ids=" ".join,
)
def test_programs_are_the_same_and_run_outside(project: Path, arguments: list[str]) -> None:
    made = _same_as_outside(arguments, project)
    assert list(made) == ["program"]
    program = project / "program"
    program.write_bytes(made["program"])
    program.chmod(0o755)
    done = subprocess.run([program, "last"], capture_output=True, check=True)
    assert done.stdout == b"44 1.732 last\n"


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["-c", "lib/twice.c", "-DFACTOR=3"], {"twice.o"}),
        (["-c", "-g3", "-O1", "main.c", "-o", "lib/main.o"], {"lib/main.o"}),
        (["-shared", "-fPIC", "-DFACTOR=1", "-o", "libtwice.so", "lib/twice.c"], {"libtwice.so"}),
        (["-S", "main.c"], {"main.s"}),
        (["-E", "-P", "-DFACTOR=2", "lib/twice.c"], set()),
        (["-MMD", "-c", "main.c"], {"main.d", "main.o"}),
        (["-M", "main.c"], set()),
        (["-save-temps", "-c", "warn.c"], {"warn.i", "warn.o", "warn.s"}),
        (["-c", "more.s"], {"more.o"}),
        (["lib/twice.h"], {"lib/twice.h.gch"}),
        (["--coverage", "-c", "warn.c"], {"warn.gcno", "warn.o"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_results(project: Path, arguments: list[str], made: set[str]) -> None:
    found = _gcc(arguments, project)
    assert (found.status, set(_take_new_files(project))) == (0, made)
    if not any(name.endswith((".gch", ".gcno")) for name in made):
        # Those two hold addresses, and stamps that differ from run to run.
        assert set(_same_as_outside(arguments, project)) == made


@pytest.mark.parametrize(
    "arguments",
    [
        ["wrong.c"],
        ["-Wall", "-Werror", "-c", "warn.c"],
        ["missing.c"],
        ["-I", "/usr/share", "-c", "lib/missing.h.c"],
        ["-std=c1"],
        ["--version"],
        ["-print-file-name=libc.a"],
        ["-dumpmachine"],
        ["-xc", "-dM", "-E", "/dev/null"],
        [],
    ],
    ids=" ".join,
)
def test_errors_and_questions(project: Path, arguments: list[str]) -> None:
    assert _same_as_outside(arguments, project) == {}


def test_a_failed_link_has_its_exit_code(project: Path) -> None:
    found, expected = _gcc(["unresolved.c"], project), outside(["gcc", "unresolved.c"], directory=project, env=PATH)
    assert found.status == expected.status == 1
    assert b"undefined reference to `missing'" in found.stderr


@pytest.mark.parametrize("arguments", [["-xc", "-", "-o", "program"], ["-xc", "-E", "-P", "-"]], ids=" ".join)
def test_source_text_from_standard_input(project: Path, arguments: list[str]) -> None:
    source = b"int main(void) { return 3; }\n"
    found = through_api("gcc", ["gcc", *arguments], input=source, directory=project, env=PATH)
    made = _take_new_files(project)
    assert found == outside(["gcc", *arguments], input=source, directory=project, env=PATH)
    assert made == _take_new_files(project)


def test_through_the_command_line(project: Path) -> None:
    assert set(_same_as_outside([*TWO, "-o", "program"], project, through_cli)) == {"program"}
    assert _gcc(["wrong.c"], project, through_cli).status == 1


# What source text and options name, but is not in the box. Outside all of it is found.
ELSEWHERE = {
    "include": (["-E", "-"], '#include "{file}"', b"No such file or directory"),
    "include by option": (["-E", "-include", "{file}", "-"], "", b"No such file or directory"),
    "include path": (["-E", "-I", "{directory}", "-"], '#include "secret.h"', b"No such file or directory"),
    "embedded by the assembler": (["-c", "-o", "/dev/null", "-"], 'asm(".incbin \\"{file}\\"");', b"file not found"),
    "arguments from a file": (["-E", "@{file}", "-"], "", b"@{file}"),
    "linker script": (["-r", "-o", "/dev/null", "-", "-T", "{file}"], "", b"cannot open linker script file"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_host_s_files_cannot_be_included(project: Path, session_directory: Path, name: str) -> None:
    secret = session_directory / "secret.h"
    secret.write_text("/* secret */\n")
    arguments, source, message = ELSEWHERE[name]
    places = {"file": str(secret), "directory": str(session_directory)}
    argv = ["gcc", "-xc", *(argument.format_map(places) for argument in arguments)]
    text = source.format_map(places).encode()
    expected = outside(argv, input=text, directory=project, env=PATH)
    _take_new_files(project)
    found = through_api("gcc", argv, input=text, directory=project, env=PATH)
    assert message.replace(b"{file}", str(secret).encode()) in found.stderr
    assert message not in expected.stderr
    assert found.status == 1


def test_the_files_of_the_user_list_are_not_there(run: Runner, project: Path) -> None:
    source = b'#include "/etc/passwd"\n'
    argv = ["gcc", "-xc", "-E", "-"]
    assert outside(argv, input=source, directory=project, env=PATH).stdout.count(b"root:") > 0
    found = run("gcc", argv, input=source, directory=project, env=PATH)
    assert found.status == 1
    assert b"/etc/passwd: No such file or directory" in found.stderr
    assert b"root:" not in found.stdout


def _compiled_outside(project: Path, source: str, result: str, *options: str) -> Path:
    assert outside(["gcc", *options, source, "-o", result], directory=project, env=PATH).status == 0
    return project / result


@pytest.mark.parametrize("where", ["cc1", "as", "collect2"])
def test_programs_of_a_writable_directory_are_not_executed(project: Path, where: str) -> None:
    _compiled_outside(project, "wrapper.c", where)
    argv = (
        ["gcc", "-B", f"{project}/", "warn.c"] if where == "collect2" else ["gcc", "-B", f"{project}/", "-c", "warn.c"]
    )
    assert b"ran\n" in outside(argv, directory=project, env=PATH).stdout
    found = through_api("gcc", argv, directory=project, env=PATH)
    assert b"ran" not in found.stdout


def test_a_wrapper_is_not_executed(project: Path) -> None:
    wrapper = _compiled_outside(project, "wrapper.c", "wrapper")
    argv = ["gcc", "-wrapper", str(wrapper), "-c", "warn.c"]
    assert outside(argv, directory=project, env=PATH) == Done(0, b"ran\nran\n", b"")
    found = through_api("gcc", argv, directory=project, env=PATH)
    assert (found.status, found.stdout) == (1, b"")
    assert b"cannot execute" in found.stderr


def test_there_is_no_shell(project: Path) -> None:
    argv = ["gcc", "-wrapper", "/bin/sh,-c,echo a shell", "-c", "warn.c"]
    assert outside(argv, directory=project, env=PATH) == Done(0, b"a shell\na shell\n", b"")
    found = through_api("gcc", argv, directory=project, env=PATH)
    assert (found.status, found.stdout) == (1, b"")
    assert b"cannot execute '/bin/sh': execvp: No such file or directory" in found.stderr


def test_a_plugin_of_a_writable_directory_is_not_loaded(project: Path) -> None:
    plugin = _compiled_outside(project, "constructor.c", "plugin.so", "-shared", "-fPIC")
    argv = ["gcc", f"-fplugin={plugin}", "-c", "warn.c"]
    assert b"ran\n" in outside(argv, directory=project, env=PATH).stdout
    found = through_api("gcc", argv, directory=project, env=PATH)
    assert (found.status, found.stdout) == (1, b"")
    assert b"failed to map segment" in found.stderr


def test_what_was_compiled_does_not_run_in_the_box(project: Path) -> None:
    assert _gcc(["wrapper.c", "-o", "program"], project).status == 0
    program = project / "program"
    assert outside([str(program)]) == Done(0, b"ran\n", b"")
    with pytest.raises(SetupError, match="not executable") as caught:
        through_api("gcc", [str(program)], directory=project)
    assert caught.value.errno == errno.EACCES
    found = through_cli("gcc", [str(program)], directory=project)
    assert (found.status, found.stdout) == (126, b"")


def test_what_is_written_to_tmp_cannot_be_executed(compile_c: Callable[..., Path]) -> None:
    program = compile_c(COPY, name="copy")
    target = Path("/tmp") / f"copy-{uuid.uuid4().hex}"
    assert outside([str(program), str(target)]) == Done(0, b"ran\n", b"")
    target.unlink()
    assert through_api("gcc", [str(program), str(target)], show=program) == Done(errno.EACCES, b"", b"")
    assert not target.exists()


def test_sources_that_are_mounted_read_only_stay_as_they_are(project: Path) -> None:
    message = Policy.load(POLICIES / "gcc.textproto").message
    bind = policy_pb2.Bind(source=str(project), kind=policy_pb2.Bind.DIRECTORY)
    message.filesystem.mounts.add(target=str(project), bind=bind)
    executor = Executor(Policy.from_message(message))
    checked = executor.run(["gcc", "-fsyntax-only", "warn.c"], cwd=project, env=PATH)
    assert (checked.returncode, checked.stderr) == (0, b"")
    refused = executor.run(["gcc", "-c", "warn.c"], cwd=project, env=PATH)
    assert refused.returncode == 1
    assert b"Read-only file system" in refused.stderr
    assert _take_new_files(project) == {}


def test_a_program_under_the_rules_of_gcc(compile_c: Callable[..., Path]) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), "socket"]) == Done(0, b"", b"")
    assert through_api("gcc", [str(probe), "socket"], show=probe) == Done(-31, b"", b"", "socket")
    assert outside([str(probe), "shell"]) == Done(0, b"a shell\n", b"")
    assert through_api("gcc", [str(probe), "shell"], show=probe) == Done(errno.ENOENT, b"", b"")
    assert through_api("gcc", [str(probe), "open", "/etc/passwd"], show=probe) == Done(errno.ENOENT, b"", b"")
