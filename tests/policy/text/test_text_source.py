"""The formatter of policy texts: the same meaning, all comments, one layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.policy_strategies import policies
from stockade._proto import policy_pb2
from stockade.errors import MonitorError, PolicyError
from stockade.policy import profiles
from stockade.policy.policy import Policy
from stockade.policy.text import source as text_source
from stockade.policy.text.format import format_message
from stockade.policy.text.source import format_source
from stockade.policy.text.syntax import parse_message
from stockade.policy.text.tokens import tokens

BEFORE = """\
  # About this policy.


# More about it.

schema_version:1
name : 'a"b' , description: "one " # first half
  "two"
variables <name: "DATA"> # given
include: "minimal" include: "./x.textproto"
syscalls: { # the calls

  # Reading.
  rules: [{ syscall: ["read", # bytes
    'write'], action: 1 }, # one
    # above the second
    { syscall: "close" action: ALLOW } ] # two

  groups {name: "read"} ;  groups {name:"exit" # inner
  }


  rules { syscall: "ioctl" when { argument: 1 one_of { value: "TCGETS" value: "TCSETS" value: "TIOCGWINSZ" } }
    action: ALLOW
  # last
  }
  # end of calls
}
filesystem { mounts { target: "/tmp" tmpfs { mode: 0700 size: "1M" } } }
limits { } options { unknown_syscalls_enosys: t }
# end
"""

AFTER = """\
# About this policy.

# More about it.

schema_version: 1
name: "a\\"b"
# first half
description: "one two"
variables { name: "DATA" }  # given
include: "minimal"
include: "./x.textproto"
syscalls {  # the calls
  # Reading.
  rules {
    syscall: "read"  # bytes
    syscall: "write"
    action: ALLOW
  }  # one
  # above the second
  rules { syscall: "close" action: ALLOW }  # two

  groups { name: "read" }
  groups {
    name: "exit"  # inner
  }

  rules {
    syscall: "ioctl"
    when { argument: 1 one_of { value: "TCGETS" value: "TCSETS" value: "TIOCGWINSZ" } }
    action: ALLOW
    # last
  }
  # end of calls
}
filesystem {
  mounts { target: "/tmp" tmpfs { mode: 0700 size: "1M" } }
}
limits {}
options { unknown_syscalls_enosys: true }
# end
"""


def test_the_layout() -> None:
    assert format_source(BEFORE) == AFTER
    assert format_source(AFTER) == AFTER
    assert format_source(BEFORE.replace("\n", "\r\n")) == AFTER


def test_long_lists_share_lines_until_something_stands_between() -> None:
    names = ["read", "write", "lseek", "getcwd", "openat", "close", "fstat", "statx", "ioctl", "fcntl"]
    calls = " ".join(f'syscall: "{name}"' for name in names)
    more = ' # here\nsyscall: "dup"\n\nsyscall: "dup2"\n# above\nsyscall: "pipe"'
    formatted = format_source(f"syscalls {{ rules {{ {calls}{more} action: ALLOW }} }}")
    assert formatted == (
        "syscalls {\n  rules {\n"
        '    syscall: "read" syscall: "write" syscall: "lseek" syscall: "getcwd" syscall: "openat" syscall: "close"\n'
        '    syscall: "fstat" syscall: "statx" syscall: "ioctl" syscall: "fcntl"  # here\n'
        '    syscall: "dup"\n\n    syscall: "dup2"\n    # above\n    syscall: "pipe"\n'
        "    action: ALLOW\n  }\n}\n"
    )


def test_text_of_several_lines_stays_on_several_lines() -> None:
    written = 'syscalls { raw_filters { syscall: "read" assembly: "ld nr\\nret allow" "\\n" } }'
    formatted = format_source(written)
    assert formatted == (
        'syscalls {\n  raw_filters {\n    syscall: "read"\n    assembly:\n'
        '      "ld nr\\n"\n      "ret allow\\n"\n  }\n}\n'
    )
    assert format_source(formatted) == formatted
    policy = Policy.from_text("schema_version: 1 " + written)
    assert format_source(policy.to_text()) == policy.to_text()


@pytest.mark.parametrize(
    ("policy", "line", "column"),
    [("nmae: 1", 1, 1), ("name: 'x", 1, 7), ("name: 'x'\nname: 'y'", 2, None), ("syscalls {", 1, None), ("\x00", 1, 1)],
)
def test_what_is_no_policy_text_is_an_error_with_its_place(policy: str, line: int, column: int | None) -> None:
    with pytest.raises(PolicyError) as caught:
        format_source(policy, "p.textproto")
    assert (caught.value.source, caught.value.line) == ("p.textproto", line)
    assert column is None or caught.value.column == column


def test_only_the_syntax_is_judged() -> None:
    assert format_source("include: 'nowhere' name: 'x'") == 'include: "nowhere"\nname: "x"\n'
    assert format_source("") == ""
    assert format_source("# nothing") == "# nothing\n"


def test_a_result_that_would_not_say_the_same_is_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_source, "layout", lambda body: 'name: "other"\n')
    with pytest.raises(MonitorError, match="would not be the same"):
        format_source('name: "x"')
    monkeypatch.setattr(text_source, "layout", lambda body: 'name: "x"\n')
    with pytest.raises(MonitorError, match="would not be the same"):
        format_source('name: "x" # a comment')
    assert format_source("name: 'x'") == 'name: "x"\n'


@pytest.mark.parametrize("name", profiles.names())
def test_a_ready_made_policy_is_formatted(name: str) -> None:
    """`stockade policy format policies/*.textproto` does it."""
    path = profiles.find(name)
    assert format_source(path.read_text(), str(path)) == path.read_text()


def test_examples_in_the_documentation_are_formatted() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "policy.md").read_text()
    blocks = [block.partition("\n```")[0] + "\n" for block in page.split("```textproto\n")[1:]]
    assert blocks
    for block in blocks:
        assert format_source(block) == block


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, policy_pb2.Policy]:
    """A policy text in any layout, with comments and blank lines at token boundaries, and what it says."""
    message = draw(policies())
    for name in draw(st.lists(st.sampled_from(["minimal", "./$x.textproto"]), max_size=2)):
        message.include.append(name)
    between = st.sampled_from(
        [" ", " ", " ", " ", "\n", "\n\n\n", "\r\n", " # one\n", '\n# two $ " { \n', "#\n", "\n\n # é\n\n"]
    )
    parts = []
    for token in tokens(format_message(message)):
        if token.text == "{" and draw(st.booleans()):
            parts.append(":")
        parts.append(token.text)
        parts.append(draw(between))
    return "".join(parts), message


@given(texts())
def test_formatting_keeps_meaning_and_comments_and_is_idempotent(case: tuple[str, policy_pb2.Policy]) -> None:
    written, message = case
    assert parse_message(written, "") == message
    formatted = format_source(written)
    assert parse_message(formatted, "") == message
    assert format_source(formatted) == formatted
    assert comments(formatted) == comments(written)
    assert "\n\n\n" not in formatted
    assert "\r" not in formatted


def comments(written: str) -> list[str]:
    return sorted(token.text.rstrip() for token in tokens(written) if token.kind == "comment")


@given(policies())
def test_the_canonical_text_of_a_policy_is_formatted(message: policy_pb2.Policy) -> None:
    written = Policy.from_message(message).to_text()
    assert format_source(written) == written
