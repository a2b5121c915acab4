"""From a failed step of the set-up to the error that a person reads."""

from __future__ import annotations

from stockade.errors import SandboxError, SetupError, UnsupportedError
from stockade.host.diagnose import explain_exec_failure
from stockade.host.remedies import reason, remedy
from stockade.monitor.outcome import SetupFailure
from stockade.policy.box.filesystem import Plan

_EXEC_STEPS = ("exec", "find_program")


def error_of(failure: SetupFailure, plan: Plan) -> SandboxError:
    """UnsupportedError when the host refuses a layer, else SetupError with a hint; neither is raised here."""
    known = remedy(failure.step, failure.errno)
    if known is not None:
        layer, text = known
        return UnsupportedError(
            layer,
            f"{failure.step}: {reason(failure.errno, failure.path, failure.detail)}",
            text,
            path=failure.path or None,
        )
    path, detail, hint = failure.path or None, failure.detail, None
    if failure.step in _EXEC_STEPS and failure.errno and failure.path and not failure.path.startswith("descriptor "):
        detail, hint = explain_exec_failure(
            plan.binds(), failure.path, failure.errno, symlinks=plan.symlinks(), no_execution=plan.no_execution()
        )
        error = SetupError(failure.step, failure.errno, None, hint or None, detail=detail)
        error.path = path
        return error
    if failure.step == "client" and not failure.path:
        hint = "the program must call sandbox_me_here() of stockade.client.Client before it does anything else"
    if failure.step == "cwd":
        hint = "cwd is a path inside the box: add the directory to the policy, or choose one that is there"
    return SetupError(failure.step, failure.errno, path, hint, detail=detail)
