"""POLICY on the command line: files, ready-made names, standard input, variables; and what can be wrong with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade.policy import profiles
from support.command_line import CommandLine

SMALL = """\
schema_version: 1
name: "small"
syscalls { rules { syscall: "getpid" action: ALLOW } }
"""
WITH_VARIABLE = """\
schema_version: 1
name: "variable"
include: "minimal"
variables { name: "DATA" description: "the directory to read" }
filesystem { mounts { target: "/data" bind { source: "$DATA" kind: DIRECTORY } } }
"""


def test_a_file_with_a_slash_or_the_suffix(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "small.textproto").write_text(SMALL)
    (public_tmp / "plain").write_text(SMALL)
    for word in ("small.textproto", "./plain", public_tmp / "plain", "plain"):
        done = stockade("policy", "show", word)
        assert (done.returncode, done.stderr) == (0, "")
        assert 'name: "small"' in done.stdout


def test_a_ready_made_name(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "jq")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'name: "jq"' in done.stdout


def test_a_file_does_not_take_the_place_of_a_ready_made_policy(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "jq").write_text(SMALL)
    done = stockade("policy", "show", "jq")
    assert 'name: "jq"' in done.stdout
    assert done.stderr == "stockade: jq: the ready-made policy is meant; write ./jq for the file\n"
    assert 'name: "small"' in stockade("policy", "show", "./jq").stdout


def test_standard_input(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "-", input=SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'name: "small"' in done.stdout
    bad = stockade("policy", "show", "-", input=SMALL + "nome: 1\n")
    assert (bad.returncode, bad.stdout) == (3, "")
    assert bad.stderr == "stockade: <stdin>:4:1: unknown field \"nome\" in Policy (did you mean 'name'?)\n"


@pytest.mark.parametrize("command", ["diff", "merge", "check"])
def test_standard_input_twice(stockade: CommandLine, command: str) -> None:
    done = stockade("policy", command, "-", "-", input=SMALL)
    assert (done.returncode, done.stdout) == (125, "")
    assert "only one policy can come from standard input" in done.stderr


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gzpi", "stockade: 'gzpi' is neither a ready-made policy nor a file (did you mean 'gzip'?)"),
        ("./missing", "stockade: ./missing: cannot read the policy: No such file or directory"),
        ("missing.textproto", "stockade: missing.textproto: cannot read the policy: No such file or directory"),
        ("gzip.textproto", "stockade: gzip.textproto: cannot read the policy: No such file or directory. There is a"),
        ("/", "stockade: /: cannot read the policy: Is a directory"),
        ("/etc/passwd/x", "stockade: /etc/passwd/x: cannot read the policy: Not a directory"),
        ("/proc/self/mem", "stockade: /proc/self/mem: cannot read the policy: Input/output error"),
        ("", "stockade: '' is neither a ready-made policy nor a file"),
        ("\x1b[31m", "stockade: '\\x1b[31m' is neither a ready-made policy nor a file"),
    ],
)
@pytest.mark.parametrize("command", [["policy", "show"], ["policy", "check"]], ids=lambda words: words[-1])
def test_what_cannot_be_read(stockade: CommandLine, command: list[str], word: str, message: str) -> None:
    done = stockade(*command, word)
    assert done.returncode == 3
    assert done.stderr.startswith(message), done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.replace("\n", "").isprintable()


def test_a_policy_that_may_not_be_read(stockade: CommandLine, public_tmp: Path, privileged: bool) -> None:
    (public_tmp / "secret.textproto").write_text(SMALL)
    (public_tmp / "secret.textproto").chmod(0)
    done = stockade("policy", "show", "secret.textproto")
    if privileged:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == "stockade: secret.textproto: cannot read the policy: Permission denied\n"


def test_a_wrong_policy_is_a_finding_of_check_alone(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "bad.textproto").write_text(SMALL.replace("getpid", "getpidd"))
    for command, code in (
        (("policy", "show", "bad.textproto"), 3),
        (("policy", "diff", "bad.textproto", "gzip"), 3),
        (("policy", "merge", "gzip", "bad.textproto"), 3),
        (("explain", "bad.textproto", "getpid"), 3),
        (("policy", "check", "bad.textproto"), 1),
    ):
        done = stockade(*command)
        assert done.returncode == code
        assert "bad.textproto:3:29: " in done.stdout + done.stderr
        assert "did you mean 'getpid'?" in done.stdout + done.stderr


class TestVariables:
    """--set."""

    def test_the_value_is_put_in(self, stockade: CommandLine, public_tmp: Path) -> None:
        (public_tmp / "v.textproto").write_text(WITH_VARIABLE)
        done = stockade("policy", "show", "v.textproto", "--set", "DATA=/usr/share")
        assert (done.returncode, done.stderr) == (0, "")
        assert '"/usr/share"' in done.stdout and "$" not in done.stdout
        assert 'name: "dynamic_startup"' in done.stdout  # of what it includes

    def test_from_standard_input(self, stockade: CommandLine) -> None:
        done = stockade("policy", "show", "--set=DATA=/usr/share", "-", input=WITH_VARIABLE)
        assert '"/usr/share"' in done.stdout

    def test_missing_and_unknown(self, stockade: CommandLine, public_tmp: Path) -> None:
        (public_tmp / "v.textproto").write_text(WITH_VARIABLE)
        missing = stockade("policy", "show", "v.textproto")
        assert missing.returncode == 3
        assert "v.textproto:4:" in missing.stderr and "the directory to read" in missing.stderr
        unknown = stockade("policy", "show", "v.textproto", "--set", "DATE=/usr/share")
        assert unknown.returncode == 3
        assert "did you mean 'DATA'?" in unknown.stderr

    def test_two_policies_share_them(self, stockade: CommandLine, public_tmp: Path) -> None:
        (public_tmp / "v.textproto").write_text(WITH_VARIABLE)
        done = stockade("policy", "diff", "minimal", "v.textproto", "--set", "DATA=/usr/share")
        assert (done.returncode, done.stderr) == (1, "")
        assert "/usr/share" in done.stdout
        unknown = stockade("policy", "diff", "minimal", "v.textproto", "--set", "DATE=/usr/share")
        assert unknown.returncode == 125
        assert "--set DATE: no policy uses this variable (did you mean 'DATA'?)" in unknown.stderr

    def test_home_and_the_directory(self, stockade: CommandLine, public_tmp: Path) -> None:
        text = WITH_VARIABLE.replace("$DATA", "$HOME").replace('variables { name: "DATA" description: "the di', "# ")
        (public_tmp / "h.textproto").write_text(text)
        assert '"/usr/share"' in stockade("policy", "show", "h.textproto", env={"HOME": "/usr/share"}).stdout
        without = stockade("policy", "show", "h.textproto", env={"HOME": None})
        assert without.returncode == 3 and "HOME" in without.stderr
        given = stockade("policy", "show", "h.textproto", "--set", "HOME=/usr/share", env={"HOME": None})
        assert '"/usr/share"' in given.stdout

    @pytest.mark.parametrize("setting", ["DATA", "=x", ""])
    @pytest.mark.parametrize("command", [["policy", "show", "gzip"], ["run", "true"]], ids=lambda words: words[-1])
    def test_wrong_settings(self, stockade: CommandLine, command: list[str], setting: str) -> None:
        done = stockade(*command[:-1], "--set", setting, command[-1])
        assert (done.returncode, done.stdout) == (125, "")
        assert f"--set {setting!r}: write --set NAME=VALUE" in done.stderr

    def test_given_twice(self, stockade: CommandLine) -> None:
        done = stockade("policy", "show", "gzip", "--set", "A=1", "--set", "A=2")
        assert done.returncode == 125 and "--set A: it is given twice" in done.stderr

    def test_of_a_run(self, stockade: CommandLine, public_tmp: Path) -> None:
        (public_tmp / "v.textproto").write_text(WITH_VARIABLE)
        (public_tmp / "in").mkdir(mode=0o755)
        (public_tmp / "in" / "file").write_text("content\n")
        command = ("--policy", "v.textproto", "cat", "/data/file")
        done = stockade.run("--set", f"DATA={public_tmp}/in", *command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "content\n", "")
        without = stockade.run(*command)
        assert (without.returncode, without.stdout) == (125, "")
        assert "the directory to read" in without.stderr


def test_ready_made_policies_are_named_in_places(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "--rules", "gzip")
    assert "profile gzip:" in done.stdout
    assert str(profiles.directory()) not in done.stdout
