"""Explanations: what a policy allows in words, and what it says about one call, also when arguments are left open."""

from __future__ import annotations

import re

import pytest

from stockade import Policy, PolicyBuilder, arg
from stockade.errors import PolicyError
from stockade.kernel.architectures import X86_64
from stockade.policy import profiles
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.evaluate import DecidedBy
from stockade.policy.expected import expected_value
from stockade.policy.groups import GROUPS
from stockade.policy.meaning import explain_call as module
from stockade.policy.meaning.domain import TooHardError
from stockade.policy.meaning.explain import explain, explain_call
from stockade.policy.rules import Kind


def builder() -> PolicyBuilder:
    return (
        PolicyBuilder("tool", "does its work")
        .allow_read()
        .allow_syscall("ioctl", arg(1).one_of("TCGETS", "FIONREAD"), reason="asks for the terminal")
        .block_syscall_with_errno("ioctl", "ENOTTY", overridable=True)
        .allow_syscalls("getcwd", "rename", "renameat2")
        .trace("openat", "ask")
        .kill_syscall("unlink")
    )


# --- whole policies ---


def lines(policy: Policy, title: str) -> tuple[str, ...]:
    section = explain(policy, "x86_64").section(title)
    return section.lines if section is not None else ()


def test_groups_and_rules_are_said_in_words() -> None:
    policy = builder().build()
    assert lines(policy, "Groups") == (f"read: {GROUPS['read'].meaning}",)
    own = lines(policy, "Allowed by rules of its own")
    assert own[:2] == ("getcwd", "rename: rename, renameat2")
    assert own[2].startswith("ioctl when request is TCGETS or FIONREAD, because: asks for the terminal (allow_syscall(")
    assert lines(policy, "Answered with an error number") == ("ENOTTY: ioctl",)
    assert lines(policy, "Decided by hooks") == ("ask: openat",)
    assert lines(policy, "Violations on purpose") == ("unlink",)
    assert lines(policy, "What nothing decides") == ("A call that nothing below decides is a violation.",)
    assert "ptrace" in lines(policy, "Always refused")[0]
    assert lines(policy, "Network") == ("None: nothing can be reached.",)
    assert lines(policy, "Dangers") == ()


def test_a_rule_that_decides_nothing_is_not_listed() -> None:
    made = builder().block_syscall_with_errno("read", "EIO", overridable=True)
    made = made.allow_syscall("lseek", arg(2) < 10).allow_syscall("lseek", arg(2) > 4)
    policy = made.block_syscall_with_errno("lseek", "EIO", arg(0) == 1, overridable=True).build()
    assert lines(policy, "Answered with an error number") == ("ENOTTY: ioctl",)


def test_dangers_come_first() -> None:
    policy = Policy.from_text(
        """
        schema_version: 1
        syscalls {
          default_action { action: ALLOW danger_allow_all: true }
          groups { name: "danger_mmap_with_exec" }
          danger_reopened: "ptrace"
        }
        filesystem { mounts { target: "/w" tmpfs { danger_executable: true } } }
        network { mode: DANGER_HOST }
        options { danger_speculation: true danger_share_namespace: "ipc" optional_layer: "landlock" }
        """
    )
    found = explain(policy, "x86_64")
    assert found.sections[0].title == "Dangers"
    text = " ".join(found.sections[0].lines)
    for word in ("danger_allow_all", "ptrace", "mmap_with_exec", '"/w"', "network of the host", "ipc", "landlock"):
        assert word in text
    assert "speculative" in text
    refused = found.section("Always refused")
    assert refused is not None and "ptrace" not in refused.lines[0]


