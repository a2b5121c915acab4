"""The operations that build a box, against the real kernel, in mount namespaces of a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.attacks import run_script

# The script that follows runs in namespaces of its own, where it may mount; `new_tree()` hides the host behind an empty
# root, `host` is a descriptor of the former root, and `flags(path)` gives the mount options of what is there.
PRELUDE = """
import os, sys
from pathlib import Path
from stockade._proto.lean import MountOperation as M, MountPoint
from stockade.kernel import mount, process
from stockade.sandboxee import identity, mounts
from stockade.sandboxee.mounts import Tree
from stockade.sandboxee.steps import StepError

ids = os.geteuid(), os.getegid()
process.unshare(process.CLONE_NEWNS | (process.CLONE_NEWUSER if ids[0] else 0))
if ids[0]:
    identity.write_id_maps(None, "self", ids, ids)
mount.make_private()
top = Path(sys.argv[1])

def build(*operations, points=()):
    sources = mounts.open_sources(operations)
    tree = Tree.create()
    mounts.execute(tree, operations, sources)
    mounts.make_mount_points(tree, points)
    return tree

def options(tree, path):
    descriptor = mount.open_beneath(tree.root, path)
    number = next(int(line.split()[1]) for line in open(f"/proc/self/fdinfo/{descriptor}") if line.startswith("mnt_id"))
    os.close(descriptor)
    for line in open("/proc/self/mountinfo"):
        if int(line.split()[0]) == number:
            return set(line.split()[5].split(","))

def read(tree, path):
    return os.read(mount.open_beneath(tree.root, path, os.O_RDONLY), 100)

def write(tree, path):
    try:
        os.write(mount.open_beneath(tree.root, path, os.O_WRONLY), b"written")
    except OSError as error:
        return error.errno
    return 0

def failure(function):
    try:
        function()
    except StepError as error:
        return error.step, error.errno, error.path
"""


@pytest.fixture
def top(public_tmp: Path) -> Path:
    """What is bound: a directory with a file, and a link that leads out of it."""
    source = public_tmp / "source"
    source.mkdir()
    (source / "file").write_text("content")
    (source / "out").symlink_to(public_tmp / "outside")
    (public_tmp / "outside").mkdir()
    return public_tmp


def check(script: str, top: Path) -> None:
    run_script(PRELUDE + script, top)


def test_binds_carry_their_flags(top: Path) -> None:
    check(
        """
tree = build(
    M(kind=M.BIND_DIRECTORY, source=f"{top}/source", target="/a/ro"),
    M(kind=M.BIND_DIRECTORY, source=f"{top}/source", target="/a/rw", writable=True),
    M(kind=M.BIND_DIRECTORY, source=f"{top}/source", target="/a/rwx", writable=True, executable=True),
    M(kind=M.BIND_FILE, source=f"{top}/source/file", target="/file"),
    M(kind=M.BIND_FILE, source="/dev/null", target="/null", device=True),
)
assert {"ro", "nosuid", "nodev"} <= options(tree, "/a/ro") and "noexec" not in options(tree, "/a/ro")
assert {"rw", "nosuid", "nodev", "noexec"} <= options(tree, "/a/rw")
assert {"rw", "nosuid", "nodev"} <= options(tree, "/a/rwx") and "noexec" not in options(tree, "/a/rwx")
assert {"ro", "nosuid", "nodev"} <= options(tree, "/file")
assert {"nosuid", "noexec"} <= options(tree, "/null") and "nodev" not in options(tree, "/null")
assert read(tree, "/a/ro/file") == read(tree, "/file") == b"content"
assert (write(tree, "/a/ro/file"), write(tree, "/file"), write(tree, "/null")) == (30, 30, 0)
assert write(tree, "/a/rw/file") == 0 and (top / "source/file").read_bytes() == b"written"
""",
        top,
    )


def test_a_device_on_an_ordinary_mount_is_dead(top: Path) -> None:
    check(
        """
tree = build(M(kind=M.BIND_FILE, source="/dev/null", target="/null"))
assert "nodev" in options(tree, "/null")
assert write(tree, "/null") in (13, 30)
ordinary = M(kind=M.BIND_FILE, source=f"{top}/source/file", target="/x", device=True)
assert failure(lambda: build(ordinary))[0] == "open_source"
""",
        top,
    )


def test_sources_are_read_only_all_the_way_down(top: Path) -> None:
    check(
        """
inner = mount.new_filesystem("tmpfs", {}, 0)
os.mkdir(top / "source/sub")
point = os.open(top / "source/sub", mount.O_PATH_FLAGS)
mount.move_mount(inner, point)
Path(top / "source/sub/inner").write_text("inner")
tree = build(M(kind=M.BIND_DIRECTORY, source=f"{top}/source", target="/s"))
assert read(tree, "/s/sub/inner") == b"inner"
assert write(tree, "/s/sub/inner") == 30
assert "ro" in options(tree, "/s/sub")
# The mount of the host itself is as it was.
Path(top / "source/sub/inner").write_text("still writable")
""",
        top,
    )


def test_tmpfs_and_links_and_directories(top: Path) -> None:
    check(
        """
