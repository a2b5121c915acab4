"""Text policies that include others: what counts when both say something, and errors that name every place."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy import profiles
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind
from stockade.policy.text import combine, include
from stockade.policy.text import reading as text

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write policy files, each given as `name="content"`; gives the path of the first."""

    def files(**contents: str) -> Path:
        for name, content in contents.items():
            (tmp_path / f"{name}.textproto").write_text(f"schema_version: 1\n{content}\n")
        return tmp_path / f"{next(iter(contents))}.textproto"

    return files


def including(*names: str) -> str:
    return " ".join(f'include: "./{name}.textproto"' for name in names)


def failure(path: Path) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    return caught.value


# --- what is joined ---


def test_rules_and_groups_of_a_file_come_before_those_that_it_includes(write: Write, tmp_path: Path) -> None:
    path = write(
        a=f'{including("b", "d")}\nsyscalls {{ rules {{ syscall: "read" action: ALLOW }} groups {{ name: "exit" }} }}',
        b=f'{including("c")}\nsyscalls {{ rules {{ syscall: "write" action: ALLOW }} groups {{ name: "stat" }} }}',
        c='syscalls {\n rules { syscall: "read" action: KILL } groups { name: "exit" } groups { name: "close" } }',
        d='syscalls { rules { syscall: "write" action: KILL }\n rules { syscall: "dup" action: KILL } }',
    )
    policy = Policy.load(path)
    message = policy.message
    # What c says of read, and d of write, is decided already.
    assert [f"{rule.syscall[0]} {rule.action}" for rule in message.syscalls.rules] == ["read 1", "write 1", "dup 6"]
    assert [group.name for group in message.syscalls.groups] == ["exit", "stat", "close"]
    lines = ("a.textproto:3", "b.textproto:3", "d.textproto:3")
    assert policy.places.rules == tuple(f"{tmp_path}/{line}" for line in lines)
    assert policy.places.groups == tuple(f"{tmp_path}/{name}.textproto:3" for name in "abc")
    assert not message.include
    assert [source.path for source in text.read(path).sources] == [f"{tmp_path}/{name}.textproto" for name in "abcd"]


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_rule_overrides_those_of_all_files_beneath(write: Write, levels: int) -> None:
    actions = ["ERRNO errno: 'EPERM'", "KILL", "LOG", "ALLOW"]
    files = {}
    for level in range(levels):
        more = including(f"p{level + 1}") if level + 1 < levels else ""
        files[f"p{level}"] = f'{more}\nsyscalls {{ rules {{ syscall: "read" action: {actions[level]} }} }}'
    policy = Policy.load(write(**files))
    kinds = [rule.action.kind for rule in policy.resolve("x86_64").rules if rule.syscall == "read"]
    assert kinds == [Kind.ERRNO]
    assert Policy.from_text(policy.to_text()) == policy
    rule = policy.evaluate("read").rule
    assert rule is not None
    assert rule.origin.place.endswith("p0.textproto:3")
    # The middle file, on its own, is decided by its own rule.
    rule = Policy.load(write(**files).with_name("p1.textproto")).evaluate("read").rule
    assert rule is not None
    assert rule.origin.place.endswith("p1.textproto:3")


def test_rules_lose_the_calls_that_are_decided_already_and_keep_the_others(write: Write) -> None:
    path = write(
        a=including("b")
        + """ syscalls {
          rules { syscall: "read" action: KILL }
          rules { syscall: "write" when { argument: 0 less: "3" } action: ALLOW }
          rules { syscall: "close" action: KILL overridable: true }
        }""",
        b="""syscalls {
          rules { syscall: "read" syscall: "dup" action: ALLOW reason: "x" }
          rules { syscall: "write" when { argument: 0 equal: "2" } action: KILL }
          rules { syscall: "write" when { argument: 0 equal: "3" } action: KILL }
          rules { syscall: "write" action: ALLOW }
          rules { syscall: "close" action: ALLOW }
        }""",
    )
    policy = Policy.load(path)
    rules = policy.message.syscalls.rules
    assert [list(rule.syscall) for rule in rules] == [
        ["read"],
        ["write"],
        ["close"],
        ["dup"],
        ["write"],
        ["write"],
        ["close"],
    ]
    assert rules[3].reason == "x"
    for call, args, permitted in (
        ("read", (0,), False),
        ("dup", (0,), True),
        ("write", (2,), True),
        ("write", (3,), False),
        ("write", (4,), True),
        ("close", (0,), True),
    ):
        assert policy.evaluate(call, args).permits is permitted
    # Without the places of its lines, it is the same policy.
    assert Policy.from_message(policy.message) == policy
    assert Policy.from_text(policy.to_text()) == policy


