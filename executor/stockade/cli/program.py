"""Looking for a program on the host, as a shell does."""

from __future__ import annotations

import errno
import os
import stat

from stockade.errors import SetupError
from stockade.text import quote

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def find_program(name: str) -> str:
    """Return the absolute path on the host of the program `name`: a path, or a name to be looked up along PATH.

    Symbolic links are kept as they are. Raises SetupError: ENOENT (there is none), EACCES (it cannot be executed) ….
    """
    if "/" in name:
        path = os.path.abspath(name)
        refusal = _refusal(path)
        if refusal:
            raise _error(path, refusal)
        return path
    search, denied = os.environ.get("PATH") or DEFAULT_PATH, ""
    for directory in search.split(":"):
        path = os.path.abspath(os.path.join(directory, name))
        refusal = _refusal(path)
        if not refusal:
            return path
        if refusal != errno.ENOENT and not denied:
            denied = path
    if denied:
        raise _error(denied, errno.EACCES)
    hint = "install it, correct the name, or give its path"
    raise SetupError("find_program", errno.ENOENT, name, hint, detail="no such program along PATH")


def _refusal(path: str) -> int:
    """Return the error number for which `path` is no program, 0 when it is one."""
    try:
        status = os.stat(path)
    except OSError as error:
        return errno.ENOENT if error.errno in (errno.ENOENT, errno.ENOTDIR) else error.errno or errno.EACCES
    if stat.S_ISDIR(status.st_mode):
        return errno.EISDIR
    return 0 if stat.S_ISREG(status.st_mode) and os.access(path, os.X_OK) else errno.EACCES


def _error(path: str, number: int) -> SetupError:
    hint = None
    if number == errno.EACCES:
        hint = f"it has to be a file that you may execute: chmod a+x {quote(path, 4096)}"
    elif number == errno.ENOENT:
        hint = "correct the path; it is one of the host, because the policy names no program"
    elif number == errno.EISDIR:
        hint = "name a program in it"
    return SetupError("find_program", number, path, hint)
