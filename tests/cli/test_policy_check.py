"""`stockade policy check`: each thing that it looks for is found, and its neighbour is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stockade._proto import policy_pb2
from stockade.cli import review
from stockade.cli.review_dangers import MEANINGS, dangers_in
from stockade.cli.review_risk import worst
from stockade.errors import MonitorError
from stockade.policy.policy import Policy
from stockade.policy.risk import HIGH
from stockade.policy.second_opinion import Difference, SecondOpinion
from support.command_line import CommandLine, Done

HEAD = 'schema_version: 1\nname: "x"\n'
LONG_RULE = 'rules { syscall: "mmap" when { argument: 3 equal: "MAP_32BIT" } action: ERRNO errno: "EPERM" }'


def block(name: str, *lines: str) -> str:
    """Return a field in canonical layout; behind HEAD, its lines begin at line 5."""
    return f"\n{name} {{\n{''.join(f'  {line}{chr(10)}' for line in lines)}}}\n"


@pytest.fixture
def check(stockade: CommandLine, public_tmp: Path) -> Check:
    """Check a policy text."""
    return Check(stockade, public_tmp)


class Check:
    """Runs the command on the text of one policy, in the file p.textproto."""

    def __init__(self, stockade: CommandLine, directory: Path) -> None:
        self._stockade, self._directory = stockade, directory

    def __call__(self, text: str, *options: str) -> Done:
        (self._directory / "p.textproto").write_text(HEAD + text)
        return self._stockade("policy", "check", *options, "p.textproto")

    def findings(self, text: str, code: int = 0, *options: str) -> list[tuple[str, str, int | None, int | None]]:
        """Return (level, code, line, column) of all findings but the notice of what libseccomp was not asked about."""
        done = self(text, "--json", *options)
        assert (done.returncode, done.stderr) == (code, "")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        names = ("level", "code", "line", "column")
        return [tuple(each[name] for name in names) for each in found if each["code"] != "second-opinion"]


def test_nothing_to_find(check: Check) -> None:
    done = check(block("syscalls", 'rules { syscall: "getpid" action: ALLOW }'))
    assert (done.returncode, done.stderr) == (0, "")
    [hint, summary] = done.stdout.splitlines()
    assert hint.startswith("p.textproto: hint: it leaves the subset that libseccomp compiles right: it was not asked ")
    assert summary == "1 policy checked: 1 hint"


def test_an_error_is_one_line_with_place_and_suggestion(check: Check) -> None:
    done = check('syscalls { rules { syscall: "getpidd" action: ALLOW } }\n')
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "p.textproto:3:29: error: unknown system call 'getpidd' (did you mean 'getpid'?)\n1 policy checked: 1 error\n"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Errors: the policy cannot be used.
        ("nome: 1\n", ("error", "invalid", 3, 1)),
        ('include: "nothing-like-it"\n', ("error", "invalid", 3, 10)),
        (block("syscalls", 'rules { syscall: "ptrace" action: ALLOW }'), ("error", "invalid", 5, 3)),
        ("\noptions { uid: 5 }\n", ("error", "unsupported", 4, 11)),
        ("\nnetwork { mode: BROKERED }\n", ("error", "unsupported", None, None)),
        ('\nlimits { memory: "1G" }\n', ("error", "unsupported", None, None)),
        ('\nlimits { file_size: "1X" }\n', ("error", "limits", None, None)),
        # Warnings: somebody should look.
        (block("syscalls", 'groups { name: "danger_mmap_with_exec" }'), ("warning", "danger", 5, 3)),
        (block("syscalls", 'danger_reopened: "bpf"'), ("warning", "danger", 5, 3)),
        (block("syscalls", "default_action { action: ALLOW danger_allow_all: true }"), ("warning", "danger", 5, 3)),
        (
            block("filesystem", 'mounts { target: "/tmp" tmpfs { danger_executable: true } }'),
            ("warning", "danger", 5, 3),
        ),
        ("\noptions { danger_speculation: true }\n", ("warning", "danger", 4, 1)),
        (block("syscalls", 'rules { syscall: "execve" action: ALLOW }'), ("warning", "risk", 5, 3)),
        (block("syscalls", 'rules { syscall: "mprotect" action: LOG }'), ("warning", "risk", 5, 3)),
        ('\nfilesystem { libraries_for_binary: "/bin/true" }\n', ("warning", "not-tested", None, None)),
        (block("syscalls", LONG_RULE),
         ("warning", "architecture", None, None)),
        # Hints.
        ("options { unknown_syscalls_enosys:true }\n", ("hint", "layout", None, None)),
    ],
)  # fmt: skip
def test_each_finding(check: Check, text: str, found: tuple[str, str, int | None, int | None]) -> None:
    level = found[0]
    line = (found[2], found[3]) if found[1] != "unsupported" else None
    all_found = check.findings(text, 1 if level == "error" else 0)
    here = [each for each in all_found if each[:2] == found[:2]]
    assert here and (line is None or here == [found]), all_found
    assert [each for each in all_found if each[:2] != found[:2] and each[0] != "hint"] == []


@pytest.mark.parametrize(
    "text",
    [
        '\nsyscalls { groups { name: "mmap_without_exec" } }\n',
        '\nsyscalls { rules { syscall: "ptrace" action: ERRNO errno: "EPERM" } }\n',
        '\nsyscalls { default_action { action: ERRNO errno: "EPERM" } }\n',
        '\nfilesystem { mounts { target: "/tmp" tmpfs {} } }\n',
        '\nsyscalls { rules { syscall: "execve" action: ALLOW reason: "it starts its own helpers" } }\n',
        '\nsyscalls { rules { syscall: "execve" action: ERRNO errno: "EPERM" } }\n',
        '\nsyscalls { rules { syscall: "mprotect" when { argument: 2 equal: "PROT_READ" } action: ALLOW } }\n',
        '\nnetwork { mode: LOOPBACK }\n\nlimits { file_size: "1G" }\n',
    ],
)
def test_the_neighbour_of_each_is_fine(check: Check, text: str) -> None:
    assert [each for each in check.findings(text, 0, "--strict") if each[0] != "hint"] == []


def test_warnings_are_findings_when_strict(check: Check) -> None:
    text = block("syscalls", 'rules { syscall: "execve" action: ALLOW }')
    assert check(text).returncode == 0
    assert check(text, "--strict").returncode == 1
    assert check("options { unknown_syscalls_enosys:true }\n", "--strict").returncode == 0  # a hint is none


UNREACHABLE = """
syscalls {
  rules { syscall: "ioctl" when { argument: 1 less: "5" } action: ALLOW }
  rules { syscall: "ioctl" when { argument: 1 greater: "5" } action: ALLOW }
  rules { syscall: "ioctl" when { argument: 1 one_of { value: "4" value: "6" } } action: ERRNO errno: "EIO" }
}
"""


def test_a_rule_that_others_cover_together(check: Check) -> None:
    done = check(UNREACHABLE)
    assert done.returncode == 1
    assert done.stdout.startswith("p.textproto:7:3: error: this rule for ioctl is never reached: ")
    # 5 is left.
    assert check.findings(UNREACHABLE.replace('value: "4" value: "6"', 'value: "4" value: "5"')) == []


def test_a_fallback_that_is_never_asked(check: Check) -> None:
    """Not an error: that others may decide first is what it says."""
    rule = 'rules { syscall: "read" action: ERRNO errno: "EIO" overridable: true }'
    text = block("syscalls", rule, 'groups { name: "read" }')
    assert check.findings(text) == [("hint", "unreachable", 5, 3)]
    assert "this rule for read never decides: p.textproto:6 decides all such calls" in check(text).stdout
    assert check.findings(text.replace('"read" }', '"write" }')) == []


def test_an_overridden_rule_of_an_include_is_meant(check: Check, public_tmp: Path) -> None:
    (public_tmp / "base.textproto").write_text(
        HEAD + UNREACHABLE.partition("  rules")[0] + UNREACHABLE.splitlines()[4] + "}"
    )
    text = 'include: "./base.textproto"\n\nsyscalls {\n  rules { syscall: "ioctl" action: ERRNO errno: "EIO" }\n}\n'
    assert check.findings(text) == []


def test_an_error_in_an_include_has_its_place(check: Check, public_tmp: Path) -> None:
    (public_tmp / "base.textproto").write_text(HEAD + "\n\nnome: 5\n")
    done = check('include: "./base.textproto"\n')
    assert done.returncode == 1
    assert done.stdout.startswith("base.textproto:5:1: error: ")


def test_a_program_that_is_too_long(check: Check) -> None:
    names = [f'value: "{number * 7}"' for number in range(5000)]
    rule = f'rules {{ syscall: "ioctl" when {{ argument: 1 one_of {{ {" ".join(names)} }} }} action: ALLOW }}'
    found = check.findings(block("syscalls", rule), 1, "--arch", "x86_64")
    assert {each[:2] for each in found if each[0] == "error"} == {("error", "program")}


def test_several_policies_and_one_that_is_missing(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "good.textproto").write_text(HEAD)
    (public_tmp / "bad.textproto").write_text("name: 5\n")
    done = stockade("policy", "check", "good.textproto", "missing.textproto", "bad.textproto")
    assert done.returncode == 3
    assert done.stderr.startswith("stockade: missing.textproto: cannot read the policy: ")
    assert "bad.textproto:1:7: error: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 policies checked: 1 error")


def test_a_text_whose_layout_would_be_too_long(check: Check) -> None:
    found = check("tested_with{};" * 70_000 + "\n", "--arch", "x86_64")
    assert (found.returncode, found.stderr) == (0, "")
    assert "hint: in canonical layout it would be longer than 1 MiB" in found.stdout


def test_verbose_says_why_libseccomp_was_not_asked(check: Check) -> None:
    text = (
        '\nsyscalls {\n  rules { syscall: "ioctl" when { argument: 1 equal: "1" } action: ALLOW }\n'
        '  rules { syscall: "ioctl" action: ERRNO errno: "EIO" }\n}\n'
    )
    assert "libseccomp was not asked about ioctl" not in check(text).stdout
    done = check(text, "--verbose", "--arch", "x86_64")
    assert "p.textproto: hint: libseccomp was not asked about ioctl on x86_64: its rules give different" in done.stdout
    assert "aarch64" not in done.stdout


def test_without_pyseccomp_it_says_so(check: Check, public_tmp: Path) -> None:
    (public_tmp / "pyseccomp.py").write_text("raise ImportError('taken away')\n")
    (public_tmp / "p.textproto").write_text(HEAD)
    environment = check._stockade.environment()
    path = f"{public_tmp}:{environment.get('PYTHONPATH', '')}"
    done = check._stockade("policy", "check", "p.textproto", env={"PYTHONPATH": path})
    assert done.returncode == 0
    assert "p.textproto: hint: no second opinion: " in done.stdout


def test_a_filter_that_does_something_else_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such filter is known, so both comparisons are made to say that there is one."""
    policy = Policy.from_text(HEAD)

    def levels() -> set[tuple[str, str]]:
        found = review.Review(policy, "p", ("x86_64",), verbose=False).findings()
        return {(finding.level, finding.code) for finding in found}

    assert not {level for level, _ in levels()} & {"error"}
    difference = Difference("read", 0, 0, (0,) * 6, 1, 2)
    opinion = SecondOpinion("x86_64", ("read",), 0, (), (difference,), 1)
    monkeypatch.setattr(review, "compare", lambda *_: opinion)
    assert levels() == {("error", "second-opinion")}

    def fail(*_: object) -> int:
        raise MonitorError("the filter does something else")

    monkeypatch.setattr(review, "check_program", fail)
    assert levels() == {("error", "second-opinion"), ("error", "self-check")}


