"""Am I sandboxed?"""

from __future__ import annotations

from stockade.kernel.calls import error_of
from stockade.kernel.seccomp_constants import DETECTION_CALL, DETECTION_ERRNO


def is_sandboxed() -> bool:
    """Whether a system-call filter of stockade holds for this thread, whoever installed it and whatever it allows.

    Asks by a system call that no kernel has and that no policy can refuse: it is no violation. Says nothing about the
    other layers, and is no proof against somebody who wants to deceive the program.
    """
    return error_of(DETECTION_CALL) == DETECTION_ERRNO
