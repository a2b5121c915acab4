"""The oldest kernel on which every promise can be kept."""

from __future__ import annotations

import os
import re

from stockade.errors import UnsupportedError

# mount_setattr(2) came with 5.12; a task that its filter has killed shows "Seccomp: 3" since 5.17: the proof of
# a violation.
OLDEST = (5, 17)


def check_kernel() -> None:
    """Raise UnsupportedError on a kernel older than `OLDEST`."""
    release = os.uname().release
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise UnsupportedError(
            "kernel",
            f"Linux {release} does not tell which call a program was killed for",
            f"stockade needs Linux {wanted} or newer",
        )