def test_a_rule_that_is_covered_on_one_architecture_only_is_an_error_naming_both(write: Write) -> None:
    bit = 'syscalls { rules { syscall: "openat" when { argument: 2 masked { mask: "%s" value: "%s" } } action: %s } }'
    # O_DIRECTORY is 0x10000 on x86_64 and 0x4000 on aarch64.
    path = write(
        a=including("b") + bit % ("0x10000", "0x10000", "KILL"), b=bit % ("O_DIRECTORY", "O_DIRECTORY", "ALLOW")
    )
    error = failure(path)
    assert (Path(error.source or "").name, error.line) == ("b.textproto", 2)
    assert error.message.startswith("openat: on one architecture")
    assert "a.textproto:2" in error.message
    assert "included at" in error.message
    assert Policy.load(path.with_name("b.textproto")).evaluate("openat", (0, 0, "O_DIRECTORY")).permits


def test_a_contradiction_within_an_included_file_is_an_error_that_names_both_lines_and_the_include(
    write: Write,
) -> None:
    twice = 'syscalls { rules { syscall: "read" action: ALLOW }\n rules { syscall: "read" action: KILL } }'
    error = failure(write(a=f"\n{including('b')}", b=including("c"), c=twice))
    assert (Path(error.source or "").name, error.line) == ("c.textproto", 3)
    assert "c.textproto:2" in error.message
    assert "included at" in error.message
    assert error.message.index("b.textproto:2") < error.message.index("a.textproto:3")


def test_a_file_reached_in_two_ways_counts_once_and_after_both(write: Write, tmp_path: Path) -> None:
    read = 'syscalls { rules { syscall: "read" action: %s } }'
    path = write(a=including("b", "c"), b=including("d"), c=including("d") + read % "KILL", d=read % "ALLOW")
    policy = Policy.load(path)
    assert [rule.action for rule in policy.message.syscalls.rules] == [policy_pb2.Rule.KILL]
    assert not policy.evaluate("read").permits, "c overrides d, whoever includes d as well"
    (tmp_path / "link.textproto").symlink_to("d.textproto")
    path.write_text("schema_version: 1\n" + including("d", "b", "c").replace("./d", "./b/../link"))
    (tmp_path / "b").mkdir()
    assert Policy.load(path).message == policy.message


OWN_AND_THEIRS = {
    "default action": (
        'syscalls { default_action { action: ERRNO errno: "EPERM" } }',
        'syscalls { default_action { action: ERRNO errno: "ENOSYS" } }',
    ),
    "network": ("network { mode: NONE }", "network { mode: LOOPBACK }"),
    "limit": ('limits { wall_time: "1s" }', 'limits { wall_time: "2s" }'),
    "option": ('options { hostname: "a" }', 'options { hostname: "b" }'),
    "root": ('filesystem { root { source: "/a" } }', 'filesystem { root { source: "/b" } }'),
}


@pytest.mark.parametrize("name", OWN_AND_THEIRS)
def test_what_can_be_said_once_is_said_by_the_file_itself_or_by_all_that_it_includes(write: Write, name: str) -> None:
    one, other = OWN_AND_THEIRS[name]
    said_one, said_other = (Policy.from_text(f"schema_version: 1 {each}").message for each in (one, other))
    files = {"b": one, "c": other, "d": one, "e": ""}
    assert Policy.load(write(a=f"{including('c')} {one}", **files)).message == said_one
    assert Policy.load(write(a=including("b", "d", "e"), **files)).message == said_one
    assert Policy.load(write(a=including("e", "f"), f=f"{including('b')} {other}", **files)).message == said_other
    error = failure(write(a=f"\n{including('b')}\n{including('c')}", **files))
    assert (Path(error.source or "").name, error.line, error.column) == ("a.textproto", 4, 10)
    assert "b.textproto:2" in error.message
    assert "c.textproto:2" in error.message
    # Decided in the file, the difference is none.
    assert Policy.load(write(a=f"{including('b', 'c')} {one}", **files)).message == said_one


