"""What the commands that run no program have in common: their exit codes, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable

from stockade.cli.output import OutputError, fill_standard_streams, say
from stockade.errors import MonitorError, SandboxError

OK = 0
# What was asked about is not as it should be: a finding, a difference, a call that is refused.
FINDING = 1
# The question could not be answered: a policy that cannot be read or used, a file that cannot be written.
ENVIRONMENT = 3
OWN_ERROR = 125


def guarded(action: Callable[[], int]) -> int:
    """Run `action` for its exit code; say what failed instead of raising, except for a wrong command line."""
    fill_standard_streams()
    try:
        return action()
    except MonitorError as error:
        say(f"stockade: {one_line(error)}")
        return OWN_ERROR
    except SandboxError as error:
        say(f"stockade: {one_line(error)}")
        return ENVIRONMENT
    except OSError as error:
        say(f"stockade: {error.filename or 'system error'}: {error.strerror}")
        return ENVIRONMENT
    except OutputError:
        raise
    except Exception as error:
        from stockade.cli.usage import UsageError

        if isinstance(error, UsageError):
            raise
        return _internal(error)


def one_line(error: SandboxError) -> str:
    """Return what an error says, printable and on one line, whatever the policy put into it."""
    from stockade.wrap import printable

    return printable(str(error))


def _internal(error: Exception) -> int:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename}:{frame.lineno}"
    say(f"stockade: internal error at {place}: {type(error).__name__}: {error}. Please report it.")
    return OWN_ERROR