def test_every_danger_of_the_schema_has_a_meaning() -> None:
    """A switch that the schema gets later must not break the command."""
    fields, values = set(), set()
    descriptors = list(policy_pb2.DESCRIPTOR.message_types_by_name.values())
    for descriptor in descriptors:
        fields |= {field.name for field in descriptor.fields if field.name.startswith("danger_")}
        values |= {
            value.name for enum in descriptor.enum_types for value in enum.values if value.name.startswith("DANGER")
        }
        descriptors += descriptor.nested_types
    assert fields - {"danger_reopened"} | values == set(MEANINGS)


def test_dangers_of_every_kind() -> None:
    bind = 'bind { source: "/tmp" kind: DIRECTORY writable: true danger_executable: true }'
    policy = Policy.from_text(
        HEAD + 'syscalls { groups { name: "danger_mmap_with_exec" } danger_reopened: "perf" }\n'
        f'filesystem {{ mounts {{ target: "/a" {bind} }} }}\n'
    )
    found = {danger.text.partition(":")[0] for danger in dangers_in(policy.message, policy.places)}
    assert found == {"the group danger_mmap_with_exec", "danger_reopened perf", "danger_executable"}


@pytest.mark.parametrize(
    ("conditions", "high"),
    [
        ("", True),
        ('when { argument: 2 equal: "PROT_READ" }', False),
        ('when { argument: 2 equal: "PROT_READ|PROT_EXEC" }', True),
        ('when { argument: 2 no_bits_outside: "PROT_READ|PROT_WRITE" }', False),
        ('when { argument: 2 no_bits_outside: "PROT_READ|PROT_EXEC" }', True),
        ('when { argument: 2 masked { mask: "PROT_EXEC" value: "0" } }', False),
        ('when { argument: 2 masked { mask: "PROT_WRITE" value: "0" } }', True),
        ('when { argument: 2 less: "4" }', False),
        ('when { argument: 2 less_or_equal: "4" }', True),
        ('when { argument: 2 not_equal: "4" }', True),
        ('when { argument: 0 equal: "0" } when { argument: 2 less: "4" }', False),
    ],
)
def test_the_risk_of_a_rule_is_that_of_its_worst_call(conditions: str, high: bool) -> None:
    text = f'{HEAD}syscalls {{ rules {{ syscall: "mprotect" {conditions} action: ALLOW }} }}'
    rules = [rule for rule in Policy.from_text(text).resolve("x86_64").rules if rule.syscall == "mprotect"]
    assert (worst(rules[0]).level == HIGH) is high
