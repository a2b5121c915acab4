"""The report as text: every kind of violation and every end of a run, at several widths, with hostile content."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from stockade._proto import report_pb2
from stockade.report.text import MAXIMUM_SHOWN, ending, format_report
from stockade.report.trace_summary import format_time
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


def test_calls_that_happened_in_permissive_mode() -> None:
    happened, refused = violation(Violation.SYSCALL, allowed=True), violation(Violation.SYSCALL, count=1)
    made = report(happened, refused, mode="permissive", status=report_pb2.STATUS_OK)
    made.returncode = 0
    text = format_report(made, 200)
    said = "3 calls would be refused, and happened; one call was refused all the same"
    assert text.startswith(f"tool ended with exit code 0; {said}\n\nViolation 1 of 2: socket(")
    assert "the policy does not allow it; it would be refused, and happened\n" in text
    assert "the policy does not allow it; answered with EPERM\n" in text
    del made.violations[1]
    assert ending(made) == "tool ended with exit code 0; 3 calls would be refused, and happened"


def test_many_violations_are_not_all_shown() -> None:
    made = report(*[violation(Violation.SYSCALL)] * (MAXIMUM_SHOWN + 2), mode="refuse", status=report_pb2.STATUS_OK)
    text = format_report(made)
    assert f"Violation {MAXIMUM_SHOWN} of {MAXIMUM_SHOWN + 2}: " in text
    assert f"Violation {MAXIMUM_SHOWN + 1}" not in text
    assert "\n\n2 further violations in the result.\n" in text


def test_a_verdict_of_the_user() -> None:
    made = report(status=report_pb2.STATUS_EXTERNAL_KILL, user_verdict="seen enough")
    made.reason.killed_by = "verdict"
    assert ending(made) == "tool was ended by a callback, which said: seen enough"
    made.user_verdict = ""
    assert ending(made) == "tool was killed from outside (verdict)"


@pytest.mark.parametrize(
    ("monitor", "threads", "notes"),
    [
        ("ptrace", 0, []),
        ("", 0, []),
        ("unotify", 0, ["Monitor: unotify"]),
        ("ptrace", 1, ["One thread of the caller's process is left behind in hooks that did not return"]),
        ("ptrace", 5, ["5 threads of the caller's process are left behind in hooks that did not return"]),
    ],
)
def test_monitor_and_abandoned_threads(monitor: str, threads: int, notes: list[str]) -> None:
    text = format_report(report(monitor=monitor, abandoned_threads=threads), 200)
    assert text.splitlines()[1:] == [line for note in notes for line in ("", note)]


def test_stacks() -> None:
    frames = [
        report_pb2.Frame(module="/usr/lib/libc.so.6", offset=0x10F5A2, symbol="write", found_by="pc"),
        report_pb2.Frame(module="/bin/tool", offset=0x1234, found_by="scan"),
        report_pb2.Frame(address=0xDEAD, found_by="frame pointer"),
    ]
    stacks = [
        report_pb2.ThreadStack(pid=1, tid=2, name="worker", frames=frames),
        report_pb2.ThreadStack(pid=3, tid=3, missing="it was gone"),
        report_pb2.ThreadStack(pid=4, tid=4),
    ]
    text = format_report(report(stacks=stacks), 200)
    assert (
        '\n\nStack of thread 2 "worker" of process 1; perhaps: a word of the stack that looks like a return address:\n'
        "  #0 /usr/lib/libc.so.6+0x10f5a2 (write)\n  #1 /bin/tool+0x1234 (perhaps)\n  #2 0xdead\n"
        "\nStack of thread 3:\n  it was gone\n\nStack of thread 4:\n  no frame was found\n"
    ) in text
    many = format_report(report(stacks=stacks * 10), 200)
    assert many.count("Stack of thread") == 16
    assert "\n14 further threads with stacks in the result.\n" in many


def test_the_flight_recorder() -> None:
    events = [
        report_pb2.FlightEvent(at=1_500_000, tid=7, name="read", text="read(0, 0x7ff0, 5)", answer="ask: allowed"),
        report_pb2.FlightEvent(at=2_000_000_000, tid=8, name="signal", text="SIGSEGV", answer="delivered"),
        report_pb2.FlightEvent(at=2_000_000_001, tid=8, name="exit", text="SIGSEGV"),
    ]
    text = format_report(report(flight_recorder=events, flight_recorder_dropped=9))
    assert text.endswith(
        "\n\nLast events before the end (9 before them):\n  0.001500 7 read(0, 0x7ff0, 5) = ask: allowed\n"
        "  2.000000 8 signal SIGSEGV: delivered\n  2.000000 8 exit SIGSEGV\n"
    )


def _summary() -> report_pb2.TraceSummary:
    made = report_pb2.TraceSummary()
    made.calls.add(syscall="openat", count=123456, errors=12, total_time=1.5, longest_time=0.0123, decision_time=30)
    made.calls.add(syscall="a_very_long_name_of_a_system_call", count=1, total_time=15e-6, longest_time=15e-6)
    made.slowest.add(text="openat(AT_FDCWD, 0x7ffc12345678, O_RDONLY)", time=0.0123, at=500_000_000, tid=4711)
    return made


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (40, "call count total"),
        (60, "call count errors total longest"),
        (80, "call count errors total longest deciding"),
        (120, "call count errors total longest deciding"),
    ],
)
def test_the_trace_summary_at_every_width(width: int, headings: str) -> None:
    text = format_report(report(trace_summary=_summary()), width)
    lines = text.splitlines()
    assert all(cells(line) <= width for line in lines)
    table = lines.index(next(line for line in lines if line.split()[:2] == ["call", "count"]))
    assert " ".join(lines[table].split()) == headings
    assert lines[table + 1].split()[:2] == ["openat", "123456"]
    assert len({len(line) for line in lines[table : table + 2]}) == 1
    assert "12.3 ms openat(AT_FDCWD, 0x7ffc12345678, O_RDONLY), thread 4711, after 500 ms" in unwrapped(text)
    assert "Traced calls: 123457 calls, 30.0 s until they were decided, 1.50 s from then" in unwrapped(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (1e-9, "0.00 us"),
        (4.56e-7, "0.46 us"),
        (9.996e-6, "10.0 us"),
        (0.0004561, "456 us"),
        (0.01, "10.0 ms"),
        (0.99999, "1000 ms"),
        (1, "1.00 s"),
        (12345, "12345 s"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_a_summary_of_nothing_and_of_many() -> None:
    assert format_report(report(trace_summary=report_pb2.TraceSummary())).endswith("\n\nTraced calls: none\n")
    made = report_pb2.TraceSummary(calls=[report_pb2.TracedCall(syscall=f"call_{i}", count=1) for i in range(50)])
    text = format_report(report(trace_summary=made))
    assert "  call_39 " in text and "call_40" not in text
    assert text.endswith("  and 10 more\n")


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
        monitor="x",
        user_verdict="x",
        stacks=[report_pb2.ThreadStack(frames=[report_pb2.Frame()]), report_pb2.ThreadStack(missing="x")],
        flight_recorder=[report_pb2.FlightEvent(text="x")],
        trace_summary=_summary(),
        abandoned_threads=2,
    )
    _fill(made)
    text = format_report(made, width, prefix="")
    assert text.endswith("\n") and "\n\n\n" not in text
    assert all(line.isprintable() for line in text.split("\n"))
