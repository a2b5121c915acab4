"""Exit codes of `stockade run`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from stockade.errors import SandboxError, SetupError
from stockade.result import Status

if TYPE_CHECKING:
    from stockade.result import Result

TIME_LIMIT = 124
OWN_ERROR = 125
CANNOT_EXECUTE = 126
NOT_FOUND = 127
SIGNAL_BASE = 128
AMOUNT_LIMIT = 137
VIOLATION = 159
_KILLED = SIGNAL_BASE + 9
# Steps at which it is the program, or what it needs to start, that is missing or cannot be executed.
_PROGRAM_STEPS = ("exec", "find_program", "find_libraries")


def of_result(result: Result, *, fail_on_violation: bool) -> int:
    """Return the exit code for a run that came to an end."""
    if fail_on_violation and result.violations:
        return VIOLATION
    match result.status:
        case Status.OK:
            return result.exit_code or 0
        case Status.SIGNALED:
            return SIGNAL_BASE + (result.signal or 0)
        case Status.VIOLATION:
            return VIOLATION
        case Status.TIMEOUT:
            return TIME_LIMIT
        case Status.LIMIT:
            return AMOUNT_LIMIT
        case Status.EXTERNAL_KILL:
            return _KILLED
        case _:
            return OWN_ERROR


def of_error(error: SandboxError) -> int:
    """Return the exit code for a run that did not come about, or that we failed ourselves."""
    if isinstance(error, SetupError) and error.step in _PROGRAM_STEPS:
        return NOT_FOUND if error.errno == errno.ENOENT else CANNOT_EXECUTE
    return OWN_ERROR
