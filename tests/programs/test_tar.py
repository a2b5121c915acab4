"""tar under policies/tar.textproto: the same archives and files as without a sandbox, and nothing beside them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.programs import PROBE, Done, Runner, outside, through_api
from support.twins import Twins, snapshot

WHEN = 1_700_000_000
# The owner is left out: in the box, files belong to another number.
PORTABLE = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
# Times of the making, and the number of the process, are left out as well.
PAX = "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f,exthdr.mtime=@0"
COMPRESSED = [
    [],
    ["-z"],
    ["-j"],
    ["-J"],
    ["--zstd"],
    ["--lzma"],
    ["-I", "gzip -9"],
    ["-I", "xz -T2 -1"],
    ["-I", "zstd -T2 -19"],
]


def _grow(directory: Path) -> None:
    """Make a tree with what archives can hold."""
    tree = directory / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "text").write_text("text\n" * 5000)
    (tree / "script").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub" / "umlaut ä").write_bytes(bytes(range(256)) * 300)
    os.symlink("../text", tree / "sub" / "link")
    os.symlink("nowhere", tree / "dangling")
    os.link(tree / "text", tree / "hard")
    os.mkfifo(tree / "fifo", 0o600)
    with (tree / "sparse").open("wb") as file:
        file.truncate(1_000_000)
        file.write(b"end")
    for name, mode in {"text": 0o640, "script": 0o755, "sub": 0o750, "sub/umlaut ä": 0o444, "fifo": 0o600}.items():
        (tree / name).chmod(mode)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (WHEN, WHEN), follow_symlinks=False)


@pytest.fixture
def twins(public_tmp: Path) -> Twins:
    return Twins("tar", public_tmp, _grow)


@pytest.mark.parametrize("compression", COMPRESSED, ids=lambda options: " ".join(options) or "plain")
def test_archives_are_made_listed_and_extracted(twins: Twins, compression: list[str]) -> None:
    twins.run(["tar", "-cf", "a.tar", *compression, *PORTABLE, "tree"])
    twins.run(["tar", "-tvf", "a.tar", *compression])
    for directory in (twins.boxed, twins.free):
        (directory / "out").mkdir()
    twins.run(["tar", "-xpf", "a.tar", *compression, "-C", "out", "--no-same-owner"])
    found = twins.assert_equal_files()
    assert snapshot(twins.boxed / "out" / "tree", times=True) == snapshot(twins.boxed / "tree", times=True)
    assert {"a.tar", "out/tree/sub/empty", "out/tree/fifo", "out/tree/sub/umlaut ä"} <= set(found)


@pytest.mark.parametrize("compression", ["", "z"])
def test_standard_streams(run: Runner, public_tmp: Path, compression: str) -> None:
    _grow(public_tmp)
    make = ["tar", f"-c{compression}f", "-", *PORTABLE, "tree"]
    packed = run("tar", make, directory=public_tmp)
    assert packed == outside(make, directory=public_tmp)
    assert packed.status == 0
    read = ["tar", f"-x{compression}f", "-", "-O", "tree/sub"]
    assert run("tar", read, input=packed.stdout).stdout == bytes(range(256)) * 300


# Each list works in one directory, one command after the other.
SEQUENCES = {
    "selection": [
        ["-cf", "a.tar", *PORTABLE, "--exclude=*ä", "--exclude-vcs", "tree"],
        ["-tf", "a.tar", "--wildcards", "*s*", "--exclude=*link"],
        ["-cf", "b.tar", *PORTABLE, "--no-recursion", "tree", "tree/text"],
        ["-tvf", "b.tar", "--utc", "--full-time"],
        ["-cf", "c.tar", *PORTABLE, "--newer-mtime=2040-01-01", "tree"],
        ["-tf", "c.tar"],
        ["-xf", "a.tar", "--to-stdout", "tree/text"],
        ["-tf", "a.tar", "missing"],
    ],
    "changes": [
        ["-cf", "a.tar", *PORTABLE, "tree/text"],
        ["-rf", "a.tar", *PORTABLE, "tree/script"],
        ["-uf", "a.tar", *PORTABLE, "tree/text"],
        ["-cf", "b.tar", *PORTABLE, "tree/hard"],
        ["-Af", "a.tar", "b.tar"],
        ["-tf", "a.tar"],
        ["--delete", "-f", "a.tar", "tree/text"],
        ["-tf", "a.tar"],
    ],
    "names": [
        ["-cf", "a.tar", *PORTABLE, "--transform=s/^tree/renamed/", "--show-transformed-names", "-v", "tree"],
        ["-xvf", "a.tar", "--strip-components=1", "--no-same-owner"],
        ["-xf", "a.tar", "--one-top-level=top", "--no-same-owner", "--touch", "renamed/text"],
        ["-xf", "a.tar", "--backup=numbered", "--no-same-owner", "--strip-components=1", "renamed/text"],
        ["-cf", "b.tar", *PORTABLE, "--remove-files", "top"],
        ["-tf", "b.tar"],
    ],
    "formats": [
        ["-cSf", "sparse.tar", *PORTABLE, "tree/sparse"],
        ["-xSf", "sparse.tar", "--no-same-owner"],
        ["-cf", "ustar.tar", *PORTABLE, "-H", "ustar", "--mtime=@0", "tree"],
        ["-tvf", "ustar.tar"],
        ["-cf", "posix.tar", *PORTABLE, "-H", "posix", PAX, "--mtime=@0", "tree"],
        ["-tvf", "posix.tar"],
        ["-cWf", "verified.tar", "tree/text"],
        ["-cf", "labelled.tar", *PORTABLE, "-V", "label", "tree/text"],
        ["--test-label", "-f", "labelled.tar"],
        ["-cMf", "1.tar", *PORTABLE, "-L", "100", "-f", "2.tar", "tree/sub"],
        ["-tMf", "1.tar", "-f", "2.tar"],
        ["--xattrs", "--acls", "-cf", "x.tar", *PORTABLE, PAX, "tree/text"],
        ["--xattrs", "--acls", "-xf", "x.tar", "--no-same-owner"],
    ],
    "mistakes": [
        ["-cf", "a.tar", *PORTABLE, "missing"],
        ["-xf", "missing.tar"],
        ["-xzf", "tree/text"],
        ["-xf", "tree/text"],
        ["-xf", "tree/text", "-C", "missing"],
        ["--no-such-option"],
        ["--version"],
    ],
}


@pytest.mark.parametrize("name", set(SEQUENCES) - {"mistakes"})
def test_sequences(twins: Twins, name: str) -> None:
    for arguments in SEQUENCES[name]:
        twins.run(["tar", *arguments])
    for directory in (twins.boxed, twins.free):
        (directory / "verified.tar").unlink(missing_ok=True)  # the owner is in it
    twins.assert_equal_files()


def test_mistakes(twins: Twins) -> None:
    statuses = [twins.run(["tar", *arguments]).status for arguments in SEQUENCES["mistakes"]]
    assert statuses == [2, 2, 2, 2, 2, 64, 0]


def test_comparison_with_files(twins: Twins) -> None:
    twins.run(["tar", "-cf", "own.tar", "tree"])
    assert twins.run(["tar", "-df", "own.tar"]) == Done(0, b"", b"")
    for directory in (twins.boxed, twins.free):
        (directory / "tree" / "text").write_text("other")
    assert b"tree/text: Size differs\n" in twins.run(["tar", "-df", "own.tar"]).stdout


def test_incremental_archives(twins: Twins) -> None:
    arguments = ["tar", "-cf", "level.tar", *PORTABLE, "-g", "snapshot", "tree"]
    twins.run(arguments)
    for directory in (twins.boxed, twins.free):
        (directory / "tree" / "new").write_text("new")
    twins.run(arguments)
    assert b"tree/new\n" in twins.run(["tar", "-tf", "level.tar"]).stdout


def test_names_from_standard_input(twins: Twins) -> None:
    twins.run(["tar", "-cf", "a.tar", *PORTABLE, "--null", "-T", "-"], input=b"tree/text\0tree/sub/link\0")
    assert twins.run(["tar", "-tf", "a.tar"]).stdout == b"tree/text\ntree/sub/link\n"


def _hostile(outer: Path) -> bytes:
    """An archive whose names lead out of the directory that it is extracted in, by several ways."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b"") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, len(content)
            archive.addfile(member, io.BytesIO(content))

        add("good", content=b"good")
        add("../by-dots", content=b"evil")
        add(f"{outer}/by-name", content=b"evil")
        add("up", tarfile.SYMTYPE, "..")
        add("up/by-link", content=b"evil")
        add("stolen", tarfile.LNKTYPE, f"{outer}/secret")
    return stream.getvalue()


