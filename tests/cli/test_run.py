"""`stockade run` with the profile `default`: what the program is, sees and gets."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.compiler import CCompiler

SHELL = "/bin/sh"


# --- the program and its streams ---


def test_gzip_between_files(stockade: CommandLine, public_tmp: Path) -> None:
    text = b"the same line\n" * 100_000
    (public_tmp / "text").write_bytes(text)
    with (public_tmp / "text").open("rb") as source, (public_tmp / "text.gz").open("wb") as target:
        command = stockade.command("run", "gzip", "-c")
        done = subprocess.run(
            command, stdin=source, stdout=target, stderr=subprocess.PIPE, env=stockade.environment(), check=False
        )
    assert done.returncode == 0
    assert gzip.decompress((public_tmp / "text.gz").read_bytes()) == text
    assert done.stderr.count(b"\n") == 1 and done.stderr.startswith(b'stockade: profile "default": ')


def test_the_notice_names_the_profile_that_is_made_for_the_program(stockade: CommandLine) -> None:
    assert "--profile gzip is made for it" in stockade("run", "gzip", "--version").stderr
    assert "--policy or --profile choose another" in stockade("run", "true").stderr


def test_gzip_in_a_pipeline(stockade: CommandLine) -> None:
    done = stockade.shell('echo hello | "$@" gzip -c | "$@" gzip -dc')
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize("quiet", [True, False])
def test_only_quiet_hides_the_line_that_names_the_profile(stockade: CommandLine, quiet: bool) -> None:
    done = stockade("run", *(["--quiet"] if quiet else []), "echo", "x")
    assert done.stdout == "x\n"
    assert done.stderr.count("\n") == (0 if quiet else 1)


def test_naming_the_default_profile_adds_the_program_too(stockade: CommandLine) -> None:
    done = stockade("run", "--profile", "default", "echo", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


@pytest.mark.parametrize(
    "name",
    ["true", "/bin/true", "/usr/bin/true", "/usr/bin/../bin/true", "./its own name", "its-link", "../{}/its-link"],
)
def test_program_is_found_under_the_name_that_was_asked_for(stockade: CommandLine, public_tmp: Path, name: str) -> None:
    shutil.copy("/bin/true", public_tmp / "its own name")
    (public_tmp / "middle").symlink_to("its own name")
    (public_tmp / "its-link").symlink_to("middle")
    found = name.format(public_tmp.name) if "/" in name else name
    done = stockade.run(found, env={"PATH": f"/usr/bin:{public_tmp}"})
    assert (done.returncode, done.stderr) == (0, "")


def test_script_brings_its_interpreter(stockade: CommandLine, public_tmp: Path) -> None:
    script = public_tmp / "script"
    script.write_text('#!/bin/sh\necho "$0 $1"\n')
    script.chmod(0o755)
    assert stockade.run("./script", "x").stdout == f"{script} x\n"


def test_first_program_along_path_that_can_be_executed(stockade: CommandLine, public_tmp: Path) -> None:
    for directory, mode, text in (("one", 0o644, "one"), ("two", 0o755, "two"), ("three", 0o755, "three")):
        (public_tmp / directory).mkdir(mode=0o755)
        program = public_tmp / directory / "program"
        program.write_text(f"#!/bin/sh\necho {text}\n")
        program.chmod(mode)
    path = ":".join(f"{public_tmp}/{each}" for each in ("none", "one", "two", "three"))
    assert stockade.run("program", env={"PATH": path}).stdout == "two\n"


# --- arguments (G1) ---


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--"], ["-"], ["--", "--debug"], ["-c", ""], ["--json", "/x"], ["a\nb"]]
)
def test_words_after_the_program_are_its_own(stockade: CommandLine, arguments: list[str]) -> None:
    script = 'for word; do printf "<%s>" "$word"; done'
    done = stockade.run(SHELL, "-c", script, "sh", *arguments)
    assert done.stdout == "".join(f"<{word}>" for word in arguments)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["--policy", "-x", "-", "--", "run"])
def test_program_names_like_options_are_names_after_two_dashes(
    stockade: CommandLine, public_tmp: Path, name: str
) -> None:
    program = public_tmp / name
    program.write_text("#!/bin/sh\necho ran $1\n")
    program.chmod(0o755)
    done = stockade.run("--", name, "--quiet", env={"PATH": str(public_tmp)})
    assert (done.returncode, done.stdout) == (0, "ran --quiet\n"), done.stderr
    assert stockade.run(f"./{name}", "--quiet").stdout == "ran --quiet\n"


def test_values_of_options_may_look_like_options(stockade: CommandLine) -> None:
    done = stockade.run("--env", "A=--quiet", "--env=B=-c", SHELL, "-c", 'echo "$A $B"')
    assert done.stdout == "--quiet -c\n"


# --- what it sees ---


def test_nothing_but_the_program_is_there(stockade: CommandLine) -> None:
    script = "for p in /etc/passwd /home /tmp /proc/self /usr/bin/env /root; do test -e $p && echo $p; done; echo end"
    assert stockade.run(SHELL, "-c", script).stdout == "end\n"


@pytest.mark.parametrize("target", ["/x", "/dev/x", "/usr/bin/x", "/usr/x"])
def test_nothing_is_writable(stockade: CommandLine, target: str) -> None:
    done = stockade.run(SHELL, "-c", f"echo x > {target}")
    assert done.returncode == 2
    assert "cannot create" in done.stderr
    assert stockade.run(SHELL, "-c", "echo x > /dev/null").returncode == 0


def test_ro_shows_a_directory_read_only(stockade: CommandLine, writable: Path) -> None:
    (writable / "file").write_text("content\n")
    done = stockade.run("--ro", writable, SHELL, "-c", f"read x < {writable}/file; echo $x; echo y > {writable}/file")
    assert done.stdout == "content\n"
    assert "Read-only file system" in done.stderr
    assert (writable / "file").read_text() == "content\n"


def test_rw_shows_a_directory_writable(stockade: CommandLine, writable: Path) -> None:
    done = stockade.run("--rw", "writable:/data", SHELL, "-c", "echo new > /data/file")
    assert (done.returncode, done.stderr) == (0, "")
    assert (writable / "file").read_text() == "new\n"


def test_what_is_written_cannot_be_executed(stockade: CommandLine, writable: Path) -> None:
    shutil.copy("/bin/true", writable / "copy")
    assert stockade.run("--rw", writable, SHELL, "-c", f"{writable}/copy").returncode == 126
    assert stockade.run("--ro", writable, SHELL, "-c", f"{writable}/copy").returncode == 0


def test_single_files_and_colons_in_names(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "a:b").write_text("colon\n")
    assert stockade.run("--ro", "a:b", "cat", f"{public_tmp}/a:b").stdout == "colon\n"
    assert stockade.run("--ro", "a:b:/other", "cat", "/other").stdout == "colon\n"


def test_mounts_may_be_given_in_any_order(stockade: CommandLine, public_tmp: Path, writable: Path) -> None:
    (public_tmp / "outer" / "inner").mkdir(parents=True)
    options = ["--rw", f"{writable}:/o/inner", "--ro", f"{public_tmp}/outer:/o"]
    for arguments in (options, options[2:] + options[:2]):
        done = stockade.run(*arguments, SHELL, "-c", "echo x > /o/inner/file && ! echo x > /o/file")
        assert done.returncode == 0, done.stderr
        (writable / "file").unlink()


def test_a_mount_over_something_else_is_refused(stockade: CommandLine, writable: Path) -> None:
    done = stockade.run("--ro", writable, "--rw", writable, "true")
    assert done.returncode == 125
    assert done.stderr.startswith(f"stockade: --rw {writable}: something else is shown there: ")
    assert stockade.run("--ro", writable, "--ro", writable, "true").returncode == 0


@pytest.mark.parametrize("source", ["/", "/proc", "/proc/self/root"])
def test_sources_that_would_open_the_box_are_refused(stockade: CommandLine, source: str) -> None:
    done = stockade.run("--ro", f"{source}:/inside", "true")
    assert done.returncode == 125
    assert done.stdout == ""


# --- working directory and environment ---


def test_working_directory_is_the_callers_when_it_is_shown(stockade: CommandLine, public_tmp: Path) -> None:
    below = public_tmp / "below"
    below.mkdir()
    script = "pwd"
    assert stockade.run(SHELL, "-c", script, cwd=below).stdout == "/\n"
    assert stockade.run("--ro", public_tmp, SHELL, "-c", script, cwd=below).stdout == f"{below}\n"
    assert stockade.run("--ro", f"{public_tmp}:/else", SHELL, "-c", script, cwd=below).stdout == "/\n"
    assert stockade.run("--ro", public_tmp, "--cwd", "/", SHELL, "-c", script, cwd=below).stdout == "/\n"
    assert stockade.run("--ro", f"{public_tmp}:/else", "--cwd", "/else", SHELL, "-c", script).stdout == "/else\n"


def test_another_directory_at_the_callers_path_is_not_taken_for_it(
    stockade: CommandLine, public_tmp: Path, writable: Path
) -> None:
    assert stockade.run("--ro", f"{writable}:{public_tmp}", SHELL, "-c", "pwd").stdout == "/\n"


def test_working_directory_that_is_not_there(stockade: CommandLine) -> None:
    done = stockade.run("--cwd", "/nowhere", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("stockade: cwd: /nowhere: No such file or directory")


def test_environment_is_what_was_asked_for(stockade: CommandLine) -> None:
    done = stockade.run(
        "--env", "A=1=2", "--env", "EMPTY=", "--env", "TAKEN", "env", env={"TAKEN": "over", "SECRET": "s"}
    )
    assert set(done.stdout.split()) == {"A=1=2", "EMPTY=", "TAKEN=over"}
    assert stockade.run("env", env={"SECRET": "s"}).stdout == ""


def test_without_home_and_path(stockade: CommandLine) -> None:
    done = stockade.run("echo", "x", env={"HOME": None, "PATH": None})
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


# --- streams that are not there ---


def test_closed_standard_input_is_empty(stockade: CommandLine) -> None:
    done = stockade.shell('"$@" cat <&-')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_closed_standard_output_fails_the_program_as_ever(stockade: CommandLine) -> None:
    done = stockade.shell('"$@" cat --help >&-')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cat: write error: Bad file descriptor\n"


def test_closed_standard_error(stockade: CommandLine) -> None:
    assert stockade.shell('"$@" echo x 2>&-').stdout == "x\n"
    done = stockade.shell('"$@" no-such-program 2>&-')
    assert (done.returncode, done.stdout, done.stderr) == (127, "", "")


def test_all_streams_closed(stockade: CommandLine) -> None:
    assert stockade.shell('"$@" /bin/sh -c "exit 3" <&- >&- 2>&-').returncode == 3


def test_dev_null_and_no_input(stockade: CommandLine) -> None:
    assert stockade.shell('"$@" cat < /dev/null').stdout == ""
    assert stockade.run("cat", input="x").stdout == "x"
    assert stockade.run("--stdin", "none", "cat", input="x").stdout == ""


def test_descriptors_of_the_caller_stay_outside(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "secret").write_text("secret")
    done = stockade.shell('exec 5< secret; "$@" /bin/sh -c "cat <&5"')
    assert done.returncode != 0
    assert "5: Bad file descriptor" in done.stderr


# --- limits and debugging ---


def test_limits_hold(stockade: CommandLine, writable: Path, compile_c: CCompiler) -> None:
    source = r"""
        #include <stdio.h>
        #include <sys/resource.h>
        static long limit(int resource) { struct rlimit it; getrlimit(resource, &it); return it.rlim_max; }
        int main(void) {
            printf("%ld %ld %ld\n", limit(RLIMIT_NOFILE), limit(RLIMIT_FSIZE), limit(RLIMIT_AS));
            return 0;
        }
    """
    program = compile_c(source, static=True, name="limits")
    done = stockade.run("--open-files", "17", "--file-size", "1M", "--address-space", "1G", program)
    assert done.stdout == f"17 {1 << 20} {1 << 30}\n"
    fork = ["--env", "PATH=/bin", SHELL, "-c", "(:) && (:) && echo forked"]
    assert stockade.run("--processes", "50", *fork).stdout == "forked\n"
    assert "forked" not in stockade.run("--processes", "1", *fork).stdout


def test_debug_prints_the_plan_first_and_the_report_after(stockade: CommandLine, public_tmp: Path) -> None:
    done = stockade.run("--debug", "--ro", public_tmp, SHELL, "-c", "echo from the program >&2")
    before, _, after = done.stderr.partition("from the program\n")
    assert before.startswith('stockade: policy "default", digest ')
    assert f"stockade: template: directory {public_tmp} (read-only)\n" in before
    assert "stockade: template: symlink /bin/sh -> /usr/bin/dash\n" in before
    assert after.startswith("stockade: /bin/sh ended with exit code 0\n")
    assert done.stdout == ""
