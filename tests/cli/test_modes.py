"""`stockade run` in the modes that go on, with either monitor, with the trace summary and the flight recorder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stockade.request import MONITORS
from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

BODY = """
char text[64];
long made = raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
for (int i = 0; i < 3; i++) raw(SYS_setns, 0, 0, 0, 0, 0, 0);
say(made < 0 ? "refused" : "made");
return 3;
"""


@pytest.fixture
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, name="tool")


@pytest.mark.parametrize("monitor", MONITORS)
def test_permissive(stockade: CommandLine, program: Path, monitor: str) -> None:
    done = stockade.run("--mode", "permissive", "--monitor", monitor, program)
    assert (done.returncode, done.stdout) == (3, "made")
    first = done.stderr.partition("\n\n")[0].replace("\n  ", " ")
    said = "ended with exit code 3; one call would be refused, and happened; 3 calls were refused all the same"
    assert first == f"stockade: {program} {said}"
    assert "it would be refused, and happened" in done.stderr.replace("\n            ", " ")
    assert "Degraded layers: seccomp" in done.stderr and "permissive" in done.stderr


def test_the_neighbouring_modes(stockade: CommandLine, program: Path) -> None:
    assert (stockade.run(program).returncode, stockade.run(program).stdout) == (159, "")
    refused = stockade.run("--mode", "refuse", program)
    assert (refused.returncode, refused.stdout) == (3, "refused")
    assert "4 calls were refused on the way" in refused.stderr


@pytest.mark.parametrize("mode", ["refuse", "permissive"])
@pytest.mark.parametrize("monitor", MONITORS)
def test_fail_on_violation(stockade: CommandLine, program: Path, mode: str, monitor: str) -> None:
    done = stockade.run("--mode", mode, "--monitor", monitor, "--fail-on-violation", program)
    assert done.returncode == 159
    assert done.stdout in ("made", "refused")
    assert stockade.run("--mode", mode, "--monitor", monitor, "--fail-on-violation", "true").returncode == 0


@pytest.mark.parametrize("mode", ["record", "Permissive", ""])
def test_modes_that_are_none(stockade: CommandLine, mode: str) -> None:
    done = stockade.run("--mode", mode, "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--mode" in done.stderr and "permissive" in done.stderr


def test_a_monitor_that_is_none(stockade: CommandLine) -> None:
    done = stockade.run("--monitor", "strace", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--monitor" in done.stderr and "unotify" in done.stderr


def test_the_json_names_mode_monitor_and_what_happened(stockade: CommandLine, program: Path, public_tmp: Path) -> None:
    stockade.run("--mode", "permissive", "--monitor", "unotify", "--json", "result.json", program)
    found = json.loads((public_tmp / "result.json").read_text())
    assert (found["mode"], found["monitor"], found["status"]) == ("permissive", "unotify", "STATUS_OK")
    assert [(each["syscall"], each["allowed"]) for each in found["violations"]] == [("socket", True), ("setns", False)]


# --- the trace summary ---


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_trace_summary_is_a_table_on_standard_error(stockade: CommandLine, program: Path, columns: str) -> None:
    words = ("--mode", "permissive", "--no-report", "--trace-summary", program)
    done = stockade.run(*words, env={"COLUMNS": columns})
    assert (done.returncode, done.stdout) == (3, "made")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("stockade: traced calls: 4 calls, ")
    rows = {line.split()[0]: line.split() for line in lines if line.startswith("  ")}
    assert rows["call"][:3] == ["call", "count", "errors"]
    assert rows["socket"][1] == "1"
    assert rows["setns"][1:3] == ["3", "3"]
    assert "Slowest:" in lines
    assert all(len(line) <= int(columns) for line in lines)


def test_with_a_report_it_is_a_part_of_that(stockade: CommandLine, program: Path) -> None:
    done = stockade.run("--mode", "refuse", "--trace-summary", program)
    assert done.stderr.count("raced calls: 4 calls") == 1
    assert "\n\nTraced calls: 4 calls" in done.stderr


def test_it_is_there_for_programs_about_which_nothing_is_to_be_said(stockade: CommandLine) -> None:
    done = stockade.run("--trace-summary", "echo", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "stockade: traced calls: none\n")
    assert stockade.run("echo", "x").stderr == ""


def test_it_is_in_the_json(stockade: CommandLine, program: Path, public_tmp: Path) -> None:
    stockade.run("--mode", "refuse", "--no-report", "--trace-summary", "--json", "result.json", program)
    summary = json.loads((public_tmp / "result.json").read_text())["trace_summary"]
    assert {row["syscall"]: row["count"] for row in summary["calls"]} == {"socket": "1", "setns": "3"}
    stockade.run("--json", "other.json", "true")
    assert json.loads((public_tmp / "other.json").read_text()).get("trace_summary") is None


def test_the_other_monitor_cannot_measure(stockade: CommandLine) -> None:
    done = stockade.run("--monitor", "unotify", "--trace-summary", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "stockade: trace_summary needs the monitor ptrace: unotify does not see calls return\n"


# --- the flight recorder ---


def test_the_last_events_are_shown_when_it_ends_badly(stockade: CommandLine, compile_c: CCompiler) -> None:
    body = "for (int i = 0; i < 5; i++) raw(SYS_setns, i, 0, 0, 0, 0, 0); abort();"
    crashing = main_program(compile_c, body, name="crashing")
    done = stockade.run("--mode", "refuse", crashing)
    assert done.returncode == 134
    assert "\nLast events before the end:\n" in done.stderr
    assert done.stderr.count(" setns(") == 6  # the violation, and five events
    assert "signal SIGABRT, by a process" in done.stderr
    few = stockade.run("--mode", "refuse", "--flight-recorder", "3", crashing).stderr
    assert "\nLast events before the end (4 before them):\n" in few
    assert few.count(" setns(") == 2
    assert "Last events" not in stockade.run("--mode", "refuse", "--flight-recorder", "0", crashing).stderr
    assert "Last events" not in stockade.run("--mode", "refuse", "true").stderr


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("few", "--flight-recorder 'few': write a whole number of events"),
        ("-1", "--flight-recorder '-1': write a whole number of events"),
        ("9" * 5000, "write a whole number of events"),
        ("65537", "flight_recorder is from 0 to 65536 events, not 65537"),
    ],
)
def test_sizes_that_make_no_sense(stockade: CommandLine, size: str, message: str) -> None:
    done = stockade.run("--flight-recorder", size, "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert message in done.stderr
