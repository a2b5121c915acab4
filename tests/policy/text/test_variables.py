"""Variables in the paths of text policies: where values come from, and everything that can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy.policy_strategies import policies
from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.policy import Policy
from stockade.policy.text import reading as text
from stockade.policy.text import variables
from stockade.policy.text.format import is_repeated

DATA = 'schema_version: 1\nvariables { name: "DATA" description: "the input" }\n'


def mount(source: str, target: str = "/data") -> str:
    return f'filesystem {{ mounts {{ target: "{target}" bind {{ source: "{source}" kind: DIRECTORY }} }} }}'


def source_of(policy: Policy) -> str:
    return policy.message.filesystem.mounts[0].bind.source


def test_values_are_put_into_paths() -> None:
    policy = Policy.from_text(DATA + mount("$DATA/in", "/box$DATA"), "p", {"DATA": "/srv/data"})
    assert source_of(policy) == "/srv/data/in"
    assert policy.message.filesystem.mounts[0].target == "/box/srv/data"
    assert not policy.message.variables
    assert policy == Policy.from_text("schema_version: 1\n" + mount("/srv/data/in", "/box/srv/data"))
    # A part of a name, a path object, and a value that holds a dollar sign, which is not looked at again.
    assert source_of(Policy.from_text(DATA + mount("/srv/x${DATA}y"), "p", {"DATA": "a"})) == "/srv/xay"
    assert source_of(Policy.from_text(DATA + mount("$DATA"), "p", {"DATA": Path("/srv")})) == "/srv"
    assert source_of(Policy.from_text(DATA + mount("$DATA"), "p", {"DATA": "/a/$HOME"})) == "/a/$HOME"


def test_the_root_makes_no_double_slash() -> None:
    """HOME is "/" for many users of containers."""
    written = "schema_version: 1\n" + mount("$HOME/x", "/box${PWD}/y")
    policy = Policy.from_text(written, "p", {"HOME": "/", "PWD": "/"})
    assert source_of(policy) == "/x"
    assert policy.message.filesystem.mounts[0].target == "/box/y"


PATH_FIELDS = {
    "target": 'mounts { target: "$P" tmpfs {} }',
    "bind": 'mounts { target: "/a" bind { source: "$P" kind: FILE } }',
    "overlay": 'mounts { target: "/a" overlay { source: "$P" } }',
    "keep_in": 'mounts { target: "/a" overlay { source: "/b" keep_in: "$P" } }',
    "symlink": 'mounts { target: "/a" symlink { points_to: "$P" } }',
    "libraries": 'libraries_for_binary: "/bin/true" libraries_for_binary: "$P"',
    "python": 'python: "$P"',
    "root": 'root { source: "$P" }',
}


@pytest.mark.parametrize("field", PATH_FIELDS)
def test_every_path_of_the_file_system_may_use_them(field: str) -> None:
    written = f'schema_version: 1\nvariables {{ name: "P" }}\nfilesystem {{ {PATH_FIELDS[field]} }}'
    policy = Policy.from_text(written, variables={"P": "/srv/p"})
    assert policy.to_text().count("/srv/p") == 1
    assert "$" not in policy.to_text()
    plain = written.replace('variables { name: "P" }', "").replace("$P", "$$P" if field == "symlink" else "/$$P")
    assert ("$P" if field == "symlink" else "/$P") in str(Policy.from_text(plain).message)


def test_no_other_field_is_looked_at() -> None:
    policy = Policy.from_text(
        'schema_version: 1 name: "$NAME" description: "costs $5, $$"\n'
        'options { hostname: "$HOST" } tested_with { path: "/$x" }'
    )
    assert (policy.name, policy.message.description) == ("$NAME", "costs $5, $$")
    assert policy.message.options.hostname == "$HOST"
    assert Policy.from_text(policy.to_text()) == policy


def test_the_table_names_fields_that_hold_text() -> None:
    for names in variables.PATHS:
        descriptor = policy_pb2.Policy.DESCRIPTOR
        for name in names[:-1]:
            descriptor = descriptor.fields_by_name[name].message_type  # type: ignore[assignment]
        field = descriptor.fields_by_name[names[-1]]
        assert field.cpp_type == field.CPPTYPE_STRING
        assert isinstance(is_repeated(field), bool)  # type: ignore[arg-type]


def test_home_and_the_current_directory_need_no_declaration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    monkeypatch.setenv("PWD", "/nonsense")
    monkeypatch.chdir(tmp_path / "link")
    written = "schema_version: 1\n" + mount("$HOME/x", "/box$PWD")
    parsed = text.parse(written)
    assert parsed.message.filesystem.mounts[0].bind.source == f"{tmp_path}/link/x"
    assert parsed.message.filesystem.mounts[0].target == f"/box{real}"
    assert dict(parsed.variables) == {"HOME": f"{tmp_path}/link", "PWD": str(real)}
    # What the caller gives counts more; nothing is taken from outside then.
    parsed = text.parse(written, variables={"HOME": "/h", "PWD": "/p"})
    assert parsed.message.filesystem.mounts[0].bind.source == "/h/x"
    assert dict(parsed.variables) == {}
    assert dict(text.parse("schema_version: 1\n" + mount("/srv")).variables) == {}


@pytest.mark.parametrize(
    ("home", "message"),
    [
        (None, "the environment has no HOME: the caller must give it a value"),
        ("", "the value of $HOME is empty"),
        ("home/me", "not absolute"),
        ("/home/me/", "not canonical"),
        ("/home/../root", "not canonical"),
        ("/home/\udcff", "not valid UTF-8"),
        ("/home/a\nb", "holds characters"),
    ],
)
def test_a_home_that_is_no_path_is_an_error(home: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    written = "schema_version: 1\n" + mount("${HOME}/x")
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(written, "p")
    assert message in caught.value.message
    assert (caught.value.source, caught.value.line, caught.value.column) == ("p", 2, 54)
    assert source_of(Policy.from_text(written, "p", {"HOME": "/h"})) == "/h/x"
    # Who does not use it, needs none.
    Policy.from_text("schema_version: 1\n" + mount("/x"))


def test_a_current_directory_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(PolicyError, match="there is no current directory"):
        Policy.from_text("schema_version: 1\n" + mount("$PWD"))


def test_a_default_counts_when_the_caller_gives_nothing() -> None:
    declared = 'schema_version: 1\nvariables { name: "DATA" default: "%s" }\n' + mount("$DATA")
    assert source_of(Policy.from_text(declared % "/srv")) == "/srv"
    assert source_of(Policy.from_text(declared % "/srv", "p", {"DATA": "/other"})) == "/other"
    assert source_of(Policy.from_text(declared % "$HOME/$$x", "p", {"HOME": "/h"})) == "/h/$x"


# (text after the schema version, values, line, column, part of the message, suggestion)
WRONG = {
    "undeclared": (mount("$DATA"), {}, 2, 54, 'write variables { name: "DATA" }', None),
    "near": ('variables { name: "DATA" }' + mount("$DTA$DATA"), {"DATA": "/a"}, 2, 80, "DTA is not declared", "DATA"),
    "near home": (mount("$HOMES"), {}, 2, 54, "HOMES is not declared", "HOME"),
    "longer name": ('variables { name: "D" }' + mount("$Dx"), {"D": "/"}, 2, 77, '"Dx" is no name', "D"),
    "small letters": (mount("$home"), {}, 2, 54, "capital letters", None),
    "no value": ('variables { name: "D" description: "x" }' + mount("$D"), {}, 2, 19, "D (x) has no default", None),
    "unknown value": (mount("/x"), {"DATA": "/a"}, 1, 1, '"DATA", which the policy does not declare', None),
    "misspelt value": (
        'variables { name: "DATA" }' + mount("$DATA"),
        {"DATA": "/a", "DTAA": "/a"},
        1,
        1,
        '"DTAA", which',
        "DATA",
    ),
    "twice": (
        'variables { name: "D" }\nvariables { name: "D" }' + mount("$D"),
        {"D": "/a"},
        3,
        19,
        "already, at p:2",
        None,
    ),
    "not used": ('variables { name: "D" default: "/a" }', {}, 2, 19, "no path uses the variable D", None),
    "given home": (mount("/x"), {"HOME": "/a"}, 1, 1, "no path uses the variable HOME", None),
    "built in": ('variables { name: "HOME" }' + mount("$HOME"), {}, 2, 19, "HOME needs no declaration", None),
    "no name": ("variables { }" + mount("/a"), {}, 2, 1, '"" is no name', None),
    "digit": ('variables { name: "1A" }' + mount("/a"), {}, 2, 19, '"1A" is no name', None),
    "lone": (mount("/a$"), {}, 2, 54, "a dollar sign $$", None),
    "blank": (mount("/a$ b"), {}, 2, 54, 'at "$ b" begins no variable', None),
    "open brace": (mount("/${HOME"), {}, 2, 54, 'at "${HOME" begins no variable', None),
    "empty braces": (mount("/${}"), {}, 2, 54, "begins no variable", None),
    "parenthesis": (mount("$(id)"), {}, 2, 54, "begins no variable", None),
    "shell": (mount("${HOME:-/x}"), {}, 2, 54, "is no name of a variable", "HOME"),
    "other in default": (
        'variables { name: "A" default: "/a" } variables { name: "B" default: "$A/b" }' + mount("$A$B"),
        {},
        2,
        70,
        'a default may use $HOME and $PWD, but no other variable, and uses "A"',
        None,
    ),
    "bad default": ('variables { name: "D" default: "a/../b" }' + mount("/$D"), {}, 2, 32, 'upwards with ".."', None),
    "default of dollars": (
        'variables { name: "D" default: "a$" }' + mount("/$D"),
        {},
        2,
        32,
        "begins no variable",
        None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_variables_is_an_error_with_its_place(name: str) -> None:
    written, values, line, column, message, suggestion = WRONG[name]
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(f"schema_version: 1\n{written}", "p", values)
    error = caught.value
    assert message in error.message
    assert (error.source, error.line, error.column, error.suggestion) == ("p", line, column, suggestion)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "the value of DATA is empty"),
        ("..", "upwards"),
        ("/srv/../etc", "upwards"),
        ("a/..", "upwards"),
        ("/a\nb", "characters"),
        ("/a\0b", "characters"),
        ("/a\x1bb", "characters"),
        ("/a\udc80", "characters"),
        ("srv", "not absolute; it is written"),
        ("/srv/", "not canonical"),
        ("//", "not canonical"),
        ("/a//b", "not canonical"),
        ("/./a", "not canonical"),
        ("/" + "x" * 256, "longer than the kernel allows"),
    ],
)
def test_a_value_that_makes_no_path_is_an_error(value: str, message: str) -> None:
    written = DATA + mount("$DATA/in")
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(written, "p", {"DATA": value})
    assert message in caught.value.message
    assert caught.value.source == "p"
    assert source_of(Policy.from_text(written, "p", {"DATA": "/srv..x"})) == "/srv..x/in"


def test_the_checks_of_the_fields_hold_for_values_too() -> None:
    with pytest.raises(PolicyError, match="processes of the host"):
        Policy.from_text(DATA + mount("$DATA"), "p", {"DATA": "/proc/1"})
    with pytest.raises(PolicyError, match="cannot be a mount target"):
        Policy.from_text(DATA + mount("/x", "$DATA"), "p", {"DATA": "/"})
    with pytest.raises(TypeError, match="str"):
        Policy.from_text(DATA + mount("$DATA"), "p", {"DATA": 5})  # type: ignore[dict-item]


# --- with includes ---


def files(directory: Path, **contents: str) -> Path:
    for name, content in contents.items():
        (directory / f"{name}.textproto").write_text(f"schema_version: 1\n{content}\n")
    return directory / f"{next(iter(contents))}.textproto"


DECLARED = 'variables { name: "DATA" %s }'


def test_variables_of_an_included_file_are_those_of_the_policy(tmp_path: Path) -> None:
    base = DECLARED % "" + mount("$DATA", "/base")
    path = files(tmp_path, a='include: "./b.textproto"\n' + mount("$DATA/a", "/own"), b=base)
    policy = Policy.load(path, {"DATA": "/srv"})
    assert {each.target: each.bind.source for each in policy.message.filesystem.mounts} == {
        "/own": "/srv/a",
        "/base": "/srv",
    }
    with pytest.raises(PolicyError, match="has no default") as caught:
        Policy.load(path)
    assert caught.value.source == str(tmp_path / "b.textproto")
    assert "included at" in caught.value.message


def test_the_declaration_of_the_including_file_counts(tmp_path: Path) -> None:
    base = mount("$DATA", "/base")
    path = files(
        tmp_path,
        a='include: "./b.textproto" ' + DECLARED % 'default: "/a"',
        b='include: "./c.textproto" ' + DECLARED % 'default: "/b"',
        c=DECLARED % 'default: "/c"' + base,
    )
    assert source_of(Policy.load(path)) == "/a"
    assert source_of(Policy.load(path.with_name("b.textproto"))) == "/b"
    assert source_of(Policy.load(path.with_name("c.textproto"))) == "/c"
    # A declaration without a default says that the caller must give the value.
    files(tmp_path, a='include: "./b.textproto" ' + DECLARED % "")
    with pytest.raises(PolicyError, match="has no default"):
        Policy.load(path)
    assert source_of(Policy.load(path, {"DATA": "/given"})) == "/given"


def test_included_files_that_differ_in_a_default_are_an_error_unless_the_file_decides(tmp_path: Path) -> None:
    include = 'include: "./b.textproto"\ninclude: "./c.textproto"\n'
    path = files(
        tmp_path,
        a=include,
        b=DECLARED % 'default: "/b"' + mount("$DATA", "/x"),
        c=DECLARED % 'default: "/c"' + mount("$DATA", "/y"),
    )
    with pytest.raises(PolicyError, match="differ in the variable DATA") as caught:
        Policy.load(path)
    assert (caught.value.source, caught.value.line) == (str(path), 3)
    for name in "bc":
        assert f"{name}.textproto:2" in caught.value.message
    files(tmp_path, a=include + DECLARED % 'default: "/a"')
    assert {each.bind.source for each in Policy.load(path).message.filesystem.mounts} == {"/a"}


def test_an_included_file_cannot_use_what_only_the_including_one_declares(tmp_path: Path) -> None:
    path = files(tmp_path, a='include: "./b.textproto"' + DECLARED % "" + mount("$DATA"), b=mount("$DATA", "/b"))
    with pytest.raises(PolicyError, match="the variable DATA is not declared") as caught:
        Policy.load(path, {"DATA": "/srv"})
    assert caught.value.source == str(tmp_path / "b.textproto")


def test_a_changed_home_is_seen_whatever_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files(tmp_path, a='variables { name: "D" default: "/d" }' + mount("$HOME/$PWD$D", "/x").replace("/$P", "$P"))
    for home in ("/one", "/two", "/one"):
        monkeypatch.setenv("HOME", home)
        for _ in range(2):
            assert source_of(Policy.load(path)) == f"{home}{os.getcwd()}/d"
            assert source_of(Policy.load(path, {"D": "/e"})) == f"{home}{os.getcwd()}/e"
            assert source_of(Policy.load(path, {"HOME": "/h"})) == f"/h{os.getcwd()}/d"


# --- writing ---


def test_messages_hold_no_variables() -> None:
    message = policy_pb2.Policy(schema_version=1)
    message.variables.add(name="DATA")
    with pytest.raises(PolicyError, match=r"^variables\[0\]: it is for text policies only"):
        Policy.from_message(message)


@given(policies())
@example(policy_pb2.Policy(schema_version=1, filesystem=policy_pb2.FileSystem(libraries_for_binary=["/a$HOME/${x}$$"])))
def test_paths_with_dollar_signs_are_written_so_that_they_are_read_back(message: policy_pb2.Policy) -> None:
    policy = Policy.from_message(message)
    assert Policy.from_text(policy.to_text()).message == message
    assert policy.message == message, "writing does not change the policy"


@given(st.text(alphabet="$ab{}/A_H"), st.text(alphabet="$ab{}/"))
def test_doubled_dollar_signs_are_the_sign_itself(path: str, value: str) -> None:
    expanded = variables._replace(path.replace("$", "$$"), lambda name: value)
    assert expanded == path


def test_values_do_not_grow_beyond_a_path() -> None:
    """A text of a mebibyte and a long value would be gigabytes."""
    written = DATA + mount("/" + "$DATA" * 100_000)
    with pytest.raises(PolicyError, match="longer than a path can be") as caught:
        Policy.from_text(written, "p.textproto", {"DATA": "x" * 100_000})
    assert (caught.value.source, caught.value.line) == ("p.textproto", 3)
    assert len(str(caught.value)) < 1000
    assert source_of(Policy.from_text(DATA + mount("/" + "$DATA/" * 9 + "$DATA"), "p", {"DATA": "y" * 200})) == (
        "/" + "/".join(["y" * 200] * 10)
    )