def test_files_limits_and_box() -> None:
    policy = Policy.from_text(
        """
        schema_version: 1
        filesystem {
          mounts { target: "/d" bind { source: "/srv" kind: DIRECTORY if_exists: true } }
          libraries_for_binary: "/bin/true" python: "/usr/bin/python3"
        }
        network { mode: BROKERED allow { address: "example.org" port: "443" } refuse_quietly: true }
        limits { wall_time: "5s" processes: 3 }
        options { hostname: "box" fake_root: true }
        """
    )
    assert lines(policy, "Files") == (
        "The root is empty and read-only.",
        '"/bin/true" with its loader and libraries, read-only',
        'the Python interpreter "/usr/bin/python3" with all that it needs, read-only',
        '"/d" (directory "/srv", read-only), if the host has it',
    )
    assert lines(policy, "Network")[1:] == ('"tcp example.org port 443"', "Other connections are answered with EACCES.")
    assert lines(policy, "Limits") == ("wall_time: 5s", "processes: 3")
    assert "uid 0" in lines(policy, "Box")[1]


@pytest.mark.parametrize("name", profiles.names())
@pytest.mark.parametrize("width", [40, 100])
def test_ready_made_policies(name: str, width: int) -> None:
    policy = Policy.profile(name)
    text = policy.explain(architecture="x86_64").to_text(width)
    assert name in text.splitlines()[0]
    assert all(len(line) <= width for line in text.splitlines())
    assert all(f"  {group.name}" in text for group in policy.message.syscalls.groups)


def test_hostile_text_is_escaped() -> None:
    policy = Policy.from_text(
        r"""
        schema_version: 1
        name: "x"
        description: "\033[2J"
        syscalls { rules { syscall: "getcwd" when { argument: 1 equal: "1" } action: ALLOW reason: "\033[1m\nx" } }
        filesystem { mounts { target: "/a\033[3m" tmpfs {} } }
        limits { wall_time: "\033[4m" }
        """,
        "evil\x1b[5m.textproto",
    )
    shown = policy.explain().to_text() + policy.explain("getcwd").to_text() + policy.explain("chdir").to_text()
    assert "\x1b" not in shown
    assert all(f"\\x1b[{digit}" in shown for digit in (1, 2, 3, 4, 5))


# --- one call ---


def test_a_call_that_is_allowed() -> None:
    found = explain_call(builder().build(), "ioctl", (0, "TCGETS", 0), "x86_64")
    (case,) = found.cases
    assert found.verdict is case.verdict and case.verdict.permits
    assert not case.example
    assert case.place.startswith('allow_syscall("ioctl"')
    assert "TCGETS" in case.rule
    assert (case.nearest, case.change, case.wider) == (None, None, None)
    assert case.risk.level == "low"


def test_a_call_that_is_refused_says_what_would_change_it() -> None:
    policy = builder().build()
    found = explain_call(policy, "socket", ("AF_UNIX", "SOCK_STREAM", 0), "x86_64")
    (case,) = found.cases
    assert case.verdict.decided_by is DecidedBy.DEFAULT
    assert case.change is not None
    assert (
        case.change.builder_call
        == '.allow_syscall("socket", arg(0) == "AF_UNIX", arg(1) == "SOCK_STREAM", arg(2) == 0)'
    )
    text = found.to_text(60)
    assert case.change.builder_call.split(",")[0] in text.replace("\n", " ")
    assert "a violation" in text


def test_the_nearest_rule_is_named() -> None:
    policy = PolicyBuilder().allow_syscall("ioctl", arg(1) == "TCGETS").build()
    (case,) = explain_call(policy, "ioctl", (0, "TCSETS", 0), "x86_64").cases
    assert case.nearest is not None and "wants TCGETS" in case.nearest.difference
    text = explain_call(policy, "ioctl", (0, "TCSETS", 0)).to_text(80)
    assert "nearest" in text and "wants TCGETS" in text


def test_an_always_refused_call_says_why() -> None:
    (case,) = explain_call(builder().build(), "ptrace").cases
    assert case.verdict.decided_by is DecidedBy.REFUSED
    assert (case.rule, case.place) == ("", "always refused")
    assert case.change is not None and "always refused" in case.change.refused_because


