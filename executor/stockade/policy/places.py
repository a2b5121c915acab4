"""Where the lines of a policy were written: kept beside the message, so that the message says only what is allowed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each rule and group of a policy, by index: "gzip.textproto:12" or 'allow_syscall("getcwd")'.

    `default` is the place of the default action; empty when the policy does not write one. `raw_filters` and
    `reopened` are those of `syscalls.raw_filters` and `syscalls.danger_reopened`. `fields` holds everything else that
    has a place, as path and place: "filesystem.mounts[3] gzip.textproto:30", "limits.wall_time base.textproto:9".
    """

    rules: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    default: str = ""
    raw_filters: tuple[str, ...] = ()
    reopened: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def rule(self, index: int) -> str:
        """Give the place of `syscalls.rules[index]`; its path in the message when nothing better is known."""
        return self.rules[index] if index < len(self.rules) else f"syscalls.rules[{index}]"

    def group(self, index: int) -> str:
        """Give the place of `syscalls.groups[index]`; its path in the message when nothing better is known."""
        return self.groups[index] if index < len(self.groups) else f"syscalls.groups[{index}]"

    def raw_filter(self, index: int) -> str:
        """Give the place of `syscalls.raw_filters[index]`; its path in the message when nothing better is known."""
        return self.raw_filters[index] if index < len(self.raw_filters) else f"syscalls.raw_filters[{index}]"

    def reopening(self, index: int) -> str:
        """Give the place of `syscalls.danger_reopened[index]`; its path in the message when nothing better is known."""
        return self.reopened[index] if index < len(self.reopened) else f"syscalls.danger_reopened[{index}]"

    def field(self, path: str) -> str:
        """Give the place of any other field, by its path ("filesystem.mounts[3]"); the path when it is not known."""
        return next((each.partition(" ")[2] for each in self.fields if each.partition(" ")[0] == path), path)
