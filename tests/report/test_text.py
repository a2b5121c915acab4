"""The report as text: every kind of violation and every end of a run, at several widths, with hostile content."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from stockade._proto import report_pb2
from stockade.report.text import ending, format_report
from stockade.wrap import cells

Violation = report_pb2.Violation
WIDTHS = [40, 60, 100]
HOSTILE = "\x1b]0;owned\x07\r\n\u202edrawkcab\x9b31m\u200b"
RULE = 'rules { syscall: "socket" when { argument: 0 equal: "AF_UNIX" } action: ALLOW }'
BUILDER = (
    '.allow_syscall("socket", arg(0) == "AF_INET", arg(1) == "SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK", arg(2) == 0)'
)


def violation(kind: Violation.Kind, **fields: object) -> Violation:
    """A violation with everything that a monitor fills in."""
    made = Violation(
        kind=kind,
        syscall="socket",
        number=41,
        architecture="x86_64",
        arguments=[
            report_pb2.Argument(name="domain", text="AF_INET"),
            report_pb2.Argument(name="type", text="SOCK_STREAM"),
        ],
        pid=4711,
        tid=4712,
        inner_pid=2,
        program="/usr/bin/tool",
        module="/usr/lib/x86_64-linux-gnu/libc.so.6",
        module_offset=0x10F5A2,
        nearest_rule=report_pb2.NearestRule(rule=RULE, place="my.textproto:12", difference="argument 0 is AF_INET"),
        patch=report_pb2.Patch(builder_call=BUILDER, text_line=RULE, risk="high", risk_reason="it reaches the network"),
        count=3,
        summary="a summary",
    )
    made.MergeFrom(Violation(**fields))  # type: ignore[arg-type]
    return made


def report(*violations: Violation, **fields: object) -> report_pb2.Report:
    """A report of a run that breached its policy."""
    made = report_pb2.Report(
        schema_version=1,
        status=report_pb2.STATUS_VIOLATION,
        returncode=-31,
        argv=["tool", "an argument"],
        policy_name="mine",
        mode="enforce",
        violations=violations,
    )
    made.MergeFrom(report_pb2.Report(**fields))  # type: ignore[arg-type]
    return made


KINDS = {
    "syscall": (violation(Violation.SYSCALL), "the policy does not allow it"),
    "foreign": (
        violation(Violation.ARCHITECTURE, architecture="i386"),
        "the call came through the foreign ABI i386, which is never allowed",
    ),
    "hook": (
        violation(Violation.HOOK, hook="ask", hook_message="not on a Sunday"),
        'the hook "ask" refused the call: not',
    ),
    "slow hook": (
        violation(Violation.HOOK_TIMEOUT, hook="ask"),
        'the hook "ask" did not decide about the call in time',
    ),
    "network": (violation(Violation.NETWORK, object="192.0.2.1:443"), "the policy does not allow this destination"),
    "path": (violation(Violation.PATH, object="/etc/shadow"), "the policy does not allow this path"),
}


def unwrapped(text: str) -> str:
    """Undo the wrapping."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_violation(kind: str, width: int) -> None:
    made, why = KINDS[kind]
    text = format_report(report(made), width)
    assert why in unwrapped(text)
    assert unwrapped(text).startswith('tool was killed: it breached the policy "mine" Violation: ')
    assert "/usr/bin/tool, pid 4711 (2 in the box), thread 4712" in unwrapped(text)
    assert "libc.so.6+0x10f5a2" in text.replace("\n            ", "")
    assert f"my.textproto:12: {RULE}" in unwrapped(text) and "argument 0 is AF_INET" in unwrapped(text)
    assert BUILDER in unwrapped(text) and unwrapped(text).count(RULE) == 2
    assert "risk high: it reaches the network" in unwrapped(text)
    assert "repeated 3 times in all" in unwrapped(text)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_lines_fit_but_for_words_of_suggestions(kind: str, width: int) -> None:
    for line in format_report(report(KINDS[kind][0]), width).splitlines():
        too_wide = cells(line) > width
        assert not too_wide or (line.startswith("    ") and " " not in line.strip()), line


def test_objects_stand_for_calls_that_have_one() -> None:
    assert "Violation: /etc/shadow\n" in format_report(report(KINDS["path"][0]))
    assert "Violation: 192.0.2.1:443\n" in format_report(report(KINDS["network"][0]))


def test_unknown_kind_and_empty_violation() -> None:
    text = format_report(report(Violation(summary="something odd"), Violation()))
    assert "Violation 1 of 2: something odd\n  why       something odd\n  program   unknown, pid 0\n" in text
    assert "Violation 2 of 2: something that the policy does not allow\n" in text


def test_no_change_is_offered_for_what_is_always_refused() -> None:
    made = violation(Violation.SYSCALL)
    made.ClearField("patch")
    made.nearest_rule.CopyFrom(report_pb2.NearestRule(place="always refused", difference="it controls other processes"))
    made.patch.refused_because = "ptrace is always refused"
    text = format_report(report(made))
    assert "refused in every policy" in text
    assert "  rule      always refused: it controls other processes\n" in text
    assert "  no change ptrace is always refused\n" in text
    assert "to allow it" not in text


def test_no_rule_is_near_and_a_single_form() -> None:
    made = Violation(kind=Violation.SYSCALL, syscall="getcwd", pid=1, tid=1, count=1)
    made.patch.builder_call = '.allow_syscall("getcwd")'
    text = format_report(report(made))
    assert "  rule      no rule is near\n" in text
    assert '  to allow it:\n    .allow_syscall("getcwd")\n' in text
    assert "repeated" not in text and "thread" not in text


