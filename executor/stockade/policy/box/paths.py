"""Paths in policies: absolute and already canonical, so that what is written is what is mounted."""

from __future__ import annotations

import os
import re

from stockade.text import quote

# Longest path that the kernel takes, and longest part of one (limits.h), in bytes.
_PATH_MAX, _NAME_MAX = 4095, 255
# What /proc shows of one process. It means another process wherever it is looked at.
_PROC_OF_A_PROCESS = re.compile(r"/proc(/(self|thread-self|[0-9]+)(/.*)?)?")


def path_problem(path: str, what: str) -> str | None:
    """Say what is wrong with a path of a policy, or None. `what` names it in the sentence ("source", "target").

    A path is absolute, has no ".", "..", doubled or trailing slash, no NUL and nothing that is not UTF-8.
    """
    if not path:
        return f"the {what} is empty"
    shown = quote(path)
    if "\0" in path:
        return f"the {what} {shown} contains a NUL byte"
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return f"the {what} {shown} is not valid UTF-8"
    if not path.startswith("/"):
        return f"the {what} {shown} is not absolute"
    if path == "/":
        return None
    parts = path[1:].split("/")
    if "" in parts or "." in parts or ".." in parts:
        return f'the {what} {shown} is not canonical: write it without ".", "..", doubled and trailing slashes'
    if len(encoded) > _PATH_MAX or any(len(part.encode()) > _NAME_MAX for part in parts):
        return f"the {what} {shown} is longer than the kernel allows"
    return None


def source_problem(path: str) -> str | None:
    """Say what is wrong with a host path to be mounted, or None. Process entries of the host's /proc are refused."""
    problem = path_problem(path, "source")
    if problem is None and _PROC_OF_A_PROCESS.fullmatch(path):
        return (
            f"the source {quote(path)} shows processes of the host; mount a /proc of the box's own instead (add_proc)"
        )
    return problem


def target_problem(path: str) -> str | None:
    """Say what is wrong with a mount target inside the box, or None. The root itself is no target."""
    if path == "/":
        return "the root of the box cannot be a mount target"
    return path_problem(path, "target")


def canonical_text(path: str | os.PathLike[str]) -> str:
    """Give a path argument of the builder as text. Raises TypeError for anything but str or a path of str."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"paths in policies are text, not {type(text).__name__}: {path!r}")
    return text


def is_beneath(path: str, ancestor: str) -> bool:
    """Say whether `path` lies strictly beneath `ancestor`; both are canonical."""
    return path.startswith(ancestor.rstrip("/") + "/") and path != ancestor
