"""Text policies: errors by line and column with the closest known name, and one canonical form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format as protobuf_text
from google.protobuf.message import Message
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policy.policy_strategies import policies
from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy import profiles
from stockade.policy.policy import Policy
from stockade.policy.text import reading as text
from stockade.policy.text.locations import Locations
from stockade.policy.validate_sizes import size_findings

GZIP = """\
# What gzip needs.
schema_version: 1
name: "gzip"
syscalls {
  groups { name: "dynamic_startup" }  # the loader
  rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
  rules {
    syscall: ["read", "write"]
    action: LOG
  }
  groups { name: "exit" }
}
filesystem { libraries_for_binary: "/usr/bin/gzip" mounts { target: "/tmp" tmpfs { size: "16M" } } }
"""


def message_types_of_policy() -> list[Any]:
    """Descriptors of all messages that a policy is made of."""
    found: list[Any] = [policy_pb2.Policy.DESCRIPTOR]
    for each in found:
        inner = [field.message_type for field in each.fields if field.message_type is not None]
        found.extend(dict.fromkeys(one for one in inner if one not in found))
    return found


def test_a_policy_is_read_with_the_places_of_its_rules() -> None:
    policy = Policy.from_text(GZIP, "gzip.textproto")
    assert policy.name == "gzip"
    assert policy.places.rules == ("gzip.textproto:6", "gzip.textproto:7")
    assert policy.places.groups == ("gzip.textproto:5", "gzip.textproto:11")
    rule = policy.evaluate("write").rule
    assert rule is not None
    assert rule.origin.place == "gzip.textproto:7"
    assert policy.evaluate("ioctl", (1, "TCGETS")).permits
    assert not policy.evaluate("ioctl", (1, "TCSETS")).permits


IOCTL = 'schema_version: 1\nsyscalls { rules { syscall: "ioctl" action: LOG\n'
# (text, line, column, part of the message, suggestion)
WRONG = [
    ('schema_version: 1\nnmae: "x"', 2, 1, 'unknown field "nmae" in Policy', "name"),
    ("schema_version: 1\nsyscalls { rule { } }", 2, 12, 'unknown field "rule" in SyscallPolicy', "rules"),
    ("schema_version: 1\nsyscalls {\n  rules { action: ALOW }\n}", 3, 19, "unknown value ALOW", "ALLOW"),
    ('schema_version: 1\nname: "x', 2, 7, "ending quote", None),
    ("schema_version: 1\nsyscalls {", 2, None, 'Expected "}"', None),
    ('schema_version: 1 name: "a"\nname: "b"', 2, None, '"name" is given twice', None),
    ("schema_version: one", 1, 17, "integer", None),
    ('syscalls { rules { syscall: "read" action: ALLOW } }', 1, 1, "schema_version is missing", None),
    ("# two\nschema_version: 2", 2, 17, "schema_version is 2", None),
    ('schema_version: 1\nsyscalls { rules { syscall: "raed" action: ALLOW } }', 2, 29, "unknown system call", "read"),
    (
        'schema_version: 1\nsyscalls { rules {\n  syscall: ["read",\n    "wirte"] action: ALLOW } }',
        4,
        5,
        "unknown system call 'wirte'",
        "write",
    ),
    ('schema_version: 1\nsyscalls {\n groups { name: "reed" } }', 3, 17, "unknown group 'reed'", "read"),
    ('schema_version: 1\nsyscalls { groups { name: "read" argument: "x" } }', 2, 27, "takes no argument", None),
    (
        'schema_version: 1\nsyscalls { groups { name: "futex_op" argument: "FUTEX_WAK" } }',
        2,
        48,
        "unknown constant",
        "FUTEX_WAKE",
    ),
    (
        IOCTL + ' when { argument: 1 equal: "TCGETSS" } } }',
        3,
        28,
        "unknown constant 'TCGETSS'",
        "TCGETS",
    ),
    (
        IOCTL + 'when { argument: 1 one_of { value: "TCGETS" value: "X_Y" } } } }',
        3,
        52,
        "unknown constant 'X_Y'",
        None,
    ),
    (
        'schema_version: 1\nsyscalls { rules { syscall: "read"\n when { argument: 3 equal: "0" } action: ALLOW } }',
        3,
        2,
        "no argument 3",
        None,
    ),
    ('schema_version: 1\nsyscalls { rules { syscall: "read" } }', 2, 12, "action is missing", None),
    ('schema_version: 1\nsyscalls { rules { syscall: "read" action: 99 } }', 2, 44, "unknown action 99", None),
    ("schema_version: 1\nsyscalls { rules { action: ALLOW } }", 2, 12, "names no system call", None),
    (
        'schema_version: 1\nsyscalls { rules { syscall: "read" action: ERRNO errno: "EPERMM" } }',
        2,
        57,
        "unknown error number",
        "EPERM",
    ),
    ('schema_version: 1\nsyscalls { rules { syscall: "read" action: TRACE } }', 2, 44, "hook", None),
    ('schema_version: 1\nsyscalls { rules { syscall: "ptrace" action: ALLOW } }', 2, 12, "always refused", None),
    ("schema_version: 1\nsyscalls { default_action { action: ALLOW } }", 2, 37, "danger_allow_all", None),
    ('schema_version: 1\nfilesystem { mounts { target: "/a/../b" tmpfs {} } }', 2, 31, "not canonical", None),
    ('schema_version: 1\nfilesystem { mounts { target: "/a" } }', 2, 14, "does not say what", None),
    ('schema_version: 1\nfilesystem { mounts { target: "/a" bind { source: "/x" } } }', 2, 36, "kind: FILE", None),
    (
        'schema_version: 1\nfilesystem {\n  mounts { target: "/a" tmpfs {} }\n  mounts { target: "/a" proc {} }\n}',
        4,
        20,
        "mounted twice",
        None,
    ),
    (
        'schema_version: 1\nfilesystem {\n  mounts { target: "/a/b" tmpfs {} }\n  mounts { target: "/a" tmpfs {} }\n}',
        4,
        20,
        "would hide",
        None,
    ),
    ('schema_version: 1\nfilesystem { libraries_for_binary: "gzip" }', 2, 36, "not absolute", None),
    ('schema_version: 1\nnetwork { allow { address: "::1" } }', 2, 11, "BROKERED", None),
    ('schema_version: 1\noptions { hostname: "a b" }', 2, 21, "blanks", None),
]


@pytest.mark.parametrize(
    ("policy", "line", "column", "message", "suggestion"), WRONG, ids=[entry[3] for entry in WRONG]
)
def test_an_error_names_place_and_closest_name(
    policy: str, line: int, column: int | None, message: str, suggestion: str | None
) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(policy, "my.textproto")
    error = caught.value
    assert message in error.message
    assert (error.source, error.line, error.suggestion) == ("my.textproto", line, suggestion)
    assert column is None or error.column == column
    assert str(error).startswith(f"my.textproto:{line}:")


def test_contradictions_between_rules_name_both_lines() -> None:
    rules = 'rules { syscall: "read" action: ALLOW }\nrules { syscall: "read" action: KILL }\n'
    policy = f"schema_version: 1\nsyscalls {{\n{rules}}}"
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(policy, "my.textproto")
    assert (caught.value.source, caught.value.line) == ("my.textproto", 4)
    assert "my.textproto:3" in str(caught.value)


def test_syntax_errors_say_what_is_wrong_without_repeating_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text("# one\nschema_version: 'one'  # two")
    assert "schema_version" not in caught.value.message
    assert "one" in caught.value.message


def test_messages_are_safe_to_print() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text('schema_version: 1\nsyscalls { rules { syscall: "\x1b[31m" action: ALLOW } }')
    assert "\x1b" not in str(caught.value)
    with pytest.raises(PolicyError) as caught:
        Policy.from_text("schema_version: 1\n\x1b[31m: 5")
    assert "\x1b" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "gzip.textproto"
    path.write_text(GZIP)
    assert Policy.load(path) == Policy.from_text(GZIP)
    assert Policy.load(str(path)).places.rules[0] == f"{path}:6"
    with pytest.raises(PolicyError, match="No such file") as caught:
        Policy.load(tmp_path / "missing")
    assert caught.value.path == str(tmp_path / "missing")
    path.write_bytes(b"schema_version: 1\nname: '\xff'")
    with pytest.raises(PolicyError, match="UTF-8") as caught:
        Policy.load(path)
    assert caught.value.line == 2
    with pytest.raises(PolicyError, match="Is a directory"):
        Policy.load(tmp_path)
    path.write_bytes(b"#" * (text.MAX_TEXT + 1))
    with pytest.raises(PolicyError, match="longer than"):
        Policy.load(path)


# (content, what is too much, line)
TOO_MUCH = {
    "rules": (
        'rules { syscall: "ioctl" when { argument: 1 equal: "%d" } action: ALLOW }',
        1024,
        "at most 1024: one rule",
    ),
    "groups": ('groups { name: "read" }', 1024, "a policy has at most 1024"),
    "mounts": ('mounts { target: "/d/%d" tmpfs {} }', 1024, "a policy has at most 1024"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_how_much_a_policy_may_say(name: str) -> None:
    line, most, message = TOO_MUCH[name]
    field = "filesystem" if name == "mounts" else "syscalls"
    lines = [line.replace("%d", str(each)) for each in range(most + 1)]
    written = f"schema_version: 1\n{field} {{\n" + "\n".join(lines) + "\n}"
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.from_text(written, "long.textproto")
    assert (caught.value.source, caught.value.line) == ("long.textproto", most + 3)
    message_of_it = policy_pb2.Policy()
    protobuf_text.Parse(written, message_of_it)
    del getattr(getattr(message_of_it, field), name)[most:]
    assert not list(size_findings(message_of_it))


def test_how_many_values_and_calls_rules_may_name() -> None:
    def found(rule: str, count: int = 1) -> list[str]:
        message = protobuf_text.Parse(f"schema_version: 1 syscalls {{ {rule * count} }}", policy_pb2.Policy())
        return [each.message for each in size_findings(message)]

    listed = 'rules { syscall: "ioctl" when { argument: 1 one_of { %s } } action: ALLOW }'
    assert not found(listed % ('value: "1" ' * 8192))
    assert "more than 8192 values" in found(listed % ('value: "1" ' * 8193))[0]
    calls = "rules { %s action: ALLOW } " % ('syscall: "read" ' * 8)
    assert not found(calls, 512)
    assert "more than 4096 calls" in found(calls, 513)[0]


def test_a_message_does_not_quote_a_mebibyte() -> None:
    for wrong in (
        'syscalls { rules { syscall: "%s" action: ALLOW } }',
        'syscalls { groups { name: "%s" } }',
        'syscalls { rules { syscall: "ioctl" when { argument: 1 equal: "%s" } action: ALLOW } }',
        "%s: 5",
        "options { danger_speculation: %s }",
    ):
        with pytest.raises(PolicyError) as caught:
            Policy.from_text("schema_version: 1\n" + wrong % ("n" * 50_000))
        assert len(str(caught.value)) < 3000


MINIMAL = 'schema_version: 1\nname: "é"\n'
# (content, part of the message, line, column)
WRONG_FILES = {
    "empty": (b"", "schema_version is missing", 1, 1),
    "comments only": (b"# nothing\n", "schema_version is missing", 1, 1),
    "byte order mark": (b"\xef\xbb\xbf" + MINIMAL.encode(), "byte order mark", 1, 1),
    "mark within": (MINIMAL.encode() + b"\xef\xbb\xbf", "U[+]FEFF", 3, 1),
    "utf-16": (MINIMAL.encode("utf-16"), "UTF-16", 1, None),
    "latin-1": (MINIMAL.encode("latin-1"), "not valid UTF-8", 2, None),
    "NUL": (b"schema_version: 1\n# \0\n", "NUL bytes: it is binary", 2, None),
    "program": (b"\x7fELF\x02\x01\x01\0\0", "binary", 1, None),
    "too long": (b"#" * 5_000_000, "longer than 1 MiB", None, None),
    "lone carriage return": (b"schema_version: 1 # x\rname: 'y'\n", "carriage return", 1, 22),
    "escape in a comment": (b"schema_version: 1\n#\x1b[2K\n", "U[+]001B", 2, 2),
    "line separator": ("schema_version: 1 # \u2028 name: 'x'".encode(), "U[+]2028", 1, 21),
    "reordering": ("schema_version: 1 # \u202e x".encode(), "U[+]202E", 1, 21),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_that_are_no_policy(name: str, tmp_path: Path) -> None:
    content, message, line, column = WRONG_FILES[name]
    path = tmp_path / "p.textproto"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.load(path)
    assert (caught.value.source, caught.value.line, caught.value.column) == (str(path), line, column)


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "p.textproto"
    path.write_bytes(GZIP.replace("\n", "\r\n").encode())
    assert Policy.load(path) == Policy.from_text(GZIP)
    assert Policy.load(path).places.rules[0] == f"{path}:6"
    path.write_bytes(MINIMAL.encode())
    assert Policy.load(path).name == "é"


def test_a_missing_file_says_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "mytool.textproto").write_text(GZIP)
    with pytest.raises(PolicyError, match="No such file") as caught:
        Policy.load(tmp_path / "mytol.textproto")
    assert caught.value.suggestion == str(tmp_path / "mytool.textproto")
    with pytest.raises(PolicyError, match='ready-made policy "gzip", which is found by its name') as caught:
        Policy.load(tmp_path / "nowhere" / "gzip.textproto")
    assert caught.value.suggestion is None
    with pytest.raises(PolicyError, match="Not a directory"):
        Policy.load(tmp_path / "mytool.textproto" / "x")
    with pytest.raises(PolicyError, match="no file can be named"):
        Policy.load("a\0b")


@pytest.mark.needs_unprivileged
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "p.textproto"
    path.write_text(GZIP)
    path.chmod(0)
    with pytest.raises(PolicyError, match="cannot read the policy: Permission denied") as caught:
        Policy.load(path)
    assert caught.value.path == str(path)


# --- names at every level ---


def shown_at(descriptor: Any, name: str) -> Iterator[str]:
    """Policy texts in which a field `name` stands in every place that a message type can have."""

    def walk(current: Any, before: str, after: str, depth: int) -> Iterator[str]:
        if current is descriptor:
            yield f"schema_version: 1\n{before}{name}: 1{after}"
        for field in current.fields if depth < 6 else ():
            if field.message_type is not None:
                yield from walk(field.message_type, f"{before}{field.name} {{ ", f" }}{after}", depth + 1)

    yield from walk(policy_pb2.Policy.DESCRIPTOR, "", "", 0)


@pytest.mark.parametrize("descriptor", message_types_of_policy(), ids=lambda each: each.name)
def test_a_misspelt_field_is_an_error_at_every_level(descriptor: Any) -> None:
    """Attack G3."""
    known = [field.name for field in descriptor.fields]
    for right in known or ["anything"]:
        wrong = right[:-1] + "_" if len(right) > 3 else right + "x"
        for text_of_policy in shown_at(descriptor, wrong):
            with pytest.raises(PolicyError) as caught:
                Policy.from_text(text_of_policy, "p.textproto")
            error = caught.value
            assert error.message == f'unknown field "{wrong}" in {descriptor.name}'
            assert (error.source, error.line) == ("p.textproto", 2)
            assert error.column == text_of_policy.splitlines()[1].index(f"{wrong}: 1") + 1
            assert error.suggestion in known if known else error.suggestion is None


# --- duplicates and contradictions ---

# (text, line of the error, other place in the message) of attack G5
TWICE = {
    "rule": (
        'syscalls {\n rules { syscall: "read" action: ALLOW }\n rules { syscall: "read" action: ALLOW }\n}',
        4,
        ":3",
    ),
    "contradiction": (
        'syscalls {\n rules { syscall: "read" action: ALLOW }\n rules { syscall: "read" action: KILL }\n}',
        4,
        ":3",
    ),
    "never reached": (
        (
            'syscalls {\n rules { syscall: "read" action: KILL }\n'
            ' rules { syscall: "read" when { argument: 0 equal: "1" } action: ALLOW }\n}'
        ),
        4,
        ":3",
    ),
    "call in a rule": (
        'syscalls {\n rules { syscall: "read" syscall: "read" action: ALLOW }\n}',
        3,
        "names read twice",
    ),
    "default action": (
        "syscalls {\n default_action { action: KILL }\n default_action { action: KILL }\n}",
        4,
        "given twice",
    ),
    "test": (
        'syscalls { rules { syscall: "read" action: ALLOW\n when { argument: 0 equal: "1"\n less: "2" } } }',
        4,
        "exclude each other",
    ),
    "mount": (
        'filesystem {\n mounts { target: "/a" tmpfs {} }\n mounts { target: "/a" proc {} }\n}',
        4,
        "mounted twice",
    ),
    "danger": ('syscalls {\n danger_reopened: "bpf"\n danger_reopened: "bpf"\n}', 4, "reopened twice"),
    "limits": ("limits { open_files: 3 }\nlimits { open_files: 4 }", 3, "given twice"),
}


@pytest.mark.parametrize("name", TWICE)
def test_what_is_said_twice_is_an_error_naming_the_places(name: str) -> None:
    written, line, other = TWICE[name]
    with pytest.raises(PolicyError) as caught:
        Policy.from_text("schema_version: 1\n" + written, "p.textproto")
    assert (caught.value.source, caught.value.line) == ("p.textproto", line)
    assert other in caught.value.message


def test_precedence_is_rules_then_groups_then_overridable_ones() -> None:
    rules = 'rules { syscall: "read" when { argument: 0 equal: "3" } action: ERRNO errno: "EIO" }\n'
    late = 'rules { syscall: "write" action: ERRNO errno: "EIO" overridable: true }\n'
    policy = Policy.from_text(
        f'schema_version: 1\nsyscalls {{ groups {{ name: "read" }}\n{late}{rules}groups {{ name: "write" }} }}', "p"
    )
    places = {call: policy.evaluate(*call).rule for call in [("read", (3,)), ("read", (4,)), ("write", (3,))]}
    assert [rule.origin.place for rule in places.values() if rule is not None] == ["p:4", "p:2", "p:5"]


# --- canonical form ---


def test_the_canonical_form() -> None:
    assert (
        Policy.from_text(GZIP).to_text()
        == """\