tree = build(
    M(kind=M.TMPFS, target="/t", size=1 << 20, inodes=16, mode=0o1777),
    M(kind=M.TMPFS, target="/x", size=1 << 20, executable=True),
    M(kind=M.DIRECTORY, target="/a/b/c"),
    M(kind=M.SYMLINK, target="/a/link", source="b/c"),
    M(kind=M.TMPFS, target="/t/inner", size=4096),
    points=[MountPoint(path="/p/directory", directory=True), MountPoint(path="/p/file")],
)
assert {"rw", "nosuid", "nodev", "noexec"} <= options(tree, "/t") and "noexec" not in options(tree, "/x")
status = os.statvfs(mount.open_beneath(tree.root, "/t", os.O_RDONLY))
assert (status.f_blocks * status.f_frsize, status.f_files) == (1 << 20, 16)
assert os.fstat(mount.open_beneath(tree.root, "/t")).st_mode & 0o7777 == 0o1777
assert os.readlink("link", dir_fd=mount.open_beneath(tree.root, "/a")) == "b/c"
assert sorted(os.listdir(mount.open_beneath(tree.root, "/", os.O_RDONLY))) == ["a", "p", "t", "x"]
assert sorted(os.listdir(mount.open_beneath(tree.root, "/p", os.O_RDONLY))) == ["directory", "file"]
tree.seal()
assert "ro" in options(tree, "/") and "rw" in options(tree, "/t")
assert failure(lambda: tree.mount_point("/late", directory=True)) == ("mount_point", 30, "/late")
""",
        top,
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/s/missing", "('mount_point', 30, '/s/missing')"),
        ("/s/missing/deeper", "('mount_point', 30, '/s/missing')"),
        ("/s/file/deeper", "('mount_point', 20, '/s/file/deeper')"),
        # A link of the source is resolved in the box, where there is no such directory, and none is made.
        ("/s/out/x", None),
    ],
)
def test_nothing_is_made_in_a_source_or_through_a_link_of_it(top: Path, target: str, expected: str | None) -> None:
    check(
        f"""
before = sorted(os.walk(top))
host = os.open("/", mount.O_PATH_FLAGS)
bind = M(kind=M.BIND_DIRECTORY, source=f"{{top}}/source", target="/s", writable=True, executable=True)
found = failure(lambda: build(bind, M(kind=M.TMPFS, target={target!r}, size=4096)))
assert found is not None and found[0] == "mount_point", found
assert {expected} is None or found == {expected}, found
os.fchdir(host)
os.chdir("." + str(top))
assert [(p.replace(".", str(top), 1), d, f) for p, d, f in sorted(os.walk("."))] == before
""",
        top,
    )


def test_what_is_wrong_with_a_source_is_said(top: Path) -> None:
    check(
        """
def of(**given):
    return failure(lambda: build(M(target="/x", **given)))
assert of(kind=M.BIND_FILE, source=f"{top}/none") == ("open_source", 2, f"{top}/none")
assert of(kind=M.BIND_DIRECTORY, source=f"{top}/source/file") == ("open_source", 20, f"{top}/source/file")
assert of(kind=M.BIND_FILE, source=f"{top}/source") == ("open_source", 21, f"{top}/source")
assert of(kind=M.BIND_FILE, source=f"{top}/none", if_exists=True) is None
assert of(kind=99)[0] == "mount"
""",
        top,
    )


def test_the_old_root_is_gone(top: Path) -> None:
    check(
        """
tree = build(M(kind=M.BIND_DIRECTORY, source=f"{top}/source", target="/s"), M(kind=M.DIRECTORY, target="/proc"))
proc = os.open("/proc", mount.O_PATH_FLAGS | os.O_DIRECTORY)
mounts.enter_root_and_forget_the_old(tree, proc)
assert sorted(os.listdir("/")) == ["proc", "s"] and sorted(os.listdir("/..")) == ["proc", "s"]
assert os.getcwd() == "/"
""",
        top,
    )


def test_an_old_root_that_stays_is_noticed(top: Path) -> None:
    check(
        """
tree = build(M(kind=M.DIRECTORY, target="/proc"))
proc = os.open("/proc", mount.O_PATH_FLAGS | os.O_DIRECTORY)
mount.detach = lambda path: None
assert failure(lambda: mounts.enter_root_and_forget_the_old(tree, proc)) == ("detach_old_root", 0, "/")
""",
        top,
    )
