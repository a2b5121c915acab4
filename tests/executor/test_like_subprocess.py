"""`Executor.run` beside `subprocess.run`: the same program, the same arguments, the same answer."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from stockade import DEVNULL, PIPE, STDOUT, Executor
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

Run = Callable[..., subprocess.CompletedProcess[Any]]

# What the program does is said by its arguments, one after the other.
BODY = r"""
extern char **environ;
char buffer[65536];
for (int i = 1; i < argc; i++) {
    char *what = argv[i];
    if (!strncmp(what, "out=", 4)) write(1, what + 4, strlen(what + 4));
    else if (!strncmp(what, "err=", 4)) write(2, what + 4, strlen(what + 4));
    else if (!strncmp(what, "exit=", 5)) _exit(number_of(what + 5));
    else if (!strncmp(what, "signal=", 7)) {
        signal(number_of(what + 7), SIG_DFL);
        kill(getpid(), number_of(what + 7));
    }
    else if (!strncmp(what, "bytes=", 6)) { unsigned char byte = number_of(what + 6); write(1, &byte, 1); }
    else if (!strcmp(what, "cat")) { long n; while ((n = read(0, buffer, sizeof buffer)) > 0) write(1, buffer, n); }
    else if (!strcmp(what, "environ")) for (char **v = environ; *v; v++) dprintf(1, "%s;", *v);
    else if (!strcmp(what, "args")) for (int j = 0; j < argc; j++) dprintf(1, "%s;", argv[j]);
    else if (!strcmp(what, "cwd")) write(1, getcwd(buffer, sizeof buffer), strlen(buffer));
    else if (!strncmp(what, "fd=", 3)) {
        int n = read(number_of(what + 3), buffer, sizeof buffer);
        write(1, n < 0 ? "none" : buffer, n < 0 ? 4 : n);
    }
    else if (!strncmp(what, "open=", 5)) { say(fcntl(number_of(what + 5), F_GETFD) < 0 ? "closed" : "open"); }
    else if (!strcmp(what, "close")) { close(1); close(2); }
}
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY)


@pytest.fixture(scope="module")
def executor(program: Path) -> Executor:
    return Executor(everything_builder(program).build())


SIGNALS = (
    *(signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT),
    *(signal.SIGPIPE, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGSYS, signal.SIGALRM, signal.SIGRTMIN),
)
# One row: arguments of the program, options that both take.
TABLE: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing": ([], {}),
    **{f"exit {code}": ([f"exit={code}"], {}) for code in (0, 1, 2, 42, 126, 127, 128, 159, 254, 255)},
    **{f"signal {signo.name}": (["out=before", f"signal={int(signo)}", "out=after"], {}) for signo in SIGNALS},
    "both streams": (["out=o", "err=e", "out=O"], {}),
    "both together": (["out=o", "err=e", "out=O"], {"stderr": STDOUT}),
    "output to nowhere": (["out=o", "err=e"], {"stdout": DEVNULL}),
    "errors to nowhere": (["out=o", "err=e"], {"stderr": DEVNULL}),
    "all to nowhere": (["out=o", "err=e"], {"stdout": DEVNULL, "stderr": STDOUT}),
    "text": (["out=aäb\n", "err=ü"], {"text": True}),
    "text by encoding": (["bytes=228"], {"encoding": "latin-1"}),
    "text of two bytes": (["out=a", "bytes=0", "out=b", "bytes=0"], {"encoding": "utf-16-le"}),
    "text by errors": (["bytes=228"], {"errors": "replace", "encoding": "ascii"}),
    "errors that keep bytes": (["bytes=255"], {"errors": "surrogateescape", "encoding": "utf-8"}),
    "line ends": (["out=a\r\nb\rc\n"], {"text": True}),
    "line ends as bytes": (["out=a\r\nb\rc\n"], {}),
    "input": (["cat"], {"input": b"some\0thing"}),
    "no input": (["cat"], {"input": b""}),
    "input as a view": (["cat"], {"input": memoryview(b"view")}),
    "input as an array": (["cat"], {"input": bytearray(b"array")}),
    "input as text": (["cat"], {"input": "täxt\n", "text": True}),
    "input in an encoding": (["cat"], {"input": "täxt", "encoding": "utf-16"}),
    "input from nowhere": (["cat"], {"stdin": DEVNULL}),
    "input that is not read": (["exit=3"], {"input": bytes(1_000_000)}),
    "much input": (["cat"], {"input": bytes(range(256)) * 8192}),
    "streams closed early": (["out=x", "close", "exit=4"], {}),
    "environment": (["environ"], {"env": {"A": "1", "B": "ä", "C": "", "D": "x=y"}}),
    "environment of bytes": (["environ"], {"env": {b"A": b"\xff\xfe"}}),
    "empty environment": (["environ"], {"env": {}}),
    "arguments": (["args", "", "a b", "ä", "-c", "\udcff"], {}),
    "working directory": (["cwd"], {"cwd": "/"}),
    "working directory as a path": (["cwd"], {"cwd": Path("/")}),
    "working directory as bytes": (["cwd"], {"cwd": b"/"}),
    "a long time-out": (["out=x"], {"timeout": 3600}),
    "a very long time-out": (["out=x"], {"timeout": 1e9}),
    "check that passes": (["exit=0"], {"check": True}),
}


