"""Class F: leaving the file system of the box, or changing what it shows."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, PolicyError
from support.attacks import (
    Attempt,
    assert_allowed,
    assert_killed,
    assert_refused,
    attack_program,
    open_wide,
    run_script,
    small,
    succeeds,
    without_rules,
)

ABSENT = (errno.ENOENT,)


@pytest.fixture
def files(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "files")


@pytest.fixture
def outside(public_tmp: Path) -> Path:
    """A file outside of everything that a test mounts, which anybody may read and write."""
    secret = public_tmp / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("secret")
    secret.parent.chmod(0o777)
    secret.chmod(0o666)
    return secret


# --- F7: a symbolic link inside an allowed directory ---


@pytest.fixture
def allowed(public_tmp: Path, outside: Path) -> Path:
    directory = public_tmp / "allowed"
    directory.mkdir()
    directory.chmod(0o777)
    (directory / "absolute").symlink_to(outside)
    (directory / "relative").symlink_to("../outside/secret")
    (directory / "file").write_text("fine")
    (directory / "file").chmod(0o666)
    (directory / "inner").symlink_to("file")
    return directory


@pytest.mark.attack("F7")
@pytest.mark.parametrize("link", ["absolute", "relative"])
@pytest.mark.parametrize("what", ["read", "write"])
@pytest.mark.parametrize("writable", [False, True])
def test_a_link_out_of_an_allowed_directory_leads_nowhere(
    attack: Attempt, files: Path, allowed: Path, outside: Path, link: str, what: str, writable: bool
) -> None:
    attack.control(succeeds(files, what, allowed / link), "links are not followed at all")
    outside.write_text("secret")
    executor = Executor(open_wide(files).add_directory(allowed, writable=writable).build())
    assert_refused(executor.run([files, what, allowed / link]), *ABSENT)
    assert outside.read_text() == "secret"
    # The target decides: a link to what is there works.
    assert_allowed(executor.run([files, "read", allowed / "inner"]))


# --- F9 and F10: mounts of the host. In a mount namespace that the test makes for itself. ---

# Leaves the process in mount (and, unprivileged, user) namespaces of its own, as the same user.
OWN_MOUNTS = """
import ctypes, os, subprocess, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SHARED, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 20, 1 << 18
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000

def checked(result, what):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")

def mount(source, target, kind, flags):
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, kind)]
    checked(libc.mount(*encoded, flags, None), f"mount {target}")

uid, gid = os.geteuid(), os.getegid()
checked(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)), "unshare")
if uid:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
"""

READ_ONLY_WITH_SUBMOUNT = (
    OWN_MOUNTS
    + """
from stockade import Executor, PolicyBuilder
program, top, other = sys.argv[1:]
mount(None, "/", None, MS_REC | MS_PRIVATE)
mount("none", top + "/sub", "tmpfs", 0)
inner = top + "/sub/file"
Path(inner).write_text("original")
os.chmod(inner, 0o666)