def test_limits_and_options_are_joined_field_by_field(write: Write, tmp_path: Path) -> None:
    path = write(
        a=including("b", "c") + ' limits { wall_time: "1s" }',
        b='limits { wall_time: "9s" open_files: 7 } options { hostname: "b" optional_layer: "x" }',
        c='limits { stack: "1M" open_files: 7 } options { fake_root: true optional_layer: "x" optional_layer: "y" }',
    )
    policy = Policy.load(path)
    assert policy.message.limits == policy_pb2.Limits(wall_time="1s", open_files=7, stack="1M")
    assert policy.message.options == policy_pb2.Options(hostname="b", fake_root=True, optional_layer=["x", "y"])
    assert policy.places.field("limits.wall_time") == f"{path}:2"
    assert policy.places.field("limits.stack") == f"{tmp_path}/c.textproto:2"
    assert policy.places.field("options.fake_root") == f"{tmp_path}/c.textproto:2"
    assert policy.places.field("limits.nice") == "limits.nice"


def test_mounts_are_joined_parents_first_and_equal_ones_once(write: Write, tmp_path: Path) -> None:
    path = write(
        a=including("b", "c")
        + ' filesystem { libraries_for_binary: "/bin/a"\n'
        + 'mounts { target: "/data/in" tmpfs {} } mounts { target: "/z" proc {} } }',
        b='filesystem { libraries_for_binary: "/bin/b" '
        'mounts { target: "/data" tmpfs {} } mounts { target: "/z" proc {} } }',
        c='filesystem { libraries_for_binary: "/bin/a" python: "/usr/bin/python3" '
        'mounts { target: "/data" tmpfs {} } }',
    )
    policy = Policy.load(path)
    files = policy.message.filesystem
    assert [mount.target for mount in files.mounts] == ["/data", "/data/in", "/z"]
    assert list(files.libraries_for_binary) == ["/bin/a", "/bin/b"]
    assert list(files.python) == ["/usr/bin/python3"]
    assert policy.places.field("filesystem.mounts[0]") == f"{tmp_path}/b.textproto:2"
    assert policy.places.field("filesystem.mounts[1]") == f"{path}:3"
    assert policy.places.field("filesystem.libraries_for_binary[1]") == f"{tmp_path}/b.textproto:2"


@pytest.mark.parametrize("own", [True, False])
def test_another_mount_at_the_same_place_is_an_error_naming_both(write: Write, own: bool) -> None:
    one, other = (f'filesystem {{ mounts {{ target: "/data" {kind} }} }}' for kind in ("tmpfs {}", "proc {}"))
    path = write(a=f"{including('b')} {one}" if own else including("c", "b"), b=f"\n{other}", c=one)
    error = failure(path)
    assert (Path(error.source or "").name, error.line) == ("b.textproto", 3)
    assert f"{'a' if own else 'c'}.textproto:2" in error.message
    assert "/data" in error.message


def test_a_mount_beneath_a_file_of_another_policy_is_an_error(write: Write) -> None:
    beneath = 'filesystem { mounts { target: "/a/b" tmpfs {} } }'
    file = 'filesystem { mounts { target: "/a" bind { source: "/etc/hosts" kind: FILE } } }'
    error = failure(write(a=f"{including('b')} {file}", b=beneath))
    assert (Path(error.source or "").name, error.line) == ("b.textproto", 2)
    assert "lies beneath" in error.message


def test_dangers_and_raw_filters_are_taken_in_with_their_place(write: Write, tmp_path: Path) -> None:
    reopened = 'syscalls { danger_reopened: "bpf" raw_filters { syscall: "read" assembly: "ret allow" } }'
    path = write(
        a=including("b", "c") + '\nsyscalls { rules { syscall: "bpf" action: ALLOW } }', b=reopened, c=reopened
    )
    policy = Policy.load(path)
    assert list(policy.message.syscalls.danger_reopened) == ["bpf"]
    assert len(policy.message.syscalls.raw_filters) == 1
    assert policy.places.reopened == policy.places.raw_filters == (f"{tmp_path}/b.textproto:2",)
    assert policy.evaluate("bpf").permits
    # Neither of the two alone opens it.
    write(b="", c="")
    assert "always refused" in failure(path).message


def test_names_and_tested_programs_are_those_of_the_file_itself(write: Write) -> None:
    described = 'name: "%s" description: "%s" tested_with { path: "/bin/%s" version: "1" }'
    message = Policy.load(write(a=including("b") + described % ("a", "a", "a"), b=described % ("b", "b", "b"))).message
    assert (message.name, message.description, len(message.tested_with)) == ("a", "a", 1)
    message = Policy.load(write(a=including("b"), b=described % ("b", "b", "b"))).message
    assert (message.name, message.description, len(message.tested_with)) == ("", "", 0)


