"""Where the lines of a policy were written: kept beside the message, so that the message says only what is allowed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each rule and group of a policy, by index: "gzip.textproto:12" or 'allow_syscall("getcwd")'.

    `default` is the place of the default action; empty when the policy does not write one.
    """

    rules: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    default: str = ""

    def rule(self, index: int) -> str:
        """Give the place of `syscalls.rules[index]`; its path in the message when nothing better is known."""
        return self.rules[index] if index < len(self.rules) else f"syscalls.rules[{index}]"

    def group(self, index: int) -> str:
        """Give the place of `syscalls.groups[index]`; its path in the message when nothing better is known."""
        return self.groups[index] if index < len(self.groups) else f"syscalls.groups[{index}]"
