"""What a result says about a run: layers as the kernel had them, usage, reasons, the report as message and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from stockade import Executor, Layer, Limits, PolicyBuilder, Result, Status, Syscall, UnsupportedError, Verdict
from stockade._proto import report_pb2
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, static_builder

# Says what the kernel tells about the process: status, namespaces, resource limits.
BODY = r"""
char path[64], text[8192];
const char *names[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"};
for (int i = 0; i < 7; i++) {
    snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
    text[readlink(path, text, sizeof text)] = 0;
    dprintf(1, "ns %s %s\n", names[i], text);
}
int file = open("/proc/self/status", O_RDONLY);
long size = read(file, text, sizeof text);
write(1, text, size);
"""


@pytest.fixture(scope="module")
def looker(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY)


@pytest.fixture(scope="module")
def quiet(compile_c: CCompiler) -> Path:
    return main_program(compile_c, "return argc > 1 ? number_of(argv[1]) : 0;")


def layers(result: Result) -> dict[str, Layer]:
    return {layer.name: layer for layer in result.layers}


def test_layers_are_what_the_program_itself_sees(looker: Path, privileged: bool) -> None:
    result = Executor(everything_builder(looker).add_proc().build()).run([looker], text=True)
    assert result.status is Status.OK, result.violations
    lines = result.stdout.splitlines()
    inside = dict(line.split(" ")[1:] for line in lines if line.startswith("ns "))
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    found = layers(result)
    for short, name in (
        ("user", "user"),
        ("mnt", "mount"),
        ("pid", "pid"),
        ("net", "network"),
        ("ipc", "ipc"),
        ("uts", "uts"),
    ):
        layer = found[f"{name} namespace"]
        assert layer.state == Layer.IN_FORCE
        assert layer.detail.startswith(inside[short])
        assert inside[short] != os.readlink(f"/proc/self/ns/{short}")
    assert status["Seccomp"] == "2"
    count = status["Seccomp_filters"]
    assert found["seccomp"].detail == f"{count} filter; the policy gives up: default deny"
    assert (found["no_new_privs"].detail, status["NoNewPrivs"]) == ("1", "1")
    assert found["capabilities"].state == Layer.IN_FORCE
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert found["monitor"].detail == "ptrace"
    assert status["TracerPid"] == "0"  # the monitor is outside, where the box cannot see it
    assert found["landlock"].state == found["cgroup"].state == Layer.NOT_ASKED
    groups = found["supplementary groups"]
    if privileged:
        assert groups.state == Layer.IN_FORCE
        assert "uid 0 on" not in found["user namespace"].detail
    else:
        assert groups.state == (Layer.DEGRADED if os.getgroups() else Layer.IN_FORCE)
        assert f"uid {os.getuid()} on the host" in found["user namespace"].detail


def test_layers_of_refuse_mode_say_so(quiet: Path) -> None:
    result = Executor(static_builder(quiet).build(), mode="refuse").run([quiet])
    assert layers(result)["seccomp"].state == Layer.DEGRADED
    enforced = Executor(static_builder(quiet).build()).run([quiet])
    assert [layer.name for layer in enforced.layers] == [layer.name for layer in result.layers]


def test_two_runs_share_no_private_namespace(looker: Path) -> None:
    executor = Executor(everything_builder(looker).add_proc().build())
    first, second = (layers(executor.run([looker])) for _ in range(2))
    for name in ("user", "mount", "pid", "ipc", "uts"):
        # Numbers of namespaces that are gone are used again; one run at a time can at least not see itself.
        assert first[f"{name} namespace"].state == second[f"{name} namespace"].state == Layer.IN_FORCE
    with executor.start([looker]) as one, executor.start([looker]) as other:
        pass
    for name in ("user", "mount", "pid", "network", "ipc", "uts", "cgroup"):
        assert layers(one.result)[f"{name} namespace"].detail
        assert layers(other.result)[f"{name} namespace"].detail


def test_usage(compile_c: CCompiler, quiet: Path) -> None:
    body = """
    static char block[32 << 20];
    memset(block, 1, sizeof block);
    struct rusage used;
    do getrusage(RUSAGE_SELF, &used); while (used.ru_utime.tv_usec < 30000 && !used.ru_utime.tv_sec);
    say("12345");
    write(2, "123", 3);
    if (fork() == 0) _exit(0);
    wait(0);
    """
    program = main_program(compile_c, body)
    before = time.monotonic()
    result = Executor(everything_builder(program).build()).run([program])
    elapsed = time.monotonic() - before
    usage = result.usage
    assert usage.user_time >= 0.03
    assert 0 < usage.setup_time < elapsed
    assert usage.user_time + usage.system_time <= usage.wall_time * 2 + 0.1  # two processes, and the kernel's rounding
    assert usage.wall_time + usage.setup_time <= elapsed
    assert 32 << 20 <= usage.peak_rss < 200 << 20
    assert usage.minor_faults > 1000
    assert (usage.processes, usage.threads) == (2, 2)
    assert usage.output_bytes == 8
    small = Executor(static_builder(quiet).build()).run([quiet]).usage
    assert (small.processes, small.threads, small.output_bytes) == (1, 1, 0)
    assert small.peak_rss < 32 << 20


@pytest.mark.parametrize("code", [0, 9])
def test_an_exit(quiet: Path, code: int) -> None:
    result = Executor(static_builder(quiet).build()).run([quiet, str(code)])
    assert (result.status, result.exit_code, result.signal, result.limit) == (Status.OK, code, None, None)
    assert result.reason == report_pb2.Reason(exit_code=code)
    assert isinstance(result, subprocess.CompletedProcess)
    assert repr(result) == f"<Result OK returncode={code} args={[quiet, str(code)]!r}>"


def test_the_report_as_a_message_and_as_json(quiet: Path) -> None:
    policy = PolicyBuilder("my policy").allow_static_startup().allow_exit().add_file(quiet).build()
    before = time.time()
    result = Executor(policy, limits=Limits(wall_time=77, open_files=99)).run([quiet, "5"])
    report = result.to_proto()
    assert (report.schema_version, report.status, report.returncode) == (1, report_pb2.STATUS_OK, 5)
    assert list(report.argv) == [str(quiet), "5"]
    assert (report.policy_name, report.policy_digest) == ("my policy", policy.digest.hex())
    assert (report.mode, report.pid) == ("enforce", result.pid)
    assert before <= report.started_at <= time.time()
    limits = {limit.name: (limit.value, limit.mechanism) for limit in report.limits}
    assert limits["wall_time"] == (77, "clock")
    assert limits["open_files"] == (99, "rlimit")
    assert limits["output"] == (64 << 20, "reader")
    assert result.limits == {name: value for name, (value, _) in limits.items()}
    decoded = json.loads(result.to_json())
    assert decoded["status"] == "STATUS_OK"
    assert decoded["returncode"] == 5
    assert decoded["reason"] == {"exit_code": 5, "si_code": 0, "fault_address": "0", "core": False}
    assert "violations" in decoded


def test_no_status_but_ok_has_return_code_zero(quiet: Path, compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0); raw(SYS_exit_group, 0, 0, 0, 0, 0, 0);")
    assert Executor(static_builder(program).build()).run([program]).returncode == -31
    assert Executor(static_builder(quiet).build()).run([quiet]).returncode == 0


def test_hostile_arguments_are_escaped_in_the_report(quiet: Path) -> None:
    result = Executor(static_builder(quiet).build()).run([quiet, "0", "\x1b[31m\n", b"\xff"])
    assert result.args == [quiet, "0", "\x1b[31m\n", b"\xff"]
    text = result.to_json() + result.report()
    assert "\x1b" not in text
    assert "\\x1b" in " ".join(result.to_proto().argv)


def test_features_that_are_not_enforced_are_refused(quiet: Path) -> None:
    """A policy that asks for what this version cannot do is never run with less."""
    with pytest.raises(UnsupportedError, match="memory"):
        Executor(static_builder(quiet).build(), limits=Limits(memory="1G"))


def test_what_the_monitor_adds(quiet: Path) -> None:
    result = Executor(static_builder(quiet).build()).run([quiet])
    assert (result.monitor, result.user_verdict, result.advisory_hooks) == ("ptrace", None, ())
    assert (result.stacks, result.flight_recorder, result.trace_summary) == ((), (), None)
    assert result.abandoned_threads >= 0
    report = result.to_proto()
    assert (report.monitor, report.user_verdict, list(report.advisory_hooks)) == ("ptrace", "", [])
    assert not report.HasField("trace_summary")
    layers_of_run = layers(result)
    assert layers_of_run["monitor"].detail == result.monitor


def test_a_crash_brings_its_stacks_and_its_last_events(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "*(volatile int *)8 = 1;")
    result = Executor(static_builder(program).build()).run([program])
    assert result.status is Status.SIGNALED
    (stack,) = result.stacks
    assert (stack.tid, stack.frames[0].module) == (result.pid, str(program))
    assert [event.name for event in result.flight_recorder] == ["signal", "exit"]
    report = result.to_proto()
    assert list(report.stacks) == list(result.stacks)
    assert list(report.flight_recorder) == list(result.flight_recorder)
    text = result.report()
    assert f"Stack of thread {result.pid}" in text and "Last events before the end:" in text
    decoded = json.loads(result.to_json())
    assert [event["name"] for event in decoded["flight_recorder"]] == ["signal", "exit"]


def test_a_verdict_of_the_user_is_escaped_where_it_is_shown(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);")
    policy = static_builder(program).trace("getppid", "end").build()
    word = "seen \x1b[31m enough"
    result = Executor(policy, hooks={"end": lambda call: Verdict.finish(word)}).run([program])
    assert (result.status, result.returncode, result.user_verdict) == (Status.EXTERNAL_KILL, -9, word)
    assert result.reason.killed_by == "verdict"
    assert result.to_proto().user_verdict == "seen \\x1b[31m enough"
    assert result.report(300).splitlines()[0].endswith(" was ended by a callback, which said: seen \\x1b[31m enough")
    assert repr(result) == f"<Result EXTERNAL_KILL returncode=-9 user_verdict={word!r} args={[program]!r}>"


def test_hooks_that_can_be_raced_are_named(compile_c: CCompiler) -> None:
    program = main_program(
        compile_c, "raw(SYS_chdir, (long)argv[0], 0, 0, 0, 0, 0); raw(SYS_getppid, 0, 0, 0, 0, 0, 0);"
    )

    def reads(call: Syscall) -> Verdict:
        call.read_string(call.args[0])
        return Verdict.ALLOW

    policy = static_builder(program).trace("chdir", "reads").trace("getppid", "careful").build()
    result = Executor(policy, hooks={"reads": reads, "careful": lambda call: Verdict.ALLOW}).run([program])
    assert result.advisory_hooks == ("reads",)
    assert "\nAdvisory hooks: reads." in result.report()


@pytest.mark.parametrize(
    ("mode", "state"), [("enforce", Layer.IN_FORCE), ("refuse", Layer.DEGRADED), ("permissive", Layer.DEGRADED)]
)
def test_the_layer_says_what_the_mode_takes_from_it(quiet: Path, mode: str, state: Layer.State) -> None:
    result = Executor(static_builder(quiet).build(), mode=mode).run([quiet])
    seccomp = layers(result)["seccomp"]
    assert seccomp.state == state
    assert (f"; {mode}: violations" in seccomp.detail) == (mode != "enforce")