def test_every_field_of_the_schema_is_joined_in_some_way() -> None:
    """A field that is added to the schema must not vanish from included policies."""
    joined = {*combine._lists(), *combine._singles()}
    for field in policy_pb2.Policy.DESCRIPTOR.fields:
        if field.name in combine.OWN_ONLY:
            assert field.name not in {names[0] for names in joined}
        elif field.name in combine._BY_FIELD:
            assert {(field.name, each.name) for each in combine._fields(field.name)} <= joined
        else:
            assert (field.name,) in joined


# --- what is named ---


def test_ready_made_policies_are_included_by_name(tmp_path: Path) -> None:
    policy = Policy.from_text(
        'schema_version: 1 include: "gzip" syscalls { rules { syscall: "fsync" action: KILL } }', "p"
    )
    plain = Policy.profile("gzip")
    assert plain.evaluate("fsync").permits
    assert not policy.evaluate("fsync").permits
    assert policy.evaluate("unlink").permits
    assert policy.places.rules[1] == plain.places.rules[0]
    assert policy.name == ""
    # A file of that name beside the text is not meant.
    (tmp_path / "gzip").write_text("schema_version: 1")
    (tmp_path / "p.textproto").write_text('schema_version: 1 include: "gzip"')
    assert Policy.load(tmp_path / "p.textproto").message.syscalls == plain.message.syscalls


