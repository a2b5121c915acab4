"""git under policies/git.textproto: the same commits and answers as without a sandbox; no network, no hooks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Policy
from support.listener import Listener
from support.programs import PROBE, Done, Runner, outside, through_api
from support.twins import Twins

DATE = "1700000000 +0100"
# What makes commits the same each time, and keeps the host's settings out of the comparison.
ENV = {
    "GIT_AUTHOR_NAME": "Ä Author",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": DATE,
    "GIT_COMMITTER_NAME": "A Committer",
    "GIT_COMMITTER_EMAIL": "c@example.org",
    "GIT_COMMITTER_DATE": DATE,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


def _sources(directory: Path) -> None:
    """Make a work tree that is not yet a repository."""
    work = directory / "work"
    (work / "sub").mkdir(parents=True)
    for number in range(20):
        (work / f"file{number}").write_text("".join(f"{line}\n" for line in range(number, 200)))
    (work / "sub" / "umlaut ä").write_bytes(bytes(range(256)))
    (work / "script").write_text("#!/bin/sh\n")
    (work / "script").chmod(0o755)
    (work / "ignored.o").write_text("object")
    (work / ".gitignore").write_text("*.o\n")
    os.symlink("file1", work / "link")


def _append(twins: Twins, name: str, text: str) -> None:
    for directory in (twins.boxed, twins.free):
        with (directory / "work" / name).open("a") as file:
            file.write(text)


@pytest.fixture
def twins(public_tmp: Path) -> Twins:
    return Twins("git", public_tmp, _sources, ENV)


class Repository:
    """Runs git commands in both copies of the work tree."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins
        for command in ("init -q -b main", "add .", "commit -q -m first"):
            self(command)

    def __call__(self, command: str, *more: str, status: int = 0, input: bytes = b"") -> bytes:
        """Run one command, written with blanks between its words; return what it prints."""
        done = self._twins.run(["git", "-C", "work", *command.split(), *more], input=input)
        assert done.status == status, done
        return done.stdout


@pytest.fixture
def git(twins: Twins) -> Repository:
    return Repository(twins)


def test_a_repository_is_made_changed_and_asked(twins: Twins, git: Repository) -> None:
    assert b"nothing to commit, working tree clean" in git("status")
    _append(twins, "file3", "more\n")
    git("mv file4 sub/moved")
    git("rm -q file5")
    for command in ("diff", "diff --stat", "diff --cached -M --summary", "status --porcelain=v2 --branch"):
        assert git(command) != b""
    git("commit -q -a -m", "second\n\nwith a body")
    assert b"+more" in git("show")
    for command in (
        "log --stat --graph --decorate --date=iso-local",
        "log -p --word-diff -1",
        "log --grep=[s]econd --oneline",
        "log -S more --oneline",
        "blame -L 190,+5 file3",
        "grep -n 19[89]",
        "ls-files -s",
        "ls-tree -r HEAD",
        "cat-file -p HEAD^{tree}",
        "shortlog -s HEAD",
        "check-ignore ignored.o",
        "rev-list --count --all",
        "describe --always",
        "archive --format=tar HEAD",
        "fast-export --all",
        "version",
    ):
        assert git(command) != b"", command
    assert git("cat-file --batch-check", input=b"HEAD\nHEAD^{tree}\n").count(b"\n") == 2
    git("log missing", status=128)
    git("no-such-command", status=1)


def test_branches_merges_and_conflicts(twins: Twins, git: Repository) -> None:
    git("switch -q -c side")
    _append(twins, "file1", "side\n")
    git("commit -q -a -m side")
    git("tag -a v1 -m release")
    git("switch -q main")
    _append(twins, "file2", "main\n")
    git("commit -q -a -m main")
    git("merge --no-edit side")
    git("branch clash v1~1")
    git("switch -q clash")
    _append(twins, "file1", "clash\n")
    git("commit -q -a -m clash")
    assert b"CONFLICT" in git("merge main", status=1)
    assert b"<<<<<<<" in git("diff")
    git("merge --abort")
    git("rebase -q -X theirs main")
    git("cherry-pick -x --allow-empty v1", status=1)
    git("cherry-pick --abort")
    git("revert --no-edit HEAD")
    _append(twins, "file7", "stashed\n")
    git("stash")
    git("stash pop -q")
    git("reset -q --hard")
    git("clean -fdx")
    git("describe --tags")
    git("worktree add -q -b tree ../tree")
    git("worktree list --porcelain")
    git("format-patch -q -1 -o ../patches v1")
    git("switch -q -c applied v1~1")
    git("am ../patches/0001-side.patch")
    git("-c checkout.workers=2 -c checkout.thresholdForParallelism=1 checkout -q main")
    git("for-each-ref")
    git("log --all --graph --oneline")


