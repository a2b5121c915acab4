"""Why a program inside the box could not be executed, in words, with the change that would help.

The kernel answers an exec with an error number alone: ENOENT means "no such file", but also "its loader is not there".
This module looks up what the path inside is on the host and reads what the kernel would have read. Sources: execve(2).
"""

from __future__ import annotations

import errno as errors
import os
import stat
from collections.abc import Collection, Sequence

from stockade.host.inside import Inside, Place
from stockade.kernel.binfmt import (
    SCRIPT_DEPTH,
    BinfmtError,
    ElfHeader,
    native_architecture,
    open_regular,
    read_elf_header,
    read_script_line,
)
from stockade.text import escape, quote

# Error numbers that say all there is to say, with what to do.
PLAIN = {
    errors.E2BIG: ("has arguments and an environment that are too long together", "pass less, or pass it in a file"),
    errors.ETXTBSY: ("is open for writing on the host", "close it there first"),
    errors.ENAMETOOLONG: ("has a longer path than the kernel takes", "use a shorter one"),
    errors.ENOMEM: ("needs more memory than there is", "raise the limit on address space or memory"),
    errors.EAGAIN: ("would be one process too many", "raise the limit on processes"),
    errors.EMFILE: ("would open one file too many", "raise the limit on open files"),
}
DEFAULT_PATH = ("/usr/local/bin", "/usr/bin", "/bin")

# What follows the name of the file in the sentence, and what to do about it.
Explanation = tuple[str, str]


def explain_exec_failure(
    binds: Sequence[tuple[str, str, bool]],
    program: str,
    errno: int,
    *,
    symlinks: Sequence[tuple[str, str]] = (),
    no_execution: Collection[str] = (),
) -> Explanation:
    """Return (reason, hint) for an exec of `program`, a path inside the box, that failed with `errno`.

    `binds` holds (path inside, host path, is a directory) of each bind mount, `symlinks` (path inside, what it says),
    `no_execution` the targets mounted noexec: `Plan.binds()`, `.symlinks()` and `.no_execution()`. Both texts are one
    line, safe to print; `hint` is empty when there is nothing to advise. Never raises: the files may be hostile.
    """
    box = Inside(binds, symlinks)
    try:
        return _explain(box, program, errno, frozenset(no_execution))
    except (OSError, ValueError) as error:
        return f"{quote(program)}: {_plain(errno)}; looking for the cause failed: {escape(str(error))}", ""


def _explain(box: Inside, program: str, errno: int, no_execution: frozenset[str]) -> Explanation:
    subject = quote(program)
    if "/" not in program:
        return _sentence(subject, _bare_name(program))
    if errno in PLAIN:
        return _sentence(subject, PLAIN[errno])
    wanted_by: str | None = None
    for _ in range(SCRIPT_DEPTH + 1):
        place = box.locate(program)
        explanation = _no_place(place, program, wanted_by) or _not_executable(place, errno, no_execution)
        if explanation is not None:
            return _sentence(subject, explanation)
        kind, interpreter = _interpreter(place)
        if interpreter is None:
            return f"{subject}: the kernel answered {_plain(errno)}", ""
        # What provides a loader is the program with its libraries; an interpreter is a program of its own.
        wanted_by = place.host if kind == "loader" else None
        subject = f"{quote(program)} needs the {kind} {quote(interpreter)}, which"
        program = interpreter
    return (
        f"{subject} is one of more than {SCRIPT_DEPTH} scripts that interpret scripts",
        "name a program in the #! line",
    )


def _sentence(subject: str, explanation: Explanation) -> Explanation:
    return f"{subject} {explanation[0]}", explanation[1]


def _bare_name(program: str) -> Explanation:
    for directory in DEFAULT_PATH:
        path = f"{directory}/{program}"
        if os.path.isfile(path):
            return f"is not along PATH in the box; the host has {quote(path)}", _add_program(path)
    return f"is not along PATH in the box, and on the host not along {':'.join(DEFAULT_PATH)}", ""


