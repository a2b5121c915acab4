"""What env runs for a `#!` line: compared with env itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stockade.kernel.binfmt import BinfmtError
from stockade.policy.box.script_line import DEFAULT_PATH, EnvCommand, command_of_env

# The first word that is no option runs; here it is `echo`, so that env itself can be asked.
LINES = [
    "echo",
    "-S echo -n a",
    "-Secho a",
    "-S A=b C=d echo -e",
    "-iS echo a",
    "-vS echo a",
    "--split-string=echo a",
    "-S -u HOME echo a",
    "-S -uHOME echo a",
    "-S --unset=HOME echo a",
    "-S --unset HOME echo a",
    "-S -C / echo a",
    "-S --chdir=/ echo a",
    "-S -i -- echo a",
    "-S - echo a",
    '-S "echo" a # comment',
    "-S 'echo' 'a b'",
    "-S env -i env echo a",
    "-S -S echo",
    "-S PATH=/usr/bin:/bin echo a",
]


@pytest.mark.parametrize("argument", LINES)
def test_it_is_what_env_runs(public_tmp: Path, argument: str) -> None:
    command = command_of_env(argument)
    assert command is not None
    assert command.name == "echo"
    script = public_tmp / "script"
    script.write_text(f"#!/usr/bin/env {argument}\n")
    script.chmod(0o755)
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert (done.returncode, str(script) in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("argument", "name"),
    [("bash -e", "bash -e"), ("-S /opt/bin/x y", "/opt/bin/x"), ("-S -a name bash", "bash"), ("-S PATH=/a:b x", "x")],
)
def test_names(argument: str, name: str) -> None:
    command = command_of_env(argument)
    assert command is not None
    assert command.name == name


def test_a_path_of_the_script_s_own() -> None:
    assert command_of_env("-S PATH=/opt/bin:relative:/bin x") == EnvCommand("x", ("/opt/bin", "/bin"))
    assert command_of_env("-S LANG=C x") == EnvCommand("x", DEFAULT_PATH)


@pytest.mark.parametrize("argument", ["", "-i", "-S", "-S A=b", "-S -u x", "--", "-S --"])
def test_nothing_is_run(argument: str) -> None:
    assert command_of_env(argument) is None


@pytest.mark.parametrize("argument", ["-S 'unfinished", '-S "x', "-S " + "env " * 50 + "x"])
def test_what_cannot_be_understood(argument: str) -> None:
    with pytest.raises(BinfmtError):
        command_of_env(argument)