def test_files_are_found_beside_the_file_that_includes_them(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 'syscalls { rules { syscall: "read" action: ALLOW } }'
    write(base=read)
    inner = tmp_path / "inner"
    inner.mkdir()
    for name, included in {
        "slash": "../base.textproto",
        "absolute": f"{tmp_path}/base.textproto",
        "suffix": "beside.textproto",
        "dots": "././/beside.textproto",
    }.items():
        (inner / f"{name}.textproto").write_text(f'schema_version: 1 include: "{included}"')
    (inner / "beside.textproto").write_text(f"schema_version: 1 {read}")
    for path in inner.glob("*.textproto"):
        assert Policy.load(path).evaluate("read").permits
    monkeypatch.chdir(inner)
    assert Policy.load("dots.textproto").places.rules == ("beside.textproto:1",)
    assert Policy.load("slash.textproto").places.rules == ("../base.textproto:2",)
    absolute = f'schema_version: 1 include: "{tmp_path}/base.textproto"'
    assert Policy.from_text(absolute).evaluate("read").permits
    with pytest.raises(PolicyError, match="ready-made policies and absolute paths only") as caught:
        Policy.from_text('schema_version: 1\ninclude: "./base.textproto"')
    assert (caught.value.source, caught.value.line, caught.value.column) == ("<text>", 2, 10)


# (name of the include, part of the message, suggestion)
MISSING = [
    ("gzipp", 'no ready-made policy named "gzipp"', "gzip"),
    ("./bas.textproto", "No such file", "base.textproto"),
    ("./nowhere/x.textproto", "No such file", None),
    ("./gzip.textproto", 'ready-made policy "gzip"', None),
    ("", "the name is empty", None),
    ("./", "Is a directory", None),
    ("./a\\000b", "no file can be named", None),
    ("$HOME/x.textproto", "variables are not replaced in the names of includes", None),
]


@pytest.mark.parametrize(("name", "message", "suggestion"), MISSING, ids=[entry[0] or "empty" for entry in MISSING])
def test_an_include_that_is_not_there(write: Write, name: str, message: str, suggestion: str | None) -> None:
    path = write(a=f'name: "a"\n  include: "{name}"', base="")
    error = failure(path)
    assert message in error.message
    assert (error.source, error.line, error.column) == (str(path), 3, 12)
    assert (error.suggestion and Path(error.suggestion).name) == suggestion


def test_only_regular_files_are_included(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name, message in {"pipe": "no regular file", "socket": "No such device", "null": "no regular file"}.items():
            target = "/dev/null" if name == "null" else f"./{name}"
            assert message in failure(write(a=f'include: "{target}"')).message
    # The main file may come through a pipe: the caller chose it, and nothing waits for a second one.
    reading, writing = os.pipe()
    os.write(writing, b"schema_version: 1 name: 'piped'")
    os.close(writing)
    assert Policy.load(f"/dev/fd/{reading}").name == "piped"
    os.close(reading)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


# --- limits ---


def test_a_cycle_is_an_error_that_shows_all_of_it(write: Write, tmp_path: Path) -> None:
    error = failure(write(a=including("b"), b=f"\n{including('c')}", c=f"\n\n{including('b')}"))
    assert (Path(error.source or "").name, error.line) == ("c.textproto", 4)
    chain = f'"{tmp_path}/b.textproto" includes itself, by way of {tmp_path}/b.textproto:3 -> {tmp_path}/c.textproto:4'
    assert chain in error.message
    error = failure(write(a=including("a")))
    assert "includes itself" in error.message
    # Under another name it is still the same file.
    (tmp_path / "other.textproto").symlink_to("a.textproto")
    os.link(tmp_path / "a.textproto", tmp_path / "third.textproto")
    for name in ("other", "third"):
        error = failure(write(a=including(name)))
        assert "includes itself" in error.message


def test_an_include_written_twice_is_an_error_naming_both_lines(write: Write) -> None:
    error = failure(write(a=f"{including('b')}\n{including('b')}", b=""))
    assert error.line == 3
    assert "included already, at " in error.message
    assert "a.textproto:2" in error.message


def test_depth_number_and_size_are_bounded(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def chain(length: int) -> Path:
        return write(**{f"p{n}": including(f"p{n + 1}") if n < length else "" for n in range(length + 1)})

    Policy.load(chain(include.MAX_DEPTH))
    error = failure(chain(include.MAX_DEPTH + 1))
    assert "nested more than 16 deep" in error.message
    assert Path(error.source or "").name == f"p{include.MAX_DEPTH}.textproto"
    monkeypatch.setattr(include, "MAX_FILES", 5)
    many = {f"q{n}": "" for n in range(5)}
    Policy.load(write(a=including(*list(many)[:4]), **many))
    assert "more than 5 files" in failure(write(a=including(*many), **many)).message
    big = f"# {'x' * (text.MAX_TEXT // 2)}"
    assert "longer than 1 MiB" in failure(write(a=including("b", "c"), b=big, c=big)).message
    assert Policy.load(write(a=including("b"), b=big)).name == ""


# --- errors in included files ---


@pytest.mark.parametrize(
    ("content", "line", "message", "suggestion"),
    [
        ('nmae: "x"', 2, 'unknown field "nmae"', "name"),
        ('syscalls {\n rules { syscall: "raed" action: ALLOW } }', 3, "unknown system call", "read"),
        ('filesystem { mounts { target: "x" tmpfs {} } }', 2, "not absolute", None),
        ("schema_version: 1", 2, "given twice", None),
        ("\\x00", 2, None, None),
    ],
)
def test_an_error_in_an_included_file_says_where_it_is_and_what_includes_it(
    write: Write, tmp_path: Path, content: str, line: int, message: str | None, suggestion: str | None
) -> None:
    error = failure(write(a=f"\n{including('b')}", b=including("c"), c=content))
    assert (error.source, error.line, error.suggestion) == (f"{tmp_path}/c.textproto", line, suggestion)
    assert message is None or message in error.message
    includes = f"(included at {tmp_path}/b.textproto:2, which is included at {tmp_path}/a.textproto:3)"
    assert includes in error.message


def test_each_file_needs_its_schema_version(write: Write, tmp_path: Path) -> None:
    path = write(a=including("b"))
    for version, said in (("", "is missing"), ("schema_version: 2", "is 2")):
        (tmp_path / "b.textproto").write_text(version)
        error = failure(path)
        assert error.source == str(tmp_path / "b.textproto")
        assert f"schema_version {said}" in error.message
    (tmp_path / "b.textproto").write_bytes(b"\xff")
    assert "not valid UTF-8 (included at" in failure(path).message


def test_messages_hold_no_includes() -> None:
    message = policy_pb2.Policy(schema_version=1, include=["gzip"])
    with pytest.raises(PolicyError, match=r"^include\[0\]: it is for text policies only"):
        Policy.from_message(message)


def test_what_was_read_is_listed_with_its_content(write: Write) -> None:
    path = write(a=including("b") + ' include: "jq"', b="")
    before = text.read(path).sources
    assert [Path(source.path).name for source in before] == ["a.textproto", "b.textproto", "jq.textproto"]
    assert before[2].path == str(profiles.find("jq"))
    write(b="# changed")
    after = text.read(path).sources
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    # A changed include is seen, whatever is cached.
    assert not Policy.load(path).evaluate("sync").permits
    write(b='syscalls { rules { syscall: "sync" action: ALLOW } }')
    assert Policy.load(path).evaluate("sync").permits