def test_clones_by_path(twins: Twins, git: Repository) -> None:
    commands = [
        "clone --no-hardlinks work copied",
        "clone -q work linked",
        "clone -q --bare file://{here}/work bare",
        "clone -q --depth 1 --no-local work shallow",
        "clone -q -c fetch.unpackLimit=1 --no-local work packed",
    ]
    for side, directory in (("boxed", twins.boxed), ("free", twins.free)):
        for command in commands:
            argv = ["git", *command.format(here=directory).split()]
            if side == "boxed":
                found = through_api("git", argv, directory=directory, env=ENV)
            else:
                found = outside(argv, directory=directory, env=ENV)
            assert found.status == 0, (side, command, found)
    for name in ("copied", "linked", "bare", "shallow", "packed"):
        git(f"-C ../{name} fsck --full")
        git(f"-C ../{name} log --format=%H")
    _append(twins, "../copied/file1", "from the copy\n")
    git("-C ../copied commit -q -a -m copy")
    git("-C ../copied push -q origin HEAD:refs/heads/pushed")
    git("-C ../linked pull -q origin pushed")
    git("-C ../bare fetch -q origin +refs/heads/*:refs/heads/*")
    git("ls-remote ../bare")
    git("archive -o ../copied/a.tgz --remote=../bare pushed")
    git("bundle create -q ../all.bundle --all")
    git("clone -q ../all.bundle ../unbundled")
    git("-C ../unbundled log --format=%H")


def test_housekeeping(twins: Twins, git: Repository) -> None:
    for number in range(3):
        _append(twins, "file9", f"{number}\n")
        git("commit -q -a -m", str(number))
    for command in (
        "repack -q -a -d -f --threads=2",
        "gc -q --prune=now",
        "fsck --full --strict",
        "commit-graph write --reachable",
        "multi-pack-index write",
        "maintenance run --quiet --task=gc",
        "pack-refs --all",
        "prune",
        "-c core.untrackedCache=true -c index.threads=2 status",
        "-c core.fsync=all commit -q --allow-empty -m durable",
        "config user.name Somebody",
        "config --get user.name",
        "reflog --format=%gs",
        "count-objects",
    ):
        git(command)


def test_both_ways_to_run(run: Runner, public_tmp: Path) -> None:
    _sources(public_tmp)
    for command in ("init -q -b main", "add .", "commit -q -m first", "-c gc.auto=1 gc -q --auto"):
        found = run("git", ["git", "-C", "work", *command.split()], directory=public_tmp, env=ENV)
        assert found == Done(0, b"", b"")
    head = outside(["git", "-C", "work", "log", "--format=%an %s"], directory=public_tmp, env=ENV)
    assert head == Done(0, "Ä Author first\n".encode(), b"")


# --- what it may not do ---


@pytest.fixture
def repository(public_tmp: Path) -> Path:
    """A directory with the repository `work`."""
    _sources(public_tmp)
    for command in ("init -q -b main", "add .", "commit -q -m first"):
        assert outside(["git", "-C", "work", *command.split()], directory=public_tmp, env=ENV).status == 0
    return public_tmp


def _git(repository: Path, *arguments: str, show: Path | None = None) -> tuple[Done, Done]:
    """Run git in the box and without one."""
    argv = ["git", "-C", "work", *arguments]
    boxed = through_api("git", argv, directory=repository, show=show, env=ENV)
    return boxed, outside(argv, directory=repository, env=ENV)


