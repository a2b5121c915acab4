"""The part of `PolicyBuilder` about system calls: explicit rules and the default action."""

from __future__ import annotations

import errno as errno_numbers
from collections.abc import Iterable
from typing import Self

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.building.base import BuilderBase, call_text, condition_messages, raise_first
from stockade.policy.conditions import Condition
from stockade.policy.validate import default_findings, group_findings, rule_findings

_Rule = policy_pb2.Rule


class SyscallMethods(BuilderBase):
    """Rules for single calls. They are tried in the order of the calls below, before the rules of groups."""

    def allow_syscall(self, name: str, *conditions: Condition, reason: str = "") -> Self:
        """Allow a call when all conditions hold; without any, always. `reason` says why, for reviews and reports."""
        call = call_text("allow_syscall", name, *conditions)
        return self._add_rule(call, [name], conditions, _Rule(action=_Rule.ALLOW, reason=reason))

    def allow_syscalls(self, *names: str | Iterable[str], reason: str = "") -> Self:
        """Allow calls with any arguments. Takes names, or lists of names."""
        call = call_text("allow_syscalls", *names)
        return self._add_rule(call, _flat(names, call), (), _Rule(action=_Rule.ALLOW, reason=reason))

    def block_syscall_with_errno(
        self, name: str, errno: int | str, *conditions: Condition, overridable: bool = False
    ) -> Self:
        """Answer a call with an error number ("ENOENT", errno.ENOENT) instead of running it; 0 pretends success.

        With `overridable` it is answered only if nothing else in the policy decides it.
        """
        call = call_text("block_syscall_with_errno", name, errno, *conditions, overridable=overridable)
        rule = _Rule(action=_Rule.ERRNO, errno=_errno_text(errno, call), overridable=overridable)
        return self._add_rule(call, [name], conditions, rule)

    def block_syscalls_with_errno(self, names: Iterable[str], errno: int | str, *, overridable: bool = False) -> Self:
        """Answer several calls, with any arguments, with an error number instead of running them."""
        chosen = [names] if isinstance(names, str) else list(names)
        call = call_text("block_syscalls_with_errno", chosen, errno, overridable=overridable)
        rule = _Rule(action=_Rule.ERRNO, errno=_errno_text(errno, call), overridable=overridable)
        return self._add_rule(call, chosen, (), rule)

    def trace(self, name: str, hook: str, *conditions: Condition) -> Self:
        """Have a hook decide a call: a Python function registered with the executor under the name `hook`."""
        call = call_text("trace", name, hook, *conditions)
        return self._add_rule(call, [name], conditions, _Rule(action=_Rule.TRACE, hook=hook))

    def log_syscall(self, name: str, *conditions: Condition) -> Self:
        """Allow a call and record it in the report."""
        call = call_text("log_syscall", name, *conditions)
        return self._add_rule(call, [name], conditions, _Rule(action=_Rule.LOG))

    def trap_syscall(self, name: str, *conditions: Condition) -> Self:
        """Do not run a call but send the program SIGSYS, which it may handle."""
        call = call_text("trap_syscall", name, *conditions)
        return self._add_rule(call, [name], conditions, _Rule(action=_Rule.TRAP))

    def kill_syscall(self, name: str, *conditions: Condition) -> Self:
        """Make a call a violation although a later rule, a group or the default action would let it through."""
        call = call_text("kill_syscall", name, *conditions)
        return self._add_rule(call, [name], conditions, _Rule(action=_Rule.KILL))

    def default_errno(self, errno: int | str) -> Self:
        """Answer calls that nothing decides with an error number, instead of ending the run."""
        call = call_text("default_errno", errno)
        return self._set_default(call, policy_pb2.DefaultAction(action=_Rule.ERRNO, errno=_errno_text(errno, call)))

    def default_trace(self, hook: str) -> Self:
        """Have a hook decide calls that nothing else decides."""
        return self._set_default(
            call_text("default_trace", hook), policy_pb2.DefaultAction(action=_Rule.TRACE, hook=hook)
        )

    def danger_default_allow_all(self) -> Self:
        """Allow every call that nothing refuses, which makes a deny-list. Always-refused calls stay refused."""
        return self._set_default(
            "danger_default_allow_all()", policy_pb2.DefaultAction(action=_Rule.ALLOW, danger_allow_all=True)
        )

    def enosys_for_unknown_syscalls(self) -> Self:
        """Answer ENOSYS to numbers above the newest call known, instead of ending the run."""
        self._message.options.unknown_syscalls_enosys = True
        return self

    def _add_rule(
        self, call: str, names: Iterable[str], conditions: Iterable[Condition], rule: policy_pb2.Rule
    ) -> Self:
        rule.syscall.extend(_names(names, call))
        rule.when.extend(condition_messages(conditions, call))
        raise_first(rule_findings(rule, self._message.syscalls.danger_reopened), call)
        self._message.syscalls.rules.append(rule)
        self._rule_calls.append(call)
        return self

    def _add_group(self, name: str, *arguments: str) -> Self:
        """Add a group once; the same group again adds nothing."""
        call = call_text(method_name(name), *arguments)
        group = policy_pb2.Group(name=name, argument=_names(arguments, call))
        raise_first(group_findings(group), call)
        if group not in self._message.syscalls.groups:
            self._message.syscalls.groups.append(group)
            self._group_calls.append(call)
        return self

    def _reopen(self, danger: str) -> Self:
        """Reopen a danger once; the same again adds nothing."""
        if danger not in self._message.syscalls.danger_reopened:
            self._message.syscalls.danger_reopened.append(danger)
            self._reopen_calls.append(f"danger_reopen_{danger}()")
        return self

    def _set_default(self, call: str, default: policy_pb2.DefaultAction) -> Self:
        if self._default_call and self._message.syscalls.default_action != default:
            raise PolicyError(f"the default action was set already, by {self._default_call}", source=call)
        raise_first(default_findings(default), call)
        self._message.syscalls.default_action.CopyFrom(default)
        self._default_call = call
        return self


def method_name(group: str) -> str:
    """Give the name of the builder method of a group: allow_read, danger_allow_mmap_with_exec."""
    name = group.removeprefix("danger_")
    return f"allow_{name}" if name == group else f"danger_allow_{name}"


def _names(names: Iterable[str], call: str) -> list[str]:
    """Give names as a list, each checked to be text."""
    chosen = list(names)
    for name in chosen:
        if not isinstance(name, str):
            raise PolicyError(f'{name!r} is no name: write it as text, for example "getcwd"', source=call)
    return chosen


def _flat(names: Iterable[str | Iterable[str]], call: str) -> list[str]:
    """Give names and lists of names as one list. Raises PolicyError when there is none."""
    chosen: list[str] = []
    for name in names:
        chosen += [name] if isinstance(name, str) else _names(name, call)
    if not chosen:
        raise PolicyError("no system call is named", source=call)
    return chosen


def _errno_text(errno: int | str, call: str) -> str:
    """Give an error number as it stands in a policy: its name when it has one."""
    if isinstance(errno, str):
        return errno
    if isinstance(errno, bool) or not isinstance(errno, int):
        raise PolicyError(f'{errno!r} is no error number: write a name such as "ENOENT", or a number', source=call)
    return errno_numbers.errorcode.get(errno, str(errno))
