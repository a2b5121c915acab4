"""How a run ended, as plain data: what the monitor hands to the public result."""

from __future__ import annotations

import enum
import resource
from dataclasses import dataclass, field

from stockade._proto import report_pb2
from stockade.monitor.recorder import FlightRecorder


class Status(enum.IntEnum):
    """Final status of a run. The numbers are those of report.proto."""

    OK = report_pb2.STATUS_OK
    VIOLATION = report_pb2.STATUS_VIOLATION
    SIGNALED = report_pb2.STATUS_SIGNALED
    TIMEOUT = report_pb2.STATUS_TIMEOUT
    LIMIT = report_pb2.STATUS_LIMIT
    EXTERNAL_KILL = report_pb2.STATUS_EXTERNAL_KILL
    SETUP_ERROR = report_pb2.STATUS_SETUP_ERROR
    INTERNAL_ERROR = report_pb2.STATUS_INTERNAL_ERROR

    @property
    def message_value(self) -> report_pb2.Status:
        """The value of the same name in report.proto."""
        return self.value


class Cause(enum.Enum):
    """Why we killed a run ourselves."""

    KILL = "kill"
    TERMINATE = "terminate"
    INTERRUPT = "interrupt"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class KillReason:
    """Who ended the run, and, for a limit, its name with the allowed and the measured value."""

    cause: Cause
    name: str = ""
    allowed: float = 0.0
    measured: float = 0.0


@dataclass(frozen=True, slots=True)
class SetupFailure:
    """A step of the set-up that failed: what `SetupError` is made from."""

    step: str
    errno: int = 0
    path: str = ""
    detail: str = ""


@dataclass(slots=True)
class Outcome:
    """What came out of one run."""

    status: Status
    exit_code: int = 0
    signal: int = 0
    si_code: int = 0
    fault_address: int = 0
    core: bool = False
    kill: KillReason | None = None
    setup: SetupFailure | None = None
    internal: str = ""
    violation_kind: report_pb2.Violation.Kind = report_pb2.Violation.KIND_UNSPECIFIED
    violations: list[report_pb2.Violation] = field(default_factory=list)
    violations_dropped: int = 0
    logged: list[report_pb2.LoggedCall] = field(default_factory=list)
    advisory_hooks: list[str] = field(default_factory=list)
    wall_time: float = 0.0
    setup_time: float = 0.0
    rusage: resource.struct_rusage | None = None
    processes: int = 0
    threads: int = 0
    user_verdict: str = ""
    recorder: FlightRecorder | None = None
    stacks: list[report_pb2.ThreadStack] = field(default_factory=list)
    trace_summary: report_pb2.TraceSummary | None = None
    # Threads of this process that were left behind in hooks that did not return.
    abandoned_threads: int = 0

    @property
    def returncode(self) -> int:
        """As in subprocess: the exit code, -signal, -31 for a violation, -9 for what we killed; 0 only for OK.

        -15 when `terminate` ended the program by SIGTERM.
        """
        if self.status is Status.OK:
            return self.exit_code
        if self.status is Status.VIOLATION:
            return -31
        return -(self.signal or 9)
