"""The group table: named sets of rules that a policy can include, such as "read" or "dynamic_startup".

`GROUPS` lists them, `expand` gives the rules of one. A call that an architecture does not have is skipped there.
Groups whose names begin with `danger_` undo a protection; nothing else may include them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.finding import closest
from stockade.policy.group_rows import files, memory, network, process, runtimes, startup
from stockade.policy.group_rows.table import Group, Row

__all__ = ["GROUPS", "Group", "check_group", "expand"]

_TABLES = (
    startup.GROUPS,
    files.GROUPS,
    memory.GROUPS,
    process.GROUPS,
    network.GROUPS,
    runtimes.GROUPS,
)

# All groups by name, in the order in which listings show them.
GROUPS: Mapping[str, Group] = MappingProxyType({group.name: group for table in _TABLES for group in table})


def check_group(name: str, arguments: Sequence[str] = ()) -> Group:
    """Look up a group and check what it is given.

    Raises PolicyError for an unknown name (with the closest known one), and for arguments that are missing or surplus.
    """
    group = GROUPS.get(name)
    if group is None:
        raise PolicyError(f"unknown group {name!r}", suggestion=closest(name, GROUPS))
    if group.parameter is None and arguments:
        raise PolicyError(f"group {name!r} takes no argument, but was given {', '.join(map(repr, arguments))}")
    if group.parameter is not None and not arguments:
        raise PolicyError(
            f"group {name!r} needs its {group.parameter.name} as arguments, for example {group.parameter.example!r}"
        )
    return group


def expand(name: str, arguments: Sequence[str] = ()) -> tuple[policy_pb2.Rule, ...]:
    """Give the rules of a group, in the order in which they are tried.

    `arguments` is for groups that take some ("futex_op": operations). The rules are shared: do not change them.
    Raises PolicyError as `check_group` does.
    """
    return _expand(name, tuple(arguments))


@lru_cache(maxsize=1024)
def _expand(name: str, arguments: tuple[str, ...]) -> tuple[policy_pb2.Rule, ...]:
    group = check_group(name, arguments)
    rows = _rows(group)
    if group.parameter is not None:
        rows += tuple(group.parameter.row(argument) for argument in arguments)
    return tuple(row.rule() for row in rows)


def _rows(group: Group) -> tuple[Row, ...]:
    """Collect the rows of a group and of those that it includes, each once."""
    rows: dict[int, Row] = {}
    for name in group.includes:
        rows.update({id(row): row for row in _rows(GROUPS[name])})
    rows.update({id(row): row for row in group.rows})
    return tuple(rows.values())
