"""What an executor is given to call: hooks and a Notify object, checked against the policy and the monitor."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence

from stockade.errors import PolicyError
from stockade.monitor.hooks import Hook, declaration_of
from stockade.monitor.notify import PTRACE_EVENTS, Notify, overridden
from stockade.monitor.outcome import Outcome
from stockade.result import Result

_ASYNCHRONOUS = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)


def checked_hooks(
    wanted: Sequence[str], hooks: Mapping[str, Hook] | None, notify: Notify | None, monitor: str
) -> Mapping[str, Hook]:
    """The callable for each hook name of the policy: that of `hooks`, or else `notify.syscall`.

    Raises PolicyError when names or callables do not fit, or when the monitor cannot do what is declared or overridden.
    """
    if notify is not None:
        _check_notify(notify, monitor)
    if hooks is None:
        hooks = {}
    if not isinstance(hooks, Mapping):
        raise PolicyError(f"hooks maps names to callables; a {type(hooks).__name__} does not")
    told = overridden(notify)
    for name, hook in hooks.items():
        if name not in wanted:
            close = difflib.get_close_matches(name, wanted, 1) if isinstance(name, str) else []
            raise PolicyError(f"no rule of the policy asks the hook {name!r}", suggestion=close[0] if close else None)
        _check_callable(f"the hook {name!r}", hook)
        _check_declaration(f"the hook {name!r}", hook, monitor, told)
    found = dict(hooks)
    for name in wanted:
        if name not in hooks:
            if notify is None or "syscall" not in told:
                raise PolicyError(
                    f"the policy asks the hook {name!r}, which the executor was not given; pass hooks={{{name!r}: …}}, "
                    "or a notify= object whose class overrides Notify.syscall"
                )
            found[name] = notify.syscall  # type: ignore[assignment]
    return found


def _check_notify(notify: object, monitor: str) -> None:
    if isinstance(notify, type) and issubclass(notify, Notify):
        raise PolicyError(f"notify needs an object, not the class: pass notify={notify.__name__}()")
    if not isinstance(notify, Notify):
        raise PolicyError(f"notify must be an object of a class made from stockade.Notify, not {type(notify).__name__}")
    told = overridden(notify)
    for name in sorted(told):
        method = getattr(notify, name)
        _check_callable(f"Notify.{name}", method)
        if name == "syscall":
            _check_declaration("Notify.syscall", method, monitor, told)
        elif declaration_of(method) != declaration_of(None):
            raise PolicyError(f"Notify.{name} cannot be declared with hook(...): that is for hooks and Notify.syscall")
    if monitor != "ptrace" and (impossible := sorted(told & PTRACE_EVENTS)):
        raise PolicyError(
            f"the {monitor} monitor does not see what Notify.{impossible[0]} is told of; "
            'use monitor="ptrace", or do not override it'
        )


def _check_callable(what: str, function: object) -> None:
    if not callable(function):
        raise PolicyError(f"{what} is no callable but a {type(function).__name__}")
    if any(
        is_such(function) or is_such(inspect.getattr_static(type(function), "__call__")) for is_such in _ASYNCHRONOUS
    ):
        raise PolicyError(f"{what} is asynchronous or a generator: nobody would run it; give a plain function")


def _check_declaration(what: str, function: object, monitor: str, told: frozenset[str]) -> None:
    declared = declaration_of(function)
    if declared.opens and monitor == "ptrace":
        raise PolicyError(
            f"{what} is declared with opens=True: only the unotify monitor can hand over descriptors; "
            'use monitor="unotify"'
        )
    if declared.inspects and monitor != "ptrace":
        raise PolicyError(
            f"{what} is declared with inspects=True: the {monitor} monitor does not see calls return; "
            'use monitor="ptrace"'
        )
    if declared.inspects and "syscall_return" not in told:
        raise PolicyError(
            f"{what} is declared with inspects=True, but nobody would be told what its calls return; "
            "pass a notify= object whose class overrides Notify.syscall_return"
        )


def finished_callback(notify: Notify | None, make: Callable[[Outcome], Result]) -> Callable[[Outcome], None] | None:
    """What is to be done with the outcome of a run; None for nothing. `make` gives the Result without streams."""
    if notify is None or "finished" not in overridden(notify):
        return None

    def finished(outcome: Outcome) -> None:
        # A copy: a limit that is noticed late is written into the outcome, and the Result that was given stays.
        notify.finished(make(copy.copy(outcome)))

    return finished
