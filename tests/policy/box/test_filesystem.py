"""From the file-system part of a policy to a plan of mounts."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format

from stockade._proto import comms_pb2, policy_pb2
from stockade.errors import PolicyError, SetupError, UnsupportedError
from stockade.policy.box.filesystem import Plan, plan
from stockade.policy.box.sources import check_sources
from support.shared import program, shared

Operation = comms_pb2.MountOperation


def policy(filesystem: str, options: str = "") -> policy_pb2.Policy:
    text = f"schema_version: 1 filesystem {{ {filesystem} }} options {{ {options} }}"
    return text_format.Parse(text, policy_pb2.Policy())


def bind(target: str, source: str | None = None, kind: str = "FILE", more: str = "") -> str:
    return f'mounts {{ target: "{target}" bind {{ source: "{source or target}" kind: {kind} {more} }} }}'


def directory(target: str, source: str | None = None, more: str = "") -> str:
    return bind(target, source, "DIRECTORY", more)


def tmpfs(target: str, more: str = "") -> str:
    return f'mounts {{ target: "{target}" tmpfs {{ {more} }} }}'


def symlink(target: str, points_to: str) -> str:
    return f'mounts {{ target: "{target}" symlink {{ points_to: "{points_to}" }} }}'


PROC = 'mounts { target: "/proc" proc {} }'
DEV = 'mounts { target: "/dev" dev {} }'


def made(*parts: str, options: str = "") -> Plan:
    return plan(policy(" ".join(parts), options))


def targets(operations: object) -> list[str]:
    return [operation.target for operation in operations]  # type: ignore[attr-defined]


def points(found: Plan) -> list[tuple[str, bool]]:
    return [(point.path, point.directory) for point in found.template.mount_points]


# --- what goes where ---


def test_an_empty_policy_is_an_empty_root() -> None:
    found = plan(policy_pb2.Policy(schema_version=1))
    assert (list(found.template.mounts), list(found.run_mounts), found.describe()) == ([], [], [])


def test_what_all_runs_share_is_in_the_template_and_the_rest_is_per_run() -> None:
    found = made(
        directory("/usr/lib"),
        bind("/etc/hosts", "/etc/hostname"),
        symlink("/lib", "usr/lib"),
        tmpfs("/tmp"),
        PROC,
        directory("/workspace", "/var", "writable: true"),
        bind("/out", "/etc/passwd", more="writable: true"),
    )
    assert targets(found.template.mounts) == ["/usr/lib", "/etc/hosts", "/lib"]
    assert targets(found.run_mounts) == ["/tmp", "/proc", "/workspace", "/out"]
    assert points(found) == [("/tmp", True), ("/proc", True), ("/workspace", True), ("/out", False)]


def test_what_lies_beneath_a_run_mount_is_per_run_too() -> None:
    found = made(
        tmpfs("/tmp"),
        bind("/tmp/config/hosts", "/etc/hosts"),
        symlink("/tmp/link", "config"),
        directory("/workspace", "/var", "writable: true"),
        directory("/workspace/lib", "/usr/lib"),
    )
    assert targets(found.template.mounts) == []
    assert targets(found.run_mounts) == ["/tmp", "/tmp/config/hosts", "/tmp/link", "/workspace", "/workspace/lib"]
    # Only what lies on the root itself needs a place before the root is sealed.
    assert points(found) == [("/tmp", True), ("/workspace", True)]


def test_a_run_mount_beneath_a_read_only_directory_needs_no_new_place() -> None:
    found = made(directory("/usr"), tmpfs("/usr/local"))
    assert targets(found.template.mounts) == ["/usr"]
    assert points(found) == []


def test_operations_say_what_was_asked() -> None:
    found = made(
        bind("/a", "/etc/passwd"),
        bind("/b", "/etc/passwd", more="writable: true"),
        bind("/c", "/etc/passwd", more="writable: true danger_executable: true"),
        tmpfs("/d", 'size: "1.5M" mode: 0700 inodes: 7 danger_executable: true'),
        tmpfs("/tmp"),
        tmpfs("/e"),
        symlink("/f", "../x"),
        'mounts { target: "/proc" proc { full: true } }',
    )
    by_target = {operation.target: operation for operation in [*found.template.mounts, *found.run_mounts]}
    file = Operation.BIND_FILE
    assert by_target["/a"] == Operation(kind=file, target="/a", source="/etc/passwd", executable=True)
    assert by_target["/b"] == Operation(kind=file, target="/b", source="/etc/passwd", writable=True)
    assert by_target["/c"] == Operation(kind=file, target="/c", source="/etc/passwd", writable=True, executable=True)
    expected = Operation(kind=Operation.TMPFS, target="/d", size=3 << 19, mode=0o700, inodes=7, executable=True)
    assert by_target["/d"] == expected
    assert by_target["/tmp"] == Operation(kind=Operation.TMPFS, target="/tmp", size=64 << 20, inodes=16384, mode=0o1777)
    assert by_target["/e"].mode == 0o755
    assert by_target["/f"] == Operation(kind=Operation.SYMLINK, target="/f", source="../x")
    assert by_target["/proc"] == Operation(kind=Operation.PROC, target="/proc", full=True)


def test_dev() -> None:
    found = made('mounts { target: "/dev" dev { shm: true } }')
    by_target = {operation.target: operation for operation in found.run_mounts}
    assert targets(found.template.mounts) == []
    assert points(found) == [("/dev", True)]
    nodes = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    assert [operation.target for operation in found.run_mounts if operation.device] == nodes
    for node in nodes:
        assert by_target[node] == Operation(kind=Operation.BIND_FILE, target=node, source=node, device=True)
    assert (by_target["/dev"].kind, by_target["/dev"].mode, by_target["/dev"].size) == (Operation.TMPFS, 0o755, 65536)
    assert (by_target["/dev/shm"].kind, by_target["/dev/shm"].mode) == (Operation.TMPFS, 0o1777)
    links = {o.target: o.source for o in found.run_mounts if o.kind == Operation.SYMLINK}
    assert links == {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
    }
    check_sources(found)


def test_the_safe_devices_may_be_bound_one_by_one() -> None:
    found = made(bind("/dev/null"))
    assert [(operation.target, operation.device) for operation in found.template.mounts] == [("/dev/null", True)]
    check_sources(found)


@pytest.mark.parametrize(
    ("options", "ids"),
    [("", (1000, 1000)), ("uid: 7 gid: 8", (7, 8)), ("fake_root: true", (0, 0)), ("uid: 5", (5, 1000))],
)
def test_identity(options: str, ids: tuple[int, int]) -> None:
    template = made(options=options).template
    assert (template.uid, template.gid) == ids


def test_equal_policies_have_equal_templates_whatever_their_runs_mount() -> None:
    one, other = made(directory("/usr"), tmpfs("/tmp", 'size: "1M"')), made(directory("/usr"), tmpfs("/tmp"))
    assert one.template == other.template
    assert one.run_mounts != other.run_mounts


def test_identical_duplicates_are_one_mount() -> None:
    assert targets(made(bind("/a", "/etc/passwd"), bind("/a", "/etc/passwd")).template.mounts) == ["/a"]
    assert targets(made(PROC, DEV, PROC, DEV).run_mounts).count("/dev/null") == 1


def test_names_are_compared_by_component() -> None:
    found = made(bind("/data", "/etc/passwd"), directory("/data-x", "/usr"), bind("/data.d/x", "/etc/passwd"))
    assert targets(found.template.mounts) == ["/data", "/data-x", "/data.d/x"]


# --- conflicts ---


CONFLICTS = {
    "different sources": ([bind("/a", "/etc/passwd"), bind("/a", "/etc/group")], ["/etc/group", "/etc/passwd"]),
    "different kinds": ([bind("/a", "/etc/passwd"), tmpfs("/a")], ['file "/a"', 'tmpfs "/a"']),
    "different options": ([tmpfs("/a"), tmpfs("/a", 'size: "1M"')], ["mounts[1]", "mounts[0]", "options"]),
    "read-only and writable": ([directory("/a", "/usr"), directory("/a", "/usr", "writable: true")], ["options"]),
    "beneath a file": ([bind("/a", "/etc/passwd"), bind("/a/b", "/etc/group")], ["/a/b", 'file "/a"', "beneath"]),
    "far beneath a file": ([bind("/a", "/etc/passwd"), tmpfs("/a/b/c")], ["/a/b/c", 'file "/a"']),
    "beneath proc": ([PROC, tmpfs("/proc/x")], ["/proc/x", "beneath a proc"]),
    "beneath a link": ([symlink("/a", "/b"), tmpfs("/a/c")], ["/a/c", 'symlink "/a"', 'write the target as "/b/c"']),
    "a directory over a file": ([bind("/a/b", "/etc/passwd"), directory("/a", "/usr")], ["mounts[1]", "cover", "/a/b"]),
    "a tmpfs over a directory": ([directory("/a/b", "/usr"), tmpfs("/a")], ["cover", "list it first"]),
    "a link over a directory": ([bind("/a/b", "/etc/passwd"), symlink("/a", "/x")], ["cover"]),
    "a link in a host directory": ([directory("/a", "/usr"), symlink("/a/b", "x")], ["inside", "changes nothing"]),
    "dev over a node": ([bind("/dev/null"), DEV], ["cover"]),
    "another node in dev": ([DEV, bind("/dev/null", "/etc/passwd")], ["mounts[0]", "mounts[1]", "/dev/null"]),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_conflicts_name_both_mounts(name: str) -> None:
    parts, words = CONFLICTS[name]
    with pytest.raises(PolicyError) as caught:
        made(*parts)
    for word in words:
        assert word in str(caught.value)


def test_the_other_order_is_no_conflict() -> None:
    """The control of "a tmpfs over a directory" and "a directory over a file"."""
    assert targets(made(tmpfs("/a"), directory("/a/b", "/usr")).run_mounts) == ["/a", "/a/b"]
    found = made(directory("/a", "/etc"), bind("/a/passwd", "/etc/group"))
    assert targets(found.template.mounts) == ["/a", "/a/passwd"]
    check_sources(found)


@pytest.mark.parametrize(
    "path", ["", "a", "a/b", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "/a\\000b", "/" + "x" * 256]
)
def test_paths_must_be_canonical(path: str) -> None:
    with pytest.raises(PolicyError, match=r"filesystem\.mounts\[0\]"):
        made(tmpfs(path))
    with pytest.raises(PolicyError, match=r"filesystem\.mounts\[0\]"):
        made(f'mounts {{ target: "/ok" bind {{ source: "{path}" kind: DIRECTORY }} }}')


def test_the_message_says_how_to_write_the_path() -> None:
    with pytest.raises(PolicyError, match=r'write "/a/c"'):
        made(tmpfs("/a/b/../c/"))


def test_the_root_is_no_target() -> None:
    with pytest.raises(PolicyError, match="root"):
        made(tmpfs("/"))


@pytest.mark.parametrize(
    "source", ["/", "/proc", "/proc/self", "/proc/self/root", "/proc/1/root", "/proc/thread-self/fd"]
)
def test_sources_that_show_the_host(source: str) -> None:
    with pytest.raises(PolicyError, match="host"):
        made(directory("/a", source))


def test_a_link_to_such_a_source(tmp_path: Path) -> None:
    for number, place in enumerate(["/proc/self/root", "/proc", "/"]):
        link = tmp_path / f"link{number}"
        link.symlink_to(place)
        with pytest.raises(PolicyError, match="leads to"):
            check_sources(made(directory("/a", str(link))))
    (tmp_path / "good").symlink_to("/usr")
    check_sources(made(directory("/a", str(tmp_path / "good"))))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (tmpfs("/a", 'size: "lots"'), "not a number"),
        (tmpfs("/a", 'size: "64MB"'), "1000 or 1024"),
        (tmpfs("/a", 'size: "0"'), "unlimited"),
        (tmpfs("/a", "mode: 0100000"), "mode"),
        (symlink("/a", ""), "link"),
        (symlink("/a", "x\\000y"), "link"),
        ('mounts { target: "/a" }', "does not say"),
        ('mounts { target: "/a" bind { source: "/usr" } }', "neither FILE nor DIRECTORY"),
        (bind("/a", "/etc/passwd", more="danger_executable: true"), "writable"),
    ],
)
def test_what_is_wrong_in_itself(part: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        made(part)


@pytest.mark.parametrize(
    ("part", "layer"),
    [
        ('mounts { target: "/a" overlay { source: "/usr" } }', "overlay"),
        ('mounts { target: "/a" generated { content: "x" } }', "generated"),
        ('mounts { target: "/a" mask {} }', "mask"),
        ('mounts { target: "/a" mqueue {} }', "mqueue"),
        ('mounts { target: "/dev" dev { pts: true } }', "devpts"),
        ('root { source: "/srv/root" }', "root tree"),
        ("writable_root: true", "writable root"),
    ],
)
def test_what_cannot_be_had_is_an_error(part: str, layer: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        made(part)
    assert caught.value.layer == layer


def test_no_kind_of_mount_is_ignored() -> None:
    """Every kind of the schema gives an operation or an error."""
    for kind in policy_pb2.Mount.DESCRIPTOR.oneofs_by_name["kind"].fields:
        message = policy_pb2.Policy(schema_version=1)
        mount = message.filesystem.mounts.add(target="/a")
        getattr(mount, kind.name).SetInParent()
        try:
            assert plan(message).entries
        except (PolicyError, UnsupportedError) as error:
            assert "filesystem.mounts[0]" in str(error)


# --- sources ---


def test_a_missing_source(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(SetupError, match="if_exists") as caught:
        check_sources(made(bind("/a", missing)))
    error = caught.value
    assert (error.step, error.errno, error.path) == ("open_source", errno.ENOENT, missing)


def test_a_source_whose_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SetupError, match="symbolic link") as caught:
        check_sources(made(bind("/a", str(tmp_path / "link"))))
    assert caught.value.errno == errno.ENOENT


def test_an_optional_source_is_left_out_and_taken_up_when_it_appears(tmp_path: Path) -> None:
    source = tmp_path / "perhaps"
    part = bind("/a", str(source), more="if_exists: true")
    without = made(part)
    check_sources(without)
    assert targets(without.template.mounts) == []
    assert without.left_out == ("/a",)
    assert without.is_current()
    source.write_text("here")
    assert not without.is_current()
    found = made(part)
    assert targets(found.template.mounts) == ["/a"]
    check_sources(found)


@pytest.mark.parametrize(
    ("part", "number", "said"),
    [
        (bind("/a", "/usr"), errno.EISDIR, r'add_directory\("/usr"\)'),
        (directory("/a", "/etc/passwd"), errno.ENOTDIR, r'add_file\("/etc/passwd"\)'),
        (bind("/a", "/dev/tty"), errno.ENODEV, "device"),
    ],
)
def test_a_source_of_another_kind(part: str, number: int, said: str) -> None:
    with pytest.raises(SetupError, match=said) as caught:
        check_sources(made(part))
    assert caught.value.errno == number


def test_a_socket_or_fifo_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    check_sources(made(bind("/a", str(tmp_path / "fifo"))))


def test_a_mount_in_a_host_directory_needs_its_place_there(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("directory")
    host = directory("/a", str(tmp_path))
    check_sources(made(host, tmpfs("/a/directory"), bind("/a/file", "/etc/passwd")))
    for target, part, number in [
        ("/a/none", tmpfs("/a/none"), errno.ENOENT),
        ("/a/file", tmpfs("/a/file"), errno.ENOTDIR),
        ("/a/directory", bind("/a/directory", "/etc/passwd"), errno.EISDIR),
        ("/a/link", tmpfs("/a/link"), errno.ELOOP),
    ]:
        with pytest.raises(SetupError) as caught:
            check_sources(made(host, part))
        assert (caught.value.step, caught.value.errno, caught.value.path) == ("mount_point", number, target)
    assert sorted(os.listdir(tmp_path)) == ["directory", "file", "link"]


# --- libraries ---


def libraries(*paths: str) -> str:
    return " ".join(f'libraries_for_binary: "{path}"' for path in paths)


def test_libraries_are_mounted_read_only_in_the_template() -> None:
    found = made(libraries("/usr/bin/gzip", "/usr/bin/gzip"))
    check_sources(found)
    mounted = targets(found.template.mounts)
    assert "/usr/bin/gzip" in mounted
    assert any("libc.so" in target for target in mounted)
    assert len(mounted) == len(set(mounted))
    assert not any(operation.writable for operation in found.template.mounts)
    assert not found.run_mounts


def test_libraries_never_replace_an_explicit_mount() -> None:
    loader = next(
        target for target in targets(made(libraries("/usr/bin/gzip")).template.mounts) if "ld-linux" in target
    )
    found = made(bind(loader, "/etc/passwd"), libraries("/usr/bin/gzip"))
    assert {o.target: o.source for o in found.template.mounts}[loader] == "/etc/passwd"


def test_libraries_that_a_directory_shows_are_not_mounted_again() -> None:
    found = made(directory("/usr"), directory("/lib"), directory("/lib64"), libraries("/usr/bin/gzip"))
    assert targets(found.template.mounts) == ["/usr", "/lib", "/lib64"]


def test_libraries_follow_the_links_of_the_policy() -> None:
    found = made(symlink("/lib64", "usr/lib64"), symlink("/lib", "/usr/lib"), libraries("/usr/bin/gzip"))
    mounted = targets(found.template.mounts)
    assert any(target.startswith("/usr/lib64/ld-linux") for target in mounted)
    assert not any(target.startswith(("/lib/", "/lib64/")) for target in mounted)


def test_libraries_beneath_a_tmpfs_are_per_run() -> None:
    found = made(tmpfs("/lib64"), libraries("/usr/bin/gzip"))
    assert any(target.startswith("/lib64/ld-linux") for target in targets(found.run_mounts))


def test_a_library_without_a_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="has no place") as caught:
        made(directory("/usr/bin", str(tmp_path)), libraries("/usr/bin/gzip"))
    assert "/usr/bin/gzip" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_circular_links_above_a_library() -> None:
    with pytest.raises(PolicyError, match="circle"):
        made(symlink("/usr", "/loop"), symlink("/loop", "/usr"), libraries("/usr/bin/gzip"))


def test_a_program_that_needs_proc_says_so(public_tmp: Path) -> None:
    shared(public_tmp / "lib")
    path = str(program(public_tmp, public_tmp / "lib", "-Wl,-rpath,$ORIGIN/lib"))
    with pytest.raises(PolicyError, match=r"add_proc\(\) is needed"):
        made(libraries(path))
    assert f"{public_tmp}/lib/libf.so" in targets(made(PROC, libraries(path)).template.mounts)


def test_a_missing_library_is_an_error_unless_the_policy_brings_it(public_tmp: Path) -> None:
    library = shared(public_tmp / "lib")
    path = str(program(public_tmp, public_tmp / "lib"))
    with pytest.raises(SetupError, match="ldconfig") as caught:
        made(libraries(path))
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, "libf.so")
    for part in (bind("/opt/libf.so", str(library)), directory("/opt", str(public_tmp / "lib"))):
        assert path in targets(made(part, libraries(path)).template.mounts)


def test_a_missing_program() -> None:
    with pytest.raises(SetupError, match="install it") as caught:
        made(libraries("/usr/bin/no-such-program"))
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, "/usr/bin/no-such-program")


def test_a_plan_is_current_until_a_library_changes(public_tmp: Path) -> None:
    path = public_tmp / "program"
    shutil.copy("/usr/bin/gzip", path)
    found = made(libraries(str(path)))
    assert found.is_current()
    shutil.copy("/bin/sh", public_tmp / "new")
    (public_tmp / "new").rename(path)
    assert not found.is_current()


# --- for people ---


def test_description() -> None:
    found = made(
        bind("/a", "/etc/passwd"),
        symlink("/b", "a"),
        tmpfs("/tmp"),
        bind("/c\\033[31m", "/etc/passwd", more="writable: true danger_executable: true"),
        bind("/d", "/no/such/file", more="if_exists: true"),
        PROC,
    )
    assert found.describe() == [
        "template: file /a from /etc/passwd (read-only)",
        "template: symlink /b -> a",
        "run: tmpfs /tmp (64M, 16384 files, mode 1777)",
        "run: file /c\\x1b[31m from /etc/passwd (writable, executable)",
        "run: proc /proc",
        'left out: "/d", which the host does not have',
    ]


def test_plain_data_for_looking_paths_up() -> None:
    found = made(directory("/usr"), bind("/a", "/etc/passwd", more="writable: true"), symlink("/b", "a"), tmpfs("/tmp"))
    assert found.binds() == [("/usr", "/usr", True), ("/a", "/etc/passwd", False)]
    assert found.symlinks() == [("/b", "a")]
    assert found.no_execution() == ["/a", "/tmp"]