def plain(command: Any, options: dict[str, Any]) -> subprocess.CompletedProcess[Any]:
    """What subprocess does, with the two safe defaults of ours made explicit."""
    explicit = {"stdout": PIPE, "stderr": PIPE, "env": {}, "cwd": "/", **options}
    if "input" not in options:
        explicit.setdefault("stdin", DEVNULL)
    return subprocess.run(command, **explicit)


@pytest.mark.parametrize("row", TABLE)
def test_the_same_as_subprocess(program: Path, executor: Executor, row: str) -> None:
    arguments, options = TABLE[row]
    command = [str(program), *arguments]
    # A time-out of 1e9 is more than poll() takes, and subprocess hands it on.
    expected = plain(command, {} if options.get("timeout") == 1e9 else options)
    result = executor.run(command, **options)
    assert isinstance(result, subprocess.CompletedProcess)
    assert (result.returncode, result.stdout, result.stderr) == (expected.returncode, expected.stdout, expected.stderr)
    assert result.args == expected.args


def each_way(program: Path, executor: Executor, use: Callable[[Run], Any]) -> None:
    """Do the same with subprocess and with the executor, and compare what comes out."""
    assert use(lambda command, **options: plain(command, options)) == use(executor.run)


@pytest.mark.parametrize("as_file", [True, False], ids=["file object", "descriptor"])
def test_files_as_streams(program: Path, executor: Executor, as_file: bool) -> None:
    def use(run: Run) -> Any:
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            source.write(b"from a file")
            source.seek(0)
            give: Callable[[IO[bytes]], Any] = (lambda file: file) if as_file else (lambda file: file.fileno())
            done = run([program, "cat", "out=!", "err=?"], stdin=give(source), stdout=give(out), stderr=give(err))
            out.seek(0)
            err.seek(0)
            return done.returncode, done.stdout, done.stderr, out.read(), err.read()

    each_way(program, executor, use)
    assert use(executor.run)[3:] == (b"from a file!", b"?")


def test_pipes_of_the_caller(program: Path, executor: Executor) -> None:
    def use(run: Run) -> Any:
        reader, writer = os.pipe()
        source, feed = os.pipe()
        os.write(feed, b"piped")
        os.close(feed)
        try:
            done = run([program, "cat"], stdin=source, stdout=writer)
        finally:
            os.close(source)
            os.close(writer)
        try:
            return done.returncode, done.stdout, os.read(reader, 100), os.read(reader, 100)
        finally:
            os.close(reader)

    each_way(program, executor, use)
    assert use(executor.run) == (0, None, b"piped", b"")


def test_passed_descriptors_keep_their_numbers(program: Path, executor: Executor) -> None:
    def use(run: Run) -> Any:
        reader, writer = os.pipe()
        os.write(writer, b"handed over")
        high = os.dup2(reader, 77, inheritable=False)
        try:
            return run([program, "fd=77", "open=78", f"open={writer}"], pass_fds=[high]).stdout
        finally:
            for descriptor in (reader, writer, high):
                os.close(descriptor)

    each_way(program, executor, use)
    assert use(executor.run) == b"handed overclosedclosed"


def test_passed_descriptors_that_cross(program: Path, executor: Executor) -> None:
    """Each number inside is the number outside, also when the transport uses the same numbers in between."""
    pipes = [os.pipe() for _ in range(8)]
    try:
        for number, (_, writer) in enumerate(pipes):
            os.write(writer, f"{number}.".encode())
        numbers = [reader for reader, _ in pipes][::-1]
        result = executor.run([program, *(f"fd={number}" for number in numbers)], pass_fds=numbers)
        assert result.stdout == b"7.6.5.4.3.2.1.0."
    finally:
        for pair in pipes:
            os.close(pair[0])
            os.close(pair[1])


def test_argument_types(program: Path, executor: Executor) -> None:
    for args in (str(program), program, bytes(program), [str(program)], (program,), [bytes(program)]):
        assert executor.run(args).returncode == plain(args, {}).returncode == 0
    mixed: list[str | bytes | Path] = [program, b"out=\xff", "out=\xe4", Path("out=p")]
    assert executor.run(mixed).stdout == plain(mixed, {}).stdout


def test_executable_overrides_the_first_argument(program: Path, executor: Executor) -> None:
    def use(run: Run) -> Any:
        return run(["another name", "args"], executable=program).stdout

    each_way(program, executor, use)
    assert use(executor.run) == b"another name;args;"
    assert executor.run(["x", "args"], executable=bytes(program)).stdout == b"x;args;"


def test_an_open_descriptor_as_executable(program: Path, executor: Executor) -> None:
    with open(program, "rb") as file:
        result = executor.run(["x", "args", f"open={file.fileno()}"], executable=file)
        assert result.stdout == f"x;args;open={file.fileno()};closed".encode()
        assert executor.run(["x", "out=1"], executable=file.fileno()).stdout == b"1"


@pytest.mark.parametrize("options", [{"input": b"x", "stdin": DEVNULL}, {"stdout": STDOUT}, {"stdin": STDOUT}], ids=str)
def test_options_that_do_not_fit_together(program: Path, executor: Executor, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stdin|STDOUT"):
        executor.run([program], **options)


def test_input_of_the_wrong_type(program: Path, executor: Executor) -> None:
    for wrong in ("text", 5, ["list"]):
        with pytest.raises(TypeError):
            plain([program], {"input": wrong})
        with pytest.raises(TypeError):
            executor.run([program], input=wrong)
