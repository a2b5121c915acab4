"""--json: the result as the JSON form of report.proto, for every run, also for one that never started.

The file is opened before the program starts: afterwards a program that may write to its directory could have put a
symbolic link in its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade._proto import report_pb2
from stockade.cli.output import say
from stockade.cli.usage import UsageError
from stockade.errors import MonitorError, SandboxError, SetupError
from stockade.result import SCHEMA_VERSION
from stockade.text import escape

if TYPE_CHECKING:
    from stockade.result import Result

_STREAMS = {0: "input", 1: "output"}


class JsonResult:
    """Where the result goes; nowhere when `target` is None. `target` is a path or "fd:N"."""

    def __init__(self, command: str, target: str | None) -> None:
        self._command, self._target = command, target
        # Whether a result could not be written.
        self.failed = False
        self._descriptor = -1 if target is None else self._open(target)

    def write_result(self, result: Result) -> None:
        """Write what came back from a run."""
        if self._descriptor >= 0:
            self._write(result.to_json())

    def write_error(self, error: SandboxError, argv: Sequence[str], mode: str) -> None:
        """Write that the run failed: its result when it has one, else what the error says."""
        if error.result is not None:
            self.write_result(error.result)
        elif self._descriptor >= 0:
            self._write(_to_json(_report_of(error, argv, mode)))

    def write_interrupted(self, argv: Sequence[str], mode: str) -> None:
        """Write that we were told to end before there was a run."""
        if self._descriptor >= 0:
            report = _empty_report(argv, mode)
            report.status, report.reason.killed_by = report_pb2.STATUS_EXTERNAL_KILL, "interrupt"
            self._write(_to_json(report))

    def _open(self, target: str) -> int:
        try:
            if target.startswith("fd:"):
                return self._checked(target.removeprefix("fd:"))
            return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
        except OSError as error:
            raise UsageError(self._command, f"--json {target}: {error.strerror}; choose a file to write to") from None

    def _checked(self, text: str) -> int:
        import fcntl

        if not (text.isascii() and text.isdigit()):
            raise UsageError(self._command, f"--json fd:{text}: write the number of an open descriptor, as in fd:3")
        descriptor = int(text)
        if descriptor in _STREAMS:
            name = _STREAMS[descriptor]
            raise UsageError(self._command, f"--json fd:{text}: it is the program's standard {name}; use fd:3 3>FILE")
        try:
            mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        except (OSError, OverflowError):
            raise UsageError(self._command, f"--json fd:{text}: it is not open; open it with {text}>FILE") from None
        if mode == os.O_RDONLY:
            raise UsageError(self._command, f"--json fd:{text}: it is open for reading only; open it with {text}>FILE")
        os.set_inheritable(descriptor, False)
        return descriptor

    def _write(self, text: str) -> None:
        data = f"{text}\n".encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self.failed = True
            say(f"stockade: --json {self._target}: cannot write the result: {error.strerror}")


def _to_json(report: report_pb2.Report) -> str:
    from google.protobuf import json_format

    return json_format.MessageToJson(
        report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _empty_report(argv: Sequence[str], mode: str) -> report_pb2.Report:
    from stockade import __version__

    shown = [escape(argument) for argument in argv]
    return report_pb2.Report(schema_version=SCHEMA_VERSION, argv=shown, mode=mode, version=__version__, returncode=-9)


def _report_of(error: SandboxError, argv: Sequence[str], mode: str) -> report_pb2.Report:
    report = _empty_report(argv, mode)
    if isinstance(error, MonitorError):
        report.status, report.reason.internal = report_pb2.STATUS_INTERNAL_ERROR, escape(str(error))
        return report
    report.status = report_pb2.STATUS_SETUP_ERROR
    step = error.step if isinstance(error, SetupError) else "policy"
    report.reason.step = report.setup_failure.step = step
    report.setup_failure.errno = (error.errno or 0) if isinstance(error, SetupError) else 0
    report.setup_failure.path = escape(error.path or "")
    report.setup_failure.hint = escape(str(error))
    return report