def test_a_hostile_archive_stays_in_the_box(run: Runner, public_tmp: Path) -> None:
    """With -P tar itself lets names lead anywhere."""
    (public_tmp / "secret").write_text("secret")
    archive = _hostile(public_tmp)
    escaped = {"by-dots", "by-name", "by-link"}
    work = public_tmp / "work"
    work.mkdir()
    found = run("tar", ["tar", "-xPf", "-"], input=archive, directory=work)
    assert found.status == 2
    assert {path.name for path in public_tmp.iterdir()} == {"secret", "work"}
    assert {path.name for path in work.iterdir()} == {"good", "up"}
    assert (work / "good").read_text() == "good"
    for name in escaped:
        assert f"{name}: Cannot open: ".encode() in found.stderr

    free = public_tmp / "free"
    free.mkdir()
    assert outside(["tar", "-xPf", "-"], input=archive, directory=free).status == 0
    assert {path.name for path in public_tmp.iterdir()} == {"secret", "work", "free"} | escaped
    assert (free / "stolen").read_text() == "secret"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE], ids=["character", "block"])
def test_a_device_in_an_archive_is_an_error_of_tar(public_tmp: Path, kind: bytes) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("null")
        member.type, member.devmajor, member.devminor = kind, 1, 3
        archive.addfile(member)
    found = through_api("tar", ["tar", "-xf", "-"], input=stream.getvalue(), directory=public_tmp)
    assert (found.status, list(public_tmp.iterdir())) == (2, [])
    assert b"null: Cannot mknod: Operation not permitted" in found.stderr


