"""Sources that an unprivileged caller reaches only through a supplementary group. credentials(7), setgroups(2).

Such a caller cannot drop its supplementary groups in a user namespace, so the sandboxee keeps them. What the caller may
read only because of one of them must not become the sandboxee's by accident.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from stockade.errors import PolicyError

_SEARCH, _READ = 0o1, 0o4


def check_groups(sources: Iterable[str]) -> None:
    """Raise PolicyError for the first host path that only a supplementary group opens. Nothing to check for root.

    Access control lists are not looked at: they cannot open what the permission bits' mask closes.
    """
    if os.geteuid() == 0:
        return
    kept = set(os.getgroups()) - {os.getegid()}
    if not kept:
        return
    for source in sources:
        found = _group_needed(os.path.realpath(source), kept)
        if found is not None:
            path, group = found
            raise PolicyError(
                f"{source} can be reached only as a member of the supplementary group {group} (because of {path}), "
                "which the program would keep; give the program a copy, or run as root, where groups are dropped",
                path=source,
            )


def _group_needed(path: str, kept: set[int]) -> tuple[str, int] | None:
    """(path, gid) of the first part of `path` that only one of the groups `kept` opens."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        part = "/".join(parts[:count]) or "/"
        try:
            status = os.stat(part)
        except OSError:
            return None  # missing or closed altogether: the check of the sources says so
        wanted = _SEARCH if count < len(parts) else _READ | (_SEARCH if stat.S_ISDIR(status.st_mode) else 0)
        by_group = status.st_uid != os.geteuid() and status.st_gid in kept
        if by_group and status.st_mode & wanted != wanted and status.st_mode >> 3 & wanted == wanted:
            return part, status.st_gid
    return None
