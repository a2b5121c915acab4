"""Bounds on how much a policy may say, so that no policy text keeps its reader busy for long. See `validate`."""

from __future__ import annotations

from collections.abc import Iterator

from stockade._proto import policy_pb2
from stockade.policy.finding import Finding

# A filter has at most 4096 instructions, and a rule with a condition needs one of them or more. What compares all rules
# of a call with one another takes some seconds for this many.
MAX_RULES = 1024
# The same, with each rule counted once for each call that it names.
MAX_RULES_OF_CALLS = 4096
# Numbers in the lists of conditions, of all rules together.
MAX_VALUES = 8192
MAX_GROUPS = 1024
MAX_MOUNTS = 1024


def size_findings(message: policy_pb2.Policy) -> Iterator[Finding]:
    """Give the first part of a policy that is too long."""
    syscalls, mounts = message.syscalls, message.filesystem.mounts
    for path, found, limit, what in (
        (("syscalls", 0, "rules"), len(syscalls.rules), MAX_RULES, "rules"),
        (("syscalls", 0, "groups"), len(syscalls.groups), MAX_GROUPS, "groups"),
        (("filesystem", 0, "mounts"), len(mounts), MAX_MOUNTS, "mounts"),
    ):
        if found > limit:
            hint = ": one rule can name several calls, and list values with one_of" if what == "rules" else ""
            yield Finding((*path, limit), f"{found} {what}, and a policy has at most {limit}{hint}")
            return
    if sum(len(each.one_of.value) for rule in syscalls.rules for each in rule.when) > MAX_VALUES:
        text = f"the conditions of the rules list more than {MAX_VALUES} values with one_of: name ranges or masks"
        yield Finding(("syscalls", 0, "rules", 0), text)
    elif sum(len(rule.syscall) for rule in syscalls.rules) > MAX_RULES_OF_CALLS:
        text = f"the rules name more than {MAX_RULES_OF_CALLS} calls, each counted as often as it is named"
        yield Finding(("syscalls", 0, "rules", 0), text)