def _no_place(place: Place, program: str, wanted_by: str | None) -> Explanation | None:
    """Explain a path that leads to nothing inside; None when it leads to a file or directory of the host."""
    at = quote(place.at)
    if place.fault == errors.ENOTDIR:
        return f"leads through {at}, which is a file and no directory", ""
    if place.fault == errors.ELOOP:
        return "leads in a circle of symbolic links", ""
    if place.fault == errors.EACCES:
        return f"leads through a directory above {at} that may not be searched", ""
    if place.host is not None:
        return None
    link = "" if place.at == program else f"leads by a symbolic link to {at}, which "
    if os.path.isfile(place.at):
        return f"{link}exists on the host, but not in the box", _add_program(wanted_by or place.at)
    if os.path.isdir(place.at):
        return f"{link}is a directory of the host that is not in the box", ""
    return f"{link}is not in the box, and not on the host either", ""


def _not_executable(place: Place, errno: int, no_execution: frozenset[str]) -> Explanation | None:
    """Explain a file that cannot be executed as it is; None when the reason must lie in what it asks for."""
    assert place.host is not None
    status = os.stat(place.host)
    if stat.S_ISDIR(status.st_mode):
        return "is a directory", "name a program in it"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file", ""
    if errno in (errors.EACCES, errors.EPERM):
        denied = _no_permission(place, status, no_execution)
        if denied is not None:
            return denied
    try:
        return _wrong_content(place.host, status)
    except BinfmtError as error:
        return f"is broken: it {escape(str(error))}", "install it again"
    except PermissionError:
        return f"was refused with {_plain(errno)} and cannot be read to find the cause", ""


def _no_permission(place: Place, status: os.stat_result, no_execution: frozenset[str]) -> Explanation | None:
    assert place.host is not None
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o111:
        return f"is not executable (mode {mode:04o})", f"chmod a+x {_argument(place.host)}"
    if place.mount in no_execution:
        hint = "mount it read-only to execute from it, or say danger_executable if it must be both"
        return f"lies on {quote(place.mount)}, which is writable and therefore not executable", hint
    if not mode & 0o001:
        who = f"owner {status.st_uid}, group {status.st_gid}, mode {mode:04o}"
        hint = f"chmod o+x {_argument(place.host)}, if everybody may run it"
        return f"may be executed by its owner or group only ({who}), and the box may be neither", hint
    return None


def _wrong_content(host: str, status: os.stat_result) -> Explanation | None:
    """Explain by what the kernel reads of the file: nothing, text without #!, another architecture."""
    if status.st_size == 0:
        return "is empty", "install it again"
    header, script = _read(host)
    if script is not None:
        return None
    if header is None:
        hint = "begin it with a line such as #!/bin/sh, or run its interpreter with the file as an argument"
        return "is neither an ELF program nor a script with a #! line", hint
    if header.architecture != native_architecture():
        hint = f"use a build for {native_architecture()}"
        return f"is made for {header.architecture}, and this machine is {native_architecture()}", hint
    return None


def _read(host: str) -> tuple[ElfHeader | None, tuple[bytes, bytes] | None]:
    descriptor = open_regular(host)
    try:
        return read_elf_header(descriptor), read_script_line(descriptor)
    finally:
        os.close(descriptor)


def _interpreter(place: Place) -> tuple[str, str | None]:
    """Return what the kernel loads next, and what that is: the `#!` interpreter, the loader, or (None) nothing."""
    assert place.host is not None
    try:
        header, script = _read(place.host)
    except (OSError, BinfmtError):
        return "", None
    if script is not None:
        return "interpreter", os.fsdecode(script[0])
    if header is not None and header.interpreter is not None:
        return "loader", os.fsdecode(header.interpreter)
    return "", None


def _add_program(path: str) -> str:
    """Return the lines that put a program of the host into the box, for the builder and for the text form."""
    shown = _argument(path)
    return f"add .add_libraries_for_binary({shown}), or libraries_for_binary: {shown} to the policy's filesystem block"


def _argument(path: str) -> str:
    return quote(path, limit=4096)


def _plain(errno: int) -> str:
    return f"{os.strerror(errno)} ({errors.errorcode.get(errno, errno)})"