schema_version: 1
name: "gzip"
syscalls {
  rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
  rules { syscall: "read" syscall: "write" action: LOG }
  groups { name: "dynamic_startup" }
  groups { name: "exit" }
}
filesystem {
  mounts { target: "/tmp" tmpfs { size: "16M" } }
  libraries_for_binary: "/usr/bin/gzip"
}
"""
    )


def test_long_rules_are_broken_into_lines() -> None:
    names = ["read", "write", "lseek", "getcwd", "openat", "close", "fstat", "statx", "ioctl", "fcntl"]
    rule = policy_pb2.Rule(syscall=names, action=policy_pb2.Rule.ALLOW)
    message = policy_pb2.Policy(schema_version=1, syscalls=policy_pb2.SyscallPolicy(rules=[rule]))
    written = text.format_policy(message)
    assert max(len(line) for line in written.splitlines()) <= 120
    assert '\n    syscall: "fstat" syscall: "statx" syscall: "ioctl" syscall: "fcntl"\n    action: ALLOW\n' in written
    assert Policy.from_text(written).message == message


@given(policies())
def test_reading_what_was_written_gives_the_policy_back(message: policy_pb2.Policy) -> None:
    policy = Policy.from_message(message)
    written = policy.to_text()
    again = Policy.from_text(written)
    assert again == policy
    assert again.digest == policy.digest
    assert again.to_text() == written
    assert written.replace("\n", "").isprintable()


def test_the_strategy_covers_the_schema() -> None:
    """What the property above does not reach, it does not prove."""
    unseen = {
        f"{descriptor.name}.{field.name}" for descriptor in message_types_of_policy() for field in descriptor.fields
    }

    text_only = {"Policy.include", "Policy.variables", "Variable.name", "Variable.default", "Variable.description"}
    phases = {"SyscallPolicy.phases", "Phase.name", "Phase.begins_with", "Phase.rules", "Phase.groups"}

    class AllSeen(Exception):  # noqa: N818
        pass

    @settings(max_examples=1000, database=None, derandomize=True, phases=[Phase.generate])
    @given(policies())
    def collect(message: policy_pb2.Policy) -> None:
        unseen.difference_update(fields_that_are_set(message))
        if unseen == text_only | phases:
            raise AllSeen

    with pytest.raises(AllSeen):
        collect()


def fields_that_are_set(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield f"{message.DESCRIPTOR.name}.{field.name}"
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from fields_that_are_set(each)


@given(st.text())
def test_any_text_is_a_policy_or_an_error_with_a_line(policy: str) -> None:
    try:
        Policy.from_text(policy)
    except PolicyError as error:
        assert error.source == "<text>"
        assert error.line is None or 1 <= error.line <= policy.count("\n") + 1


@given(st.lists(st.sampled_from([*"{}<>[]:,;#\"\\\n'", "rules", "syscalls", "name", '"x"', "1", " "])).map("".join))
def test_the_reader_of_places_takes_anything(policy: str) -> None:
    Locations(policy).of(("syscalls", 0, "rules", 0))


def test_places_of_fields_in_every_notation() -> None:
    found = Locations("a <\n b: [1,\n  2] b: 'x' \"y\"\n> c: { d { } } c {d:5;d:6,} # e: 1\ne: -1")
    expected = {
        ("a", 0): (1, 1),
        ("a", 0, "b", 0): (2, 6),
        ("a", 0, "b", 1): (3, 3),
        ("a", 0, "b", 2): (3, 9),
        ("c", 0): (4, 3),
        ("c", 0, "d", 0): (4, 8),
        ("c", 1, "d", 1): (4, 25),
        ("e", 0): (5, 4),
        ("a", 0, "missing", 0): (1, 1),
        ("missing", 0): None,
    }
    assert {path: found.of(path) for path in expected} == expected


# --- ready-made policies ---


def test_a_profile_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "policies"
    directory.mkdir()
    for path in (directory / "gzip.textproto", tmp_path / "gzip.textproto", directory / "README.md"):
        path.write_text(GZIP)
    monkeypatch.setattr(profiles, "directory", lambda: directory)
    assert profiles.names() == ("gzip",)
    assert Policy.profile("gzip").name == "gzip"
    for wrong, near in (("gzipp", "gzip"), ("../gzip", "gzip"), ("README.md", None)):
        with pytest.raises(PolicyError, match="no ready-made policy") as caught:
            Policy.profile(wrong)
        assert caught.value.suggestion == near


def test_every_profile_that_comes_with_the_package_is_a_policy_of_its_name() -> None:
    for name in profiles.names():
        assert Policy.profile(name).name == name


# Profiles that are for no program in particular.
BASE_PROFILES = {"minimal", "io-heavy", "compute", "network", "unrestricted", "strict", "moderate", "permissive"}


@pytest.mark.parametrize("name", profiles.names())
def test_a_profile_says_what_it_is_for(name: str) -> None:
    assert profiles.find(name).read_text().startswith("# ")
    policy = Policy.profile(name)
    assert policy.message.description
    for program in policy.tested_with:
        assert program.path.startswith("/")
        assert program.version
        assert program.platform
    assert policy.tested_with or name in BASE_PROFILES


def test_the_programs_that_a_policy_was_tested_with() -> None:
    policy = Policy.from_text('schema_version: 1 tested_with { path: "/bin/a" version: "1.0" platform: "debian-12" }')
    (program,) = policy.tested_with
    assert program == ("/bin/a", "1.0", "debian-12")
    assert program.version == "1.0"
    assert Policy.from_text("schema_version: 1").tested_with == ()