# What goes wrong elsewhere: a recursive bind that is made read-only in the classic way, at its top alone.
mount(top, other, None, MS_BIND | MS_REC)
mount(None, other, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
print("control", subprocess.run([program, "write", other + "/sub/file"], stdout=subprocess.DEVNULL).returncode)
Path(inner).write_text("original")

builder = PolicyBuilder().danger_default_allow_all().add_file(program).add_directory(top)
result = Executor(builder.build()).run([program, "write", inner], text=True)
print(result.status.name, result.stdout.strip())
result = Executor(builder.build()).run([program, "read", inner], text=True)
print(result.status.name, result.stdout.strip())
print(Path(inner).read_text())
"""
)


@pytest.mark.attack("F9")
def test_a_read_only_directory_is_read_only_all_the_way_down(attack: Attempt, files: Path, public_tmp: Path) -> None:
    top, other = public_tmp / "top", public_tmp / "other"
    (top / "sub").mkdir(parents=True)
    other.mkdir()
    said = run_script(READ_ONLY_WITH_SUBMOUNT, files, top, other).stdout.splitlines()
    attack.control(said[0] == "control 0", "the classic way is recursive here")
    assert said[1:] == ["OK refused with errno 30", "OK succeeded", "original"]


PROPAGATION = (
    OWN_MOUNTS
    + """
from stockade import Executor, PIPE, PolicyBuilder
program, top, point = sys.argv[1:]
mount(None, "/", None, MS_REC | MS_SHARED)

def table():
    return Path("/proc/self/mountinfo").read_text()

# What a shared peer group means: a mount of another namespace arrives here.
before = table()
child = os.fork()
if child == 0:
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", point, "tmpfs", 0)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("control", table() != before)
checked(libc.umount2(os.fsencode(point), 2), "umount")
before = table()

builder = PolicyBuilder().danger_default_allow_all().add_file(program).add_directory(top)
builder.add_directory(point, writable=True).add_proc().add_tmpfs("/tmp").add_dev()
policy = builder.add_tmpfs(top + "/inner").build()
with Executor(policy).start([program, "hold"], stdin=PIPE, stdout=PIPE) as process:
    process.stdout.readline()
    print("during", table() == before)
    process.communicate()
print("after", table() == before, process.result.status.name)

# The other way: what the host mounts later in a directory that the box has read-only.
with Executor(policy).start([program, "write-later", top + "/late/file"], stdin=PIPE, stdout=PIPE) as process:
    process.stdout.readline()
    mount("none", top + "/late", "tmpfs", 0)
    Path(top, "late/file").write_text("of the host")
    Path(top, "late/file").chmod(0o666)
    print("later", process.communicate()[0].decode().strip())
"""
)


@pytest.mark.attack("F10")
def test_no_mount_of_a_box_arrives_on_a_shared_host(attack: Attempt, files: Path, public_tmp: Path) -> None:
    top, point = public_tmp / "top", public_tmp / "point"
    point.mkdir()
    (top / "inner").mkdir(parents=True)
    (top / "late").mkdir()
    point.chmod(0o777)
    said = run_script(PROPAGATION, files, top, point).stdout.splitlines()
    attack.control(said[0] == "control True", "mounts do not propagate")
    assert said[1:] == ["during True", "after True OK", "later refused with errno 2"]


@pytest.mark.attack("F10")
@pytest.mark.parametrize(("what", "syscall"), [("mount", "mount"), ("remount", "mount"), ("umount", "umount2")])
def test_the_program_cannot_mount(attack: Attempt, files: Path, public_tmp: Path, what: str, syscall: str) -> None:
    script = (
        OWN_MOUNTS
        + """
mount(None, "/", None, MS_REC | MS_PRIVATE)
program, what, point = sys.argv[1:]
mount("none", point, "tmpfs", 0)
MS = MS_REMOUNT | MS_BIND
calls = {"mount": lambda: libc.mount(b"none", os.fsencode(point), b"tmpfs", 0, None),
         "remount": lambda: libc.mount(b"none", os.fsencode(point), None, MS, None),
         "umount": lambda: libc.umount2(os.fsencode(point), 2)}
print(calls[what]())
"""
    )
    attack.control(run_script(script, files, what, public_tmp).stdout == "0\n", "nobody may mount")
    policy = open_wide(files).add_tmpfs("/tmp").add_directory(public_tmp).build()
    target = "/tmp" if what != "remount" else str(public_tmp)
    assert_killed(Executor(policy).run([files, what, target]), syscall)
    assert_refused(without_rules(policy).run([files, what, target]), errno.EPERM)


# --- F12: a held directory ---


@pytest.mark.attack("F12")
def test_no_directory_of_the_caller_is_reached_by_a_descriptor(
    attack: Attempt, files: Path, public_tmp: Path, outside: Path
) -> None:
    held = os.open(public_tmp, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(held, True)
    try:
        attack.control(succeeds(files, "held", outside, close_fds=False), "descriptors are not inherited")
        for executor in (Executor(open_wide(files).build()), without_rules(open_wide(files).build())):
            assert_refused(executor.run([files, "held", outside]), *ABSENT)
        with pytest.raises(PolicyError, match="is a directory"):
            Executor(open_wide(files).build()).run([files, "hold"], pass_fds=[held])
        with pytest.raises(PolicyError, match="is a directory"):
            Executor(open_wide(files).build()).run([files, "hold"], stdin=held)
    finally:
        os.close(held)


def test_a_file_that_is_passed_can_be_used(files: Path, outside: Path) -> None:
    with outside.open() as file:
        result = Executor(small(files).allow_read().build()).run([files, "hold"], stdin=file)
    assert_allowed(result)


# --- F13: chroot twice ---


@pytest.mark.attack("F13")
def test_a_second_chroot_does_not_lead_out(attack: Attempt, files: Path, public_tmp: Path, outside: Path) -> None:
    jail = public_tmp / "jail"
    (jail / "tmp").mkdir(parents=True)
    (jail / "tmp").chmod(0o777)
    attack.control(succeeds(files, "chroot", jail, outside), "chroot cannot be left this way")
    policy = open_wide(files).add_tmpfs("/tmp").build()
    assert_killed(Executor(policy).run([files, "chroot", "-", outside]), "unshare")
    # Even with a nested user namespace, which gives the right to chroot, nothing but the box is found.
    assert_refused(without_rules(policy).run([files, "chroot", "-", outside]), *ABSENT)


# --- F14: what /proc shows of init ---

ENTRIES = ("mem", "fd", "root", "cwd", "exe", "environ", "maps")


@pytest.mark.attack("F14")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("full", [False, True])
def test_nothing_of_init_can_be_opened(attack: Attempt, files: Path, entry: str, full: bool) -> None:
    # environ of a static program that was given no environment is empty; unsandboxed it has one.
    attack.control(succeeds(files, "proc-child", entry), "/proc shows nothing of other processes")
    policy = open_wide(files).add_proc(full=full).build()
    for executor in (Executor(policy), without_rules(policy)):
        result = executor.run([files, "proc", "1", entry])
        # "mem" is opened for writing, and /proc is read-only: see A16.
        assert_refused(result, errno.EACCES, errno.EPERM, errno.ENOENT, *([errno.EROFS] if entry == "mem" else []))
        own = executor.run([files, "proc", "self", entry], env={"NAME": "value"})
        if entry == "mem":
            assert_refused(own, errno.EROFS)
        else:
            assert_allowed(own)


@pytest.mark.attack("F14")
def test_without_proc_there_is_none(attack: Attempt, files: Path) -> None:
    attack.control(succeeds(files, "proc", "self", "maps"), "/proc is not mounted")
    assert_refused(Executor(open_wide(files).build()).run([files, "proc", "self", "maps"]), *ABSENT)


@pytest.mark.attack("F14")
def test_proc_needs_a_rule_too(attack: Attempt, files: Path) -> None:
    attack.control(succeeds(files, "proc", "self", "maps"), "/proc is not mounted")
    assert_killed(Executor(small(files).add_proc().build()).run([files, "proc", "1", "maps"]), "openat")
