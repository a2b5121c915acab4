"""Why a process may not be traced: the text for each cause. The scopes of Yama cannot be set here; their files can."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stockade.errors import UnsupportedError
from stockade.failures import error_of
from stockade.host.remedies import remedy
from stockade.host.tracing import explain_refused_tracing
from stockade.monitor.outcome import SetupFailure
from stockade.policy.box.filesystem import plan
from stockade.policy.policy import Policy


def make_proc(directory: Path, *, tracer: int = 0, scope: str | None = None, name: str | None = None) -> Path:
    """A /proc with one process, 77, and what is asked."""
    (directory / "77").mkdir()
    (directory / "77" / "status").write_text(f"Name:\tprogram\nTracerPid:\t{tracer}\nUid:\t0\n")
    if name is not None:
        (directory / str(tracer)).mkdir()
        (directory / str(tracer) / "comm").write_text(name + "\n")
    if scope is not None:
        (directory / "sys/kernel/yama").mkdir(parents=True)
        (directory / "sys/kernel/yama/ptrace_scope").write_text(scope + "\n")
    return directory


def test_another_tracer(tmp_path: Path) -> None:
    text = explain_refused_tracing(77, make_proc(tmp_path, tracer=5, name="gdb", scope="3"))
    assert text == "the program is traced already, by gdb (pid 5), and a process has one tracer only"


def test_a_tracer_that_cannot_be_seen(tmp_path: Path) -> None:
    text = explain_refused_tracing(77, make_proc(tmp_path, tracer=5))
    assert "by a process that cannot be seen from here (pid 5)" in text


def test_a_tracer_with_a_hostile_name(tmp_path: Path) -> None:
    assert "\x1b" not in explain_refused_tracing(77, make_proc(tmp_path, tracer=5, name="\x1b[2Jx"))


@pytest.mark.parametrize(
    ("scope", "word"), [("1", "descendants"), ("2", "CAP_SYS_PTRACE"), ("3", "started again"), ("0", ""), ("x", "")]
)
def test_the_scopes_of_yama(tmp_path: Path, scope: str, word: str) -> None:
    text = explain_refused_tracing(77, make_proc(tmp_path, scope=scope))
    assert (word in text) and bool(text) == bool(word)
    assert not word or f"ptrace_scope is {scope}" in text


def test_a_kernel_without_yama_and_a_process_that_is_gone(tmp_path: Path) -> None:
    assert explain_refused_tracing(77, make_proc(tmp_path)) == ""
    assert explain_refused_tracing(78, tmp_path) == ""
    assert explain_refused_tracing(os.getpid()) == ""


def test_the_error_names_layer_cause_and_remedy() -> None:
    failure = SetupFailure("seize", errno.EPERM, "pid 77", "the program is traced already, by gdb (pid 5)")
    error = error_of(failure, plan(Policy.from_text("schema_version: 1").message))
    assert isinstance(error, UnsupportedError)
    assert error.layer == "ptrace"
    assert "by gdb" in str(error)
    assert error.remedy
    assert "debugger" in error.remedy and "ptrace_scope=1" in error.remedy
    assert remedy("seize", errno.ESRCH) is None
