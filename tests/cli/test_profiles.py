"""`stockade run --profile NAME PROGRAM`: profiles and policies that name no program get it, with its libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

PROFILES = ["minimal", "io-heavy", "compute", "network", "unrestricted", "strict", "moderate", "permissive", "default"]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_for_any_program_runs_the_program_that_is_named(stockade: CommandLine, profile: str) -> None:
    done = stockade.run("--profile", profile, "cat", input="text")
    assert (done.returncode, done.stdout, done.stderr) == (0, "text", "")


def test_a_profile_of_one_program_runs_no_other(stockade: CommandLine) -> None:
    done = stockade.run("--profile", "gzip", "cat", input="text")
    assert (done.returncode, done.stdout) == (127, "")


@pytest.mark.parametrize(
    ("profile", "code"), [("minimal", 159), ("io-heavy", 0), ("compute", 0), ("strict", 159), ("default", 0)]
)
def test_files_are_made_where_the_profile_and_a_mount_permit(
    stockade: CommandLine, writable: Path, profile: str, code: int
) -> None:
    done = stockade.run("--profile", profile, "--rw", writable, "touch", f"{writable}/made")
    assert (done.returncode, (writable / "made").exists()) == (code, code == 0)
    assert ("openat" in done.stderr) == (code != 0)


def test_without_a_mount_only_tmp_is_writable(stockade: CommandLine, writable: Path) -> None:
    done = stockade.run("--profile", "io-heavy", "touch", f"{writable}/made")
    assert (done.returncode, list(writable.iterdir())) == (1, [])
    assert stockade.run("--profile", "io-heavy", "touch", "/tmp/made").returncode == 0
    assert stockade.run("--profile", "minimal", "touch", "/tmp/made").returncode == 159


def test_limits_of_a_preset_hold_and_can_be_tightened_only(stockade: CommandLine, compile_c: CCompiler) -> None:
    body = "struct rlimit limit; getrlimit(RLIMIT_NOFILE, &limit); return limit.rlim_cur != strtoul(argv[1], 0, 0);"
    program = main_program(compile_c, body)
    assert stockade.run("--profile", "strict", program, "64").returncode == 0
    assert stockade.run("--profile", "strict", "--open-files", "32", program, "32").returncode == 0
    assert stockade.run("--profile", "strict", "--open-files", "500", program, "64").returncode == 0
    assert stockade.run("--profile", "minimal", program, "1024").returncode == 0


# --- policies in files ---

POLICY = 'schema_version: 1 include: "minimal"\n'


def write(directory: Path, *lines: str) -> Path:
    path = directory / "policy.textproto"
    path.write_text(POLICY + "\n".join(lines))
    return path


def test_a_policy_that_names_no_program_gets_the_one_that_is_run(stockade: CommandLine, public_tmp: Path) -> None:
    done = stockade.run("--policy", write(public_tmp), "cat", input="text")
    assert (done.returncode, done.stdout, done.stderr) == (0, "text", "")
    done = stockade.run("--policy", write(public_tmp), "no-such-program")
    assert done.returncode == 127
    assert "no such program along PATH" in done.stderr


def test_a_policy_that_names_its_program_gets_nothing_else(stockade: CommandLine, public_tmp: Path) -> None:
    named = write(public_tmp, 'filesystem { libraries_for_binary: "/usr/bin/head" }')
    assert stockade.run("--policy", named, "head", "-n1", input="a\nb\n").stdout == "a\n"
    assert stockade.run("--policy", named, "cat", input="text").returncode == 127


def test_a_program_that_a_mount_shows_is_the_one_that_is_run(
    stockade: CommandLine, public_tmp: Path, compile_c: CCompiler
) -> None:
    """Not that of the host which has the same name."""
    own = main_program(compile_c, 'say("own\\n");', name="cat")
    shown = write(
        public_tmp, f'filesystem {{ mounts {{ target: "/usr/bin/cat" bind {{ source: "{own}" kind: FILE }} }} }}'
    )
    for name in ("cat", "/usr/bin/cat"):
        assert stockade.run("--policy", shown, name, input="text").stdout == "own\n"
    # Shown by an option at a path that the host does not have.
    done = stockade.run("--policy", write(public_tmp), "--ro", f"{own}:/opt/own", "/opt/own")
    assert (done.returncode, done.stdout) == (0, "own\n")
    done = stockade.run("--policy", write(public_tmp), "/opt/own")
    assert done.returncode == 127
    assert "the policy names no program" in done.stderr