def test_refused_calls_of_a_program_that_went_on() -> None:
    made = report(violation(Violation.SYSCALL), mode="refuse", status=report_pb2.STATUS_OK, violations_dropped=5)
    made.returncode = 0
    text = format_report(made)
    assert text.startswith("tool ended with exit code 0; 8 calls were refused on the way\n\nViolation 1 of 6: socket(")
    assert "answered with EPERM" in unwrapped(text)
    assert "5 further violations were counted but not kept." in text


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (report_pb2.STATUS_OK, {"exit_code": 3}, "tool ended with exit code 3"),
        (report_pb2.STATUS_VIOLATION, {}, 'tool was killed: it breached the policy "mine"'),
        (
            report_pb2.STATUS_SIGNALED,
            {"signal": 11, "si_code": 1, "fault_address": 0xDEAD},
            "tool died of SIGSEGV at address 0xdead",
        ),
        (report_pb2.STATUS_SIGNALED, {"signal": 11, "si_code": -6}, "tool died of SIGSEGV"),
        (report_pb2.STATUS_SIGNALED, {"signal": 63}, "tool died of signal 63"),
        (report_pb2.STATUS_TIMEOUT, {"limit": "wall_time"}, "tool was killed: its time was up (limit wall_time)"),
        (report_pb2.STATUS_LIMIT, {"limit": "output"}, "tool was killed: it reached the limit output"),
        (report_pb2.STATUS_EXTERNAL_KILL, {"killed_by": "interrupt"}, "tool was killed from outside (interrupt)"),
        (report_pb2.STATUS_SETUP_ERROR, {"step": "exec"}, "tool was not started: the step exec failed"),
        (
            report_pb2.STATUS_INTERNAL_ERROR,
            {"internal": "KeyError"},
            "tool was killed, because stockade itself failed: KeyError",
        ),
        (report_pb2.STATUS_UNSPECIFIED, {}, "tool has not ended"),
    ],
)
def test_every_end(status: report_pb2.Status, reason: dict[str, int | str], expected: str) -> None:
    made = report(reason=report_pb2.Reason(**reason))  # type: ignore[arg-type]
    made.status, made.returncode = status, 3
    assert ending(made) == expected
    assert format_report(made, prefix="stockade: ") == f"stockade: {expected}\n"


def test_setup_failure() -> None:
    failure = report_pb2.SetupFailureReport(step="exec", errno=2, path="/bin/x", hint="add it")
    text = format_report(report(status=report_pb2.STATUS_SETUP_ERROR, setup_failure=failure))
    assert text.endswith(
        "Set-up failure\n  step      exec\n  object    /bin/x\n"
        "  error     No such file or directory (ENOENT)\n  remedy    add it\n"
    )


@pytest.mark.parametrize(
    ("name", "allowed", "measured", "expected"),
    [
        ("wall_time", 0.5, 0.5123, "allowed 0.5 s, measured 0.512 s"),
        ("wall_time", 86400, 86400.7, "allowed 86400 s, measured 86401 s"),
        ("output", 1 << 26, (1 << 26) + 1, "allowed 64M bytes, measured 67108865 bytes"),
        ("processes", 5, 6, "allowed 5, measured 6"),
    ],
)
def test_limits(name: str, allowed: float, measured: float, expected: str) -> None:
    limit = report_pb2.LimitReached(name=name, allowed=allowed, measured=measured)
    assert f"\nLimit {name}: {expected}\n" in format_report(report(limit=limit))


def test_notes() -> None:
    layers = [
        report_pb2.Layer(name="seccomp", state=report_pb2.Layer.IN_FORCE, detail="1 filter"),
        report_pb2.Layer(name="groups", state=report_pb2.Layer.DEGRADED, detail="kept: 5"),
        report_pb2.Layer(name="cgroup", state=report_pb2.Layer.LOST, detail="none here"),
        report_pb2.Layer(name="landlock", state=report_pb2.Layer.NOT_ASKED),
    ]
    logged = [report_pb2.LoggedCall(syscall="openat", count=2, example='openat(AT_FDCWD, "/x")')]
    text = format_report(report(layers=layers, advisory_hooks=["ask"], logged=logged), 200)
    assert "\nDegraded layers: groups (kept: 5); cgroup (none here)\n" in text
    assert "\nAdvisory hooks: ask. They decided by memory" in text
    assert '\nRecorded and allowed: openat 2 times (for example openat(AT_FDCWD, "/x"))\n' in text
    assert "landlock" not in text


def _fill(message: Message) -> None:
    """Put hostile text into every text field that has some kind of value, deeply."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, Message):
            _fill(value)
        elif field.message_type is not None:
            for each in value:
                _fill(each)
        elif isinstance(value, str) and field.containing_oneof is None:
            setattr(message, field.name, HOSTILE)
        elif field.cpp_type == field.CPPTYPE_STRING and not isinstance(value, str):
            value[:] = [HOSTILE, HOSTILE]


@pytest.mark.parametrize("width", [*WIDTHS, 1])
def test_hostile_text_in_every_field(width: int) -> None:
    made = report(
        *(made for made, _ in KINDS.values()),
        layers=[report_pb2.Layer(name="x", state=report_pb2.Layer.LOST)],
        logged=[report_pb2.LoggedCall(count=1)],
        advisory_hooks=["x"],
        setup_failure=report_pb2.SetupFailureReport(errno=99999),
        limit=report_pb2.LimitReached(name="x", allowed=1, measured=2),
        reason=report_pb2.Reason(killed_by=HOSTILE),
    )
    _fill(made)
    text = format_report(made, width, prefix="")
    assert text.endswith("\n") and "\n\n\n" not in text
    assert all(line.isprintable() for line in text.split("\n"))
