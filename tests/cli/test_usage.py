"""Help, version, and wrong usage: said in one line, with exit code 125, and nothing is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import stockade as package
from support.command_line import CommandLine


def test_version(stockade: CommandLine) -> None:
    done = stockade("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"stockade {package.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["run", "-h", "no-such-program"]])
def test_help_has_examples_and_fits_60_columns(stockade: CommandLine, arguments: list[str]) -> None:
    done = stockade(*arguments, env={"COLUMNS": "60"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_help_names_every_exit_code_and_option(stockade: CommandLine) -> None:
    text = stockade("run", "--help").stdout
    for word in ("124", "125", "126", "127", "128+N", "137", "159", "--ro PATH[:INSIDE]", "--json FILE|fd:N"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "stockade: a command is missing: run"),
        (["rum"], "stockade: unknown command 'rum' (did you mean 'run'?)"),
        (["nothing-like-it"], "stockade: unknown command 'nothing-like-it'"),
        (["--verison"], "stockade: unknown option '--verison' (did you mean '--version'?)"),
        (["run"], "stockade run: the program to run is missing"),
        (["run", "--"], "stockade run: the program to run is missing"),
        (["run", ""], "stockade run: the program to run is missing"),
        (["run", "--polcy", "x", "true"], "stockade run: unknown option '--polcy' (did you mean '--policy'?)"),
        (["run", "--tim", "3", "true"], "stockade run: unknown option '--tim' (did you mean '--timeout'?)"),
        (["run", "--timeout"], "stockade run: --timeout needs a value: --timeout TIME"),
        (["run", "--quiet", "--quiet", "true"], "stockade run: --quiet is given twice"),
        (["run", "--cwd", "/", "--cwd=/", "true"], "stockade run: --cwd is given twice"),
        (["run", "--policy", "a", "--profile", "b", "true"], "stockade run: --policy and --profile exclude each other"),
        (["run", "--quiet=1", "true"], "stockade run: --quiet: ignored explicit argument '1'"),
        (["run", "--mode", "enforced", "true"], "stockade run: --mode: invalid choice: 'enforced'"),
        (["run", "--stdin", "all", "true"], "stockade run: --stdin: invalid choice: 'all'"),
        (["run", "--cwd", "data", "true"], "stockade run: --cwd 'data': it is a path in the box"),
        (["run", "--env", "=x", "true"], "stockade run: --env '=x': the name of the variable is empty"),
        (["run", "--env", "NOT_SET", "true"], "stockade run: --env NOT_SET: it is not set here"),
        (["run", "--timeout", "soon", "true"], "stockade run: --timeout: 'soon' is not a number"),
        (["run", "--timeout", "0", "true"], "stockade run: --timeout: '0' is out of range"),
        (["run", "--timeout", "-1", "true"], "stockade run: --timeout: '-1' is not a number"),
        (["run", "--file-size", "5MB", "true"], "stockade run: --file-size: '5MB' has the unknown unit 'MB'"),
        (["run", "--processes", "many", "true"], "stockade run: --processes 'many': write a whole number"),
        (["run", "--open-files", "0", "true"], "stockade run: --open-files: 0 is out of range"),
        (["run", "--ro", ":/inside", "true"], "stockade run: --ro ':/inside': the path is empty"),
        (["run", "--json", "fd:0", "true"], "stockade run: --json fd:0: it is the program's standard input"),
        (["run", "--json", "fd:1", "true"], "stockade run: --json fd:1: it is the program's standard output"),
        (["run", "--json", "fd:77", "true"], "stockade run: --json fd:77: it is not open"),
        (["run", "--json", f"fd:{1 << 70}", "true"], f"stockade run: --json fd:{1 << 70}: it is not open"),
        (["run", "--json", "fd:-1", "true"], "stockade run: --json fd:-1: write the number of an open descriptor"),
        (["run", "--json", "/no/such/directory/x", "true"], "stockade run: --json /no/such/directory/x: No such file"),
        (["run", "--\x1b[31m", "true"], "stockade run: unknown option '--\\x1b[31m'"),
    ],
)
def test_wrong_usage(stockade: CommandLine, arguments: list[str], message: str) -> None:
    done = stockade(*arguments)
    assert done.returncode == 125
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith(message), done.stderr
    assert len(lines) == 2 and lines[1].startswith("Try 'stockade")


def test_json_descriptor_that_is_for_reading_only(stockade: CommandLine) -> None:
    reader, writer = os.pipe()
    try:
        done = stockade.run("--json", f"fd:{reader}", "true", pass_fds=(reader,))
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 125
    assert "it is open for reading only" in done.stderr


def test_help_to_a_reader_that_has_gone(stockade: CommandLine) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        stockade.command("run", "--help"),
        env=stockade.environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_messages_in_a_locale_that_knows_ascii_only(stockade: CommandLine) -> None:
    done = stockade.run(
        "--ro", "/no/such/ж", "true", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert done.returncode == 125
    assert done.stderr.isascii()


def test_command_line_starts_without_heavy_imports(stockade: CommandLine) -> None:
    script = "import sys, stockade.cli; print(*sys.modules)"
    done = subprocess.run(
        [*stockade.command()[:1], "-c", script], env=stockade.environment(), capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"google.protobuf", "argparse", "elftools", "stockade.executor", "dataclasses"}


def test_the_test_directory_is_what_commands_run_in(stockade: CommandLine, public_tmp: Path) -> None:
    assert stockade.run("/bin/pwd").stdout == "/\n"
    assert stockade.run("--ro", ".", "/bin/pwd").stdout == f"{public_tmp}\n"
