"""What the parts of `PolicyBuilder` share: the message under construction, and the text of each call for errors."""

from __future__ import annotations

import os
from collections.abc import Iterable

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.conditions import Condition, quoted
from stockade.policy.finding import Finding
from stockade.policy.policy import Policy
from stockade.policy.validate import SCHEMA_VERSION


class BuilderBase:
    """State of a builder. The parts add to `_message` and note the text of the call that added each piece."""

    def __init__(self, name: str = "", description: str = "") -> None:
        self._message = policy_pb2.Policy(schema_version=SCHEMA_VERSION, name=name, description=description)
        self._rule_calls: list[str] = []
        self._group_calls: list[str] = []
        self._raw_calls: list[str] = []
        self._reopen_calls: list[str] = []
        self._default_call = ""
        self._mounts: dict[str, tuple[policy_pb2.Mount, str]] = {}
        # Policies that are taken in, with the calls that do it; and how many rules came with the one gone on from.
        self._includes: list[tuple[Policy, str]] = []
        self._continued = 0


def call_text(method: str, *arguments: object, **options: object) -> str:
    """Write a builder call as it stands in source, for errors and reports; options that are unset are left out."""
    shown = [_argument_text(argument) for argument in arguments]
    shown += [f"{name}={_argument_text(value)}" for name, value in options.items() if value not in (None, False, "", 0)]
    return f"{method}({', '.join(shown)})"


def _argument_text(value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return quoted(value) if isinstance(value, str) else repr(value)


def raise_first(findings: Iterable[Finding], call: str) -> None:
    """Raise the first finding, if there is one, as a PolicyError that names the builder call."""
    for finding in findings:
        raise PolicyError(finding.message, source=call, suggestion=finding.suggestion, syscall=finding.syscall)


def condition_messages(conditions: Iterable[Condition], call: str) -> list[policy_pb2.Condition]:
    """Give the messages of conditions. Raises PolicyError for anything that was not made with `arg()`."""
    messages = []
    for condition in conditions:
        if not isinstance(condition, Condition):
            raise PolicyError(
                f'{condition!r} is no condition: make one with arg(), for example arg(1) == "TCGETS"', source=call
            )
        messages.append(condition.message)
    return messages