def test_open_arguments_are_cases_and_not_zero() -> None:
    policy = builder().build()
    found = explain_call(policy, "ioctl", (), "x86_64")
    assert found.verdict is None
    requests = {case.call.args[1]: case.verdict.action.kind for case in found.cases}
    assert requests[0x5401] is Kind.ALLOW
    assert requests[0x5412] is Kind.KILL
    assert Kind.ERRNO in requests.values()
    assert all(case.example for case in found.cases)
    assert "it depends on the arguments" in found.to_text()
    resolved = policy.resolve("x86_64")
    for case in found.cases:
        assert policy.evaluate("ioctl", case.call.args, "x86_64") == case.verdict
        data = SeccompData(case.call.number, X86_64.audit_token, case.call.args)
        assert run(policy.compile("x86_64"), data) == expected_value(resolved, case.verdict)


@pytest.mark.parametrize("args", [(None, "TCGETS"), ("_", "TCGETS"), (5, 0x5401)])
def test_arguments_that_settle_it_make_one_case(args: tuple[int | str | None, ...]) -> None:
    (case,) = explain_call(builder().build(), "ioctl", args, "x86_64").cases
    assert case.verdict.permits
    assert case.text == f"ioctl(fd={'5' if args[0] == 5 else '…'}, request=TCGETS, arg=…)"


def test_upper_bits_of_a_given_register_do_not_count() -> None:
    (case,) = explain_call(builder().build(), "ioctl", (None, 0xDEADBEEF00005401), "x86_64").cases
    assert case.verdict.permits
    assert case.call.args[1] == 0xDEADBEEF00005401
    (case,) = explain_call(builder().build(), "ioctl", (-100, "TCGETS"), "x86_64").cases
    assert case.call.args[0] == (1 << 64) - 100


def test_a_call_without_rules_is_one_case() -> None:
    (case,) = explain_call(builder().build(), "getpid").cases
    assert case.text == "getpid()"
    (case,) = explain_call(builder().build(), "rename").cases
    assert case.text == "rename(oldpath=…, newpath=…)"
    assert not case.example


def test_unknown_numbers() -> None:
    (case,) = explain_call(builder().build(), 9999).cases
    assert case.verdict.decided_by is DecidedBy.UNKNOWN_NUMBER
    (case,) = explain_call(builder().build(), 1 << 30 | 1, architecture="x86_64").cases
    assert case.verdict.decided_by is DecidedBy.X32


WRONG: list[tuple[tuple[str, tuple[int | str | None, ...]], str]] = [
    (("opanat", ()), "did you mean 'openat'"),
    (("open", ()), "a call of x86_64"),
    (("ioctl", (0, "TCGETZ")), "did you mean TCGETX"),
    (("close", (1, 2)), "close has 1 arguments"),
    (("close", (1 << 64,)), "64 bits"),
    (("close", ("1|",)), "argument 0 of close"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_cannot_be_asked(call: tuple[str, tuple[int | str | None, ...]], words: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(words)):
        explain_call(builder().build(), *call, architecture="aarch64")


def test_arguments_without_a_call() -> None:
    with pytest.raises(PolicyError, match="without a system call"):
        builder().build().explain(None, (1,))  # type: ignore[call-overload]


def test_rules_that_are_too_entangled_to_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*parts: object, **options: object) -> None:
        raise TooHardError("no")

    monkeypatch.setattr(module, "common_call", give_up)
    with pytest.raises(PolicyError, match="give all arguments"):
        explain_call(builder().build(), "ioctl")
    assert explain_call(builder().build(), "ioctl", (0, 0, 0)).verdict is not None


def test_raw_filters_count_and_are_mentioned() -> None:
    policy = Policy.from_text(
        'schema_version: 1 syscalls { groups { name: "read" } raw_filters { syscall: "read" assembly: "ret kill" } }'
    )
    found = explain_call(policy, "read")
    assert found.verdict is not None and not found.verdict.permits
    assert "raw filter" in found.to_text()
    assert "raw filter" in " ".join(lines(policy, "Raw filters"))
    assert explain_call(policy, "read", (0, 0, 0)).notes == ()
