"""`stockade policy COMMAND`: everything that is done with policies without running a program."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.cli import Commands, dispatch

COMMAND = "stockade policy"
COMMANDS: Commands = {
    "show": ("stockade.cli.policy_show", "print a policy, its rules, or its filter"),
    "check": ("stockade.cli.policy_check", "find what is wrong or risky in policies"),
    "format": ("stockade.cli.policy_format", "write policy files in the canonical layout"),
    "groups": ("stockade.cli.policy_groups", "list the groups of calls, or the rules of one"),
    "diff": ("stockade.cli.policy_diff", "say what one policy allows and another refuses"),
    "merge": ("stockade.cli.policy_merge", "make one policy that allows what either does"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    return dispatch(COMMAND, COMMANDS, arguments)