# --- what it may not do ---


def test_files_of_the_host_are_not_there(public_tmp: Path) -> None:
    argv = ["tar", "-cf", "-", "/etc/passwd"]
    assert b"root:" in outside(argv).stdout
    found = through_api("tar", argv)
    assert found.status == 2
    assert b"root:" not in found.stdout
    assert b"/etc/passwd: Cannot stat: No such file or directory" in found.stderr


@pytest.mark.parametrize("place", ["/", "/etc", "/usr/bin", "/dev"])
def test_nothing_else_is_writable(public_tmp: Path, place: str) -> None:
    _grow(public_tmp)
    found = through_api("tar", ["tar", "-cf", f"{place}/a.tar", "tree"], directory=public_tmp)
    assert (found.status, found.stdout) == (2, b"")
    assert b"Cannot open: " in found.stderr
    assert through_api("tar", ["tar", "-cf", f"{public_tmp}/a.tar", "tree"], directory=public_tmp).status == 0


def _command(text: str) -> list[str]:
    return ["tar", "-cf", "a.tar", "--checkpoint=1", f"--checkpoint-action=exec={text}", "tree/script"]


@pytest.fixture
def tree(public_tmp: Path) -> Path:
    _grow(public_tmp)
    return public_tmp


def test_other_programs_are_not_there(tree: Path) -> None:
    argv = _command("exec /usr/bin/id -u")
    assert outside(argv, directory=tree) == Done(0, f"{os.geteuid()}\n".encode(), b"")
    found = through_api("tar", argv, directory=tree)
    assert found.stdout == b""
    assert b"/usr/bin/id: not found" in found.stderr
    assert through_api("tar", _command("echo the shell"), directory=tree).stdout == b"the shell\n"


def test_what_was_written_cannot_be_executed(tree: Path) -> None:
    assert outside(_command("./tree/script"), directory=tree).stdout == b"ran\n"
    found = through_api("tar", _command("./tree/script"), directory=tree)
    assert found.stdout == b""
    assert b"./tree/script: Permission denied" in found.stderr


@pytest.mark.parametrize(("attempt", "call"), [("socket", "socket"), ("ptrace", "ptrace"), ("unshare", "unshare")])
def test_a_program_that_tar_starts_is_killed(
    tree: Path, compile_c: Callable[..., Path], attempt: str, call: str
) -> None:
    probe = compile_c(PROBE, name="probe")
    argv = _command(f"{probe} {attempt}; echo $?")
    assert outside(argv, directory=tree).stdout == b"0\n"
    found = through_api("tar", argv, directory=tree, show=probe)
    assert (found.status, found.refused) == (-31, call)
    assert found.stdout != b"0\n"


def test_archives_of_other_machines_are_refused(tree: Path) -> None:
    shell = tree / "rsh"
    shell.write_text("#!/bin/sh\n: > reached\n")
    shell.chmod(0o755)
    argv = ["tar", "-cf", "localhost:a.tar", f"--rsh-command={shell}", "tree"]
    found = through_api("tar", argv, directory=tree)
    assert (found.status, found.refused) == (-31, "socket")
    assert not (tree / "reached").exists()
    # tar starts the command for users that have a name only.
    unsandboxed = outside(argv, directory=tree)
    assert (tree / "reached").exists() or f"getpwuid({os.geteuid()})".encode() in unsandboxed.stderr
