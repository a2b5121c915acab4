"""Errors that stockade raises. Every floor may import this module; it imports nothing.

    SandboxError
    ├── PolicyError (ValueError)     the policy, or what was asked of the executor, is wrong
    ├── SetupError (OSError)         a step between run() and the program's first instruction failed
    ├── UnsupportedError             this host, or this version, cannot enforce what was asked
    ├── MonitorError                 our own failure while the program ran
    └── CheckError (CalledProcessError)   only with check=True
        ├── ViolationError           the program breached its policy
        └── LimitError               a clock or an amount ran out

All can be pickled. All carry `pid`, `syscall` and `path` where they have one, else None. Errors that end a run carry
its `result`.
"""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stockade.result import Result


def _rebuild(cls: type[SandboxError], args: tuple[Any, ...], state: dict[str, Any]) -> SandboxError:
    """Make an error from its pickled parts without running its constructor, whose arguments it may have rewritten."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class SandboxError(Exception):
    """Base of everything that stockade raises on purpose."""

    pid: int | None = None
    syscall: str | None = None
    path: str | None = None
    result: Result | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class PolicyError(SandboxError, ValueError):
    """The policy, or an option of the executor, is wrong. Nothing was started.

    `source`, `line` and `column` (1-based) say where a text policy is wrong; `suggestion` is the closest known name.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        line: int | None = None,
        column: int | None = None,
        suggestion: str | None = None,
        syscall: str | None = None,
        path: str | None = None,
    ) -> None:
        self.message = message
        self.source, self.line, self.column = source, line, column
        self.suggestion, self.syscall, self.path = suggestion, syscall, path
        place = ":".join(str(part) for part in (source, line, column) if part is not None)
        text = f"{place}: {message}" if place else message
        if suggestion is not None:
            text += f" (did you mean {suggestion!r}?)"
        super().__init__(text)


class SetupError(SandboxError, OSError):
    """A step of the set-up failed; the program did not run, and nothing is left behind.

    `step` names the step, `errno` the error number (0 when no system call failed), `path` the object, `hint` what to
    do.
    """

    def __init__(
        self, step: str, errno: int = 0, path: str | None = None, hint: str | None = None, *, detail: str = ""
    ) -> None:
        self.step, self.path, self.hint, self.detail = step, path, hint, detail
        reason = detail or (os.strerror(errno) if errno else "failed")
        if detail and errno:
            reason = f"{detail} ({os.strerror(errno)})"
        text = f"{step}: {path}: {reason}" if path else f"{step}: {reason}"
        if hint:
            text += f"; {hint}"
        self.text = text
        super().__init__(errno, text)
        self.errno = errno

    def __str__(self) -> str:
        return self.text


class UnsupportedError(SandboxError):
    """What was asked cannot be enforced here; nothing was started. `layer` names it, `remedy` says how to get it."""

    def __init__(self, layer: str, reason: str, remedy: str | None = None, *, path: str | None = None) -> None:
        self.layer, self.reason, self.remedy, self.path = layer, reason, remedy, path
        super().__init__(f"{layer}: {reason}" + (f"; {remedy}" if remedy else ""))


class MonitorError(SandboxError):
    """Our own failure while the program ran; the program was killed."""


class CheckError(SandboxError, subprocess.CalledProcessError):
    """Base of what `check=True` raises beyond a plain exit code. Also a `subprocess.CalledProcessError`."""

    def __init__(self, result: Result, message: str) -> None:
        subprocess.CalledProcessError.__init__(self, result.returncode, result.args, result.stdout, result.stderr)
        self.result, self.message = result, message

    def __str__(self) -> str:
        return self.message


class ViolationError(CheckError):
    """The program breached its policy; `result.violations` says how."""


class LimitError(CheckError):
    """A clock or an amount ran out; `result.limit` says which."""