def test_nothing_is_compiled_to_machine_code(repository: Path) -> None:
    """Searches for plain text want memory that is writable and executable, and newer versions can do without."""
    private = "MAP_PRIVATE|MAP_ANONYMOUS"
    for protection in ("PROT_READ|PROT_WRITE|PROT_EXEC", "PROT_READ|PROT_EXEC"):
        assert not Policy.profile("git").evaluate("mmap", (0, 4096, protection, private)).permits
    assert not Policy.profile("git").evaluate("mprotect", (0, 4096, "PROT_READ|PROT_EXEC")).permits
    boxed, free = _git(repository, "grep", "-c", "199", "file1")
    assert free == Done(0, b"file1:1\n", b"")
    assert boxed == free or (boxed.status == 128 and b"Couldn't JIT" in boxed.stderr)
    boxed, free = _git(repository, "grep", "-c", "19[9]", "file1")
    assert boxed == free == Done(0, b"file1:1\n", b"")


def test_hooks_do_not_run(repository: Path) -> None:
    hook = repository / "work" / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho the hook\nexit 1\n")
    hook.chmod(0o755)
    boxed, free = _git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    assert (free.status, free.stdout + free.stderr) == (1, b"the hook\n")
    assert (boxed.status, boxed.stdout) == (0, b"")
    assert b"the hook\n" not in boxed.stderr


@pytest.mark.parametrize("option", ["alias.x=!/usr/bin/id -u", "core.editor=/usr/bin/id -u #"])
def test_commands_of_a_configuration_find_no_program(repository: Path, option: str) -> None:
    command = ["x"] if option.startswith("alias") else ["commit", "--allow-empty"]
    boxed, free = _git(repository, "-c", option, *command)
    assert free.stdout == f"{os.geteuid()}\n".encode()
    assert boxed.status != 0
    assert boxed.stdout == b""
    assert b"/usr/bin/id: not found" in boxed.stderr or b"cannot run" in boxed.stderr


@pytest.mark.parametrize("attempt", ["socket", "ptrace", "unshare"])
def test_a_program_that_git_starts_is_killed(repository: Path, compile_c: Callable[..., Path], attempt: str) -> None:
    probe = compile_c(PROBE, name="probe")
    boxed, free = _git(repository, "-c", f"alias.x=!{probe} {attempt}; echo $?", "x", show=probe)
    assert free.stdout == b"0\n"
    assert (boxed.status, boxed.refused) == (-31, attempt)
    assert boxed.stdout != b"0\n"


def test_the_network_is_out_of_reach(repository: Path) -> None:
    with Listener() as listener:
        boxed, free = _git(repository, "ls-remote", f"git://127.0.0.1:{listener.port}/x")
        assert (boxed.status, boxed.refused) == (-31, "socket")
        assert (free.status != 0, listener.reached) == (True, 1)
        boxed, free = _git(repository, "ls-remote", f"https://127.0.0.1:{listener.port}/x")
        assert (boxed.status, boxed.stdout) == (128, b"")
        assert b"'remote-https' is not a git command" in boxed.stderr
        assert (free.status != 0, listener.reached) == (True, 2)


def test_ssh_is_not_there(repository: Path) -> None:
    ssh = repository / "ssh"
    ssh.write_text("#!/bin/sh\necho ssh ran >&2\n")
    ssh.chmod(0o755)
    boxed, free = _git(repository, "-c", f"core.sshCommand={ssh}", "ls-remote", "ssh://127.0.0.1/x")
    assert b"ssh ran" in free.stderr
    assert b"Permission denied" in boxed.stderr
    assert b"ssh ran" not in boxed.stderr


def test_files_of_the_host_are_not_there(repository: Path) -> None:
    boxed, free = _git(repository, "hash-object", "/etc/passwd")
    assert (free.status, len(free.stdout)) == (0, 41)
    assert (boxed.status, boxed.stdout) == (128, b"")
    assert b"could not open '/etc/passwd' for reading: No such file or directory" in boxed.stderr


def test_nothing_else_is_writable(repository: Path) -> None:
    argv = ["git", "-C", "work", "bundle", "create", "-q", "../../escaped.bundle", "--all"]
    work = repository / "inner"
    work.mkdir()
    (repository / "work").rename(work / "work")
    boxed = through_api("git", argv, directory=work, env=ENV)
    assert boxed.status == 128
    assert b"Read-only file system" in boxed.stderr
    assert not (repository / "escaped.bundle").exists()
    assert outside(argv, directory=work, env=ENV).status == 0
    assert (repository / "escaped.bundle").exists()
